//! Keys of signers: Ed25519 as `openssl genpkey -algorithm ed25519` writes it, in PEM.
use crate::fault::{Blame, Fault};
use crate::hex::hex;
use crate::limits::model::MAX_KEY;
use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use std::fmt;
use std::io::Read as _;
use std::path::Path;
use zeroize::Zeroizing;

/// SubjectPublicKeyInfo of an Ed25519 key, up to its 32 bytes (RFC 8410 4).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const MAKE: &str = "openssl genpkey -algorithm ed25519 makes one";

/// A private key.
pub struct Signer(Ed25519KeyPair);

impl Signer {
    /// Reads PKCS #8 in PEM.
    pub fn read(path: &Path) -> Result<Self, Fault> {
        let text = Zeroizing::new(read(path)?);
        let wrong = |what: &str| key_fault(path, &format!("{what}; {MAKE}"));
        let key =
            PrivatePkcs8KeyDer::from_pem_slice(&text).map_err(|_| wrong("holds no private key (PKCS #8, PEM)"))?;
        let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.secret_pkcs8_der())
            .map_err(|_| wrong("holds a key that is not of Ed25519"))?;
        Ok(Self(key))
    }

    /// The key that others check its signatures with.
    pub fn verifier(&self) -> Verifier {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        Verifier { bytes }
    }

    /// 64 bytes.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

/// A public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Verifier {
    bytes: [u8; 32],
}

impl Verifier {
    /// Reads SubjectPublicKeyInfo in PEM.
    pub fn read(path: &Path) -> Result<Self, Fault> {
        Self::from_pem(&read(path)?)
            .map_err(|what| key_fault(path, &format!("{what}; openssl pkey -pubout writes that of a private key")))
    }

    /// The same of the text itself; the error says what it is instead.
    pub fn from_pem(text: &[u8]) -> Result<Self, &'static str> {
        let key = SubjectPublicKeyInfoDer::from_pem_slice(text).map_err(|_| "holds no public key (PEM)")?;
        let bytes = key.as_ref().strip_prefix(&SPKI).and_then(|bytes| bytes.try_into().ok());
        Ok(Self { bytes: bytes.ok_or("holds a key that is not of Ed25519")? })
    }

    /// How envelopes name it: SHA-256 of its SubjectPublicKeyInfo, in hexadecimal.
    pub fn id(&self) -> String {
        hex(digest(&SHA256, &[&SPKI[..], &self.bytes].concat()).as_ref())
    }

    /// True where this key made the signature of this message.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.bytes).verify(message, signature).is_ok()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519 {}", self.id())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    let unreadable = |error: std::io::Error| key_fault(path, &format!("cannot be read: {error}"));
    let mut text = Vec::new();
    std::fs::File::open(path).map_err(unreadable)?.take(MAX_KEY + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_KEY { Err(key_fault(path, "is too long for a key")) } else { Ok(text) }
}

fn key_fault(path: &Path, what: &str) -> Fault {
    Fault::new("key-unusable", Blame::Configuration, format!("{} {what}", path.display()))
}
