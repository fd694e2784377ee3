//! The descriptor: what a rollout hands to a device. It names one desired state in the signed repository, by its hash, and
//! carries nothing else: whoever makes one up can only name what the region has signed.
use crate::fault::{Blame, Fault};
use crate::limits::MAX_DESCRIPTOR;
use serde::{Deserialize, Serialize};

/// File name of the descriptor among a deployment's artifacts.
pub const FILE_NAME: &str = "sund-descriptor.json";

/// The descriptor, format 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Descriptor {
    /// 1.
    pub format: u32,
    /// Target in the repository, e.g. `state/north-2026-11-29-1.json`.
    pub target: String,
    /// Its SHA-256, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Its length in bytes.
    pub length: u64,
}

impl Descriptor {
    /// Reads a descriptor.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let refused = |reason: String| Fault::new("descriptor-invalid", Blame::Channel, reason);
        if bytes.len() as u64 > MAX_DESCRIPTOR {
            return Err(refused(format!("the descriptor has more than {MAX_DESCRIPTOR} bytes")));
        }
        let descriptor: Self =
            serde_json::from_slice(bytes).map_err(|error| refused(format!("not a descriptor: {error}")))?;
        if descriptor.format != 1 {
            let reason =
                format!("the descriptor has format {}; this updater reads 1: update it first", descriptor.format);
            return Err(Fault::new("descriptor-format", Blame::Channel, reason));
        }
        let is_digest = descriptor.sha256.len() == 64
            && descriptor.sha256.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        if !is_digest || !descriptor.target.starts_with("state/") {
            return Err(refused("the descriptor names no desired state (state/...) by its SHA-256".to_owned()));
        }
        Ok(descriptor)
    }
}
