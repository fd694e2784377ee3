//! What the region has signed: the repository's metadata by the client workflow of TUF 1.0, and its targets.
//!
//! Nothing else in this crate decides what is genuine. A [`Trusted`] is a repository whose metadata held; a [`Verified`] is
//! something that came out of it.
use crate::descriptor::Descriptor;
use crate::fault::{Blame, Fault};
use crate::limits::{MAX_STATE, metadata};
use crate::state::{DesiredState, Pin};
use futures_util::StreamExt;
use std::path::{Path, PathBuf};
use tokio::io::AsyncWriteExt;
use tough::schema::Target;
use tough::{IntoVec, Limits, Repository, RepositoryLoader, TargetName, Transport};
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
pub struct Trusted(Repository);

/// A proof: this came out of a [`Trusted`] repository, from the role that may sign it.
#[derive(Clone, Debug)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// What was verified.
    pub fn get(&self) -> &T {
        &self.0
    }
}

impl Trusted {
    /// Loads and verifies the metadata (TUF 5.3 to 5.6).
    pub async fn load(source: &Source, transport: impl Transport + 'static) -> Result<Self, Fault> {
        let limits = Limits {
            max_root_size: metadata::MAX_ROOT,
            max_targets_size: metadata::MAX_TARGETS,
            max_timestamp_size: metadata::MAX_TIMESTAMP,
            max_snapshot_size: metadata::MAX_SNAPSHOT,
            max_root_updates: metadata::MAX_ROOT_UPDATES,
        };
        RepositoryLoader::new(&source.root, source.metadata.clone(), source.targets.clone())
            .transport(transport)
            .limits(limits)
            .datastore(&source.datastore)
            .load()
            .await
            .map(Self)
            .map_err(|error| Fault::new("metadata-refused", Blame::Channel, error.to_string()))
    }

    /// The desired state that a descriptor names, where the region lists it now.
    pub async fn state(&self, descriptor: &Descriptor) -> Result<Verified<DesiredState>, Fault> {
        let pin =
            Pin { target: descriptor.target.clone(), sha256: descriptor.sha256.clone(), length: descriptor.length };
        let (name, _) = self.listed(&pin)?;
        if pin.length > MAX_STATE {
            let reason = format!("{} has more than {MAX_STATE} bytes", pin.target);
            return Err(Fault::new("state-invalid", Blame::Region, reason));
        }
        let stream = self.0.read_target(&name).await.map_err(|error| unreadable(&pin, &error))?;
        let bytes = match stream {
            Some(stream) => stream.into_vec().await.map_err(|error| unreadable(&pin, &error))?,
            None => return Err(not_approved(&pin)),
        };
        let state = DesiredState::parse(&pin.target, &bytes)?;
        state.pins().try_for_each(|pin| self.listed(pin).map(|_| ()))?;
        Ok(Verified(state))
    }

    /// Whether a target is listed now, under this very hash, by the role that its path belongs to.
    pub fn listed(&self, pin: &Pin) -> Result<(TargetName, &Target), Fault> {
        let name = TargetName::new(&pin.target).map_err(|_| not_approved(pin))?;
        let target = self.0.targets().signed.find_target(&name, false).map_err(|_| not_approved(pin))?;
        let is_same = target.length == pin.length && hex(target.hashes.sha256.as_ref()) == pin.sha256;
        if is_same { Ok((name, target)) } else { Err(not_approved(pin)) }
    }

    /// Fetches a target into a file. What lies there afterwards has the listed length and hash; on an error nothing is kept.
    pub async fn fetch(&self, pin: &Pin, into: &Path) -> Result<Verified<PathBuf>, Fault> {
        let (name, _) = self.listed(pin)?;
        let part = into.with_extension("part");
        let disk = |error: std::io::Error| {
            Fault::new("disk-failed", Blame::Box, format!("{} cannot be written: {error}", part.display()))
        };
        let stream = self.0.read_target(&name).await.map_err(|error| unreadable(pin, &error))?;
        let mut stream = Box::pin(stream.ok_or_else(|| not_approved(pin))?);
        let mut file = tokio::fs::File::create(&part).await.map_err(disk)?;
        while let Some(bytes) = stream.next().await {
            match bytes {
                Ok(bytes) => file.write_all(&bytes).await.map_err(disk)?,
                Err(error) => {
                    // The bytes so far are not what was signed, or not all of it.
                    let _ = tokio::fs::remove_file(&part).await;
                    return Err(unreadable(pin, &error));
                }
            }
        }
        file.sync_all().await.map_err(disk)?;
        tokio::fs::rename(&part, into).await.map_err(disk)?;
        Ok(Verified(into.to_owned()))
    }
}

fn not_approved(pin: &Pin) -> Fault {
    let reason = format!("{} is named, and the region does not list it under that hash: it is not taken", pin.target);
    Fault::new("target-not-approved", Blame::Region, reason)
}

fn unreadable(pin: &Pin, error: &dyn std::error::Error) -> Fault {
    Fault::new("target-refused", Blame::Channel, format!("{}: {error}", pin.target))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
