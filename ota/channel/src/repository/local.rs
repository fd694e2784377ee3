//! Reads a repository in a directory as a box would: by the client workflow of `sund-ota`, from its very first root.
use super::files;
use super::published::Published;
use super::release::pin_of;
use super::roles::{ROOT, file_names};
use super::status::Status;
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

/// Loads a repository, and reads each of its states with all that it names.
pub async fn verify(base: &Path, status: &Status, published: &Published) -> Result<usize, Fault> {
    let datastore = tempdir()?;
    let trusted = load(base, first_root(&base.join("metadata"))?, datastore.0.clone()).await?;
    let mut read = 0;
    for state in status.states() {
        let Some((_, listed)) = published.find(state) else { continue };
        let pin = pin_of(state, listed);
        let descriptor = Descriptor { format: 1, target: pin.target, sha256: pin.sha256, length: pin.length };
        trusted.state(&descriptor).await?;
        read += 1;
    }
    Ok(read)
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
