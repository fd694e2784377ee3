//! A copy of the repository for a hospital: its metadata is fetched, verified as a box verifies it, and only then shown; then come the
//! payloads.
//!
//! One run shows metadata in a directory at a time, and one fetches payloads: while that takes hours, others show what the region says
//! meanwhile. What the copy shows no longer goes when the new metadata is in place, and not before.
mod gathering;
mod origin;
mod payload;
mod recovery;
mod unlisted;

pub use origin::client;

use super::files;
use super::local;
use super::roles::{ROOT, SNAPSHOT, TARGETS, TIMESTAMP, file_names};
use super::store;
use gathering::Gathering;
use origin::Origin;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use sund_ota::authorities;
use sund_ota::documents::{AUTHORITIES, STOP, SUSPENSIONS};
use sund_ota::fault::{Blame, Fault};
use sund_ota::limits::{MAX_STATE, metadata};
use tough::schema::{Signed, Snapshot, Target, Targets, Timestamp};
use url::Url;

/// Targets below this path are part of what is verified.
const TRUST: &str = "trust/";
/// Below this one lie desired states, the switches and the terms of bundles: all of them are small.
const STATES: &str = "state/";

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
    /// Whether the origin has a recovery bundle.
    pub rescue: bool,
    /// Whether another run is fetching payloads, so that this one has fetched none.
    pub busy: bool,
}

/// Fetches the repository at `from` into a directory. `root` is a root that is trusted here: the one that boxes get.
///
/// What the region says (withdrawn, stopped, suspended) waits for no payload: those come once it is shown, and one that can't be had keeps no
/// other one away.
pub async fn mirror(directory: &Path, from: &Url, root: Vec<u8>, client: &reqwest::Client) -> Result<Mirrored, Fault> {
    let showing = lock(directory)?;
    let staging = Staging::new(directory)?;
    let origin = Origin { base: from, client };
    let staged = staging.metadata(&origin).await?;
    let listed = &staged.targets;
    let targets = directory.join("targets");
    let mut gathering = Gathering::new(&origin, &targets);
    // What is not yet verified is bounded: of the payloads only the small ones that say whose keys there are.
    for (target, listed) in listed.iter().filter(|(target, _)| target.starts_with(TRUST)) {
        gathering.must(target, listed, metadata::MAX_TARGETS).await?;
    }
    let datastore = directory.join("seen");
    fs::create_dir_all(&datastore).map_err(|error| files::disk("made", &datastore, &error))?;
    local::load(&staging.0, root.clone(), datastore).await?;
    for switch in [STOP, SUSPENSIONS] {
        if let Some(listed) = listed.get(switch) {
            gathering.must(switch, listed, MAX_STATE).await?;
        }
    }
    for (target, listed) in listed.iter().filter(|(target, _)| target.starts_with(STATES)) {
        gathering.may(target, listed).await;
    }
    staging.show(directory, &staged.files)?;
    // Whom the region has signed as the channel the next run believes.
    if let Some(signed) = listed.get(AUTHORITIES) {
        let bytes = files::read(&targets.join(store::place(AUTHORITIES, &store::sha256_of(signed))), MAX_STATE);
        gathering.note(bytes.and_then(|bytes| authorities::keep(directory, &root, &bytes)));
    }
    let rescue = recovery::copy(&origin, directory, listed).await;
    let rescue = gathering.note(rescue).unwrap_or_default();
    let rest = listed.iter().filter(|(target, _)| !target.starts_with(TRUST) && !target.starts_with(STATES));
    let (there, mut missing): (Vec<_>, Vec<_>) =
        rest.partition(|(target, listed)| store::is_there(&targets, target, listed));
    let timestamp = staged.timestamp;
    let Some(_fetching) = take(&targets)? else {
        let fetched = gathering.end(timestamp)?;
        let kept = listed.len() - missing.len() - fetched;
        return Ok(Mirrored { timestamp, fetched, kept, removed: 0, rescue, busy: true });
    };
    let removed = unlisted::remove(directory, staged.snapshot, listed);
    let removed = gathering.note(removed).unwrap_or_default();
    drop(showing);
    missing.sort_by_key(|(_, listed)| listed.length);
    // To hash what is there takes long: what is not comes first.
    for (target, listed) in missing.into_iter().chain(there) {
        gathering.may(target, listed).await;
    }
    // Where another run shows metadata now, or has shown newer, the recovery bundle is its business.
    if let Some(_showing) = take(directory)?
        && staged.is_shown(directory)
    {
        let rescue = recovery::copy(&origin, directory, listed).await;
        gathering.note(rescue);
    }
    let fetched = gathering.end(timestamp)?;
    Ok(Mirrored { timestamp, fetched, kept: listed.len() - fetched, removed, rescue, busy: false })
}

/// Nobody else shows metadata in the directory while this lives.
fn lock(directory: &Path) -> Result<File, Fault> {
    fs::create_dir_all(directory).map_err(|error| files::disk("made", directory, &error))?;
    take(directory)?.ok_or_else(|| {
        let reason = format!("another `sund-channel mirror` works in {}: let it end", directory.display());
        Fault::new("mirror-busy", Blame::Configuration, reason)
    })
}

/// The lock of a directory; nothing where another run has it.
fn take(directory: &Path) -> Result<Option<File>, Fault> {
    let lock = File::open(directory).map_err(|error| files::disk("read", directory, &error))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(lock)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(files::disk("locked", directory, &error.into())),
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

impl Staged {
    /// Whether it is what the copy shows.
    fn is_shown(&self, directory: &Path) -> bool {
        let path = directory.join("metadata").join(&file_names(TIMESTAMP, 0)[0]);
        let shown = files::read(&path, metadata::MAX_TIMESTAMP).ok();
        shown.is_some_and(|shown| self.files.iter().any(|(role, _, bytes)| role == TIMESTAMP && *bytes == shown))
    }
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
