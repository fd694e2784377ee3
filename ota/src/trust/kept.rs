//! Small files of the repository that this box has fetched, beside what it has seen: metadata and documents that other metadata lists by
//! their hash. A poll that finds nothing new fetches none of them again.
//!
//! Nothing here is believed. Each file lies under its own SHA-256 and is hashed again when it is read, and what it says walks through
//! every check of the workflow, expiry among them, as if it had just come. A file that is missing or damaged is fetched.
use crate::durable;
use crate::hex::hex;
use crate::limits::metadata::MAX_KEPT;
use aws_lc_rs::digest::{SHA256, digest};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

/// Below the datastore.
pub(super) const DIRECTORY: &str = "kept";

/// The files that are kept.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    directory: Arc<Path>,
}

impl Kept {
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.into() }
    }

    /// The file of that hash and of at most so many bytes, where it is here and whole.
    pub(super) fn read(&self, sha256: &[u8], max: u64) -> Option<Vec<u8>> {
        let file = File::open(self.directory.join(hex(sha256))).ok()?;
        let mut bytes = Vec::new();
        file.take(max.saturating_add(1)).read_to_end(&mut bytes).ok()?;
        let is_it = bytes.len() as u64 <= max && digest(&SHA256, &bytes).as_ref() == sha256;
        is_it.then_some(bytes)
    }

    /// Keeps a file of which the hash was checked. One that can't be kept is fetched again: nothing else depends on it.
    pub(super) fn keep(&self, sha256: &[u8], bytes: &[u8]) {
        if self.length().saturating_add(bytes.len() as u64) > MAX_KEPT {
            return;
        }
        let kept = durable::directory(&self.directory, 0o750)
            .and_then(|()| durable::replace(&self.directory.join(hex(sha256)), bytes, 0o640));
        if let Err(fault) = kept {
            tracing::debug!(%fault, "a file of the repository is not kept, and is fetched again");
        }
    }

    /// Removes what is listed no more.
    pub(super) fn retain(&self, listed: &BTreeSet<String>) {
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_none_or(|name| !listed.contains(name)) {
                // One that stays is removed another time.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn length(&self) -> u64 {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_the_very_file_within_its_bounds_or_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let kept = Kept::new(&directory.path().join(DIRECTORY));
        let sha256 = digest(&SHA256, b"a role");
        assert_eq!(kept.read(sha256.as_ref(), 100), None);
        kept.keep(sha256.as_ref(), b"a role");
        assert_eq!(kept.read(sha256.as_ref(), 6).as_deref(), Some(&b"a role"[..]));
        assert_eq!(kept.read(sha256.as_ref(), 5), None, "longer than it may be");
        fs::write(kept.directory.join(hex(sha256.as_ref())), b"a rule").unwrap();
        assert_eq!(kept.read(sha256.as_ref(), 100), None);

        let another = digest(&SHA256, b"");
        let full = File::create(kept.directory.join("full")).unwrap();
        full.set_len(MAX_KEPT).unwrap();
        kept.keep(another.as_ref(), b"");
        assert_eq!(kept.read(another.as_ref(), 100), None, "there is room for no more");
        kept.retain(&BTreeSet::from([hex(sha256.as_ref())]));
        assert!(!kept.directory.join("full").exists() && kept.directory.join(hex(sha256.as_ref())).exists());
    }
}
