//! Sockets to routes: who may be served where, connections within their limits, and the drain at the end.
use super::login::Door;
use super::{ConsoleOptions, Operator, StatusSource, api, assets, guard, login, orders, support_bundle, updater};
use crate::audit::Log;
use crate::fault::{Blame, Fault};
use crate::limits::console::{
    CONNECTION_LIFE, DRAIN_TIME, HANDSHAKE_TIME, HEAD_TIME, MAX_BODY, MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS,
    MAX_EVENT_STREAMS, MAX_HEAD, MAX_HEADERS,
};
use crate::metrics::Metrics;
use crate::support::Source;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// What every route and connection shares.
pub(super) struct Server {
    pub source: Arc<dyn StatusSource>,
    pub changes: watch::Receiver<u64>,
    pub metrics: Metrics,
    pub audit: Option<Arc<Log>>,
    pub door: Option<Door>,
    pub secure: bool,
    pub shutdown: watch::Receiver<bool>,
    pub streams: Arc<Semaphore>,
    pub snapshot: Mutex<Option<(u64, Bytes)>>,
    pub updater_status: Option<PathBuf>,
    pub support: Option<Source>,
    pub operator: Option<Arc<dyn Operator>>,
    /// One order at a time is carried out.
    pub orders: Arc<Semaphore>,
    pub found: orders::Found,
    /// One bundle at a time is made.
    pub bundles: Arc<Semaphore>,
    hosts: Vec<String>,
}

impl Server {
    /// True when the console answers to this `Host`.
    pub fn knows(&self, host: &str) -> bool {
        let name = guard::name(host);
        guard::LOOPBACK.contains(&name.as_str()) || self.hosts.contains(&name)
    }
}

/// The address of the browser.
#[derive(Clone, Copy)]
pub(super) struct Caller(pub SocketAddr);

impl Caller {
    pub fn text(self) -> String {
        self.0.ip().to_canonical().to_string()
    }
}

/// Serves the console on `listeners` until `shutdown` is true, then ends what is open within
/// `limits::console::DRAIN_TIME`. Refuses at once to serve beyond loopback without TLS and login.
pub async fn serve(
    listeners: Vec<TcpListener>,
    options: ConsoleOptions,
    source: Arc<dyn StatusSource>,
    metrics: Metrics,
    shutdown: watch::Receiver<bool>,
) -> Result<(), Fault> {
    may_serve(&listeners, &options)?;
    let server = Arc::new(Server {
        changes: source.changes(),
        source,
        metrics: metrics.clone(),
        audit: options.audit,
        door: options.login.map(Door::new).transpose()?,
        secure: options.tls.is_some(),
        shutdown: shutdown.clone(),
        streams: Arc::new(Semaphore::new(MAX_EVENT_STREAMS)),
        snapshot: Mutex::new(None),
        updater_status: options.updater_status,
        operator: options.operator,
        orders: Arc::new(Semaphore::new(1)),
        found: orders::Found::default(),
        support: options.support,
        bundles: Arc::new(Semaphore::new(1)),
        hosts: options.allowed_hosts.iter().map(|host| guard::name(host)).collect(),
    });
    let door = Arc::new(Connections {
        router: routes(server),
        tls: options.tls.map(TlsAcceptor::from),
        all: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        by_address: Mutex::new(HashMap::new()),
        shutdown: shutdown.clone(),
    });
    let mut tasks = JoinSet::new();
    for listener in listeners {
        tasks.spawn(door.clone().accept(listener));
    }
    tasks.spawn(upkeep(metrics, shutdown));
    while tasks.join_next().await.is_some() {}
    Ok(())
}

/// Off loopback only with TLS and login; a login only with TLS.
fn may_serve(listeners: &[TcpListener], options: &ConsoleOptions) -> Result<(), Fault> {
    let refuse = |code, reason: String| Err(Fault::new(code, Blame::Configuration, reason));
    if options.login.is_some() && options.tls.is_none() {
        return refuse(
            "console-login-without-tls",
            "A console with a login needs TLS: set its certificate and key.".into(),
        );
    }
    for listener in listeners {
        let address = listener.local_addr().map_err(|error| {
            Fault::new("console-address", Blame::Box, format!("The console's socket failed: {error}."))
        })?;
        if !address.ip().to_canonical().is_loopback() && options.login.is_none() {
            let reason = format!(
                "The console on {address} can be reached from the network: it needs TLS and a login. \
                 Set both, or let it listen on 127.0.0.1."
            );
            return refuse("console-exposed", reason);
        }
    }
    Ok(())
}

fn routes(server: Arc<Server>) -> Router {
    Router::new()
        .route("/", get(assets::index))
        .route("/assets/{name}", get(assets::asset))
        .route("/login", get(login::page).post(login::login))
        .route("/logout", post(login::logout))
        .route("/api/v1/status", get(api::status))
        .route("/api/v1/events", get(api::events))
        .route("/api/v1/updater", get(updater::updater))
        .route("/api/v1/session", get(api::session))
        .route("/api/v1/studies/{id}/preview/{picture}", get(api::preview))
        .route("/api/v1/orders", post(orders::order))
        .route("/support", post(support_bundle::bundle))
        .route("/metrics", get(api::metrics))
        .route("/health", get(api::health))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(axum::middleware::from_fn_with_state(server.clone(), guard::guard))
        .with_state(server)
}

async fn upkeep(metrics: Metrics, mut shutdown: watch::Receiver<bool>) {
    let stopped = async { drop(shutdown.wait_for(|stop| *stop).await) };
    let work = async {
        let mut tick = tokio::time::interval(Duration::from_secs(5));
        loop {
            tick.tick().await;
            metrics.upkeep();
        }
    };
    tokio::select! { () = stopped => {}, () = work => {} }
}

/// The connections of a console.
struct Connections {
    router: Router,
    tls: Option<TlsAcceptor>,
    all: Arc<Semaphore>,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    shutdown: watch::Receiver<bool>,
}

impl Connections {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let mut open = JoinSet::new();
        let mut shutdown = self.shutdown.clone();
        loop {
            let next = async {
                let permit = self.all.clone().acquire_owned().await;
                (permit, listener.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                next = next => next,
                _ = shutdown.wait_for(|stop| *stop) => break,
                Some(_) = open.join_next() => continue,
            };
            match accepted {
                Ok((socket, address)) => {
                    let Some(seat) = self.seat(address.ip()) else { continue };
                    let connections = self.clone();
                    open.spawn(async move {
                        connections.connection(socket, address).await;
                        drop((permit, seat));
                    });
                }
                // Out of file descriptors: those that are open have to end first.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        drop(listener);
        let ended = async { while open.join_next().await.is_some() {} };
        drop(tokio::time::timeout(DRAIN_TIME, ended).await);
    }

    async fn connection(&self, socket: TcpStream, address: SocketAddr) {
        drop(socket.set_nodelay(true));
        match &self.tls {
            None => self.http(socket, address).await,
            Some(tls) => {
                if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_TIME, tls.accept(socket)).await {
                    self.http(stream, address).await;
                }
            }
        }
    }

    async fn http(&self, stream: impl AsyncRead + AsyncWrite + Unpin + 'static, address: SocketAddr) {
        let service = TowerToHyperService::new(self.router.clone().layer(axum::Extension(Caller(address))));
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
            drop(tokio::time::timeout(DRAIN_TIME, connection).await);
        }
    }

    /// One of an address's seats, given back on drop.
    fn seat(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = by_address.entry(address).or_default();
        if *taken >= MAX_CONNECTIONS_PER_ADDRESS {
            return None;
        }
        *taken += 1;
        Some(Seat { connections: self.clone(), address })
    }
}

struct Seat {
    connections: Arc<Connections>,
    address: IpAddr,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut by_address = self.connections.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = by_address.get_mut(&self.address) {
            *taken -= 1;
            if *taken == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}
