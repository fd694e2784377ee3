//! Small documents beside the log, each replaced as a whole.
use crate::limits::forward::MAX_CURSOR;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

/// What lies there; nothing where nothing does, or it cannot be read.
pub(super) fn read<T: DeserializeOwned>(
    dir: &Path,
    name: &str,
    is_known: impl Fn(&T) -> bool,
) -> io::Result<Option<T>> {
    let file = match File::open(dir.join(name)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_CURSOR).read_to_end(&mut bytes)?;
    let document = serde_json::from_slice::<T>(&bytes).ok().filter(is_known);
    if document.is_none() {
        tracing::warn!(name, "what lies beside the audit log cannot be read; it is as if it were not there");
    }
    Ok(document)
}

/// Replaces it; durable on return.
pub(super) fn write(dir: &Path, name: &str, document: &impl Serialize) -> io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(".cursor-").tempfile_in(dir)?;
    file.write_all(&serde_json::to_vec(document)?)?;
    file.as_file().sync_all()?;
    file.persist(dir.join(name)).map_err(|error| error.error)?;
    File::open(dir)?.sync_all()
}
