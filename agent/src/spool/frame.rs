//! The record of the log: a head, sealed operations, and the sealed data set that they speak of.
//!
//! ```text
//! magic "SUNDREC1" · number u64 · operations u32 · body u64 · crc32 of the 28 bytes before · operations · body
//! ```
//! All numbers are little endian. Each operation is `slot u32 · length u32 · sealed JSON`. A record is whole when the CRC
//! of its head holds and each sealed part opens (AES-256-GCM); what follows the last whole record was never acknowledged.
use serde::{Deserialize, Serialize};

use super::Table;
use crate::instance::Arrival;

const MAGIC: &[u8; 8] = b"SUNDREC1";
/// Bytes of a head.
pub(super) const HEAD: usize = 32;
/// What a sealed operation is bound to.
pub(super) const OPERATION: &[u8] = b"sund operation";
/// What a sealed body is bound to.
pub(super) const BODY: &[u8] = b"sund body";

/// A head, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub number: u64,
    pub operations: u32,
    pub body: u64,
}

impl Head {
    pub(super) fn write(self) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.operations.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.body.to_le_bytes());
        let crc = crc32(&bytes[..28]);
        bytes[28..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn read(bytes: &[u8; HEAD]) -> Option<Self> {
        let (front, crc) = bytes.split_last_chunk::<4>()?;
        if !front.starts_with(MAGIC) || crc32(front) != u32::from_le_bytes(*crc) {
            return None;
        }
        Some(Self {
            number: u64::from_le_bytes(*front[8..].first_chunk()?),
            operations: u32::from_le_bytes(*front[16..].first_chunk()?),
            body: u64::from_le_bytes(*front[20..].first_chunk()?),
        })
    }

    /// Bytes of the whole record.
    pub(super) fn length(self) -> u64 {
        HEAD as u64 + u64::from(self.operations) + self.body
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// What a record does. Applied in the order of the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Operation {
    /// An instance. Its number is the record's; its bytes are the record's body, or these parts.
    Instance { arrival: Arrival, length: u64, parts: Vec<Part> },
    /// A table's value.
    Put { table: Table, key: String, value: String },
    /// A table's value goes.
    Delete { table: Table, key: String },
}

/// A sealed body somewhere in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    pub segment: u32,
    pub offset: u64,
    /// Sealed length.
    pub length: u64,
}
