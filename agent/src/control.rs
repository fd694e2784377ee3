//! The local socket beside the spool, by which `sund status`, `sund erase`, `sund requeue`, `sund recall`, `sund suspend` and
//! `sund resume` reach the agent that runs.
//!
//! One connection carries one request, a line of JSON, and one answer. Who may reach it is decided by the mode of the
//! spool's directory (0700): the agent's user and root.
use crate::console::StatusSource;
use crate::fault::{Blame, Fault};
use crate::limits::control::{MAX_ANSWER, MAX_CONNECTIONS, MAX_REQUEST, PATIENCE, RECALL_PATIENCE};
use crate::pipeline::{By, Pipeline};
use crate::recall::{Reason, Report, Which};
use crate::status::Status;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

/// What the agent is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// The state, without what identifies patients.
    Status,
    /// What /metrics tells.
    Metrics,
    /// Erase a study by its Study Instance UID.
    Erase {
        /// Study Instance UID.
        study: String,
    },
    /// Switch a model off at once, until it is resumed.
    Suspend {
        /// Name of its package.
        package: String,
        /// Why.
        reason: String,
    },
    /// Take a suspension back.
    Resume {
        /// Name of the package.
        package: String,
    },
    /// Queue again what was given up or is held.
    Requeue {
        /// Name of the destination; `None` for all of them.
        destination: Option<String>,
    },
    /// Recall the results of a package.
    Recall {
        /// Whose results.
        package: Which,
        /// Why; `None` for a dry run, which only tells.
        reason: Option<Reason>,
    },
}

impl Request {
    /// Longest wait for its answer.
    fn patience(&self) -> Duration {
        if matches!(self, Self::Recall { .. }) { RECALL_PATIENCE } else { PATIENCE }
    }
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The state.
    Status(Box<Status>),
    /// What /metrics tells, in the text format of Prometheus.
    Metrics {
        /// That.
        text: String,
    },
    /// The study was erased: this many instances.
    Erased {
        /// Instances that went, results among them.
        instances: u64,
    },
    /// The suspension is kept, or was taken back.
    Suspended {
        /// Name of the package.
        package: String,
        /// Whether it is off now.
        off: bool,
    },
    /// Queued again: this many results.
    Requeued {
        /// Results, counted once for each destination.
        results: u64,
    },
    /// Recalled, or what a recall would find.
    Recalled(Box<Report>),
    /// Not done.
    Refused(Fault),
}

/// Where the socket of the agent on this spool lies.
pub fn socket_path(spool: &Path) -> PathBuf {
    spool.join("control.sock")
}

/// Asks the agent on a spool.
pub async fn ask(spool: &Path, request: &Request) -> Result<Answer, Fault> {
    let path = socket_path(spool);
    let away = |error: &dyn std::fmt::Display| {
        let reason =
            format!("no agent answers on {}: {error}; is `sund serve` running, and may you read it?", path.display());
        Fault::new("agent-away", Blame::Box, reason)
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
    match timeout(request.patience(), exchange).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(away(&error)),
        Err(late) => Err(away(&late)),
    }
}

/// The agent's end.
pub struct Control(UnixListener);

impl Control {
    /// Binds the socket. The spool is held, so that what lies there is of an agent that is gone.
    pub fn bind(spool: &Path) -> Result<Self, Fault> {
        let path = socket_path(spool);
        let failed = |error: io::Error| {
            let reason = format!("the control socket {} cannot be made: {error}", path.display());
            Fault::new("control-unavailable", Blame::Box, reason)
        };
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        UnixListener::bind(&path).map(Self).map_err(failed)
    }

    /// Answers until `stop` turns true.
    pub async fn serve(self, pipeline: Arc<Pipeline>, mut stop: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let stream = tokio::select! {
                accepted = self.0.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let Ok((stream, _)) = stream else { continue };
            let pipeline = Arc::clone(&pipeline);
            tokio::spawn(async move {
                // A client that goes away or dawdles has nobody to be told.
                let _ = converse(stream, pipeline).await;
                drop(place);
            });
        }
    }
}

async fn converse(stream: UnixStream, pipeline: Arc<Pipeline>) -> io::Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut line = String::new();
    timeout(PATIENCE, BufReader::new(reading.take(MAX_REQUEST)).read_line(&mut line)).await??;
    let answer = match serde_json::from_str::<Request>(&line) {
        Ok(request) => {
            let patience = request.patience();
            let answering = tokio::task::spawn_blocking(move || answer(&pipeline, request));
            timeout(patience, answering).await??
        }
        Err(error) => Answer::Refused(Fault::new("control-request", Blame::Peer, format!("not a request: {error}"))),
    };
    let writing = async {
        writing.write_all(&serde_json::to_vec(&answer)?).await?;
        writing.shutdown().await
    };
    timeout(PATIENCE, writing).await?
}

fn answer(pipeline: &Pipeline, request: Request) -> Answer {
    match request {
        Request::Status => Answer::Status(Box::new(pipeline.snapshot().without_patients())),
        // Where there is no console nothing was recorded until now.
        Request::Metrics => Answer::Metrics { text: crate::metrics::install().render() },
        Request::Erase { study } => match pipeline.erase(&study, "on demand") {
            Ok(instances) => Answer::Erased { instances },
            Err(fault) => Answer::Refused(pipeline.operation_refused("erase", Some(&study), fault)),
        },
        Request::Suspend { package, reason } => {
            match pipeline.knows_model(&package).and_then(|()| pipeline.suspend(&package, &reason, By::Hand)) {
                Ok(()) => Answer::Suspended { package, off: true },
                Err(fault) => Answer::Refused(pipeline.operation_refused("suspend", None, fault)),
            }
        }
        Request::Resume { package } => {
            match pipeline.knows_model(&package).and_then(|()| pipeline.resume(&package, By::Hand)) {
                Ok(()) => Answer::Suspended { package, off: false },
                Err(fault) => Answer::Refused(pipeline.operation_refused("resume", None, fault)),
            }
        }
        Request::Requeue { destination } => match pipeline.requeue(destination.as_deref()) {
            Ok(results) => Answer::Requeued { results },
            Err(fault) => Answer::Refused(pipeline.operation_refused("requeue", None, fault)),
        },
        Request::Recall { package, reason } => match pipeline.recall(&package, reason.as_ref()) {
            Ok(report) => Answer::Recalled(Box::new(report)),
            Err(fault) => Answer::Refused(pipeline.operation_refused("recall", None, fault)),
        },
    }
}
