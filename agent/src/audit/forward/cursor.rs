//! How far the collector has come, in a file beside the log.
use super::super::beside;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

const FILE: &str = "collected.json";
/// What is read here.
const FORMAT: u32 = 1;

/// The last line that was collected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cursor {
    format: u32,
    /// Its number.
    pub seq: u64,
    /// Its SHA-256, hex: the log is still the one that was collected from.
    pub hash: String,
}

impl Cursor {
    pub fn of(seq: u64, hash: String) -> Self {
        Self { format: FORMAT, seq, hash }
    }

    /// What lies there; nothing where nothing was collected, or it cannot be read: then all is sent once more.
    pub fn read(dir: &Path) -> io::Result<Option<Self>> {
        read(dir, FILE)
    }

    /// Durable on return.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        write(dir, FILE, self)
    }
}

/// A line of the log that a file beside it names.
pub(super) fn read(dir: &Path, name: &str) -> io::Result<Option<Cursor>> {
    beside::read(dir, name, |cursor: &Cursor| cursor.format == FORMAT)
}

/// Replaces that file as a whole.
pub(super) fn write(dir: &Path, name: &str, cursor: &Cursor) -> io::Result<()> {
    beside::write(dir, name, cursor)
}
