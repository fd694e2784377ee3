//! The recovery role: persons with a key each, of whom enough have to have signed a descriptor. A DSSE envelope (v1.0) with
//! signatures by Ed25519 (RFC 8032).
use crate::descriptor::Descriptor;
use crate::fault::{Blame, Fault};
use crate::limits::{MAX_DESCRIPTOR, MAX_PERSONS, MAX_SIGNATURES};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// What the signatures cover besides the payload: a signature for something else is none here.
pub const PAYLOAD_TYPE: &str = "application/vnd.sund.rescue+json";

/// SubjectPublicKeyInfo of Ed25519 (RFC 8410 4) up to the 32 bytes of the key.
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// One person of the role.
#[derive(Clone, Debug)]
pub struct Person {
    /// Their name, for people.
    pub name: String,
    key: VerifyingKey,
    id: String,
}

impl Person {
    /// A person and their public key, as PEM (`-----BEGIN PUBLIC KEY-----`).
    pub fn new(name: &str, pem: &str) -> Result<Self, Fault> {
        let refused = || {
            let reason = format!("the key of {name:?} is no public key of Ed25519 in PEM: export it once more");
            Fault::new("key-invalid", Blame::Configuration, reason)
        };
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).map_err(|_| refused())?;
        let bytes = der.as_ref().strip_prefix(&SPKI).and_then(|bytes| bytes.try_into().ok()).ok_or_else(refused)?;
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| refused())?;
        // A key of small order verifies signatures that nobody made.
        if key.is_weak() {
            return Err(refused());
        }
        Ok(Self { name: name.to_owned(), key, id: hex(&Sha256::digest(der.as_ref())) })
    }
}

/// The persons, and how many of them it takes.
#[derive(Clone, Debug)]
pub struct Role {
    persons: Vec<Person>,
    threshold: usize,
}

impl Role {
    /// A role. One person has one key in it: neither a name nor a key stands there twice.
    pub fn new(persons: Vec<Person>, threshold: usize) -> Result<Self, Fault> {
        let refused = |reason: String| Err(Fault::new("role-invalid", Blame::Configuration, reason));
        let count = persons.len();
        if count > MAX_PERSONS || threshold < 1 || threshold > count {
            return refused(format!(
                "{threshold} of {count} persons is no threshold, or they are more than {MAX_PERSONS}"
            ));
        }
        for (at, person) in persons.iter().enumerate() {
            let before = persons.get(..at).unwrap_or_default();
            if let Some(other) = before.iter().find(|other| other.id == person.id || other.name == person.name) {
                return refused(format!("{:?} and {:?} are one person or have one key", other.name, person.name));
            }
        }
        Ok(Self { persons, threshold })
    }

    /// Verifies an envelope. What is not signed by enough persons is not even read.
    pub fn verify(&self, envelope: &[u8]) -> Result<Signed, Fault> {
        let refused = |reason: &str| {
            Err(Fault::new("envelope-invalid", Blame::Channel, format!("rescue.json is no signed envelope: {reason}")))
        };
        if envelope.len() as u64 > MAX_DESCRIPTOR {
            return refused("it is too long");
        }
        let envelope: Envelope = match serde_json::from_slice(envelope) {
            Ok(envelope) => envelope,
            Err(error) => return refused(&error.to_string()),
        };
        if envelope.payload_type != PAYLOAD_TYPE {
            return refused("it holds something else than a descriptor");
        }
        if envelope.signatures.len() > MAX_SIGNATURES {
            return refused("it has too many signatures");
        }
        let Ok(payload) = STANDARD.decode(&envelope.payload) else {
            return refused("its payload is not base64");
        };
        let message = pre_authentication(&payload);
        // Persons are counted, not signatures: who signs twice is one.
        let signed = self.persons.iter().filter(|person| envelope.is_signed_by(person, &message)).count();
        if signed < self.threshold {
            let reason = format!(
                "{signed} of the {} persons that it takes have signed rescue.json: have the others sign, or look for who put it there",
                self.threshold
            );
            return Err(Fault::new("too-few-signatures", Blame::Channel, reason));
        }
        Descriptor::parse(&payload).map(Signed)
    }
}

/// A proof: enough persons have signed this descriptor.
#[derive(Clone, Debug)]
pub struct Signed(Descriptor);

impl Signed {
    /// What was signed.
    pub const fn get(&self) -> &Descriptor {
        &self.0
    }

    pub(crate) fn into_descriptor(self) -> Descriptor {
        self.0
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Claim>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Claim {
    /// SHA-256 of the key as SubjectPublicKeyInfo, in hexadecimal digits.
    keyid: String,
    sig: String,
}

impl Envelope {
    fn is_signed_by(&self, person: &Person, message: &[u8]) -> bool {
        self.signatures
            .iter()
            .filter(|claim| claim.keyid == person.id)
            .filter_map(|claim| Signature::from_slice(&STANDARD.decode(&claim.sig).ok()?).ok())
            .any(|signature| person.key.verify_strict(message, &signature).is_ok())
    }
}

/// DSSE's pre-authentication encoding.
fn pre_authentication(payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
