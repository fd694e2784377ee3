//! Keys: who can sign, whose a public key is, and whether a signature holds.
//!
//! A [`Signer`] is the one place through which a signature is made here: by a key in a file, or in a token that is
//! asked for it (`token`). Where a token has no module of PKCS #11, its own tool signs the message that `sign
//! --write-messages` writes, and the signature is handed in like any other.
use super::files;
use super::limits::MAX_KEY;
use super::token::{SCHEME, TokenSigner, TokenUri};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use sund_ota::fault::{Blame, Fault};
use sund_ota::hex::hex;
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::key::Key;
use tough::sign::Sign;

/// SubjectPublicKeyInfo of an Ed25519 key up to the key itself (RFC 8410, 4).
pub(super) const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// What a key signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scheme {
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// ECDSA on P-256 with SHA-256: what most tokens can do.
    EcdsaP256,
}

/// Something that signs.
pub trait Signer {
    /// Its public key.
    fn key(&self) -> Key;
    /// The signature of a message.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Fault>;
}

/// Where a person's key is: a file, or a token (`pkcs11:...`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// PKCS#8, PEM.
    File(PathBuf),
    /// A token that signs by itself.
    Token(Box<TokenUri>),
}

impl KeyPlace {
    /// Opens it, to sign.
    pub fn open(&self) -> Result<Box<dyn Signer>, Fault> {
        Ok(match self {
            Self::File(path) => Box::new(FileSigner::open(path)?),
            Self::Token(uri) => Box::new(TokenSigner::open(uri)?),
        })
    }
}

impl FromStr for KeyPlace {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        if text.starts_with(SCHEME) {
            return text.parse().map(Box::new).map(Self::Token);
        }
        Ok(Self::File(PathBuf::from(text)))
    }
}

/// A key in a file: PKCS#8, PEM.
pub struct FileSigner(Pair);

enum Pair {
    Ed25519(Ed25519KeyPair),
    Ecdsa(EcdsaKeyPair),
}

impl FileSigner {
    /// Makes a new key; a file that is there is left alone.
    pub fn create(path: &Path, scheme: Scheme) -> Result<Self, Fault> {
        if path.exists() {
            let reason = format!("{} is there already: a key is never overwritten, name another file", path.display());
            return Err(Fault::new("key-there-already", Blame::Configuration, reason));
        }
        let (signer, pem) = Self::generate(scheme)?;
        files::write(path, pem.as_bytes(), 0o600)?;
        Ok(signer)
    }

    /// Makes a new key that lies nowhere yet, and the text of its file.
    pub fn generate(scheme: Scheme) -> Result<(Self, String), Fault> {
        let random = SystemRandom::new();
        let made = match scheme {
            Scheme::Ed25519 => Ed25519KeyPair::generate_pkcs8(&random),
            Scheme::EcdsaP256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random),
        };
        let not_made = || Fault::new("key-not-made", Blame::Box, "the system gives no random numbers");
        let made = made.map_err(|_| not_made())?;
        let signer = Self::of_pkcs8(made.as_ref()).ok_or_else(not_made)?;
        Ok((signer, pem("PRIVATE KEY", made.as_ref())))
    }

    /// Opens a key file.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        let text = files::read(path, MAX_KEY)?;
        let unreadable = || {
            let reason =
                format!("{} is no PKCS#8 key (PEM) for Ed25519 or ECDSA on P-256: name a private key", path.display());
            Fault::new("key-unreadable", Blame::Configuration, reason)
        };
        let key = PrivatePkcs8KeyDer::from_pem_slice(&text).map_err(|_| unreadable())?;
        Self::of_pkcs8(key.secret_pkcs8_der()).ok_or_else(unreadable)
    }

    fn of_pkcs8(key: &[u8]) -> Option<Self> {
        Ed25519KeyPair::from_pkcs8(key)
            .map(Pair::Ed25519)
            .or_else(|_| EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key).map(Pair::Ecdsa))
            .map(Self)
            .ok()
    }
}

impl Signer for FileSigner {
    fn key(&self) -> Key {
        match &self.0 {
            Pair::Ed25519(pair) => pair.tuf_key(),
            Pair::Ecdsa(pair) => pair.tuf_key(),
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Fault> {
        match &self.0 {
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::Ecdsa(pair) => pair
                .sign(&SystemRandom::new(), message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| Fault::new("key-failed", Blame::Box, "the key did not sign: try again")),
        }
    }
}

/// A public key and whose it is: the file beside a private one, `FILE.pub`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicKey {
    /// 1.
    pub format: u32,
    /// Whose it is.
    pub person: String,
    /// The key, as TUF writes it.
    pub key: Key,
}

impl PublicKey {
    /// A person's key.
    pub fn new(person: &str, key: Key) -> Result<Self, Fault> {
        Self::check_person(person)?;
        Ok(Self { format: 1, person: person.to_owned(), key })
    }

    /// Whether people can be told apart by that name.
    pub fn check_person(person: &str) -> Result<(), Fault> {
        let fits = (1..=64).contains(&person.chars().count()) && !person.chars().any(char::is_control);
        if !fits || person.trim() != person {
            let reason = "a person's name has 1 to 64 characters and no space at its ends";
            return Err(Fault::new("name-invalid", Blame::Configuration, reason));
        }
        Ok(())
    }

    /// Where the public part of a private key lies.
    pub fn beside(private: &Path) -> PathBuf {
        private.with_added_extension("pub")
    }

    /// Reads a public key file.
    pub fn read(path: &Path) -> Result<Self, Fault> {
        let known: Self = serde_json::from_slice(&files::read(path, MAX_KEY)?).map_err(|error| {
            let reason = format!("{} is no public key file of `sund-channel key new`: {error}", path.display());
            Fault::new("key-unreadable", Blame::Configuration, reason)
        })?;
        Self::new(&known.person, known.key)
    }

    /// Reads a SubjectPublicKeyInfo (PEM), as a token's tool or openssl gives it.
    pub fn import(path: &Path, person: &str) -> Result<Self, Fault> {
        let text = files::read(path, MAX_KEY)?;
        let key = SubjectPublicKeyInfoDer::from_pem_slice(&text).ok().and_then(|spki| key_of_spki(&spki));
        let key = key.ok_or_else(|| {
            let reason = format!("{} is no public key (PEM) for Ed25519 or ECDSA on P-256", path.display());
            Fault::new("key-unreadable", Blame::Configuration, reason)
        })?;
        Self::new(person, key)
    }

    /// Writes it.
    pub fn write(&self, path: &Path) -> Result<(), Fault> {
        files::write(path, &serde_json::to_vec_pretty(self).unwrap_or_default(), 0o644)
    }

    /// Its identifier.
    pub fn id(&self) -> Result<String, Fault> {
        key_id(&self.key).map(|id| hex(id.as_ref()))
    }
}

/// The key of a SubjectPublicKeyInfo; none where it is of a kind that nobody signs with here.
pub(super) fn key_of_spki(spki: &[u8]) -> Option<Key> {
    let parsed = match spki.strip_prefix(ED25519_SPKI.as_slice()) {
        Some(raw) => hex(raw).parse::<Key>(),
        None => pem("PUBLIC KEY", spki).trim().parse::<Key>(),
    };
    parsed.ok().filter(|key| !matches!(key, Key::Rsa { .. }))
}

/// TUF 4.2: KEYID is the SHA-256 of the key's canonical form.
pub fn key_id(key: &Key) -> Result<Decoded<Hex>, Fault> {
    key.key_id().map_err(|error| Fault::new("key-unreadable", Blame::Configuration, error.to_string()))
}

/// The first 128 bits of a digest or identifier, in groups that people can read to each other.
pub fn fingerprint(id: &str) -> String {
    let groups: Vec<&str> = (0..8).filter_map(|n| id.get(n * 4..n * 4 + 4)).collect();
    groups.join(" ")
}

/// Whether a signature is this key's and over this message.
pub fn holds(key: &Key, message: &[u8], signature: &[u8]) -> bool {
    match key {
        Key::Ed25519 { keyval, .. } => {
            UnparsedPublicKey::new(&ED25519, keyval.public.as_ref()).verify(message, signature).is_ok()
        }
        Key::Ecdsa { keyval, .. } | Key::EcdsaOld { keyval, .. } => {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, keyval.public.as_ref()).verify(message, signature).is_ok()
        }
        // None is ever made or imported here.
        Key::Rsa { .. } => false,
    }
}

/// RFC 7468.
pub fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
