//! A certificate as it stands in an answer or in a file, all of it. That the channel sends one is not enough: whoever has taken its server
//! would leave each box with a certificate that nobody takes, and that is never due again.
use super::Validity;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, UnixTime};
use std::sync::Arc;
use std::time::Duration;
use x509_parser::parse_x509_certificate;

/// Longest life of a certificate, in seconds, against one that is never due. Those of the channel live 90 days.
const LONGEST_LIFE: i64 = 400 * 24 * 60 * 60;

/// A chain of which each part can be read, the box's own certificate first.
pub(super) struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    pub(super) validity: Validity,
    /// Its common name.
    pub(super) name: String,
}

impl Certificate {
    /// Reads all that a client reads: also what comes after the first certificate.
    pub(super) fn parse(pem: &[u8]) -> Result<Self, String> {
        let chain: Result<Vec<CertificateDer>, pem::Error> = CertificateDer::pem_slice_iter(pem).collect();
        let chain = chain.map_err(|error| error.to_string())?;
        for certificate in &chain {
            parse_x509_certificate(certificate).map_err(|error| error.to_string())?;
        }
        let own = chain.first().ok_or("there is no certificate in it")?;
        let (_, parsed) = parse_x509_certificate(own).map_err(|error| error.to_string())?;
        let validity = parsed.validity();
        let validity = Validity { from: validity.not_before.timestamp(), until: validity.not_after.timestamp() };
        let name =
            parsed.subject().iter_common_name().find_map(|name| name.as_str().ok()).unwrap_or_default().to_owned();
        Ok(Self { chain, validity, name })
    }

    /// The box's own one.
    pub(super) fn own(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }

    /// Whether it is for a key.
    pub(super) fn is_for(&self, public: &[u8]) -> bool {
        parse_x509_certificate(self.own()).is_ok_and(|(_, own)| *own.public_key().subject_public_key.data == *public)
    }

    /// Whether it may take the place of the one before: for this box, its key and this time.
    pub(super) fn fits(&self, id: &str, public: &[u8], now: i64, roots: RootCertStore) -> Result<(), String> {
        let Validity { from, until } = self.validity;
        if !self.is_for(public) {
            return Err("it is not for this box's key".to_owned());
        }
        if self.name != id {
            return Err(format!("it is for `{}`, and this box is `{id}`", self.name));
        }
        if !(from..until).contains(&now) {
            return Err("it is not good now, by this box's clock".to_owned());
        }
        self.is_issued(roots)
    }

    /// Whether an authority of the channel has issued it, for no longer than one does. No clock is asked: this box's may be wrong.
    pub(super) fn is_issued(&self, roots: RootCertStore) -> Result<(), String> {
        let Validity { from, until } = self.validity;
        if until.saturating_sub(from) > LONGEST_LIFE {
            return Err("it lives longer than any that a channel issues".to_owned());
        }
        // On this very machine, without TLS, it is shown to nobody.
        if roots.is_empty() {
            return Ok(());
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let verifier = verifier.map_err(|error| error.to_string())?;
        let begin = UnixTime::since_unix_epoch(Duration::from_secs(from.max(0).unsigned_abs()));
        let verified = verifier.verify_client_cert(self.own(), &self.chain[1..], begin);
        verified.map(drop).map_err(|error| {
            format!("no authority in `server.ca` has issued it for a box ({error}): add the channel's ca/ca.pem to server.ca")
        })
    }
}
