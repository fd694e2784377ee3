//! The signature of what a region's stick carries: a DSSE envelope (v1.0), Ed25519 (RFC 8032), by one key of the region.
use super::invalid;
use crate::fault::{Blame, Fault};
use crate::hex::hex;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What a signature of a document covers besides the payload: one for something else is none here.
pub const PAYLOAD_TYPE: &str = "application/vnd.sund.provision+json";
/// SubjectPublicKeyInfo of Ed25519 (RFC 8410, 4) up to the 32 bytes of the key.
pub(crate) const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Keys of a region: the one that is in use, and those that take its place.
const MAX_KEYS: usize = 8;
/// Their file, in bytes.
const MAX_KEY_FILE: u64 = 16 * 1024;
/// Signatures in an envelope: each of them is tried.
const MAX_SIGNATURES: usize = 8;

/// The envelope.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Envelope {
    /// Base64.
    pub payload: String,
    /// What it is, as [`PAYLOAD_TYPE`].
    pub payload_type: String,
    /// Who has signed.
    pub signatures: Vec<Claim>,
}

/// A signature.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// SHA-256 of the key's SubjectPublicKeyInfo.
    pub keyid: String,
    /// Base64.
    pub sig: String,
}

/// The provisioning keys of a region.
#[derive(Clone, Debug)]
pub struct Keys(Vec<(String, [u8; 32])>);

impl Keys {
    /// Reads the public keys (PEM, one after the other) that an image has.
    pub fn read(path: &Path) -> Result<Self, Fault> {
        let refused = |reason: &str| {
            let reason =
                format!("{}: {reason}. The image was built without its region's provisioning key", path.display());
            Fault::new("provision-no-key", Blame::Configuration, reason)
        };
        let length = std::fs::metadata(path).map_err(|error| refused(&error.to_string()))?.len();
        if length > MAX_KEY_FILE {
            return Err(refused("it is too long"));
        }
        Self::of_pem(&std::fs::read(path).map_err(|error| refused(&error.to_string()))?).map_err(refused)
    }

    /// The same of its bytes.
    pub fn of_pem(pem: &[u8]) -> Result<Self, &'static str> {
        let mut keys = Vec::new();
        for key in SubjectPublicKeyInfoDer::pem_slice_iter(pem) {
            let key = key.map_err(|_| "it is no public key in PEM")?;
            let raw = key.as_ref().strip_prefix(&SPKI).and_then(|raw| raw.try_into().ok());
            keys.push((key_id(key.as_ref()), raw.ok_or("it has a key that is not of Ed25519")?));
        }
        if keys.is_empty() || keys.len() > MAX_KEYS {
            return Err("it has no key, or too many");
        }
        Ok(Self(keys))
    }
}

/// How an envelope names a key, by its SubjectPublicKeyInfo.
pub fn key_id(spki: &[u8]) -> String {
    hex(digest(&SHA256, spki).as_ref())
}

/// DSSE's pre-authentication encoding: what a key signs of a payload of some type.
pub fn message(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// The payload, where it is of that type and one of the keys has signed it, and which.
pub(crate) fn open(bytes: &[u8], payload_type: &str, keys: &Keys) -> Result<(Vec<u8>, String), Fault> {
    let envelope: Envelope =
        serde_json::from_slice(bytes).map_err(|error| invalid(format!("the file is no signed envelope: {error}")))?;
    if envelope.payload_type != payload_type {
        return Err(invalid(format!("the file is of type {:?}, and not {payload_type:?}", envelope.payload_type)));
    }
    let payload = STANDARD.decode(&envelope.payload).map_err(|_| invalid("the file's payload is no base64"))?;
    let message = message(payload_type, &payload);
    let holds = |claim: &Claim, (id, key): &(String, [u8; 32])| {
        let signature = STANDARD.decode(&claim.sig).unwrap_or_default();
        *id == claim.keyid && UnparsedPublicKey::new(&ED25519, key).verify(&message, &signature).is_ok()
    };
    let by =
        envelope.signatures.iter().take(MAX_SIGNATURES).find_map(|claim| keys.0.iter().find(|key| holds(claim, key)));
    let Some((id, _)) = by else {
        let reason =
            "the file is not signed by the provisioning key of this image's region: take the region's own stick";
        return Err(Fault::new("provision-not-signed", Blame::Region, reason));
    };
    Ok((payload, id.clone()))
}
