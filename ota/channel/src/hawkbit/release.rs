//! A desired state that the region has signed, ready to be handed to a server: its descriptor.
use super::checked;
use aws_lc_rs::digest::{SHA256, digest};
use std::path::{Path, PathBuf};
use sund_ota::descriptor::Descriptor;
use sund_ota::fault::{Blame, Fault};
use sund_ota::hex::hex;
use sund_ota::limits::MAX_STATE;
use sund_ota::state::DesiredState;
use tough::{RepositoryLoader, TargetName};
use url::Url;

/// A state as a box would take it now: only [`Release::read`] makes one, from metadata that holds.
#[derive(Clone, Debug)]
pub struct Release {
    name: String,
    descriptor: Descriptor,
    boxes: Option<Vec<String>>,
}

/// A signed repository, and the root that is trusted.
#[derive(Clone, Debug)]
pub struct Repository {
    /// Its directory, with `metadata/` and `targets/`.
    pub directory: PathBuf,
    /// Root metadata that is trusted.
    pub root: PathBuf,
}

impl Release {
    /// Reads the state NAME from a repository. What a box would refuse (expired, too few signatures, another role's path, unreadable) is
    /// refused here, before anybody sees it.
    pub async fn read(from: &Repository, name: &str) -> Result<Self, Fault> {
        let Repository { directory: repository, root } = from;
        let name = checked("state", name)?;
        let target = format!("state/{name}.json");
        let refused = |why: &dyn std::fmt::Display| {
            Fault::new("metadata-refused", Blame::Region, format!("{}: {why}", repository.display()))
        };
        let root = tokio::fs::read(root).await.map_err(|error| {
            Fault::new("root-unreadable", Blame::Configuration, format!("{}: {error}", root.display()))
        })?;
        let (metadata, targets) = (directory(repository, "metadata")?, directory(repository, "targets")?);
        // TUF 5.3 to 5.6, as a box does it.
        let loaded = RepositoryLoader::new(&root, metadata, targets).load().await.map_err(|error| refused(&error))?;
        let not_listed = || {
            let reason = format!("{target} is not listed in {}: publish and approve it first", repository.display());
            Fault::new("target-not-approved", Blame::Region, reason)
        };
        let target_name = TargetName::new(&target).map_err(|_| not_listed())?;
        let listed = loaded.targets().signed.find_target(&target_name, false).map_err(|_| not_listed())?;
        let (sha256, length) = (hex(&listed.hashes.sha256), listed.length);
        if length > MAX_STATE {
            let reason = format!("{target} has more than {MAX_STATE} bytes");
            return Err(Fault::new("state-invalid", Blame::Region, reason));
        }
        // Consistent snapshots (TUF 6.2): the digest stands before the file's name, behind its directory.
        let path = repository.join(format!("targets/state/{sha256}.{name}.json"));
        let bytes = tokio::fs::read(&path).await.map_err(|error| refused(&format!("{}: {error}", path.display())))?;
        if bytes.len() as u64 != length || hex(digest(&SHA256, &bytes).as_ref()) != sha256 {
            return Err(refused(&format!("{} is not what was signed", path.display())));
        }
        let DesiredState { boxes, .. } = DesiredState::parse(&target, &bytes)?;
        Ok(Self { name: name.to_owned(), descriptor: Descriptor { format: 1, target, sha256, length }, boxes })
    }

    /// Name of the state.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The state's SHA-256: a state that was signed again under the same name is another version.
    pub fn version(&self) -> &str {
        &self.descriptor.sha256
    }

    /// The boxes that it is for, as it says; absent: all.
    pub fn boxes(&self) -> Option<&[String]> {
        self.boxes.as_deref()
    }

    /// The descriptor's bytes: the same release has the same ones.
    pub fn descriptor(&self) -> Result<Vec<u8>, Fault> {
        serde_json::to_vec(&self.descriptor)
            .map_err(|error| Fault::new("descriptor-invalid", Blame::Updater, error.to_string()))
    }
}

fn directory(repository: &Path, name: &str) -> Result<Url, Fault> {
    let unfit = |reason: String| Fault::new("repository-unreadable", Blame::Configuration, reason);
    let path = repository.join(name);
    let path = path.canonicalize().map_err(|error| unfit(format!("{}: {error}", path.display())))?;
    Url::from_directory_path(&path).map_err(|()| unfit(format!("{} is no absolute path", path.display())))
}
