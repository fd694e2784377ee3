//! The payloads: where a target lies, and how it comes there.
use super::files;
use super::home::Home;
use super::limits::MAX_ENCLOSED;
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

/// Puts a file into the store. It is not listed by that, and nobody is told of it.
pub fn put_file(home: &Home, target: &str, from: &Path, max: u64) -> Result<Target, Fault> {
    let source = File::open(from).map_err(|error| files::disk("read", from, &error))?;
    put(home, target, source, max)
}

/// The same for bytes.
pub fn put_bytes(home: &Home, target: &str, bytes: &[u8]) -> Result<Target, Fault> {
    put(home, target, bytes, bytes.len() as u64)
}

fn put(home: &Home, target: &str, from: impl Read, max: u64) -> Result<Target, Fault> {
    let base = home.targets();
    let part = base.join(format!(".{}.part", std::process::id()));
    let failed = |error: &io::Error| files::disk("written", &part, error);
    let mut into = File::create(&part).map_err(|error| failed(&error))?;
    let copied = files::copy(from.take(max + 1), &mut into).and_then(|copied| into.sync_all().map(|()| copied));
    let (sha256, length) = copied.map_err(|error| failed(&error))?;
    if length > max {
        let _ = fs::remove_file(&part);
        let reason = format!("{target} would have more than {max} bytes: no box takes that");
        return Err(Fault::new("payload-too-large", Blame::Configuration, reason));
    }
    let path = base.join(place(target, &hex(&sha256)));
    let renamed = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::rename(&part, &path));
    renamed.and_then(|()| files::sync_directory(&path)).map_err(|error| failed(&error))?;
    Ok(target_of(&sha256, length))
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
