//! Role metadata that persons sign: `root`, and `targets` with all that it delegates to.
use super::roles::ROOT;
use jiff::Timestamp;
use olpc_cjson::CanonicalFormatter;
use serde::Serialize;
use std::num::NonZeroU64;
use sund_ota::fault::{Blame, Fault};
use tough::schema::{Root, Signature, Signed, Targets};

/// How long what persons sign holds: one year.
pub const PERSONS_DAYS: i64 = 365;
/// Version of the specification.
pub const SPECIFICATION: &str = "1.0.31";
/// The first version.
pub const FIRST: NonZeroU64 = NonZeroU64::MIN;

/// The signed part of a role's metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    /// `root`.
    Root(Box<Root>),
    /// `targets`, or a role that it delegates to.
    Targets(Box<Targets>),
}

impl Document {
    /// Reads the metadata of a role: the document and its signatures.
    pub fn parse(role: &str, bytes: &[u8]) -> Result<(Self, Vec<Signature>), Fault> {
        let unreadable = |error: serde_json::Error| {
            Fault::new("metadata-unreadable", Blame::Channel, format!("the metadata of {role} cannot be read: {error}"))
        };
        if role == ROOT {
            let read: Signed<Root> = serde_json::from_slice(bytes).map_err(unreadable)?;
            return Ok((Self::Root(Box::new(read.signed)), read.signatures));
        }
        let read: Signed<Targets> = serde_json::from_slice(bytes).map_err(unreadable)?;
        Ok((Self::Targets(Box::new(read.signed)), read.signatures))
    }

    /// Its version.
    pub fn version(&self) -> u64 {
        match self {
            Self::Root(root) => root.version.get(),
            Self::Targets(targets) => targets.version.get(),
        }
    }

    /// When it ends.
    pub fn expires(&self) -> Timestamp {
        match self {
            Self::Root(root) => root.expires,
            Self::Targets(targets) => targets.expires,
        }
    }

    /// What is signed: the canonical form (TUF 4.2.1).
    pub fn message(&self) -> Result<Vec<u8>, Fault> {
        match self {
            Self::Root(root) => canonical(root),
            Self::Targets(targets) => canonical(targets),
        }
    }

    /// The file: document and signatures.
    pub fn file(&self, signatures: Vec<Signature>) -> Result<Vec<u8>, Fault> {
        match self {
            Self::Root(root) => file(root, signatures),
            Self::Targets(targets) => file(targets, signatures),
        }
    }
}

/// The canonical form of a document.
pub fn canonical(document: &impl Serialize) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, CanonicalFormatter::new());
    document.serialize(&mut serializer).map_err(|error| ours(&error))?;
    Ok(bytes)
}

/// The file of a document and its signatures.
pub fn file(signed: &impl Serialize, signatures: Vec<Signature>) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec_pretty(&Signed { signed, signatures }).map_err(|error| ours(&error))
}

/// The version after this one.
pub fn after(version: NonZeroU64) -> Result<NonZeroU64, Fault> {
    version.checked_add(1).ok_or_else(|| Fault::new("version-exhausted", Blame::Channel, "no version follows the last"))
}

/// So many days from now, in whole seconds: other clients of TUF refuse fractions.
pub fn in_days(days: i64) -> Result<Timestamp, Fault> {
    let second = days.checked_mul(24 * 60 * 60).and_then(|more| Timestamp::now().as_second().checked_add(more));
    second.and_then(|second| Timestamp::from_second(second).ok()).ok_or_else(|| {
        Fault::new("lifetime-invalid", Blame::Configuration, format!("{days} days from now is no date: name fewer"))
    })
}

/// Now, in whole seconds, as text.
pub fn now() -> String {
    in_days(0).map(|now| now.to_string()).unwrap_or_default()
}

fn ours(error: &serde_json::Error) -> Fault {
    Fault::new("metadata-unwritable", Blame::Updater, error.to_string())
}
