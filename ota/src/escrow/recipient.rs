//! Who can open what is sealed: the holder of the region's private key, with OpenSSL alone. RSA-OAEP with SHA-256 (RFC 8017, 7.1), without
//! a label.
use super::digest;
use crate::fault::{Blame, Fault};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;

/// A shorter key is not meant for what has to stay sealed for the life of a box.
const LEAST_BITS: usize = 3072;
/// A longer one is none that anybody uses: it would take the processor.
const MOST_BITS: usize = 8192;

/// The region's public key for what is escrowed.
#[derive(Debug)]
pub struct Recipient {
    key: OaepPublicEncryptingKey,
    id: String,
}

impl Recipient {
    /// Reads a public key, PEM. The error is a part of a sentence.
    pub fn of_pem(pem: &[u8]) -> Result<Self, String> {
        let spki = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| "is no public key in PEM".to_owned())?;
        let key = PublicEncryptingKey::from_der(&spki).map_err(|_| "is no public key of RSA".to_owned())?;
        if !(LEAST_BITS..=MOST_BITS).contains(&key.key_size_bits()) {
            return Err(format!("has {} bits, and not {LEAST_BITS} to {MOST_BITS}", key.key_size_bits()));
        }
        let id = digest(&spki);
        let key = OaepPublicEncryptingKey::new(key).map_err(|_| "cannot be used".to_owned())?;
        Ok(Self { key, id })
    }

    /// SHA-256 of its SubjectPublicKeyInfo, in hexadecimal.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Seals a secret, which no one but the holder of the private key can read again.
    pub fn seal(&self, secret: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut sealed = vec![0; self.key.ciphertext_size()];
        let length = self.key.encrypt(&OAEP_SHA256_MGF1SHA256, secret, &mut sealed, None).map(|sealed| sealed.len());
        let length = length.map_err(|_| {
            let reason = "the recovery key cannot be sealed to the region's key: have the region make another one";
            Fault::new("escrow-key-unusable", Blame::Configuration, reason)
        })?;
        sealed.truncate(length);
        Ok(sealed)
    }
}
