//! How far the collector has come, in a file beside the log.
use crate::limits::forward::MAX_CURSOR;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
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

/// A small document beside the log.
pub(super) fn read(dir: &Path, name: &str) -> io::Result<Option<Cursor>> {
    let file = match File::open(dir.join(name)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_CURSOR).read_to_end(&mut bytes)?;
    let cursor = serde_json::from_slice::<Cursor>(&bytes).ok().filter(|cursor| cursor.format == FORMAT);
    if cursor.is_none() {
        tracing::warn!(name, "what lies beside the audit log cannot be read; it is collected from its beginning");
    }
    Ok(cursor)
}

/// Replaces it as a whole.
pub(super) fn write(dir: &Path, name: &str, cursor: &Cursor) -> io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(".cursor-").tempfile_in(dir)?;
    file.write_all(&serde_json::to_vec(cursor)?)?;
    file.as_file().sync_all()?;
    file.persist(dir.join(name)).map_err(|error| error.error)?;
    File::open(dir)?.sync_all()
}
