//! A bundle: one file on a USB stick that brings one desired state to a box without a network. It is a tar of the repository's
//! own layout, and holds by the same signatures; only how long it may be used is said by terms of its own, which the role
//! `state` signs, as no timestamp reaches such a box.
mod archive;
pub mod inbox;
pub mod stick;

pub use archive::{Archive, Writer};

use crate::descriptor::Descriptor;
use crate::fault::{Blame, Fault};
use crate::limits::bundle::MAX_TERMS;
use crate::state::Pin;
use crate::trust::{Freshness, Source, Transport, Trusted, audited};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Name of the file that names the terms: a descriptor of the target `state/bundles/NAME.json`.
pub const FILE_NAME: &str = "bundle.json";
/// Where terms lie in the repository.
const TERMS: &str = "state/bundles/";

/// The terms of a bundle, format 1; a target of the role `state`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// 1.
    pub format: u32,
    /// The desired state that the bundle brings.
    pub state: Pin,
    /// Until when it may be used.
    pub expires: Timestamp,
}

impl Terms {
    /// Reads the terms; `target` is the path under which they were signed.
    pub fn parse(target: &str, bytes: &[u8]) -> Result<Self, Fault> {
        let refused = |reason: String| Fault::new("bundle-terms-invalid", Blame::Region, format!("{target}: {reason}"));
        let terms: Self = serde_json::from_slice(bytes).map_err(|error| refused(error.to_string()))?;
        match terms.format {
            1 => Ok(terms),
            format => Err(refused(format!("has format {format}; this updater reads 1: update it first"))),
        }
    }
}

/// Opens a bundle and verifies it: the repository in it, and the descriptor of the state that it brings.
///
/// `root` and `datastore` are those of the box ([`Source`]): a bundle older than what the box has seen is refused as any old
/// metadata is.
pub async fn open(path: &Path, root: Vec<u8>, datastore: PathBuf) -> Result<(Trusted, Descriptor), Fault> {
    audited(FILE_NAME, verify(path, root, datastore).await)
}

async fn verify(path: &Path, root: Vec<u8>, datastore: PathBuf) -> Result<(Trusted, Descriptor), Fault> {
    let archive = Arc::new(Archive::open(path).await?);
    let terms_at = Descriptor::parse(&archive.pointer().await?)?;
    if !terms_at.target.starts_with(TERMS) {
        let reason = format!("{FILE_NAME} names {}, which are no terms of a bundle ({TERMS}...)", terms_at.target);
        return Err(Fault::new("bundle-invalid", Blame::Channel, reason));
    }
    let source = Source { metadata: Archive::base("metadata")?, targets: Archive::base("targets")?, root, datastore };
    let trusted = Trusted::load_as(&source, Transport::archive(archive), Freshness::Bundle).await?;
    let pin = Pin { target: terms_at.target, sha256: terms_at.sha256, length: terms_at.length };
    let terms = Terms::parse(&pin.target, &trusted.read(&pin, MAX_TERMS).await?)?;
    let trusted = trusted.under_terms(terms.expires)?;
    let Pin { target, sha256, length } = terms.state;
    Ok((trusted, Descriptor { format: 1, target, sha256, length }))
}
