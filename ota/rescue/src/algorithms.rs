//! The signatures that certificates and handshakes may carry, in pure Rust: ECDSA on P-256 and P-384, and Ed25519. No RSA: a
//! source needs a certificate, and a chain, of these.
use p256::ecdsa::signature::Verifier as _;
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};

/// ECDSA on P-256 with SHA-256.
pub static P256: &dyn SignatureVerificationAlgorithm =
    &Algorithm { key: alg_id::ECDSA_P256, signature: alg_id::ECDSA_SHA256, verify: p256 };
/// ECDSA on P-384 with SHA-384.
pub static P384: &dyn SignatureVerificationAlgorithm =
    &Algorithm { key: alg_id::ECDSA_P384, signature: alg_id::ECDSA_SHA384, verify: p384 };
/// Ed25519.
pub static ED25519: &dyn SignatureVerificationAlgorithm =
    &Algorithm { key: alg_id::ED25519, signature: alg_id::ED25519, verify: ed25519 };
/// All of them.
pub static ALL: &[&dyn SignatureVerificationAlgorithm] = &[P256, P384, ED25519];

#[derive(Debug)]
struct Algorithm {
    key: AlgorithmIdentifier,
    signature: AlgorithmIdentifier,
    verify: Verify,
}

/// Of key, message and signature: something where the signature holds.
type Verify = fn(&[u8], &[u8], &[u8]) -> Option<()>;

impl SignatureVerificationAlgorithm for Algorithm {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        (self.verify)(key, message, signature).ok_or(InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.key
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }
}

fn p256(key: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let signature = p256::ecdsa::DerSignature::from_bytes(signature).ok()?;
    p256::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?.verify(message, &signature).ok()
}

fn p384(key: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let signature = p384::ecdsa::DerSignature::from_bytes(signature).ok()?;
    p384::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?.verify(message, &signature).ok()
}

fn ed25519(key: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let key = ed25519_dalek::VerifyingKey::from_bytes(key.try_into().ok()?).ok()?;
    key.verify_strict(message, &ed25519_dalek::Signature::from_slice(signature).ok()?).ok()
}
