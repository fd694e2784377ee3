//! One line of the log and the links between lines and files.
use super::seal::Sealed;
use crate::hex::hex;
use crate::numbered;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What the first line of a log carries as `prev`: SHA-256 of the text `sund audit log, format 1`.
pub const GENESIS: &str = "fda284648ae2620e49012344da5d07db40176fb2f370e0292f5ea0a091d62c4e";

/// The text that [`GENESIS`] is the hash of.
#[cfg(test)]
const GENESIS_TEXT: &str = "sund audit log, format 1";

/// The only format there is.
pub(super) const FORMAT: u32 = 1;

/// The files of a log are `audit-NUMBER.jsonl`.
const PREFIX: &str = "audit";

/// A line, parsed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    pub format: u32,
    pub seq: u64,
    pub prev: String,
    pub message: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identifiers: Option<Sealed>,
}

/// The place that a chain has reached: enough to go on from, and to prove later that nothing was cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Number of the last line, from 0.
    pub seq: u64,
    /// SHA-256 of the last line without its newline, in hex.
    pub hash: String,
}

impl Head {
    pub(super) fn of(seq: u64, line: &[u8]) -> Self {
        Self { seq, hash: hash(line) }
    }

    /// Number and `prev` of the line that follows `head`.
    pub(super) fn next(head: Option<&Head>) -> (u64, String) {
        head.map_or_else(|| (0, GENESIS.to_owned()), |head| (head.seq + 1, head.hash.clone()))
    }
}

/// SHA-256 in hex.
pub(super) fn hash(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

/// Name of the file that begins with line `seq`.
pub(super) fn file_name(seq: u64) -> String {
    numbered::name(PREFIX, seq)
}

/// The files of a log in order, with the numbers of their first lines.
pub fn files(dir: &Path) -> std::io::Result<Vec<(u64, PathBuf)>> {
    numbered::files(dir, PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn genesis_is_the_hash_of_its_text() {
        assert_eq!(GENESIS, hash(GENESIS_TEXT.as_bytes()));
    }
}
