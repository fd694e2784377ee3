//! The payloads: where a target lies, and how it comes there.
use super::files;
use super::home::{Home, Lock};
use super::limits::{MAX_ENCLOSED, RESERVE};
use super::published::Published;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use sund_ota::fault::{Blame, Fault};
use sund_ota::hex::hex;
use tough::schema::{Hashes, Target};

/// Where a target lies under the base of the targets: its path with the SHA-256 before the file's name (TUF 3.1.2).
pub fn place(target: &str, sha256: &str) -> String {
    match target.rsplit_once('/') {
        Some((directory, name)) => format!("{directory}/{sha256}.{name}"),
        None => format!("{sha256}.{target}"),
    }
}

/// The file of a listed target.
pub fn path(home: &Home, target: &str, listed: &Target) -> PathBuf {
    home.targets().join(place(target, &sha256_of(listed)))
}

/// The SHA-256 of a listed target, as digits.
pub fn sha256_of(listed: &Target) -> String {
    hex(listed.hashes.sha256.as_ref())
}

/// Whether a payload of the listed length lies below the base of the targets.
pub fn is_there(targets: &Path, target: &str, listed: &Target) -> bool {
    let place = place(target, &sha256_of(listed));
    fs::metadata(targets.join(place)).is_ok_and(|there| there.len() == listed.length)
}

/// Whether all of a payload lies there. It is hashed each time: a disk loses bits, and the boxes would refuse it for ever. What can't be read
/// is not whole.
pub fn is_whole(targets: &Path, target: &str, listed: &Target) -> bool {
    let place = place(target, &sha256_of(listed));
    let read = File::open(targets.join(place)).and_then(|file| files::copy(file, &mut io::sink()));
    read.is_ok_and(|(sha256, _)| sha256 == listed.hashes.sha256.as_ref())
}

/// Puts a file into the store, where there is room for it beside what the metadata needs. It is not listed by that, and nobody is told of it.
pub fn put_file(home: &Home, target: &str, from: &Path, max: u64, _turn: &Lock) -> Result<Target, Fault> {
    let source = File::open(from).map_err(|error| files::disk("read", from, &error))?;
    clear_parts(home)?;
    let length = source.metadata().map_or(0, |about| about.len());
    let room = files::room(&home.targets())?;
    if length <= max && room < length.saturating_add(RESERVE) {
        let reason = format!(
            "{target} has {length} bytes and the disk has {room} left, of which {RESERVE} are kept for the metadata: make room \
             (`sund-channel sweep` removes what is listed no more)"
        );
        return Err(Fault::new("disk-full", Blame::Box, reason));
    }
    put(home, target, source, max)
}

/// The same for the bytes of a small document, for which the metadata's room is kept as well.
pub fn put_bytes(home: &Home, target: &str, bytes: &[u8], turn: &Lock) -> Result<Target, Fault> {
    tidy(home, turn);
    put(home, target, bytes, bytes.len() as u64)
}

fn put(home: &Home, target: &str, from: impl Read, max: u64) -> Result<Target, Fault> {
    let base = home.targets();
    let part = Part(base.join(PART));
    let failed = |error: &io::Error| files::disk("written", &part.0, error);
    let mut into = File::create(&part.0).map_err(|error| failed(&error))?;
    let copied = files::copy(from.take(max + 1), &mut into).and_then(|copied| into.sync_all().map(|()| copied));
    let (sha256, length) = copied.map_err(|error| failed(&error))?;
    if length > max {
        let reason = format!("{target} would have more than {max} bytes: no box takes that");
        return Err(Fault::new("payload-too-large", Blame::Configuration, reason));
    }
    let path = base.join(place(target, &hex(&sha256)));
    let renamed = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::rename(&part.0, &path));
    renamed.and_then(|()| files::sync_directory(&path)).map_err(|error| failed(&error))?;
    Ok(target_of(&sha256, length))
}

/// A payload that has no name yet. However its command ends, it does not fill the disk.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        // Gone where it has got its name.
        let _ = fs::remove_file(&self.0);
    }
}

/// What a command writes that is putting a payload into the store: one at a time holds the lock.
const PART: &str = ".payload.part";

/// Removes what a command has left there that was killed, where that can be done: neither a renewal nor what takes something back depends on it.
pub fn tidy(home: &Home, _turn: &Lock) {
    if let Err(fault) = clear_parts(home) {
        tracing::warn!(%fault, "what a command that was killed has left stays in the store");
    }
}

fn clear_parts(home: &Home) -> Result<(), Fault> {
    let base = home.targets();
    let failed = |error: io::Error| files::disk("cleared", &base, &error);
    let entries = match fs::read_dir(&base) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read.map_err(failed)?,
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        // Those of before had the number of their process.
        if name.to_str().is_some_and(|name| name.strip_prefix('.').and_then(|it| it.strip_suffix(".part")).is_some()) {
            fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

/// What is listed of bytes.
pub fn target_of(sha256: &[u8], length: u64) -> Target {
    let hashes = Hashes { sha256: sha256.to_vec().into(), _extra: HashMap::new() };
    Target { length, hashes, custom: HashMap::new(), _extra: HashMap::new() }
}

/// The bytes of a small target that is published; nothing where it is not listed.
pub fn read_listed(home: &Home, published: &Published, target: &str) -> Result<Option<Vec<u8>>, Fault> {
    let Some((_, listed)) = published.find(target) else { return Ok(None) };
    let bytes = files::read(&path(home, target, listed), MAX_ENCLOSED)?;
    if files::sha256(&bytes) == listed.hashes.sha256.as_ref() {
        return Ok(Some(bytes));
    }
    let reason = format!("{target} in the store is not what was signed: restore the repository from its copy");
    Err(Fault::new("repository-damaged", Blame::Channel, reason))
}
