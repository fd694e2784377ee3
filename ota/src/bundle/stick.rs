//! A bundle on the region's stick, which a box takes without anybody who types: the one file of that name at the stick's top.
//!
//! A stick may stay in the box over restarts, and a system on it that does not hold restarts the box. So what was taken from a stick is
//! remembered, and taken again only where the stick was put in once more.
use super::inbox::brought;
use crate::durable;
use crate::fault::{Blame, Fault};
use crate::hex::hex;
use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Ends the name of a bundle on a stick.
pub const ENDING: &str = "sund-bundle";
/// Entries of a stick that are looked at: a longer list wants to hold the box up.
const MAX_ENTRIES: usize = 1024;
/// What is remembered, in bytes.
const MAX_TAKEN: u64 = 4096;

/// The bundles at the top of a stick.
fn bundles(stick: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(stick)?.take(MAX_ENTRIES) {
        let entry = entry?;
        let is_one = entry.path().extension().is_some_and(|ending| ending == ENDING);
        // macOS writes a file of that name and ending beside each one on FAT, for what FAT has no place for.
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if is_one && !is_hidden && entry.file_type()?.is_file() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Whether a stick has a bundle.
pub fn has_one(stick: &Path) -> bool {
    bundles(stick).is_ok_and(|found| !found.is_empty())
}

/// The bundle of a stick. Of several nobody says which is meant.
pub fn find(stick: &Path) -> Result<PathBuf, Fault> {
    let refused = |reason: String| Fault::new("bundle-unreadable", Blame::Box, reason);
    let mut found = bundles(stick).map_err(|error| refused(format!("the stick cannot be read: {error}")))?;
    match (found.pop(), found.len()) {
        (None, _) => Err(refused(format!("the stick has no file NAME.{ENDING} at its top"))),
        (Some(bundle), 0) => Ok(bundle),
        (Some(_), others) => Err(refused(format!(
            "the stick has {} files NAME.{ENDING} at its top: leave the one that is meant",
            others + 1
        ))),
    }
}

/// What was taken from a stick last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Taken {
    length: u64,
    /// SHA-256 of the whole bundle.
    sha256: String,
    /// The boot in which it was taken, or was found to be in the box still.
    boot: String,
    /// When it was taken, in milliseconds since 1970: what was brought before is another one.
    at: i64,
}

impl Taken {
    /// A bundle, as it would be remembered when it is taken in that boot, now.
    pub fn of(bundle: &Path, boot: &str) -> Result<Self, Fault> {
        let digested = || -> io::Result<Self> {
            let mut file = File::open(bundle)?;
            let (mut digest, mut length) = (Context::new(&SHA256), 0);
            let mut bytes = vec![0; 1024 * 1024];
            loop {
                match file.read(&mut bytes)? {
                    0 => break,
                    count => {
                        digest.update(&bytes[..count]);
                        length += count as u64;
                    }
                }
            }
            let at = jiff::Timestamp::now().as_millisecond();
            Ok(Self { length, sha256: hex(digest.finish().as_ref()), boot: boot.to_owned(), at })
        };
        digested().map_err(|error| {
            let reason = format!("{} cannot be read to its end: {error}; nothing of it was taken", bundle.display());
            Fault::new("bundle-unreadable", Blame::Box, reason)
        })
    }

    /// Reads what is remembered. One that can't be read is none.
    pub fn read(path: &Path) -> Option<Self> {
        let mut bytes = Vec::new();
        File::open(path).and_then(|file| file.take(MAX_TAKEN).read_to_end(&mut bytes)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Remembers it, durably.
    pub fn keep(&self, path: &Path) -> Result<(), Fault> {
        durable::replace(path, &serde_json::to_vec(self).unwrap_or_default(), 0o640)
    }

    /// Whether this is what was taken in a boot before: the stick has stayed in the box, as far as anybody can tell.
    pub fn has_stayed_since(&self, before: &Self) -> bool {
        self.length == before.length && self.sha256 == before.sha256 && self.boot != before.boot
    }

    /// It was not taken now, but as it is remembered.
    #[must_use]
    pub fn taken_as(self, before: &Self) -> Self {
        Self { at: before.at, ..self }
    }

    /// It is the one in the inbox that has this id.
    #[must_use]
    pub fn brought_as(self, id: &str) -> Self {
        Self { at: brought(id).unwrap_or(self.at), ..self }
    }

    /// Whether what has this id may be it.
    pub fn may_be(&self, id: &str) -> bool {
        brought(id).is_some_and(|at| at >= self.at)
    }
}
