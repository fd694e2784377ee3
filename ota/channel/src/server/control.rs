//! The local socket beside the database, by which `sund-channel rollout`, `enrol` and `fleet` reach the server that
//! runs.
//!
//! One connection carries one request, a line of JSON, and one answer. Who may connect is decided by the mode of the
//! socket (0600): the server's user and root. What is ordered is written down with the caller's user number, which is no
//! person's name: nothing is approved here.
use super::Server;
use super::exhausted::Exhausted;
use crate::database::now;
use crate::enrol::standing::Authority;
use crate::limits::control::{MAX_ANSWER, MAX_CONNECTIONS, MAX_REQUEST, PATIENCE};
use crate::rollout::filter::Attributes;
use crate::rollout::orders::{self, Order};
use crate::rollout::view::{self, Device, Overview, Rollout};
use crate::rollout::{New, listed};
use crate::{enrol, escrow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use sund_ota::fault::{Blame, Fault};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

/// What the server is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// A one-time code for a box.
    Enrol {
        /// Its name.
        name: String,
        /// What it is told to be.
        attributes: Attributes,
        /// Hours until the code expires.
        hours: u32,
    },
    /// A one-time code for a mirror.
    EnrolMirror {
        /// Its name.
        name: String,
        /// Hours until the code expires.
        hours: u32,
    },
    /// A target token for a box.
    Token {
        /// Its name.
        name: String,
        /// What it is told to be.
        attributes: Attributes,
    },
    /// Say what a known box is.
    Set {
        /// Its name.
        name: String,
        /// What; an empty value takes back what was said before.
        attributes: Attributes,
    },
    /// Shut a box out, or let it in again.
    Block {
        /// Its name.
        name: String,
        /// Out.
        blocked: bool,
    },
    /// Which sealed recovery keys of a box are kept.
    Escrow {
        /// Its name.
        name: String,
    },
    /// One of them.
    TakeEscrow {
        /// Name of the box.
        name: String,
        /// SHA-256 of the sealed key; absent: the newest.
        sha256: Option<String>,
    },
    /// Drop one of them.
    DropEscrow {
        /// Name of the box.
        name: String,
        /// SHA-256 of the sealed key.
        sha256: String,
    },
    /// Make a rollout.
    NewRollout(New),
    /// Order something of a rollout.
    Order {
        /// Its name.
        name: String,
        /// What.
        order: Order,
    },
    /// Stop every rollout.
    StopAll,
    /// How rollouts stand: all, or one.
    Rollouts {
        /// Its name.
        name: Option<String>,
    },
    /// The channel's authorities, and how boxes stand with each.
    Authorities,
    /// The fleet in figures.
    Overview,
    /// A page of the boxes that match a search.
    Devices {
        /// Part of a name, an attribute or a state.
        search: String,
        /// From 0.
        page: u32,
    },
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Done.
    Done,
    /// A secret that is said once and kept nowhere.
    Secret(String),
    /// All that operators have said of a box.
    Attributes(Attributes),
    /// This many rollouts were stopped.
    Stopped(u64),
    /// Rollouts.
    Rollouts(Vec<Rollout>),
    /// The channel's authorities.
    Authorities(Vec<Authority>),
    /// The fleet in figures.
    Overview(Box<Overview>),
    /// Boxes, and how many match.
    Devices(Vec<Device>, i64),
    /// Sealed recovery keys that are kept, or the one that was dropped.
    Escrow(Vec<escrow::Kept>),
    /// A sealed recovery key, in base64.
    Sealed(escrow::Kept, String),
    /// Not done.
    Refused(Fault),
}

/// Where the socket of a channel's home lies.
pub fn socket_path(home: &Path) -> PathBuf {
    home.join("channel.sock")
}

/// Asks the server of a home.
pub async fn ask(home: &Path, request: &Request) -> Result<Answer, Fault> {
    let path = socket_path(home);
    let away = |error: &dyn std::fmt::Display| {
        let reason = format!(
            "no server answers on {}: {error}; is `sund-channel serve` running, and may you reach it?",
            path.display()
        );
        Fault::new("server-away", Blame::Channel, reason)
    };
    let exchange = async {
        let mut stream = UnixStream::connect(&path).await?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
        Ok::<_, io::Error>(serde_json::from_slice(&answer)?)
    };
    match timeout(PATIENCE, exchange).await {
        Ok(Ok(Answer::Refused(fault))) => Err(fault),
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(away(&error)),
        Err(late) => Err(away(&late)),
    }
}

/// The server's end.
pub(super) struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Binds the socket; a server that still answers on it keeps it.
    pub async fn bind(home: &Path) -> Result<Self, Fault> {
        let path = socket_path(home);
        let failed = |error: io::Error| {
            let reason = format!("The control socket {} cannot be made: {error}.", path.display());
            Fault::new("control-unavailable", Blame::Configuration, reason)
        };
        if UnixStream::connect(&path).await.is_ok() {
            return Err(failed(io::Error::other("another server runs on this home")));
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(failed)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self { listener, path })
    }

    /// Answers until the shutdown.
    pub async fn serve(self, server: Arc<Server>, mut stop: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut exhausted = Exhausted::new("channel.sock");
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let (stream, _) = tokio::select! {
                accepted = exhausted.next(|| self.listener.accept()) => accepted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                // A client that goes away or dawdles has nobody to be told.
                let _ = timeout(PATIENCE, converse(stream, &server)).await;
                drop(place);
            });
        }
    }
}

impl Drop for Control {
    /// The next server need not ask whether somebody answers on it: a program that is being started holds what is open here for a moment.
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn converse(stream: UnixStream, server: &Arc<Server>) -> io::Result<()> {
    let who = format!("uid {}", stream.peer_cred()?.uid());
    let (reading, mut writing) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reading.take(MAX_REQUEST)).read_line(&mut line).await?;
    let answer = match serde_json::from_str(&line) {
        Ok(request) => answer(server, request, who).await.unwrap_or_else(Answer::Refused),
        Err(error) => {
            Answer::Refused(Fault::new("control-request", Blame::Configuration, format!("not a request: {error}")))
        }
    };
    writing.write_all(&serde_json::to_vec(&answer)?).await?;
    writing.shutdown().await
}

async fn answer(server: &Arc<Server>, request: Request, who: String) -> Result<Answer, Fault> {
    let database = &server.database;
    Ok(match request {
        Request::Enrol { name, attributes, hours } => {
            let code = enrol::new_code()?;
            let secret = code.clone();
            let write = move |c: &Connection| {
                enrol::mirror::make_box(c, &name)?;
                enrol::expect(c, &name, &attributes, &code, hours, &who, now())
            };
            database.write(write).await?;
            Answer::Secret(secret)
        }
        Request::EnrolMirror { name, hours } => {
            let code = enrol::new_code()?;
            let secret = code.clone();
            let write = move |c: &Connection| {
                enrol::expect(c, &name, &Attributes::new(), &code, hours, &who, now())?;
                enrol::mirror::make_mirror(c, &name)
            };
            database.write(write).await?;
            Answer::Secret(secret)
        }
        Request::Token { name, attributes } => {
            let token = enrol::new_token()?;
            let secret = token.clone();
            let write = move |c: &Connection| {
                enrol::mirror::make_box(c, &name)?;
                enrol::give_token(c, &name, &attributes, &token, &who, now())
            };
            database.write(write).await?;
            Answer::Secret(secret)
        }
        Request::Set { name, attributes } => {
            Answer::Attributes(database.write(move |c| enrol::set(c, &name, &attributes, &who)).await?)
        }
        Request::Block { name, blocked } => {
            database.write(move |c| enrol::block(c, &name, blocked, &who)).await?;
            Answer::Done
        }
        Request::Escrow { name } => Answer::Escrow(database.survey(move |c| escrow::list(c, &name)).await?),
        Request::TakeEscrow { name, sha256 } => {
            let taken = database.write(move |c| escrow::take(c, &name, sha256.as_deref(), &who)).await?;
            Answer::Sealed(taken.0, STANDARD.encode(taken.1))
        }
        Request::DropEscrow { name, sha256 } => {
            Answer::Escrow(vec![database.write(move |c| escrow::remove(c, &name, &sha256, &who)).await?])
        }
        Request::NewRollout(new) => {
            server.make(new, who).await?;
            Answer::Done
        }
        Request::Order { order: Order::Approve, .. } => {
            let reason =
                "An approver agrees at the fleet page, logged in: this socket knows user numbers, and no persons.";
            return Err(Fault::new("rollout-approval-socket", Blame::Configuration, reason));
        }
        Request::Order { name, order } => {
            server.order(name, order, who).await?;
            Answer::Done
        }
        Request::StopAll => Answer::Stopped(database.write(move |c| orders::stop_all(c, &who)).await?),
        Request::Rollouts { name } => {
            let named = name.clone();
            let rollouts = database.survey(move |c| view::rollouts(c, named.as_deref())).await?;
            match name.filter(|_| rollouts.is_empty()) {
                Some(name) => return Err(orders::unknown(&name)),
                None => Answer::Rollouts(rollouts),
            }
        }
        Request::Authorities => Answer::Authorities(server.standing().await?),
        Request::Overview => Answer::Overview(Box::new(server.overview().await?)),
        Request::Devices { search, page } => {
            let (devices, all) = database.survey(move |c| view::devices(c, &search, page)).await?;
            Answer::Devices(devices, all)
        }
    })
}

impl Server {
    /// Makes a rollout of what the repository lists now.
    pub(crate) async fn make(&self, new: New, who: String) -> Result<(), Fault> {
        let (home, name) = (self.config.home.clone(), new.state.clone());
        let state = tokio::task::spawn_blocking(move || {
            let state = listed::state(&home, &name)?;
            let boxes = listed::boxes(&home, &state)?;
            Ok::<_, Fault>(orders::State { descriptor: state, boxes })
        });
        let state = state.await.map_err(crate::database::failed)??;
        let approval = self.config.approval;
        self.database.write(move |c| orders::make(c, &new, &state, approval, &who)).await
    }

    /// Orders something of a rollout and has the rules look at it.
    pub(crate) async fn order(&self, name: String, order: Order, who: String) -> Result<(), Fault> {
        self.database.write(move |c| orders::order(c, &name, order, &who)).await?;
        self.wake.notify_one();
        Ok(())
    }
}
