//! Sockets to requests: TLS, connections within their limits, and the drain at the end.
use super::certificate::{Own, refuse};
use super::exhausted::Exhausted;
use super::peer::{Certificate, Peer};
use super::seats::Seats;
use crate::enrol::authorities::{Authorities, Set};
use crate::limits::http::{
    CONNECTION_LIFE, DRAIN_TIME, HANDSHAKE_TIME, HEAD_TIME, MAX_CONNECTIONS, MAX_HEAD, MAX_HEADERS,
};
use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use sund_ota::fault::Fault;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// Who is let in by TLS, as the authorities stand: a session that began before they changed is not resumed.
pub(super) struct Doors {
    own: Arc<Own>,
    authorities: Arc<Authorities>,
    now: RwLock<(Arc<Set>, TlsAcceptor)>,
}

impl Doors {
    pub fn new(own: Arc<Own>, authorities: Arc<Authorities>) -> Result<Self, Fault> {
        let set = authorities.now();
        let now = RwLock::new((Arc::clone(&set), tls(&own, &set)?));
        Ok(Self { own, authorities, now })
    }

    /// Opens to those who count now, where they are others than these doors were made for.
    pub fn renew(&self) -> Result<(), Fault> {
        let set = self.authorities.now();
        if !Arc::ptr_eq(&set, &self.now.read().unwrap_or_else(PoisonError::into_inner).0) {
            let acceptor = tls(&self.own, &set)?;
            *self.now.write().unwrap_or_else(PoisonError::into_inner) = (set, acceptor);
        }
        Ok(())
    }

    fn now(&self) -> TlsAcceptor {
        self.now.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}

/// TLS with the server's own certificate, whichever that is at the time; asks for a client certificate of the channel's authorities, and serves
/// callers without one too: browsers, boxes that enrol, boxes with a target token.
fn tls(own: &Arc<Own>, authorities: &Set) -> Result<TlsAcceptor, Fault> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = authorities.roots().map_err(|error| refuse(&error))?;
    let devices = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| refuse(&error))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refuse(&error))?
        .with_client_cert_verifier(devices)
        .with_cert_resolver(Arc::clone(own) as Arc<dyn rustls::server::ResolvesServerCert>);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Ten thousand boxes resume by tickets that they keep themselves: the server remembers no session.
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| refuse(&error))?;
    config.send_tls13_tickets = 1;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The open connections of a server.
pub(super) struct Connections {
    router: Router,
    doors: Arc<Doors>,
    all: Arc<Semaphore>,
    seats: Arc<Seats>,
    shutdown: watch::Receiver<bool>,
}

impl Connections {
    pub fn new(router: Router, doors: Arc<Doors>, shutdown: watch::Receiver<bool>) -> Arc<Self> {
        Arc::new(Self {
            router,
            doors,
            all: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            seats: Arc::default(),
            shutdown,
        })
    }

    /// Accepts until the shutdown, then gives what is open its time to end.
    pub async fn accept(self: Arc<Self>, listener: TcpListener) {
        let mut open = JoinSet::new();
        let mut shutdown = self.shutdown.clone();
        let mut exhausted = Exhausted::new("the network");
        loop {
            let next = async {
                let permit = Arc::clone(&self.all).acquire_owned().await;
                (permit, exhausted.next(|| listener.accept()).await)
            };
            let (permit, (socket, address)) = tokio::select! {
                next = next => next,
                _ = shutdown.wait_for(|stop| *stop) => break,
                Some(_) = open.join_next() => continue,
            };
            let Some(seat) = Seats::take(&self.seats, address.ip()) else { continue };
            let connections = Arc::clone(&self);
            open.spawn(async move {
                connections.connection(socket, address).await;
                drop((permit, seat));
            });
        }
        drop(listener);
        let ended = async { while open.join_next().await.is_some() {} };
        drop(timeout(DRAIN_TIME, ended).await);
    }

    async fn connection(&self, socket: TcpStream, address: SocketAddr) {
        drop(socket.set_nodelay(true));
        let Ok(Ok(stream)) = timeout(HANDSHAKE_TIME, self.doors.now().accept(socket)).await else { return };
        let chain = stream.get_ref().1.peer_certificates();
        let certificate = chain.and_then(|chain| Certificate::read(chain.first()?, &self.doors.authorities.now()));
        let (router, peer) = (TowerToHyperService::new(self.router.clone()), Peer { address, certificate });
        // What `Extension<Peer>` finds. A layer would make all routes anew with each connection.
        let service = service_fn(move |mut request| {
            request.extensions_mut().insert(peer.clone());
            router.call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_HEADERS)
            .serve_connection(TokioIo::new(stream), service);
        let mut shutdown = self.shutdown.clone();
        let mut connection = std::pin::pin!(connection);
        let stop = async {
            tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => {}
                () = tokio::time::sleep(CONNECTION_LIFE) => {}
            }
        };
        let ended = tokio::select! {
            _ = connection.as_mut() => true,
            () = stop => false,
        };
        if !ended {
            connection.as_mut().graceful_shutdown();
            drop(timeout(DRAIN_TIME, connection).await);
        }
    }
}
