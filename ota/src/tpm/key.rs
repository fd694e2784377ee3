//! The key of the certificate, as those who need signatures know it: rcgen for a request, rustls for a handshake.
use super::command::Tpm;
use super::{Place, gone};
use crate::fault::{Blame, Fault};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::sign::{Signer, SigningKey};
use rustls::{OtherError, SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::CertificateDer;
use std::sync::{Arc, Mutex, PoisonError};

/// The TPM is asked by one thread of this process at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A key in the TPM, and its public half.
#[derive(Clone, Debug)]
pub struct TpmKey {
    place: Place,
    /// SEC 1, 2.3.3, not compressed.
    public: Vec<u8>,
}

impl TpmKey {
    /// Makes a new key. One that was made here before goes.
    pub fn make(place: &Place) -> Result<Self, Fault> {
        let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unique = [0; 64];
        aws_lc_rs::rand::fill(&mut unique)
            .map_err(|_| Fault::new("enrol-failed", Blame::Box, "the system gives no random numbers: try again"))?;
        let mut tpm = Tpm::open(place)?;
        match tpm.public() {
            Ok(_) => tpm.forget()?,
            Err(fault) if fault.code == "tpm-key-gone" => {}
            Err(fault) => return Err(fault),
        }
        Ok(Self { place: place.clone(), public: tpm.make(&unique)?.to_vec() })
    }

    /// The key that is there.
    pub fn there(place: &Place) -> Result<Self, Fault> {
        let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Self { place: place.clone(), public: Tpm::open(place)?.public()?.to_vec() })
    }

    /// The key of a certificate. The TPM is not asked before something is to be signed: a dead one costs the channel, not the box.
    pub fn of(place: &Place, certificate: &CertificateDer<'_>) -> Result<Self, Fault> {
        let unusable = |reason: String| Fault::new("credentials-unusable", Blame::Configuration, reason);
        let (_, parsed) =
            x509_parser::parse_x509_certificate(certificate).map_err(|error| unusable(error.to_string()))?;
        let public = parsed.public_key().subject_public_key.data.to_vec();
        if public.len() != 65 {
            return Err(unusable(
                "the certificate is for no key on P-256, as the TPM's is: enrol the box anew".to_owned(),
            ));
        }
        Ok(Self { place: place.clone(), public })
    }

    /// Whether it is still at its handle.
    pub fn is_there(&self) -> Result<(), Fault> {
        let there = Self::there(&self.place)?;
        if there.public == self.public { Ok(()) } else { Err(gone(&self.place, "another key is at that handle")) }
    }

    /// The public half: a point of the curve, not compressed.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// ECDSA with SHA-256 over a message, in DER.
    pub fn signature(&self, message: &[u8]) -> Result<Vec<u8>, Fault> {
        let (r, s) = {
            let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
            Tpm::open(&self.place)?.sign(digest(&SHA256, message).as_ref())?
        };
        let signature = der(&r, &s);
        // Another key may be at the handle by now; and what a TPM returns is not believed unseen.
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.public)
            .verify(message, &signature)
            .map_err(|_| gone(&self.place, "another key is at that handle"))?;
        Ok(signature)
    }
}

impl rcgen::PublicKeyData for TpmKey {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for TpmKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let ours = SignatureScheme::ECDSA_NISTP256_SHA256;
        offered.contains(&ours).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for TpmKey {
    /// A TPM signs in a fraction of a second, once for each connection: the thread waits for it.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.signature(message).map_err(|fault| rustls::Error::Other(OtherError(Arc::new(fault))))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}

/// Ecdsa-Sig-Value (RFC 3279, 2.2.3): a sequence of two integers, each as short as it can be and not negative.
fn der(r: &[u8; 32], s: &[u8; 32]) -> Vec<u8> {
    let integer = |number: &[u8; 32]| {
        let mut number = number.iter().position(|byte| *byte != 0).map_or(&[0][..], |at| &number[at..]).to_vec();
        if number[0] & 0x80 != 0 {
            number.insert(0, 0);
        }
        // At most 33 bytes: lengths have one byte each.
        [&[0x02, number.len() as u8][..], &number].concat()
    };
    let both = [integer(r), integer(s)].concat();
    [&[0x30, both.len() as u8][..], &both].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_signature_are_as_short_as_they_can_be_and_not_negative() {
        let (mut r, mut s) = ([0; 32], [0; 32]);
        (r[31], s[30], s[31]) = (0x7f, 0x80, 1);
        assert_eq!(der(&r, &s), [0x30, 8, 2, 1, 0x7f, 2, 3, 0, 0x80, 1]);
        assert_eq!(der(&[0; 32], &[0xff; 32]).len(), 2 + 3 + 2 + 33);
    }
}
