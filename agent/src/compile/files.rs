//! Files of what was compiled: each is written beside its place, and moved there whole.
use crate::fault::{Blame, Fault};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek as _};
use std::path::Path;
use tempfile::NamedTempFile;

/// Writes files into a folder, by their names in it, in this order.
pub(super) fn write<'a>(folder: &Path, files: impl Iterator<Item = (&'a str, &'a [u8])>) -> Result<(), Fault> {
    for (name, bytes) in files {
        write_one(&folder.join(name), &mut { bytes }, bytes.len() as u64)?;
    }
    Ok(())
}

/// Writes a plan of so many bytes, which a worker has put into a memory file, to its place.
pub fn keep_plan(path: &Path, mut plan: &File, length: u64) -> Result<(), Fault> {
    plan.rewind().map_err(|error| unwritable(path, &error))?;
    write_one(path, &mut plan, length)
}

/// Writes so many bytes to a file, which is there once they all are.
fn write_one(path: &Path, from: &mut dyn Read, length: u64) -> Result<(), Fault> {
    let beside = path.parent().unwrap_or(Path::new("."));
    let done = std::fs::create_dir_all(beside).and_then(|()| {
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        let mut file: NamedTempFile = tempfile::Builder::new().permissions(open).tempfile_in(beside)?;
        if std::io::copy(&mut from.take(length), &mut file)? < length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    });
    done.map_err(|error| unwritable(path, &error))
}

pub(super) fn unwritable(path: &Path, error: &std::io::Error) -> Fault {
    Fault::new("package-unwritable", Blame::Box, format!("{} cannot be written: {error}", path.display()))
}
