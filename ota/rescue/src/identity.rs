//! Who a server is: its chain of certificates (RFC 5280, by webpki) and its signature over the handshake (RFC 8446 4.4.3).
//!
//! The TLS library underneath goes on without a verifier, and takes a handshake from which certificate and signature are left
//! out. So what counts is not that no refusal was heard: only a [`Proven`] lets a connection be used.
use crate::algorithms;
use crate::fault::{Blame, Fault};
use crate::limits::MAX_CHAIN;
use crate::moment::Moment;
use embedded_tls::blocking::{CertificateEntryRef, CertificateRef, CertificateVerifyRef, TlsCipherSuite, TlsVerifier};
use embedded_tls::{SignatureScheme, TlsError};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use sha2::Digest as _;
use std::time::Duration;
use webpki::{EndEntityCert, Error, KeyUsage, anchor_from_trusted_cert};

/// The certification authorities that vouch for sources.
#[derive(Clone, Debug)]
pub struct Authorities(Vec<TrustAnchor<'static>>);

impl Authorities {
    /// Reads their certificates from PEM.
    pub fn from_pem(pem: &[u8]) -> Result<Self, Fault> {
        let refused = |reason: String| {
            let reason = format!("the file of authorities holds no certificates in PEM: {reason}");
            Fault::new("authorities-invalid", Blame::Configuration, reason)
        };
        let anchors = CertificateDer::pem_slice_iter(pem)
            .map(|der| {
                let der = der.map_err(|error| refused(error.to_string()))?;
                anchor_from_trusted_cert(&der)
                    .map(|anchor| anchor.to_owned())
                    .map_err(|error| refused(error.to_string()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        if anchors.is_empty() { Err(refused("it is empty".to_owned())) } else { Ok(Self(anchors)) }
    }

    /// Judges a chain: to an authority of ours, each issuer a CA, for a server, with this name, at its time.
    ///
    /// `known` is a moment that has passed; how long ago, nobody here knows. A certificate that ended before it has ended. One
    /// that begins after it may well have begun: so the chain is judged at the first moment from `known` on at which all of
    /// it has begun, and it has to hold there.
    pub fn judge(&self, chain: &[CertificateDer<'_>], name: &ServerName<'_>, known: Moment) -> Result<(), Fault> {
        let refused = |reason: String| Fault::new("certificate-refused", Blame::Source, reason);
        let (leaf, between) =
            chain.split_first().ok_or_else(|| refused("the server shows no certificate".to_owned()))?;
        let leaf = EndEntityCert::try_from(leaf)
            .map_err(|error| refused(format!("the server's certificate cannot be read: {error}")))?;
        let mut at = UnixTime::since_unix_epoch(Duration::from_secs(known.as_secs()));
        // Each turn moves past the beginning of one certificate at least; the authority's own time does not count.
        for _ in 0..=MAX_CHAIN {
            match leaf.verify_for_usage(algorithms::ALL, &self.0, between, at, KeyUsage::server_auth(), None, None) {
                Ok(_) => {
                    return leaf.verify_is_valid_for_subject_name(name).map_err(|_| {
                        refused(format!("the server's certificate is for another name than {}", name.to_str()))
                    });
                }
                Err(Error::CertNotValidYet { not_before, .. }) if not_before > at => at = not_before,
                Err(error) => return Err(refused(because(&error))),
            }
        }
        Err(refused("the server's certificates begin one after the other without end".to_owned()))
    }
}

/// A proof: the server showed a chain that held, and signed the handshake with its key.
#[derive(Debug)]
pub struct Proven {
    chain: Vec<CertificateDer<'static>>,
}

impl Proven {
    /// The chain, to be judged again when more is known of the time.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }
}

/// Follows one handshake.
pub struct Verifier<'a, Suite: TlsCipherSuite> {
    authorities: &'a Authorities,
    name: ServerName<'static>,
    known: Moment,
    state: State<Suite::Hash>,
}

/// What is awaited next.
enum State<Transcript> {
    Certificate,
    /// The chain held; the server has to sign this transcript.
    Signature(Vec<CertificateDer<'static>>, Transcript),
    /// Nothing more.
    Held(Vec<CertificateDer<'static>>),
    Refused(Fault),
}

impl<'a, Suite: TlsCipherSuite> Verifier<'a, Suite> {
    /// A verifier for one handshake with this server.
    pub const fn new(authorities: &'a Authorities, name: ServerName<'static>, known: Moment) -> Self {
        Self { authorities, name, known, state: State::Certificate }
    }

    /// What the handshake has proven. An error where it ended without certificate or signature, however it ended.
    pub fn proven(self) -> Result<Proven, Fault> {
        match self.state {
            State::Held(chain) => Ok(Proven { chain }),
            State::Refused(fault) => Err(fault),
            State::Certificate | State::Signature(..) => {
                Err(misled("the server left out its certificate or its signature"))
            }
        }
    }

    /// The refusal, where there was one.
    pub const fn refusal(&self) -> Option<&Fault> {
        if let State::Refused(fault) = &self.state { Some(fault) } else { None }
    }

    fn take_chain(&self, transcript: &Suite::Hash, shown: &CertificateRef<'_>) -> Result<State<Suite::Hash>, Fault> {
        if !matches!(self.state, State::Certificate) {
            return Err(misled("the server shows its certificate at the wrong time"));
        }
        if shown.entries.len() > MAX_CHAIN {
            return Err(misled("the server shows too many certificates"));
        }
        let chain = shown
            .entries
            .iter()
            .map(|entry| match entry {
                CertificateEntryRef::X509(der) => Ok(CertificateDer::from(der.to_vec())),
                CertificateEntryRef::RawPublicKey(_) => Err(misled("the server shows a bare key")),
            })
            .collect::<Result<Vec<_>, _>>()?;
        self.authorities.judge(&chain, &self.name, self.known)?;
        Ok(State::Signature(chain, transcript.clone()))
    }

    fn take_signature(&mut self, verify: &CertificateVerifyRef<'_>) -> Result<State<Suite::Hash>, Fault> {
        let State::Signature(chain, transcript) = std::mem::replace(&mut self.state, State::Certificate) else {
            return Err(misled("the server signs the handshake at the wrong time"));
        };
        // RFC 8446 4.4.3: 64 spaces, the context, a zero, the hash of the transcript up to the certificate.
        let mut message = vec![0x20; 64];
        message.extend(b"TLS 1.3, server CertificateVerify\0");
        message.extend(transcript.finalize());
        let algorithm = match verify.signature_scheme {
            SignatureScheme::EcdsaSecp256r1Sha256 => algorithms::P256,
            SignatureScheme::EcdsaSecp384r1Sha384 => algorithms::P384,
            SignatureScheme::Ed25519 => algorithms::ED25519,
            _ => return Err(misled("the server signs the handshake with an algorithm that was not offered")),
        };
        let held = chain
            .first()
            .and_then(|leaf| EndEntityCert::try_from(leaf).ok())
            .is_some_and(|leaf| leaf.verify_signature(algorithm, &message, verify.signature).is_ok());
        if held { Ok(State::Held(chain)) } else { Err(misled("the server does not have the key of its certificate")) }
    }

    fn enter(&mut self, next: Result<State<Suite::Hash>, Fault>, refusal: TlsError) -> Result<(), TlsError> {
        match next {
            Ok(state) => {
                self.state = state;
                Ok(())
            }
            Err(fault) => {
                self.state = State::Refused(fault);
                Err(refusal)
            }
        }
    }
}

impl<Suite: TlsCipherSuite> TlsVerifier<Suite> for Verifier<'_, Suite> {
    fn set_hostname_verification(&mut self, _hostname: &str) -> Result<(), TlsError> {
        // The name is fixed from the beginning: also where it is an address, which TLS does not tell the server.
        Ok(())
    }

    fn verify_certificate(&mut self, transcript: &Suite::Hash, shown: CertificateRef<'_>) -> Result<(), TlsError> {
        let next = self.take_chain(transcript, &shown);
        self.enter(next, TlsError::InvalidCertificate)
    }

    fn verify_signature(&mut self, verify: CertificateVerifyRef<'_>) -> Result<(), TlsError> {
        let next = self.take_signature(&verify);
        self.enter(next, TlsError::InvalidSignature)
    }
}

fn misled(reason: &str) -> Fault {
    Fault::new("identity-unproven", Blame::Source, format!("{reason}: somebody else may be answering for it"))
}

fn because(error: &Error) -> String {
    let why = match error {
        Error::UnknownIssuer => "no authority that this box knows vouches for it".to_owned(),
        Error::CertExpired { not_after, .. } => {
            format!("it has expired on {}", Moment::from_secs(not_after.as_secs()))
        }
        Error::EndEntityUsedAsCa => "it is issued by a certificate that is no CA".to_owned(),
        Error::RequiredEkuNotFoundContext(_) => "it is not for servers".to_owned(),
        other => other.to_string(),
    };
    format!("the server's certificate is refused: {why}")
}
