//! A copy of the repository for a hospital: fetched, verified as a box verifies it, and only then shown.
//!
//! One run works in a directory at a time. What the copy shows no longer goes when the new metadata is in place, and not before.
mod origin;
mod payload;
mod unlisted;

pub use origin::client;

use super::files;
use super::local;
use super::rescue::{MAX_DESCRIPTOR, PLACE};
use super::roles::{ROOT, SNAPSHOT, TARGETS, TIMESTAMP, file_names};
use origin::Origin;
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use sund_ota::fault::{Blame, Fault};
use sund_ota::limits::metadata;
use tough::schema::{Signed, Snapshot, Target, Targets, Timestamp};
use url::Url;

/// Targets below this path are part of what is verified.
const TRUST: &str = "trust/";

/// What was mirrored.
#[derive(Clone, Debug, Serialize)]
pub struct Mirrored {
    /// Version of the timestamp that the mirror shows now.
    pub timestamp: u64,
    /// Targets that were fetched.
    pub fetched: usize,
    /// Targets that were there already.
    pub kept: usize,
    /// Files that are listed no more, and went.
    pub removed: usize,
    /// Whether the origin has a recovery bundle; its descriptor is copied as it is, since `sund-rescue` proves it by
    /// itself.
    pub rescue: bool,
}

/// Fetches the repository at `from` into a directory. `root` is a root that is trusted here: the one that boxes get.
pub async fn mirror(directory: &Path, from: &Url, root: Vec<u8>, client: &reqwest::Client) -> Result<Mirrored, Fault> {
    let _lock = lock(directory)?;
    let staging = Staging::new(directory)?;
    let origin = Origin { base: from, client };
    let staged = staging.metadata(&origin).await?;
    let targets = directory.join("targets");
    let mut fetched = 0;
    // What is not yet verified is bounded: of the payloads only the small ones that say whose keys there are.
    for (target, listed) in staged.targets.iter().filter(|(target, _)| target.starts_with(TRUST)) {
        if !payload::is_whole(&targets, target, listed) {
            payload::fetch(&origin, &targets, target, listed, metadata::MAX_TARGETS).await?;
            fetched += 1;
        }
    }
    let datastore = directory.join("seen");
    fs::create_dir_all(&datastore).map_err(|error| files::disk("made", &datastore, &error))?;
    local::load(&staging.0, root, datastore).await?;
    let (there, missing): (Vec<_>, Vec<_>) = staged
        .targets
        .iter()
        .filter(|(target, _)| !target.starts_with(TRUST))
        .partition(|(target, listed)| payload::is_there(&targets, target, listed));
    for (target, listed) in missing {
        payload::fetch(&origin, &targets, target, listed, u64::MAX).await?;
        fetched += 1;
    }
    staging.show(directory, &staged.files)?;
    let rescue = rescue(&origin, directory).await?;
    let removed = unlisted::remove(directory, staged.snapshot, &staged.targets)?;
    // To hash all of it takes long, and what the region suspends does not wait for that.
    for (target, listed) in there {
        if !payload::is_whole(&targets, target, listed) {
            payload::fetch(&origin, &targets, target, listed, u64::MAX).await?;
            fetched += 1;
        }
    }
    let kept = staged.targets.len() - fetched;
    Ok(Mirrored { timestamp: staged.timestamp, fetched, kept, removed, rescue })
}

/// Nobody else mirrors into the directory while this lives.
fn lock(directory: &Path) -> Result<File, Fault> {
    let opened = fs::create_dir_all(directory).and_then(|()| File::open(directory));
    let lock = opened.map_err(|error| files::disk("made", directory, &error))?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        let reason = format!("another `sund-channel mirror` works in {}: let it end", directory.display());
        Fault::new("mirror-busy", Blame::Configuration, reason)
    })?;
    Ok(lock)
}

/// Copies `rescue.json`, or its absence. The bundle that it names is a target like any other, and there already.
async fn rescue(origin: &Origin<'_>, directory: &Path) -> Result<bool, Fault> {
    let path = directory.join("targets").join(PLACE);
    match origin.maybe(&format!("targets/{PLACE}"), MAX_DESCRIPTOR).await? {
        Some(bytes) => files::write(&path, &bytes, 0o644).map(|()| true),
        None if path.exists() => {
            fs::remove_file(&path).map_err(|error| files::disk("removed", &path, &error)).map(|()| false)
        }
        None => Ok(false),
    }
}

/// Metadata that is fetched and not yet shown.
struct Staging(PathBuf);

struct Staged {
    /// Roles, versions and bytes, in the order in which they are to be shown: the timestamp after what it names, roots
    /// last.
    files: Vec<(String, u64, Vec<u8>)>,
    targets: BTreeMap<String, Target>,
    snapshot: u64,
    timestamp: u64,
}

impl Staging {
    fn new(directory: &Path) -> Result<Self, Fault> {
        let staging = directory.join("staging");
        let made = || {
            if staging.exists() {
                fs::remove_dir_all(&staging)?;
            }
            fs::create_dir_all(directory.join("targets"))?;
            fs::create_dir_all(directory.join("metadata"))?;
            fs::create_dir_all(staging.join("metadata"))?;
            std::os::unix::fs::symlink("../targets", staging.join("targets"))
        };
        made().map_err(|error| files::disk("made", &staging, &error))?;
        Ok(Self(staging))
    }

    async fn metadata(&self, origin: &Origin<'_>) -> Result<Staged, Fault> {
        let mut files = Vec::new();
        let bytes = origin.must(&file_names(TIMESTAMP, 0)[0], metadata::MAX_TIMESTAMP).await?;
        let timestamp: Signed<Timestamp> = parse(TIMESTAMP, &bytes)?;
        let version = timestamp.signed.meta.get("snapshot.json").map_or(0, |meta| meta.version.get());
        let snapshot_bytes = origin.must(&file_names(SNAPSHOT, version)[0], metadata::MAX_SNAPSHOT).await?;
        let snapshot: Signed<Snapshot> = parse(SNAPSHOT, &snapshot_bytes)?;
        let mut targets = BTreeMap::new();
        for (name, meta) in &snapshot.signed.meta {
            let role = name.strip_suffix(".json").unwrap_or(name);
            if role != TARGETS {
                super::roles::check_delegated(role)?;
            }
            let version = meta.version.get();
            let bytes = origin.must(&file_names(role, version)[0], metadata::MAX_TARGETS).await?;
            let listed: Signed<Targets> = parse(role, &bytes)?;
            for (name, target) in listed.signed.targets {
                // A path that leads out of the mirror belongs to no role.
                super::roles::of_target(name.raw())?;
                super::roles::check_name("target", name.raw().rsplit('/').next().unwrap_or_default())?;
                targets.insert(name.raw().to_owned(), target);
            }
            files.push((role.to_owned(), version, bytes));
        }
        files.push((SNAPSHOT.to_owned(), version, snapshot_bytes));
        files.push((TIMESTAMP.to_owned(), timestamp.signed.version.get(), bytes));
        for version in 1..=metadata::MAX_ROOT_UPDATES {
            let Some(bytes) =
                origin.maybe(&format!("metadata/{}", file_names(ROOT, version)[0]), metadata::MAX_ROOT).await?
            else {
                break;
            };
            files.push((ROOT.to_owned(), version, bytes));
        }
        put(&self.0.join("metadata"), &files)?;
        Ok(Staged { files, targets, snapshot: version, timestamp: timestamp.signed.version.get() })
    }

    fn show(self, directory: &Path, files: &[(String, u64, Vec<u8>)]) -> Result<(), Fault> {
        put(&directory.join("metadata"), files)?;
        fs::remove_dir_all(&self.0).map_err(|error| files::disk("removed", &self.0, &error))
    }
}

fn put(into: &Path, files: &[(String, u64, Vec<u8>)]) -> Result<(), Fault> {
    for (role, version, bytes) in files {
        for name in file_names(role, *version) {
            files::write(&into.join(name), bytes, 0o644)?;
        }
    }
    Ok(())
}

fn parse<T: DeserializeOwned>(role: &str, bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|error| {
        Fault::new("metadata-unreadable", Blame::Channel, format!("the metadata of {role} cannot be read: {error}"))
    })
}
