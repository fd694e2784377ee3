//! The service class provider: a port, and what happens on it from the connection to the association.
use super::gate::{Echoes, Gate};
use super::intake::{Association, Intake};
use super::negotiate::{Answer, local_limit, negotiate};
use super::places::{Place, Places};
use super::policy::{Policy, refusal};
use super::session::Session;
use super::wire::{Received, Wire, WireError};
use crate::limits::association::{ARTIM, DRAIN, DRAIN_IDLE, LINGER, MAX_OWN_CALLS};
use dicom_ul::pdu::{AssociationRQ, Pdu};
use rustls::CertificateError;
use rustls::pki_types::CertificateDer;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// Before the next try where the system gives no connection: it is out of open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound port, and how connections on it are secured.
pub struct Listener {
    /// The port.
    pub socket: TcpListener,
    /// TLS; `None` for plain DICOM.
    pub tls: Option<TlsAcceptor>,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let address: Option<SocketAddr> = self.socket.local_addr().ok();
        write!(f, "Listener({address:?}, tls: {})", self.tls.is_some())
    }
}

/// Serves associations until `stop` turns true. Those that run may then go on for `DRAIN`, idle ones for `DRAIN_IDLE`;
/// what is left is aborted.
///
/// Who may call is asked for each association anew: it can change while others run.
pub async fn serve<I: Intake>(
    listener: Listener,
    gate: impl Into<Gate>,
    intake: Arc<I>,
    mut stop: watch::Receiver<bool>,
) {
    let gate = gate.into();
    let places = Places::new(gate.policy().max_associations);
    let own_places = Places::new(MAX_OWN_CALLS);
    let mut running = JoinSet::new();
    let mut number = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.socket.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        while running.try_join_next().is_some() {}
        let Ok((stream, peer)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        if gate.is_own(peer) {
            let Some(place) = own_places.connect(peer.ip()) else { continue };
            let association = Association { id: 0, calling_ae: String::new(), called_ae: String::new(), peer };
            // It comes from this very process, whose AE title may have changed meanwhile.
            let policy = Policy { require_called_ae: false, callers: Vec::new(), ..Policy::clone(&gate.policy()) };
            let node = Node { policy: Arc::new(policy), intake: Arc::new(Echoes), stop: stop.clone() };
            running.spawn(node.connection(stream, None, association, place));
            continue;
        }
        // Without a place it is closed at once: an answer would cost what the limit is to save.
        let Some(place) = places.connect(peer.ip()) else {
            intake.turned_away(peer);
            continue;
        };
        number += 1;
        let association = Association { id: number, calling_ae: String::new(), called_ae: String::new(), peer };
        let node = Node { policy: gate.policy(), intake: Arc::clone(&intake), stop: stop.clone() };
        running.spawn(node.connection(stream, listener.tls.clone(), association, place));
    }
    drop(listener);
    while running.join_next().await.is_some() {}
}

/// Why a handshake failed, for whoever sets the caller up. Nothing of the caller's own words.
fn why_no_tls(error: &std::io::Error) -> &'static str {
    use rustls::Error;
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::NoCertificatesPresented) => "it showed no certificate",
        // The second is one that bears the name of ours and is another.
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            "its certificate is of an authority that is not trusted here"
        }
        Some(Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })) => {
            "its certificate has expired"
        }
        Some(Error::InvalidCertificate(_)) => "its certificate is not valid",
        Some(Error::InvalidMessage(_)) => "it speaks no TLS",
        Some(Error::AlertReceived(_)) => "it refused our certificate or our protocol",
        _ => "the handshake broke off",
    }
}

/// What every connection knows.
struct Node<I> {
    policy: Arc<Policy>,
    intake: Arc<I>,
    stop: watch::Receiver<bool>,
}

impl<I: Intake> Node<I> {
    async fn connection(self, stream: TcpStream, tls: Option<TlsAcceptor>, association: Association, place: Place) {
        // Each response is one write, and the peer waits for it.
        let _ = stream.set_nodelay(true);
        match tls {
            None => self.conversation(Wire::new(stream), association, None, place).await,
            Some(tls) => match timeout(ARTIM, tls.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let chain = stream.get_ref().1.peer_certificates();
                    let certificate = chain.and_then(<[_]>::first).cloned().map(CertificateDer::into_owned);
                    self.conversation(Wire::new(stream), association, certificate, place).await;
                }
                Ok(Err(error)) => {
                    let reason = format!("no TLS with {}: {}", association.peer.ip(), why_no_tls(&error));
                    self.intake.rejected(&association, &refusal("tls-failed", reason));
                }
                Err(_) => {
                    let reason = format!("no TLS with {}: it began no handshake in time", association.peer.ip());
                    self.intake.rejected(&association, &refusal("tls-failed", reason));
                }
            },
        }
    }

    async fn conversation<S>(
        self,
        mut wire: Wire<S>,
        mut association: Association,
        certificate: Option<CertificateDer<'static>>,
        mut place: Place,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let Some(request) = self.request(&mut wire, &association).await else { return };
        association.calling_ae = text(&request.calling_ae_title);
        association.called_ae = text(&request.called_ae_title);
        let (rj, fault) = match negotiate(&self.policy, request, &association, certificate.as_ref()) {
            Answer::Reject { rj, fault } => (rj, fault),
            Answer::Accept { .. } if !place.associate() => {
                let reason = format!("`{}` finds all associations of this node in use", association.calling_ae);
                (local_limit(), refusal("too-many-associations", reason))
            }
            Answer::Accept { ac, contexts, max_pdu, lacking } => {
                if wire.send(&Pdu::AssociationAC(ac)).await.is_err() {
                    return;
                }
                self.intake.opened(&association, lacking);
                let stop = self.stop.clone();
                let mut session = Session::new(wire, association, contexts, max_pdu, self.intake.as_ref(), stop);
                tokio::select! {
                    biased;
                    () = session.run() => {}
                    () = after(&self.stop, DRAIN) => {
                        let error = WireError::TimedOut(DRAIN);
                        session.broken_off(&error);
                        // A peer that is gone is told nothing.
                        let _ = session.wire.send(&error.abort()).await;
                    }
                }
                self.intake.closed(&session.association);
                drop(place);
                return session.wire.linger(LINGER).await;
            }
        };
        self.intake.rejected(&association, &fault);
        if wire.send(&Pdu::AssociationRJ(rj)).await.is_ok() {
            wire.linger(LINGER).await;
        }
    }

    /// Waits for the association request (PS3.8 9.2, state 2); `None` where none came.
    async fn request<S>(&self, wire: &mut Wire<S>, association: &Association) -> Option<AssociationRQ>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let received = tokio::select! {
            received = timeout(ARTIM, wire.receive(ARTIM)) => received.unwrap_or(Err(WireError::TimedOut(ARTIM))),
            () = after(&self.stop, DRAIN_IDLE) => return None,
        };
        let error = match received {
            Ok(Received::Other(pdu)) => match *pdu {
                Pdu::AssociationRQ(request) => return Some(request),
                _ => WireError::OutOfStep("a PDU before the association request"),
            },
            Ok(Received::Data(_)) => WireError::OutOfStep("data before the association request"),
            // A probe that opens a port and closes it again.
            Err(WireError::Closed) => return None,
            Err(error) => error,
        };
        let reason = format!("{} made no association request: {error}", association.peer.ip());
        self.intake.rejected(association, &refusal("association-not-requested", reason));
        // A peer that is gone is told nothing.
        let _ = wire.send(&error.abort()).await;
        None
    }
}

/// Returns `time` after the node began to stop.
async fn after(stop: &watch::Receiver<bool>, time: Duration) {
    let mut stop = stop.clone();
    // An error says that nobody is left to stop the node: then it stops.
    let _ = stop.wait_for(|stop| *stop).await;
    sleep(time).await;
}

/// An AE title as PS3.8 9.3.2 has it: surrounding spaces do not count. What no title may hold does not get into logs.
fn text(title: &str) -> String {
    title.trim_matches([' ', '\0']).chars().filter(|c| !c.is_control()).collect()
}
