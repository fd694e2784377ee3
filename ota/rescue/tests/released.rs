//! What the recovery role releases, and what others make of it.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use sund_rescue::role::{PAYLOAD_TYPE, Person};

/// A person's key, from one byte: the same in each run.
pub fn key(person: u8) -> SigningKey {
    SigningKey::from_bytes(&[person; 32])
}

/// The public key, as SubjectPublicKeyInfo.
pub fn spki(key: &SigningKey) -> Vec<u8> {
    let mut der = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    der.extend(key.verifying_key().as_bytes());
    der
}

pub fn pem(key: &SigningKey) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(spki(key)))
}

pub fn person(name: &str, key: &SigningKey) -> Person {
    Person::new(name, &pem(key)).expect("a key")
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("text grows");
        text
    })
}

/// The payload for a bundle, at `rescue/bundle.raucb`.
pub fn payload(version: u64, bundle: &[u8]) -> Value {
    json!({
        "format": 1,
        "version": version,
        "bundle": {
            "path": "rescue/bundle.raucb",
            "length": bundle.len(),
            "sha256": hex(&Sha256::digest(bundle)),
        },
        "created": "2026-10-01T12:00:00Z",
        "time": "2026-11-01T12:00:00Z",
        "expires": "2027-11-01T12:00:00Z",
    })
}

/// DSSE's bytes to sign.
pub fn to_sign(payload_type: &str, payload: &str) -> Vec<u8> {
    format!("DSSEv1 {} {payload_type} {} {payload}", payload_type.len(), payload.len()).into_bytes()
}

pub fn signature(key: &SigningKey, payload: &str) -> Value {
    let signature = key.sign(&to_sign(PAYLOAD_TYPE, payload)).to_bytes();
    json!({"keyid": hex(&Sha256::digest(spki(key))), "sig": STANDARD.encode(signature)})
}

/// An envelope signed by these.
pub fn envelope(payload: &Value, keys: &[&SigningKey]) -> Vec<u8> {
    let payload = payload.to_string();
    let signatures: Vec<Value> = keys.iter().map(|key| signature(key, &payload)).collect();
    let envelope = json!({
        "payload": STANDARD.encode(&payload),
        "payloadType": PAYLOAD_TYPE,
        "signatures": signatures,
    });
    envelope.to_string().into_bytes()
}
