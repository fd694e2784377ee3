//! Reads a repository in a directory as a box would: by the client workflow of `sund-ota`, from its very first root.
use super::files;
use super::published::Published;
use super::release::pin_of;
use super::roles::{ROOT, file_names};
use super::status::Status;
use super::store;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use sund_ota::descriptor::Descriptor;
use sund_ota::fault::{Blame, Fault};
use sund_ota::hex::hex;
use sund_ota::limits::metadata;
use sund_ota::trust::{Source, Transport, Trusted};
use url::Url;

/// Loads the repository below `base` (`metadata/` and `targets/`) as a box does that was provisioned with `root`.
pub async fn load(base: &Path, root: Vec<u8>, datastore: PathBuf) -> Result<Trusted, Fault> {
    let address = |name: &str| {
        let absolute = std::path::absolute(base.join(name)).ok();
        absolute.and_then(|path| Url::from_directory_path(path).ok()).ok_or_else(|| {
            Fault::new("home-not-found", Blame::Configuration, format!("{} is no directory", base.display()))
        })
    };
    let source = Source { metadata: address("metadata")?, targets: address("targets")?, root, datastore };
    Trusted::load(&source, Transport::directory()).await
}

/// The first root of a repository.
pub fn first_root(metadata: &Path) -> Result<Vec<u8>, Fault> {
    files::read(&metadata.join(&file_names(ROOT, 1)[0]), metadata::MAX_ROOT)
}

/// What was found of a repository.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Checked {
    /// Whether all of it holds.
    pub holds: bool,
    /// States that were read with all that they name.
    pub states: usize,
    /// Payloads that are listed.
    pub payloads: usize,
    /// Payloads that boxes would not get, and why.
    pub bad: BTreeMap<String, Bad>,
}

/// Why a box would not get a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bad {
    /// It is not there.
    Missing,
    /// It can't be read, or is not what was signed.
    Altered,
}

impl Display for Bad {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Altered => "altered",
        })
    }
}

/// Loads a repository, looks at each payload that it lists, and reads each of its states. Payloads are hashed, or with `quick` their lengths
/// compared.
pub async fn verify(base: &Path, status: &Status, published: &Published, quick: bool) -> Result<Checked, Fault> {
    let datastore = tempdir()?;
    let trusted = load(base, first_root(&base.join("metadata"))?, datastore.0.clone()).await?;
    let targets = base.join("targets");
    let mut checked = Checked::default();
    for (target, (_, listed)) in published.listed() {
        checked.payloads += 1;
        let holds = if quick { store::is_there } else { store::is_whole };
        if !holds(&targets, &target, listed) {
            let is_there = targets.join(store::place(&target, &store::sha256_of(listed))).exists();
            checked.bad.insert(target, if is_there { Bad::Altered } else { Bad::Missing });
        }
    }
    for state in status.states() {
        let Some((_, listed)) = published.find(state).filter(|_| !checked.bad.contains_key(state)) else { continue };
        let pin = pin_of(state, listed);
        let descriptor = Descriptor { format: 1, target: pin.target, sha256: pin.sha256, length: pin.length };
        trusted.state(&descriptor).await?;
        checked.states += 1;
    }
    checked.holds = checked.bad.is_empty();
    Ok(checked)
}

/// A directory that goes when it is no longer needed.
pub(super) struct Temporary(pub(super) PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // Nothing depends on it; the system clears its temporary directory.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) fn tempdir() -> Result<Temporary, Fault> {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random)
        .map_err(|_| Fault::new("disk-failed", Blame::Box, "the system gives no random numbers"))?;
    let path = std::env::temp_dir().join(format!("sund-channel-{}", hex(&random)));
    std::fs::create_dir(&path).map_err(|error| files::disk("made", &path, &error))?;
    Ok(Temporary(path))
}
