//! A copy of the repository for a hospital: fetched, verified as a box verifies it, and only then shown.
use super::files;
use super::local;
use super::rescue::{MAX_DESCRIPTOR, PLACE};
use super::roles::{ROOT, SNAPSHOT, TARGETS, TIMESTAMP, file_names};
use super::store;
use reqwest::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use sund_ota::fault::{Blame, Fault};
use sund_ota::limits::metadata;
use tokio::io::AsyncWriteExt;
use tough::schema::{Signed, Snapshot, Target, Targets, Timestamp};
use url::Url;

/// A line that brings nothing for so long is given up.
const IDLE: Duration = Duration::from_secs(30);
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
    /// Whether the origin has a recovery bundle; its descriptor is copied as it is, since `sund-rescue` proves it by
    /// itself.
    pub rescue: bool,
}

/// Fetches the repository at `from` into a directory. `root` is a root that is trusted here: the one that boxes get.
pub async fn mirror(directory: &Path, from: &Url, root: Vec<u8>, client: &reqwest::Client) -> Result<Mirrored, Fault> {
    let staging = Staging::new(directory)?;
    let origin = Origin { base: from, client };
    let staged = staging.metadata(&origin).await?;
    // What is not yet verified is bounded: of the payloads only the small ones that say whose keys there are.
    let mut counts = (0, 0);
    for (target, listed) in staged.targets.iter().filter(|(target, _)| target.starts_with(TRUST)) {
        payload(&origin, directory, target, listed, metadata::MAX_TARGETS, &mut counts).await?;
    }
    let datastore = directory.join("seen");
    fs::create_dir_all(&datastore).map_err(|error| files::disk("made", &datastore, &error))?;
    local::load(&staging.0, root, datastore).await?;
    for (target, listed) in staged.targets.iter().filter(|(target, _)| !target.starts_with(TRUST)) {
        payload(&origin, directory, target, listed, u64::MAX, &mut counts).await?;
    }
    staging.show(directory, &staged.files)?;
    let rescue = rescue(&origin, directory).await?;
    Ok(Mirrored { timestamp: staged.timestamp, fetched: counts.0, kept: counts.1, rescue })
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
        Ok(Staged { files, targets, timestamp: timestamp.signed.version.get() })
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

/// Where it comes from.
struct Origin<'a> {
    base: &'a Url,
    client: &'a reqwest::Client,
}

impl Origin<'_> {
    async fn must(&self, name: &str, max: u64) -> Result<Vec<u8>, Fault> {
        self.maybe(&format!("metadata/{name}"), max).await?.ok_or_else(|| {
            let reason = format!("{} has no metadata/{name}: name the address of a repository", self.base);
            Fault::new("origin-incomplete", Blame::Channel, reason)
        })
    }

    async fn maybe(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>, Fault> {
        let mut response = self.get(name).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        while let Some(more) = chunk(&mut response).await? {
            if (bytes.len() + more.len()) as u64 > max {
                return Err(Fault::new(
                    "metadata-too-large",
                    Blame::Channel,
                    format!("{name} has more than {max} bytes"),
                ));
            }
            bytes.extend_from_slice(&more);
        }
        Ok(Some(bytes))
    }

    async fn get(&self, path: &str) -> Result<reqwest::Response, Fault> {
        let url = self.base.join(path).map_err(|error| {
            Fault::new("origin-unreachable", Blame::Configuration, format!("{} {path}: {error}", self.base))
        })?;
        let response = self.client.get(url).send().await.map_err(|error| unreachable(&error))?;
        match response.status() {
            StatusCode::OK | StatusCode::NOT_FOUND => Ok(response),
            status => {
                let reason = format!("{} answers {status} for {path}", self.base);
                Err(Fault::new("origin-failed", Blame::Channel, reason))
            }
        }
    }
}

/// A client for mirroring; `identity` is its own certificate and the key of that, PEM.
pub fn client(ca: Option<&[u8]>, identity: Option<&[u8]>) -> Result<reqwest::Client, Fault> {
    // Another part of the program may have chosen the same provider before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let failed = |error: reqwest::Error| Fault::new("client-failed", Blame::Configuration, error.to_string());
    let builder = reqwest::Client::builder().read_timeout(IDLE).connect_timeout(IDLE);
    let mut builder = builder.redirect(reqwest::redirect::Policy::none());
    if let Some(pem) = identity {
        builder = builder.identity(reqwest::Identity::from_pem(pem).map_err(failed)?);
    }
    match ca {
        None => builder.build().map_err(failed),
        Some(pem) => {
            let ca = reqwest::Certificate::from_pem(pem).map_err(failed)?;
            builder.tls_certs_only([ca]).build().map_err(failed)
        }
    }
}

/// Fetches a payload that is not there yet.
async fn payload(
    origin: &Origin<'_>,
    directory: &Path,
    target: &str,
    listed: &Target,
    max: u64,
    counts: &mut (usize, usize),
) -> Result<(), Fault> {
    let place = store::place(target, &store::sha256_of(listed));
    let path = directory.join("targets").join(&place);
    if fs::metadata(&path).is_ok_and(|found| found.len() == listed.length) {
        counts.1 += 1;
        return Ok(());
    }
    let refused =
        |why: &str| Fault::new("origin-altered", Blame::Channel, format!("{target} from {}: {why}", origin.base));
    if listed.length > max {
        return Err(refused("it is larger than it may be"));
    }
    let mut response = origin.get(&format!("targets/{place}")).await?;
    if response.status() == StatusCode::NOT_FOUND {
        return Err(refused("it is listed and not there"));
    }
    let part = path.with_added_extension("part");
    let failed = |error: std::io::Error| files::disk("written", &part, &error);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    let mut file = tokio::fs::File::create(&part).await.map_err(failed)?;
    let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut length = 0;
    while let Some(bytes) = chunk(&mut response).await? {
        length += bytes.len() as u64;
        if length > listed.length {
            return Err(refused("it is longer than listed"));
        }
        digest.update(&bytes);
        file.write_all(&bytes).await.map_err(failed)?;
    }
    if length != listed.length || digest.finish().as_ref() != listed.hashes.sha256.as_ref() {
        return Err(refused("it is not what was signed"));
    }
    file.sync_all().await.map_err(failed)?;
    fs::rename(&part, &path).and_then(|()| files::sync_directory(&path)).map_err(failed)?;
    counts.0 += 1;
    Ok(())
}

async fn chunk(response: &mut reqwest::Response) -> Result<Option<bytes::Bytes>, Fault> {
    response.chunk().await.map_err(|error| unreachable(&error))
}

fn unreachable(error: &reqwest::Error) -> Fault {
    Fault::new("origin-unreachable", Blame::Channel, format!("the origin cannot be reached: {error}"))
}

fn parse<T: DeserializeOwned>(role: &str, bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|error| {
        Fault::new("metadata-unreadable", Blame::Channel, format!("the metadata of {role} cannot be read: {error}"))
    })
}
