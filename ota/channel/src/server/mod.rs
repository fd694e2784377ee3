//! `sund-channel serve`: one process for devices (DDI, enrolment, the signed repository) and for people (the fleet
//! page).
mod certificate;
pub mod config;
mod connections;
pub mod control;
mod ddi;
mod enrolment;
mod escrow;
mod exhausted;
mod feedback;
mod peer;
mod presence;
mod range;
mod refusal;
mod renewal;
mod repository;
mod retention;
mod seats;
#[cfg(test)]
mod walk;

use crate::database::{Database, failed, now};
use crate::enrol::Lock;
use crate::enrol::authorities::Authorities;
use crate::enrol::standing::{Authority, standing};
use crate::fleet::{self, Door};
use crate::limits::http::{MAX_BODY, MAX_REQUESTS, REQUEST_TIME};
use crate::limits::people::MAX_EVENT_STREAMS;
use crate::repository::Upkeep;
use crate::rollout::engine;
use crate::rollout::view::{self, Overview};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use certificate::Own;
use config::Config;
use connections::{Connections, Doors};
use control::Control;
use ddi::Action;
use peer::Device;
pub(crate) use peer::Peer;
use presence::Presence;
pub(crate) use refusal::Refusal;
use rusqlite::Connection;
use std::net::SocketAddr;
use std::sync::Arc;
use sund_ota::fault::{Blame, Fault};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, watch};

/// What every route shares.
pub(crate) struct Server {
    pub config: Config,
    pub database: Database,
    pub door: Door,
    pub streams: Arc<Semaphore>,
    pub shutdown: watch::Receiver<bool>,
    pub upkeep: watch::Sender<Upkeep>,
    pub authorities: Arc<Authorities>,
    own: Arc<Own>,
    doors: Arc<Doors>,
    lock: Lock,
    presence: Arc<Presence>,
    wake: Arc<Notify>,
    requests: Semaphore,
}

impl Server {
    fn action(&self, device: &Device, id: i64) -> Result<Option<Action>, Fault> {
        self.database.read(|c| Action::of(c, device.id, id))
    }

    /// The fleet in figures.
    pub async fn overview(&self) -> Result<Overview, Fault> {
        let (since, repository) = (self.heard_since(), self.upkeep.borrow().clone());
        let (home, set) = (self.config.home.clone(), self.authorities.now());
        let look = move |c: &Connection| {
            let authorities = standing(c, &home, &set, now())?;
            view::overview(c, since, now(), repository, authorities)
        };
        self.database.survey(look).await
    }

    /// The channel's authorities, and how boxes stand with each; what the region has signed a moment ago counts already.
    async fn standing(self: &Arc<Self>) -> Result<Vec<Authority>, Fault> {
        let looking = Arc::clone(self);
        tokio::task::spawn_blocking(move || looking.look_at_authorities()).await.map_err(failed)??;
        let (home, set) = (self.config.home.clone(), self.authorities.now());
        self.database.survey(move |c| standing(c, &home, &set, now())).await
    }

    /// Looks whether the region has signed other authorities, which count at once then: for who connects from now on, for who is connected,
    /// and for the server's own certificate.
    pub fn look_at_authorities(&self) -> Result<(), Fault> {
        self.follow(self.authorities.look())
    }

    /// The same, where something was published since the last look.
    pub fn look_at_published_authorities(&self) -> Result<(), Fault> {
        self.follow(self.authorities.look_if_published())
    }

    /// Who is let in comes first, and whatever was found: the server's certificate may have to wait for a person, and no box waits with it.
    fn follow(&self, looked: Result<bool, Fault>) -> Result<(), Fault> {
        self.doors.renew()?;
        if looked? && let Err(fault) = self.own.replace(now() / 1000) {
            tracing::error!(code = %fault.code, "{fault}");
        }
        Ok(())
    }

    /// A box that was heard after this moment is reachable: three polls may be lost.
    pub fn heard_since(&self) -> i64 {
        now() - i64::from(self.config.poll_seconds) * 3 * 1000
    }
}

/// A server whose ports are bound.
pub struct Bound {
    server: Arc<Server>,
    connections: Arc<Connections>,
    control: Control,
    listeners: Vec<TcpListener>,
}

impl Bound {
    /// Checks and binds everything; `shutdown` ends what is served.
    pub async fn new(config: Config, shutdown: watch::Receiver<bool>) -> Result<Self, Fault> {
        let authorities = Arc::new(Authorities::open(&config.home)?);
        let own = Arc::new(Own::open(&config, &authorities)?);
        let doors = Arc::new(Doors::new(Arc::clone(&own), Arc::clone(&authorities))?);
        let control = Control::bind(&config.home).await?;
        let database = Database::open(&config.home)?;
        let mut listeners = Vec::new();
        for address in &config.listen {
            let bound = TcpListener::bind(address).await.map_err(|error| {
                Fault::new("port-unavailable", Blame::Configuration, format!("{address} cannot be bound: {error}."))
            })?;
            listeners.push(bound);
        }
        let server = Arc::new(Server {
            door: Door::new(config.users.clone())?,
            config,
            database,
            streams: Arc::new(Semaphore::new(MAX_EVENT_STREAMS)),
            shutdown: shutdown.clone(),
            upkeep: watch::Sender::default(),
            authorities,
            own,
            doors: Arc::clone(&doors),
            lock: Lock::default(),
            presence: Arc::new(Presence::default()),
            wake: Arc::new(Notify::new()),
            requests: Semaphore::new(MAX_REQUESTS),
        });
        let connections = Connections::new(routes(&server), doors, shutdown);
        Ok(Self { server, connections, control, listeners })
    }

    /// The addresses that were bound.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Serves until the shutdown, then drains.
    pub async fn serve(self) {
        let Self { server, connections, control, listeners } = self;
        let stop = server.shutdown.clone();
        let database = server.database.clone();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(engine::run(database.clone(), server.config.home.clone(), Arc::clone(&server.wake), stop.clone()));
        tasks.spawn(Arc::clone(&server.presence).run(database.clone(), stop.clone()));
        tasks.spawn(retention::run(database, stop.clone()));
        tasks.spawn({
            let (server, stop) = (Arc::clone(&server), stop.clone());
            async move { renewal::run(&server, stop).await }
        });
        tasks.spawn(control.serve(Arc::clone(&server), stop));
        for listener in listeners {
            tasks.spawn(Arc::clone(&connections).accept(listener));
        }
        while tasks.join_next().await.is_some() {}
    }
}

fn routes(server: &Arc<Server>) -> Router {
    let device = Router::new()
        .route("/", get(ddi::base))
        .route("/configData", put(ddi::config_data))
        .route("/deploymentBase/{action}", get(ddi::deployment))
        .route("/deploymentBase/{action}/feedback", post(feedback::deployment))
        .route("/confirmationBase", get(ddi::confirmations))
        .route("/confirmationBase/{action}", get(ddi::confirmation))
        .route("/confirmationBase/{action}/feedback", post(feedback::confirmation))
        .route("/cancelAction/{action}", get(ddi::cancel))
        .route("/cancelAction/{action}/feedback", post(feedback::cancel))
        .route("/installedBase/{action}", get(ddi::installed))
        .route("/softwaremodules/{module}/artifacts", get(ddi::artifacts))
        .route("/softwaremodules/{module}/artifacts/{file}", get(ddi::artifact));
    Router::new()
        .nest("/{tenant}/controller/v1/{controller}", device)
        .route("/enrol", post(enrolment::first))
        .route("/enrol/renew", post(enrolment::again))
        .route("/escrow", post(escrow::offer))
        .route("/repository/metadata/{*path}", get(repository::file))
        .route("/repository/targets/{*path}", get(repository::file))
        .route("/health", get(async || "serving\n"))
        .merge(fleet::routes(Arc::clone(server)))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(Arc::clone(server), bounded))
        .with_state(Arc::clone(server))
}

/// Around every route: so many at once, each within its time; the rest is told when to come again.
async fn bounded(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let Ok(_place) = server.requests.try_acquire() else {
        let reason = "The channel has too much to do: come again later.";
        return Refusal::from(Fault::new("overloaded", Blame::Channel, reason)).into_response();
    };
    match tokio::time::timeout(REQUEST_TIME, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "The request took too long.\n").into_response(),
    }
}
