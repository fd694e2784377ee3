//! The web console and the metrics endpoint: what the node does, live, for a person with a browser and for Prometheus.
//!
//! It reads a [`StatusSource`]; what it has done is what a person who has logged in orders of an [`Operator`]. Off loopback it serves only
//! over TLS and after a login. Pages are files in this binary: nothing is loaded from elsewhere, and no patient data stands in an address.
mod api;
mod assets;
mod guard;
mod login;
mod orders;
mod server;
mod sessions;
mod support_bundle;
mod tls;
pub mod updater;

pub use login::{Login, User, hash_password};
pub use orders::{Done, Operator, Order, Recalled};
pub use server::serve;
pub use tls::tls_from_pem;

use crate::audit::Log;
use crate::status::Status;
use crate::support;
use bytes::Bytes;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// Where the console reads from.
pub trait StatusSource: Send + Sync + 'static {
    /// The state now; cheap enough to be asked four times a second.
    fn snapshot(&self) -> Status;

    /// Whether studies are taken in. Asked by whoever can reach the port, so it costs next to nothing.
    fn readiness(&self) -> Readiness;

    /// A number that changes with the state.
    fn changes(&self) -> watch::Receiver<u64>;

    /// The preview picture (PNG) of the result `result_index` of the study `study_id` (`StudyStatus::id`).
    fn preview(&self, study_id: &str, result_index: usize) -> Option<Bytes>;
}

/// Whether studies are taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// They are.
    Accepting,
    /// The spool takes none: C-STORE is answered A700H.
    Full,
    /// The agent stops.
    Draining,
}

/// How the console serves.
#[derive(Clone, Default)]
pub struct ConsoleOptions {
    /// TLS; without it only loopback addresses are served, over plain HTTP.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Users; asks for TLS. Without it only loopback addresses are served, to whoever is on this machine.
    pub login: Option<Login>,
    /// Names and addresses by which browsers reach this console, without ports. Those of the loopback count without
    /// being listed.
    pub allowed_hosts: Vec<String>,
    /// Where logins are recorded; a login that cannot be recorded is refused.
    pub audit: Option<Arc<Log>>,
    /// The status file of the updater, where this box has one.
    pub updater_status: Option<PathBuf>,
    /// Who carries out what people order who have logged in; without it, and without a login, nobody orders anything.
    pub operator: Option<Arc<dyn Operator>>,
    /// What support bundles are made of; without it the console gives none.
    pub support: Option<support::Source>,
}

/// Path of the preview picture of a result, for `ResultStatus::preview`.
pub fn preview_path(study_id: &str, result_index: usize) -> String {
    format!("/api/v1/studies/{study_id}/preview/{result_index}.png")
}
