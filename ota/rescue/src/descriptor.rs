//! The descriptor: which bundle the recovery role has released, as it stands in the payload of `rescue.json`.
use crate::fault::{Blame, Fault};
use crate::limits::{MAX_BUNDLE, MAX_PATH};
use crate::moment::Moment;
use crate::role::Signed;
use crate::source::is_plain_path;
use serde::Deserialize;

/// What is signed, format 1.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Descriptor {
    /// 1.
    pub format: u32,
    /// Counts up with each release; never below the box's minimum.
    pub version: u64,
    /// The bundle.
    pub bundle: Bundle,
    /// When the bundle was made.
    pub created: Moment,
    /// When the persons signed this descriptor: it is later than that now. Renewed together with `expires`.
    pub time: Moment,
    /// From then on the descriptor counts no more.
    pub expires: Moment,
}

/// The bundle that a descriptor names.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// Where it lies below the source.
    pub path: String,
    /// Its length in bytes.
    pub length: u64,
    /// Its SHA-256, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

impl Descriptor {
    /// Reads a payload, strictly.
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, Fault> {
        let refused = |reason: String| {
            Fault::new("descriptor-invalid", Blame::Channel, format!("what was signed is no descriptor: {reason}"))
        };
        let descriptor: Self = serde_json::from_slice(payload).map_err(|error| refused(error.to_string()))?;
        if descriptor.format != 1 {
            let format = descriptor.format;
            return Err(refused(format!("it has format {format}, and this box reads 1: make a new initramfs")));
        }
        let Bundle { path, length, sha256 } = &descriptor.bundle;
        if path.len() > MAX_PATH || !is_plain_path(path) {
            return Err(refused("its bundle lies at no plain relative path".to_owned()));
        }
        if !(1..=MAX_BUNDLE).contains(length) {
            return Err(refused(format!("its bundle is empty or has more than {MAX_BUNDLE} bytes")));
        }
        if sha256.len() != 64 || !sha256.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(refused("sha256 has not 64 lower-case hexadecimal digits".to_owned()));
        }
        if descriptor.created > descriptor.time || descriptor.time >= descriptor.expires {
            return Err(refused("created, time and expires do not follow each other".to_owned()));
        }
        Ok(descriptor)
    }
}

/// A proof: signed by enough persons, not older than the box allows, not expired. Only this is received.
#[derive(Clone, Debug)]
pub struct Admitted(Descriptor);

impl Admitted {
    /// Admits a signed descriptor. `known` is the latest moment that is known to have passed.
    pub fn new(signed: Signed, minimum: u64, known: Moment) -> Result<Self, Fault> {
        let descriptor = signed.into_descriptor();
        if descriptor.version < minimum {
            let version = descriptor.version;
            let reason = format!(
                "version {version} is signed, but this box takes none below {minimum}: an old bundle is being offered again"
            );
            return Err(Fault::new("version-too-old", Blame::Channel, reason));
        }
        if descriptor.expires <= known {
            let reason = format!(
                "the descriptor has expired on {}, and it is later than {known}: the recovery role has to sign it anew",
                descriptor.expires
            );
            return Err(Fault::new("descriptor-expired", Blame::Channel, reason));
        }
        Ok(Self(descriptor))
    }

    /// What was admitted.
    pub const fn get(&self) -> &Descriptor {
        &self.0
    }
}
