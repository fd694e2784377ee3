//! Keys and what is sealed with them: AES-256-GCM, whose tag is the integrity check of everything in the log.
use super::SpoolError;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

/// Bytes of a GCM tag.
pub(super) const TAG: usize = 16;
/// Bytes of a GCM nonce.
pub(super) const NONCE: usize = 12;

/// Random bytes of the system.
pub(super) fn random<const N: usize>() -> Result<[u8; N], SpoolError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| SpoolError::Crypto)?;
    Ok(bytes)
}

/// 256 bits, wiped when dropped.
pub(super) type KeyBytes = Zeroizing<[u8; 32]>;

/// A key in use.
pub(super) struct Key(LessSafeKey);

impl Key {
    pub(super) fn new(bytes: &[u8; 32]) -> Result<Self, SpoolError> {
        Ok(Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| SpoolError::Crypto)?)))
    }

    /// Encrypts in place; the tag is the caller's to store.
    pub(super) fn seal(&self, nonce: [u8; NONCE], aad: &[u8], text: &mut [u8]) -> Result<[u8; TAG], SpoolError> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(aad), text).map_err(|_| SpoolError::Crypto)?;
        let mut bytes = [0; TAG];
        bytes.copy_from_slice(tag.as_ref());
        Ok(bytes)
    }

    /// Decrypts in place what ends with its tag; `None` where it is not what was sealed under this nonce and `aad`.
    pub(super) fn open<'a>(&self, nonce: [u8; NONCE], aad: &[u8], sealed: &'a mut [u8]) -> Option<&'a mut [u8]> {
        self.0.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), sealed).ok()
    }

    /// Nonce, text and tag in one piece, for the short things.
    pub(super) fn seal_short(&self, aad: &[u8], text: &[u8]) -> Result<Vec<u8>, SpoolError> {
        let nonce = random()?;
        let mut sealed = Vec::with_capacity(NONCE + text.len() + TAG);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(text);
        let tag = self.seal(nonce, aad, &mut sealed[NONCE..])?;
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    /// Opens what [`Key::seal_short`] made.
    pub(super) fn open_short(&self, aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE>()?;
        let mut text = Zeroizing::new(text.to_vec());
        let length = self.open(*nonce, aad, &mut text)?.len();
        text.truncate(length);
        Some(text)
    }
}

/// The key that wraps all others; the file `master.key` holds it, or the TPM's credential that the options name.
pub(super) struct MasterKey(KeyBytes);

impl MasterKey {
    const MAGIC: [u8; 8] = *b"SUNDMKEY";
    const VERSION: u32 = 1;
    /// Bytes of the file: magic, format version, key.
    pub(super) const LENGTH: usize = 8 + 4 + 32;

    pub(super) fn generate() -> Result<Self, SpoolError> {
        Ok(Self(Zeroizing::new(random()?)))
    }

    pub(super) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(Self::LENGTH));
        bytes.extend_from_slice(&Self::MAGIC);
        bytes.extend_from_slice(&Self::VERSION.to_le_bytes());
        bytes.extend_from_slice(&*self.0);
        bytes
    }

    /// Reads the file; or 64 hexadecimal digits, as keys that people make and keep are written.
    pub(super) fn decode(file: &str, bytes: &[u8]) -> Result<Self, SpoolError> {
        if let Some(key) = digits(bytes.trim_ascii()) {
            return Ok(Self(key));
        }
        let unknown =
            |found| SpoolError::UnknownFormat { file: file.to_owned(), found, known: Self::VERSION, by: None };
        let (magic, rest) = bytes.split_first_chunk::<8>().ok_or_else(|| unknown(0))?;
        let (version, key) = rest.split_first_chunk::<4>().ok_or_else(|| unknown(0))?;
        match (magic == &Self::MAGIC, u32::from_le_bytes(*version)) {
            (false, _) => Err(unknown(0)),
            (true, Self::VERSION) => Ok(Self(Zeroizing::new(key.try_into().map_err(|_| unknown(0))?))),
            (true, found) => Err(unknown(found)),
        }
    }

    /// A key for one purpose.
    pub(super) fn derive(&self, salt: &[u8], purpose: &[u8]) -> Result<Key, SpoolError> {
        Key::new(&*self.derive_bytes(salt, purpose)?)
    }

    /// 256 bits for one purpose (HKDF-SHA-256).
    pub(super) fn derive_bytes(&self, salt: &[u8], purpose: &[u8]) -> Result<KeyBytes, SpoolError> {
        let mut bytes = Zeroizing::new([0; 32]);
        Salt::new(HKDF_SHA256, salt)
            .extract(&*self.0)
            .expand(&[purpose], HKDF_SHA256)
            .and_then(|output| output.fill(&mut *bytes))
            .map_err(|_| SpoolError::Crypto)?;
        Ok(bytes)
    }
}
/// 256 bits in hexadecimal.
fn digits(text: &[u8]) -> Option<KeyBytes> {
    if text.len() != 64 {
        return None;
    }
    let mut key = Zeroizing::new([0; 32]);
    for (byte, pair) in key.iter_mut().zip(text.chunks_exact(2)) {
        let value = |digit: u8| char::from(digit).to_digit(16);
        *byte = (value(pair[0])? * 16 + value(pair[1])?) as u8;
    }
    Some(key)
}
