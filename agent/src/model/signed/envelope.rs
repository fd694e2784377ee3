//! A DSSE envelope (Dead Simple Signing Envelope, v1.0): a payload and signatures of it.
use super::Verifier;
use super::statement::PAYLOAD_TYPE;
use crate::fault::{Blame, Fault};
use crate::limits::model::MAX_SIGNATURES;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The envelope of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Envelope {
    /// What is signed, in base64.
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

/// A signature in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Whose it claims to be: [`Verifier::id`].
    pub keyid: String,
    /// 64 bytes, in base64.
    sig: String,
}

impl Envelope {
    /// An envelope of this statement that nobody has signed yet.
    pub fn new(statement: &Value) -> Self {
        let payload = STANDARD.encode(statement.to_string());
        Self { payload, payload_type: PAYLOAD_TYPE.to_owned(), signatures: Vec::new() }
    }

    /// Reads the envelope of a package, which has to say this of it and nothing else.
    pub fn read(json: &[u8], statement: &Value) -> Result<Self, Fault> {
        let envelope: Self = serde_json::from_slice(json).map_err(|error| invalid(&error.to_string()))?;
        if envelope.signatures.len() > MAX_SIGNATURES {
            return Err(invalid(&format!("it has more than {MAX_SIGNATURES} signatures")));
        }
        let said: Option<Value> =
            STANDARD.decode(&envelope.payload).ok().and_then(|payload| serde_json::from_slice(&payload).ok());
        if envelope.payload_type != PAYLOAD_TYPE || said.as_ref() != Some(statement) {
            return Err(invalid("what is signed is not this package: it was changed after it was signed"));
        }
        Ok(envelope)
    }

    /// As it is written.
    pub fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Who claims to have signed.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// The bytes that a signer signs.
    pub fn to_sign(&self) -> Vec<u8> {
        pre_authentication(&self.payload_type, &STANDARD.decode(&self.payload).unwrap_or_default())
    }

    /// Adds a signature; one of the same key is replaced. An error where the key did not make it.
    pub fn add(&mut self, key: &Verifier, signature: &[u8]) -> Result<(), Fault> {
        if !key.verifies(&self.to_sign(), signature) {
            return Err(invalid(&format!("{key:?} did not make this signature of this package")));
        }
        self.signatures.retain(|known| known.keyid != key.id());
        if self.signatures.len() >= MAX_SIGNATURES {
            return Err(invalid(&format!("it has {MAX_SIGNATURES} signatures already")));
        }
        self.signatures.push(Signature { keyid: key.id(), sig: STANDARD.encode(signature) });
        Ok(())
    }

    /// True where this key has signed the payload. One signature that names the key and is not its own does no harm beside
    /// another that is.
    pub fn is_signed_by(&self, key: &Verifier) -> bool {
        let message = self.to_sign();
        let id = key.id();
        self.signatures
            .iter()
            .filter(|signature| signature.keyid == id)
            .any(|signature| STANDARD.decode(&signature.sig).is_ok_and(|bytes| key.verifies(&message, &bytes)))
    }
}

/// DSSE's pre-authentication encoding.
fn pre_authentication(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

fn invalid(reason: &str) -> Fault {
    Fault::new("signature-invalid", Blame::Package, format!("the signatures of the package do not hold: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_the_specifications_example() {
        let encoded = pre_authentication("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }
}
