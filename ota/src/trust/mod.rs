//! What the region has signed: the repository's metadata by the client workflow of TUF 1.0, and its targets.
//!
//! Nothing else in this crate decides what is genuine. A [`Trusted`] is a repository whose metadata held; a [`Verified`] is
//! something that came out of it. The refusals stand in ota/README.md, each with the threat that it stops.
pub(crate) mod before;
mod doubted;
mod download;
mod kept;
mod paths;
mod persons;
mod recovery;
mod seen;
mod signatures;
mod store;
mod switches;
mod transport;
mod workflow;

pub(crate) use doubted::Doubted;
pub use recovery::Recovery;
pub use seen::{Heard, Shown, shown};
pub use transport::{Pace, Transport};

use crate::descriptor::Descriptor;
use crate::fault::{Blame, Fault};
use crate::hex::hex;
use crate::limits::MAX_STATE;
use crate::said::Said;
use crate::state::{DesiredState, Os, Pin};
use jiff::Timestamp;
use kept::Kept;
use seen::Seen;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use store::Store;
use tough::TargetName;
use tough::schema::{Delegations, Target, Targets};
use url::Url;

/// Where a repository lies and what is known of it on this box.
#[derive(Clone, Debug)]
pub struct Source {
    /// Base of the metadata, with a slash at its end.
    pub metadata: Url,
    /// Base of the targets, with a slash at its end.
    pub targets: Url,
    /// The root metadata that this box was provisioned with, or a later one that came from it.
    pub root: Vec<u8>,
    /// A directory that keeps the newest metadata seen, against rollback; lives as long as the box.
    pub datastore: PathBuf,
}

/// A repository whose metadata held.
#[derive(Debug)]
pub struct Trusted {
    /// Boxed: a repository is carried through many futures.
    store: Box<Store>,
    targets: Targets,
    delegated: BTreeMap<String, Result<Delegated, Fault>>,
    expires: (Timestamp, &'static str),
    freshness: Freshness,
    seen: Seen,
    datastore: PathBuf,
}

/// A delegated role that held.
#[derive(Debug)]
struct Delegated {
    /// Its delegation, alone.
    scope: Delegations,
    targets: Targets,
}

/// What says how old metadata may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// By timestamp and snapshot.
    Online,
    /// By the terms of a bundle.
    Bundle,
    /// Nothing: see [`Doubted`].
    Unjudged,
}

/// A proof: this came out of a [`Trusted`] repository, from the role that may sign it; or it did before, and was kept.
#[derive(Clone, Debug)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// What was verified.
    pub fn get(&self) -> &T {
        &self.0
    }
}

/// An operating system that the role `os` fixed: what RAUC is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Where the bundle lies, for RAUC to stream it.
    pub url: Url,
    /// Its length in bytes.
    pub length: u64,
    /// SHA-256 of its manifest, for RAUC's `require-manifest-hash`.
    pub manifest_sha256: String,
}

/// A proof: the store has an image at the length that the region signed.
#[derive(Clone, Debug)]
pub struct Served(Image);

impl Served {
    /// What is served.
    pub fn get(&self) -> &Image {
        &self.0
    }
}

impl Image {
    /// What RAUC is to read: an address to stream from, or the path of a file on this box.
    pub fn source(&self) -> String {
        match self.url.to_file_path() {
            Ok(path) if self.url.scheme() == "file" => path.display().to_string(),
            _ => self.url.to_string(),
        }
    }

    /// Asks the store for the bundle's length, before RAUC streams it. Its blocks are the manifest's business. A file of a stick was
    /// hashed whole.
    pub async fn served(&self, transport: &Transport) -> Result<Served, Fault> {
        let length = match self.url.to_file_path() {
            Ok(path) if self.url.scheme() == "file" => Ok(std::fs::metadata(path).map(|file| file.len()).ok()),
            _ => store::length(transport, &self.url).await,
        };
        audited(self.url.path(), length.and_then(|length| self.of_length(length)))
    }

    fn of_length(&self, length: Option<u64>) -> Result<Served, Fault> {
        if length == Some(self.length) {
            return Ok(Served(self.clone()));
        }
        let found = length.map_or_else(|| "without a length".to_owned(), |length| format!("with {length} bytes"));
        let reason =
            format!("{} is served {found}, and {} bytes were signed: it is not streamed", self.url, self.length);
        Err(Fault::new("os-length-differs", Blame::Channel, reason))
    }
}

impl Trusted {
    /// Loads and verifies the metadata (TUF 5.1 to 5.6).
    ///
    /// A fault with `updates_stopped_since` says that metadata has expired: updates stop, and nothing that runs does.
    pub async fn load(source: &Source, transport: impl Into<Transport>) -> Result<Self, Fault> {
        audited("repository", Self::load_as(source, transport.into(), Freshness::Online).await)
    }

    pub(crate) async fn load_as(source: &Source, transport: Transport, freshness: Freshness) -> Result<Self, Fault> {
        // What lies on this machine is read where it lies, and a bundle has to be whole by itself.
        let kept = transport.is_over_a_line().then(|| Kept::new(&source.datastore.join(kept::DIRECTORY)));
        let store = Store { metadata: source.metadata.clone(), targets: source.targets.clone(), transport, kept };
        let before = Seen::open(&source.datastore)?;
        let started = if freshness == Freshness::Unjudged { None } else { Some(before.now()?) };
        let mut seen = before.clone();
        let time = store.transport.time_for_metadata();
        let update = workflow::update(&store, &source.root, freshness, started, &mut seen);
        let held = tokio::time::timeout(time, update).await.unwrap_or_else(|_| {
            let reason = format!("the metadata did not arrive within {} s", time.as_secs());
            Err(Fault::new("slow-data", Blame::Channel, reason))
        });
        // A bundle's terms have yet to say that it is not too old.
        if held.is_ok() && freshness == Freshness::Online {
            seen.latest = started;
        }
        // Also what was accepted before a refusal is never accepted in an older version.
        if seen != before {
            seen.keep(&source.datastore)?;
        }
        let workflow::Metadata { targets, delegated, expires, listed } = held?;
        let has_changed = seen.timestamp != before.timestamp;
        let (store, datastore) = (Box::new(store), source.datastore.clone());
        let trusted = Self { store, targets, delegated, expires, freshness, seen, datastore };
        if let (Some(kept), true) = (&trusted.store.kept, has_changed) {
            kept.retain(&listed.into_iter().chain(trusted.hashes()).collect());
        }
        Ok(trusted)
    }

    /// Of all targets that are listed.
    fn hashes(&self) -> impl Iterator<Item = String> {
        let delegated = self.delegated.values().filter_map(|held| held.as_ref().ok()).map(|held| &held.targets);
        let all = std::iter::once(&self.targets).chain(delegated).flat_map(|targets| targets.targets.values());
        all.map(|target| hex(target.hashes.sha256.as_ref()))
    }

    /// The desired state that a descriptor names, where the region lists it now.
    pub async fn state(&self, descriptor: &Descriptor) -> Result<Verified<DesiredState>, Fault> {
        audited(&descriptor.target, self.read_state(descriptor).await)
    }

    /// The same for the box of that name: what is for others is refused.
    pub async fn state_for(&self, name: &str, descriptor: &Descriptor) -> Result<Verified<DesiredState>, Fault> {
        audited(&descriptor.target, self.read_state_for(name, descriptor).await)
    }

    async fn read_state_for(&self, name: &str, descriptor: &Descriptor) -> Result<Verified<DesiredState>, Fault> {
        let state = self.read_state(descriptor).await?;
        state.get().check_box(name)?;
        Ok(state)
    }

    async fn read_state(&self, descriptor: &Descriptor) -> Result<Verified<DesiredState>, Fault> {
        let pin =
            Pin { target: descriptor.target.clone(), sha256: descriptor.sha256.clone(), length: descriptor.length };
        let bytes = self.read(&pin, MAX_STATE).await?;
        let state = DesiredState::parse(&pin.target, &bytes)?;
        state.pins().try_for_each(|pin| self.listed(pin).map(|_| ()))?;
        if let Some(os) = &state.os {
            self.manifest(os)?;
        }
        Ok(Verified(state))
    }

    /// Whether a target is listed now, under this very hash, by the role that its path belongs to.
    pub fn listed(&self, pin: &Pin) -> Result<(TargetName, &Target), Fault> {
        let name = TargetName::new(&pin.target).map_err(|_| not_approved(pin))?;
        let role = paths::role_of(&pin.target).ok_or_else(|| not_approved(pin))?;
        // TUF 5.7.1 and 5.7.2, in the one role that may list it.
        let target = self.of_role(role, &name)?.ok_or_else(|| self.listed_elsewhere(pin, role, &name))?;
        let is_same = target.length == pin.length && hex(target.hashes.sha256.as_ref()) == pin.sha256;
        if is_same { Ok((name, target)) } else { Err(not_approved(pin)) }
    }

    /// A small target, whole and verified.
    pub(crate) async fn read(&self, pin: &Pin, max: u64) -> Result<Vec<u8>, Fault> {
        let (_, target) = self.listed(pin)?;
        self.check_time()?;
        self.store.target(&pin.target, target, max).await
    }

    /// A small document of the region by its path alone, e.g. `trust/vendors.json`; `None` where its role lists none.
    pub async fn document(&self, path: &str, max: u64) -> Result<Option<Verified<Vec<u8>>>, Fault> {
        audited(path, self.read_document(path, max).await)
    }

    async fn read_document(&self, path: &str, max: u64) -> Result<Option<Verified<Vec<u8>>>, Fault> {
        let (Some(role), Ok(name)) = (paths::role_of(path), TargetName::new(path)) else { return Ok(None) };
        let Some(target) = self.of_role(role, &name)? else { return Ok(None) };
        self.check_time()?;
        self.store.target(path, target, max).await.map(Verified).map(Some)
    }

    /// What the region lists now under the path of a state.
    pub(crate) fn named(&self, path: &str) -> Result<Option<Descriptor>, Fault> {
        let (Some(role), Ok(name)) = (paths::role_of(path), TargetName::new(path)) else { return Ok(None) };
        let of_target = |target: &Target| Descriptor {
            format: 1,
            target: path.to_owned(),
            sha256: hex(target.hashes.sha256.as_ref()),
            length: target.length,
        };
        self.of_role(role, &name).map(|target| target.map(of_target))
    }

    /// Whether the region lists a small document now, by its path alone.
    pub(crate) fn lists(&self, path: &str) -> Result<bool, Fault> {
        let (Some(role), Ok(name)) = (paths::role_of(path), TargetName::new(path)) else { return Ok(false) };
        self.of_role(role, &name).map(|target| target.is_some())
    }

    /// Fetches a target into a file (TUF 5.7.3). What lies there afterwards has the listed length and hash, durably. What has
    /// come of it so far lies beside it as `.part` and is gone on with next time; what was refused is not kept.
    pub async fn fetch(&self, pin: &Pin, into: &Path) -> Result<Verified<PathBuf>, Fault> {
        let fetched = async {
            self.listed(pin)?;
            self.check_time()?;
            download::fetch(&self.store, pin, into).await
        };
        audited(&pin.target, fetched.await.map(|()| Verified(into.to_owned())))
    }

    /// The operating system of a state, as the role `os` fixed it: bundle, length and manifest. RAUC checks each block against
    /// the manifest while it streams, so the manifest's hash is all that it has to be told.
    pub fn image(&self, os: &Os) -> Result<Verified<Image>, Fault> {
        audited(&os.bundle.target, self.fixed_image(os))
    }

    fn fixed_image(&self, os: &Os) -> Result<Verified<Image>, Fault> {
        self.listed(&os.bundle)?;
        self.check_time()?;
        let Some(manifest_sha256) = self.manifest(os)? else {
            let reason = format!("{} is listed without `manifest_sha256`: list it again with it", os.bundle.target);
            return Err(Fault::new("os-manifest-not-fixed", Blame::Region, reason));
        };
        let url = self.store.address(&os.bundle.target, &os.bundle.sha256)?;
        Ok(Verified(Image { url, length: os.bundle.length, manifest_sha256: manifest_sha256.to_owned() }))
    }

    /// The same of a bundle on a stick, whose file was fetched whole: RAUC gets a file of which length and hash were checked.
    pub fn image_in(&self, os: &Os, file: &Verified<PathBuf>) -> Result<Verified<Image>, Fault> {
        let Verified(mut image) = self.image(os)?;
        image.url = Url::from_file_path(file.get()).map_err(|()| not_approved(&os.bundle))?;
        Ok(Verified(image))
    }

    /// How many bytes have come from the repository, for who shows progress.
    pub(crate) fn arrived(&self) -> Arc<AtomicU64> {
        self.store.transport.arrived()
    }

    /// When updates stop, if the channel shows nothing newer until then.
    pub fn expires(&self) -> Timestamp {
        self.expires.0
    }

    /// The same under the terms of a bundle, which end before the metadata does.
    pub(crate) fn under_terms(mut self, expires: Timestamp) -> Result<Self, Fault> {
        let now = self.seen.now()?;
        if now >= expires {
            let reason = format!("the bundle could be used until {expires}: ask for a newer one; what runs goes on");
            return Err(Fault::new("bundle-expired", Blame::Channel, reason).stopping_updates(expires));
        }
        self.seen.latest = Some(now);
        self.seen.keep(&self.datastore)?;
        self.expires = self.expires.min((expires, "bundle"));
        Ok(self)
    }

    /// The hash of the manifest that `os` lists beside the bundle, where it lists one; a state may not name another.
    fn manifest(&self, os: &Os) -> Result<Option<&str>, Fault> {
        let (_, target) = self.listed(&os.bundle)?;
        match target.custom.get("manifest_sha256").map(Value::as_str) {
            None => Ok(None),
            Some(Some(listed)) if listed == os.manifest_sha256 => Ok(Some(listed)),
            Some(_) => {
                let reason = format!(
                    "the state names another manifest for {} than the role `os` lists: one of them is wrong",
                    os.bundle.target
                );
                Err(Fault::new("os-manifest-differs", Blame::Region, reason))
            }
        }
    }

    fn of_role(&self, role: &str, name: &TargetName) -> Result<Option<&Target>, Fault> {
        if role == "targets" {
            return Ok(self.targets.targets.get(name));
        }
        match self.delegated.get(role) {
            None => Ok(None),
            Some(Err(fault)) => Err(fault.clone()),
            // TUF 5.6.7: only what the delegation's own patterns match.
            Some(Ok(held)) if !held.scope.target_is_delegated(name) => Ok(None),
            Some(Ok(held)) => Ok(held.targets.targets.get(name)),
        }
    }

    /// Why it is not listed by its role: another one lists it, or none does.
    fn listed_elsewhere(&self, pin: &Pin, role: &str, name: &TargetName) -> Fault {
        let delegated =
            self.delegated.iter().filter_map(|(role, held)| Some((role.as_str(), &held.as_ref().ok()?.targets)));
        let mut all = std::iter::once(("targets", &self.targets)).chain(delegated);
        match all.find(|(_, targets)| targets.targets.contains_key(name)) {
            Some((lister, _)) => {
                let reason = format!("`{}` is listed by `{lister}`, and only `{role}` may list it there", pin.target);
                Fault::new("wrong-role", Blame::Region, reason)
            }
            None => not_approved(pin),
        }
    }

    /// TUF 5.7: metadata that has expired since it was loaded opens nothing more.
    fn check_time(&self) -> Result<(), Fault> {
        let (expires, role) = self.expires;
        if self.freshness == Freshness::Unjudged {
            return Ok(());
        }
        if self.seen.now()? < expires { Ok(()) } else { Err(workflow::expired(role, expires)) }
    }
}

/// What was refused last.
static REFUSED: Said = Said::new();

/// A refusal is written down as such, where audit lines go: once for as long as it is the same, also where each poll meets it again.
pub(crate) fn audited<T>(what: &str, result: Result<T, Fault>) -> Result<T, Fault> {
    match &result {
        Ok(_) => REFUSED.over(what),
        Err(fault) if REFUSED.is_refused_anew(what, fault) => {
            tracing::warn!(target: "audit", what, code = %fault.code, blame = ?fault.blame, reason = fault.reason, "refused");
        }
        Err(fault) => tracing::info!(what, %fault, "refused again"),
    }
    result
}

fn not_approved(pin: &Pin) -> Fault {
    let reason = format!("{} is named, and the region does not list it under that hash: it is not taken", pin.target);
    Fault::new("target-not-approved", Blame::Region, reason)
}
