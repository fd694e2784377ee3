//! Files that survive a power cut, digests, and bounded reading.
use aws_lc_rs::digest::{Context, SHA256, digest};
use rustix::fs::statvfs;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use sund_ota::fault::{Blame, Fault};

/// Writes a file that is there whole or not at all: a new file, synced, renamed, its directory synced.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Fault> {
    let part = path.with_added_extension("part");
    let write = || {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)?;
        sync_directory(path)
    };
    write().map_err(|error| {
        // On a disk that is full it would stand in the way of the next try.
        let _ = fs::remove_file(&part);
        disk("written", path, &error)
    })
}

/// Makes a rename in the directory of `path` durable, and that directory itself where it is new.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    path.ancestors()
        .skip(1)
        .take(2)
        .filter(|directory| directory.is_dir())
        .try_for_each(|directory| File::open(directory)?.sync_all())
}

/// Reads a file of at most `max` bytes.
pub fn read(path: &Path, max: u64) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    let taken = File::open(path).and_then(|file| file.take(max + 1).read_to_end(&mut bytes));
    taken.map_err(|error| disk("read", path, &error))?;
    if bytes.len() as u64 > max {
        let reason = format!("{} has more than {max} bytes: it is not what it should be", path.display());
        return Err(Fault::new("file-too-large", Blame::Configuration, reason));
    }
    Ok(bytes)
}

/// The same, and nothing where no file is.
pub fn read_if_there(path: &Path, max: u64) -> Result<Option<Vec<u8>>, Fault> {
    if path.exists() { read(path, max).map(Some) } else { Ok(None) }
}

/// Bytes that the disk of a directory has left for whoever is not root.
pub fn room(directory: &Path) -> Result<u64, Fault> {
    let about = statvfs(directory).map_err(|error| disk("read", directory, &error.into()))?;
    Ok(about.f_bavail.saturating_mul(about.f_frsize))
}

/// A fault of the disk; `done` is what could not be done to `path`.
pub fn disk(done: &str, path: &Path, error: &io::Error) -> Fault {
    if error.kind() == io::ErrorKind::NotFound {
        let reason = format!("{} is not there: name a file that is", path.display());
        return Fault::new("file-not-found", Blame::Configuration, reason);
    }
    Fault::new("disk-failed", Blame::Box, format!("{} cannot be {done}: {error}", path.display()))
}

/// SHA-256 and length of all that a reader gives, as it is copied into `into`.
pub fn copy(mut from: impl Read, into: &mut impl Write) -> io::Result<([u8; 32], u64)> {
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 256 * 1024];
    let mut length = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        context.update(&buffer[..read]);
        into.write_all(&buffer[..read])?;
        length += read as u64;
    }
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(context.finish().as_ref());
    Ok((sha256, length))
}

/// SHA-256 of bytes.
pub fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}
