//! Files of what was compiled: each is written beside its place, and moved there whole.
use crate::fault::{Blame, Fault};
use std::io::Write as _;
use std::path::Path;
use tempfile::NamedTempFile;

/// Writes files into a folder, by their names in it, in this order.
pub(super) fn write<'a>(folder: &Path, files: impl Iterator<Item = (&'a str, &'a [u8])>) -> Result<(), Fault> {
    for (name, bytes) in files {
        let path = folder.join(name);
        let beside = path.parent().unwrap_or(folder);
        let done = std::fs::create_dir_all(beside).and_then(|()| {
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
            let mut file: NamedTempFile = tempfile::Builder::new().permissions(open).tempfile_in(beside)?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)?;
            Ok(())
        });
        done.map_err(|error| unwritable(&path, &error))?;
    }
    Ok(())
}

pub(super) fn unwritable(path: &Path, error: &std::io::Error) -> Fault {
    Fault::new("package-unwritable", Blame::Box, format!("{} cannot be written: {error}", path.display()))
}
