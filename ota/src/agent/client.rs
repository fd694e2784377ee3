//! Asking the agent: one connection for each question, every answer bounded in length and time.
use super::{AgentFault, AgentStatus, Answer, Holder, Offer, RegionSuspension, Request, StateId, Trial};
use crate::audit::Batch;
use crate::fault::{Blame, Fault};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// An answer, in bytes, against an agent that has gone wrong.
const MAX_ANSWER: u64 = 1024 * 1024;
/// Longest time for an answer: the agent answers at once, and works afterwards.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// The agent of this box.
#[derive(Clone, Debug)]
pub struct Agent {
    socket: PathBuf,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// It is not there now.
    #[error("the agent does not answer on {socket}: {reason}")]
    Away {
        /// Where it was asked.
        socket: String,
        /// What happened.
        reason: String,
        /// Nobody listens there.
        is_gone: bool,
    },
    /// It does not do that.
    #[error("{} [{}]", .0.reason, .0.code)]
    Refused(AgentFault),
    /// It answers something else than what was asked.
    #[error("the agent answers what was not asked: update the agent and the updater together")]
    Other,
}

impl From<AgentError> for Fault {
    fn from(error: AgentError) -> Self {
        match error {
            AgentError::Away { .. } => Self::new("agent-away", Blame::Agent, error.to_string()),
            AgentError::Refused(fault) => fault.into(),
            AgentError::Other => Self::new("agent-answer", Blame::Agent, error.to_string()),
        }
    }
}

impl Agent {
    /// The agent behind a socket.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// How it stands.
    pub async fn status(&self) -> Result<AgentStatus, AgentError> {
        match self.ask(&Request::Status).await? {
            Answer::Status(status) => Ok(*status),
            _ => Err(AgentError::Other),
        }
    }

    /// Begins a trial.
    pub async fn try_state(&self, offer: Offer) -> Result<Trial, AgentError> {
        self.ask_trial(&Request::Try(Box::new(offer))).await
    }

    /// How the trial stands.
    pub async fn trial(&self) -> Result<Trial, AgentError> {
        self.ask_trial(&Request::Trial).await
    }

    /// Has the trial of a state end soon, where it runs.
    pub async fn leave(&self, state: &StateId) -> Result<Trial, AgentError> {
        self.ask_trial(&Request::Leave { state: state.clone() }).await
    }

    /// Serves what was tried. Whether the agent ends and is started again.
    pub async fn activate(&self, state: &StateId) -> Result<bool, AgentError> {
        self.ask_serves(&Request::Activate { state: state.clone() }).await
    }

    /// Serves an earlier state, or the box's own configuration. Whether the agent ends and is started again.
    pub async fn revert(&self, state: Option<&StateId>) -> Result<bool, AgentError> {
        self.ask_serves(&Request::Revert { state: state.cloned() }).await
    }

    /// Has the golden cases of what serves run again.
    pub async fn check(&self, state: &StateId) -> Result<Trial, AgentError> {
        self.ask_check(&Request::Check { state: state.clone() }).await
    }

    /// How that stands.
    pub async fn checked(&self) -> Result<Trial, AgentError> {
        self.ask_check(&Request::Checked).await
    }

    /// Switches a model off.
    pub async fn suspend(&self, package: &str, reason: &str, by: Holder) -> Result<(), AgentError> {
        let order =
            |by: Option<Holder>| Request::Suspend { package: package.to_owned(), reason: reason.to_owned(), by };
        match self.ask_suspended(&order(Some(by))).await {
            // An agent from before knows no `by`.
            Err(AgentError::Refused(fault)) if fault.code == "control-request" => {
                self.ask_suspended(&order(None)).await
            }
            suspended => suspended,
        }
    }

    /// Has it take all that the region suspends, whether it serves or not.
    pub async fn region_suspends(&self, all: Vec<RegionSuspension>) -> Result<(), AgentError> {
        match self.ask(&Request::RegionSuspends { all }).await? {
            Answer::RegionSuspended { .. } => Ok(()),
            _ => Err(AgentError::Other),
        }
    }

    /// Takes a suspension back.
    pub async fn resume(&self, package: &str) -> Result<(), AgentError> {
        self.ask_suspended(&Request::Resume { package: package.to_owned() }).await
    }

    /// Has no job begin for so long, at most an hour; zero takes it back. How many run still.
    pub async fn hold(&self, time: Duration) -> Result<u32, AgentError> {
        match self.ask(&Request::Hold { seconds: time.as_secs() }).await? {
            Answer::Held { running, .. } => Ok(running),
            _ => Err(AgentError::Other),
        }
    }

    /// Says that the system that runs stays. The format in which the agent's spool is written from now on.
    pub async fn committed(&self) -> Result<u32, AgentError> {
        match self.ask(&Request::Committed).await? {
            Answer::Committed { format } => Ok(format),
            _ => Err(AgentError::Other),
        }
    }

    /// Has events of the updater taken into the audit log. The number up to which they are there.
    pub async fn audit(&self, batch: &Batch) -> Result<u64, AgentError> {
        let Batch { trail, events } = batch.clone();
        let first = events.first().map(|event| event.seq);
        match self.ask(&Request::Audit { trail, events }).await? {
            Answer::Audited { seq } if Some(seq) >= first => Ok(seq),
            _ => Err(AgentError::Other),
        }
    }

    async fn ask_trial(&self, request: &Request) -> Result<Trial, AgentError> {
        match self.ask(request).await? {
            Answer::Trial(trial) => Ok(trial),
            _ => Err(AgentError::Other),
        }
    }

    async fn ask_check(&self, request: &Request) -> Result<Trial, AgentError> {
        match self.ask(request).await? {
            Answer::Check(check) => Ok(check),
            _ => Err(AgentError::Other),
        }
    }

    async fn ask_serves(&self, request: &Request) -> Result<bool, AgentError> {
        match self.ask(request).await? {
            Answer::Serves { restarts, .. } => Ok(restarts),
            _ => Err(AgentError::Other),
        }
    }

    async fn ask_suspended(&self, request: &Request) -> Result<(), AgentError> {
        match self.ask(request).await? {
            Answer::Suspended { .. } => Ok(()),
            _ => Err(AgentError::Other),
        }
    }

    async fn ask(&self, request: &Request) -> Result<Answer, AgentError> {
        let socket = || self.socket.display().to_string();
        let away = |reason: String| AgentError::Away { socket: socket(), reason, is_gone: false };
        let exchange = async {
            let connected = UnixStream::connect(&self.socket).await;
            // A socket that cannot be opened for another reason may have somebody who listens.
            let mut stream = connected.map_err(|error| match error.kind() {
                ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                    std::io::Error::new(ErrorKind::NotConnected, error)
                }
                _ => error,
            })?;
            let mut line = serde_json::to_vec(request)?;
            line.push(b'\n');
            stream.write_all(&line).await?;
            let mut answer = Vec::new();
            BufReader::new(stream.take(MAX_ANSWER)).read_until(b'\n', &mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = tokio::time::timeout(ANSWER_TIME, exchange)
            .await
            .map_err(|_| away(format!("nothing within {} s", ANSWER_TIME.as_secs())))?
            .map_err(|error| {
                let is_gone = error.kind() == ErrorKind::NotConnected;
                AgentError::Away { socket: socket(), reason: error.to_string(), is_gone }
            })?;
        if answer.is_empty() {
            return Err(away("it ended the connection".to_owned()));
        }
        match serde_json::from_slice(&answer) {
            Ok(Answer::Refused(fault)) => Err(AgentError::Refused(fault)),
            Ok(answer) => Ok(answer),
            Err(_) => Err(AgentError::Other),
        }
    }
}
