//! Identifiers under AES-256-GCM: the log can be read, counted and verified by those who may not know the patient.
use super::line::Line;
use crate::fault::{Blame, Fault};
use crate::hex::hex;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

/// The key of the identifiers: 32 random bytes.
#[derive(Clone)]
pub struct Key(Zeroizing<[u8; 32]>);

impl Key {
    /// A key from its bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Names the key without telling it: the first 8 bytes of SHA-256 over a label and the key, in hex.
    fn name(&self) -> String {
        let mut input = Zeroizing::new(b"sund audit key name\n".to_vec());
        input.extend_from_slice(&self.0[..]);
        hex(&digest(&SHA256, &input).as_ref()[..8])
    }

    fn aead(&self) -> Result<LessSafeKey, Fault> {
        UnboundKey::new(&AES_256_GCM, &self.0[..])
            .map(LessSafeKey::new)
            .map_err(|_| Fault::new("audit-key", Blame::Sund, "The audit key has the wrong length."))
    }
}

/// What stands in a line's `identifiers`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sealed {
    key: String,
    nonce: String,
    text: String,
}

/// Seals `identifiers` for the line `seq`: the number is authenticated too, so they cannot be moved to another line.
pub(super) fn seal(key: &Key, seq: u64, identifiers: &Value) -> Result<Sealed, Fault> {
    let failed = || Fault::new("audit-seal", Blame::Sund, "The identifiers of an audit event could not be encrypted.");
    // Random 96-bit nonces: below 2^32 lines for a key, a repeat is less likely than 2^-32 (NIST SP 800-38D 8.3).
    let mut nonce = [0; NONCE_LEN];
    SystemRandom::new().fill(&mut nonce).map_err(|_| failed())?;
    let mut text = identifiers.to_string().into_bytes();
    key.aead()?
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(seq.to_be_bytes()), &mut text)
        .map_err(|_| failed())?;
    Ok(Sealed { key: key.name(), nonce: STANDARD.encode(nonce), text: STANDARD.encode(text) })
}

/// The identifiers of one line of the log (study, patient_id, patient_name, instance), for those who hold the key;
/// `None` where the event has none.
pub fn identifiers(line: &str, key: &Key) -> Result<Option<Value>, Fault> {
    let refuse = |reason: &str| Fault::new("audit-unseal", Blame::Configuration, reason);
    let line: Line = serde_json::from_str(line).map_err(|_| refuse("This is not a line of an audit log."))?;
    let Some(sealed) = line.identifiers else { return Ok(None) };
    if sealed.key != key.name() {
        return Err(refuse("The identifiers of this line are sealed under another key."));
    }
    let broken = || refuse("The identifiers of this line were changed or belong to another line.");
    let nonce = STANDARD.decode(&sealed.nonce).map_err(|_| broken())?;
    let nonce = Nonce::try_assume_unique_for_key(&nonce).map_err(|_| broken())?;
    let mut text = STANDARD.decode(&sealed.text).map_err(|_| broken())?;
    let opened =
        key.aead()?.open_in_place(nonce, Aad::from(line.seq.to_be_bytes()), &mut text).map_err(|_| broken())?;
    serde_json::from_slice(opened).map(Some).map_err(|_| broken())
}
