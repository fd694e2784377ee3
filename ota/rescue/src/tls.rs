//! TLS 1.3 to a source. A [`Connection`] exists only where the server has proven who it is.
use crate::fault::{Blame, Fault};
use crate::identity::{Authorities, Proven, Verifier};
use crate::limits::{MAX_RECORD, Patience};
use crate::line::Line;
use crate::moment::Moment;
use crate::source::Source;
use embedded_io::ErrorKind;
use embedded_tls::blocking::{Aes128GcmSha256, CryptoProvider, TlsConfig, TlsConnection, TlsContext, TlsVerifier};
use embedded_tls::{CryptoRngCore, TlsError};
use rand_core::OsRng;
use rustls_pki_types::ServerName;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Room for one record in each direction, used by one connection after the other.
pub struct Buffers {
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Buffers {
    /// Room for the largest record, and for our hello and requests.
    pub fn new() -> Self {
        Self { incoming: vec![0; MAX_RECORD], outgoing: vec![0; 4096] }
    }
}

/// A connection to a server that has proven who it is.
pub struct Connection<'a> {
    session: TlsConnection<'a, Line, Aes128GcmSha256>,
    proven: Proven,
}

impl<'a> Connection<'a> {
    /// Connects and has the server prove who it is, at a time not before `known`.
    pub fn open(
        buffers: &'a mut Buffers,
        source: &Source,
        authorities: &Authorities,
        known: Moment,
        patience: &Patience,
    ) -> Result<Self, Fault> {
        let name = ServerName::try_from(source.host().to_owned())
            .map_err(|_| Fault::new("source-invalid", Blame::Configuration, format!("{source} names no server")))?;
        // RFC 6066 3: an address is no server name.
        let config = match name {
            ServerName::DnsName(_) => TlsConfig::new().with_server_name(source.host()),
            _ => TlsConfig::new(),
        };
        let line = Line::to(source, patience)?;
        let mut session = TlsConnection::new(line, &mut buffers.incoming, &mut buffers.outgoing);
        let mut provider = Provider { verifier: Verifier::new(authorities, name, known) };
        let opened = shielded(|| session.open(TlsContext::new(&config, &mut provider)));
        if let Some(fault) = provider.verifier.refusal() {
            return Err(fault.clone());
        }
        opened?;
        let proven = provider.verifier.proven()?;
        Ok(Self { session, proven })
    }

    /// Ends the use of the connection, and keeps who the server has proven to be.
    pub fn into_proven(self) -> Proven {
        self.proven
    }

    /// Sends all of it.
    pub fn send(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        while !bytes.is_empty() {
            let written = shielded(|| self.session.write(bytes))?;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        shielded(|| self.session.flush())
    }

    /// Receives some of what comes; 0 where the server has closed.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        shielded(|| match self.session.read(buffer) {
            Err(TlsError::ConnectionClosed) => Ok(0),
            read => read,
        })
    }
}

struct Provider<'a> {
    verifier: Verifier<'a, Aes128GcmSha256>,
}

impl CryptoProvider for Provider<'_> {
    type CipherSuite = Aes128GcmSha256;
    /// No client certificate: a box without slots has no key to show.
    type Signature = [u8; 0];

    fn rng(&mut self) -> impl CryptoRngCore {
        OsRng
    }

    fn verifier(&mut self) -> Result<&mut impl TlsVerifier<Self::CipherSuite>, TlsError> {
        Ok(&mut self.verifier)
    }
}

/// The TLS library has places where a peer's nonsense makes it panic (a record without content, a handshake message after the
/// handshake). That is this connection's end and not the rescue's; nobody uses the session after it.
fn shielded<T>(step: impl FnOnce() -> Result<T, TlsError>) -> Result<T, Fault> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(result) => result.map_err(fault_of),
        Err(_) => Err(Fault::new("tls-refused", Blame::Source, "the server sent what TLS does not know")),
    }
}

fn fault_of(error: TlsError) -> Fault {
    match error {
        TlsError::Io(ErrorKind::TimedOut) => {
            Fault::new("too-slow", Blame::Network, "the source is silent or too slow; nobody waits for it longer")
        }
        TlsError::Io(_) | TlsError::IoError | TlsError::ConnectionClosed => {
            Fault::new("connection-broken", Blame::Network, format!("the connection broke ({error})"))
        }
        other => {
            let reason = format!(
                "TLS 1.3 with AES-128-GCM and P-256 did not come about ({other}): look at the server's settings"
            );
            Fault::new("tls-refused", Blame::Source, reason)
        }
    }
}
