//! What a reset would lose: asked of the agent by its own socket (the answer to `status`, format 1), and of what the updater keeps.
use super::Places;
use crate::audit::Trail;
use crate::config::Config;
use crate::fault::{Blame, Fault};
use crate::machine::record::{Record, Step};
use serde::Deserialize;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// An answer of the agent, in bytes.
const MAX_ANSWER: u64 = 16 * 1024 * 1024;
/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What nobody else has yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unsent {
    /// Associations that are open: what comes in on them may be acknowledged at any moment.
    associations: u32,
    /// Images that were acknowledged and whose study is not complete yet: the agent names it from then on.
    instances: u64,
    /// Studies that are complete, and have no job yet.
    studies: usize,
    /// Jobs that wait or run.
    jobs: usize,
    /// Results that wait for their destination, or are held for it.
    results: u64,
    /// Events of the audit log that nobody has collected; `None`: nobody collects them.
    audit: Option<u64>,
    /// Audit events of the updater that the agent has not taken.
    own: usize,
    /// An action whose end the channel was not told.
    untold: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Status(AgentStatus),
}

/// As far as it is about what would be lost; the agent says more.
#[derive(Deserialize)]
struct AgentStatus {
    format: u32,
    node: Node,
    spool: Spool,
    studies: Vec<Study>,
    forward: Option<Forward>,
    destinations: Vec<Destination>,
    queue: Vec<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Node {
    associations: u32,
}

/// An agent that does not count them does not say what would be lost.
#[derive(Deserialize)]
struct Spool {
    unconsidered: u64,
}

#[derive(Deserialize)]
struct Study {
    state: String,
}

#[derive(Deserialize)]
struct Forward {
    waiting: u64,
}

#[derive(Deserialize)]
struct Destination {
    waiting: u64,
    held: u64,
}

impl Unsent {
    /// Finds out. Where the agent does not answer, nobody knows.
    pub async fn ask(config: Option<&Config>, places: &Places<'_>) -> Result<Self, Fault> {
        let agent = places.agent;
        let unknown = |reason: String| {
            let reason = format!("what the agent has not sent is not known: {}: {reason}", agent.display());
            Fault::new("reset-unsent-unknown", Blame::Agent, reason)
        };
        let status = tokio::time::timeout(PATIENCE, status(agent)).await;
        let status = status.map_err(|_| unknown("it does not answer in time".to_owned()))?;
        let status = status.map_err(|error| unknown(error.to_string()))?;
        if status.format != 1 {
            return Err(unknown(format!("its status has format {}, and this updater reads 1", status.format)));
        }
        let untold = config.and_then(|config| Record::read(&config.record_file()).ok()?.action);
        let is_early = |study: &&Study| ["receiving", "complete", "routed"].contains(&study.state.as_str());
        Ok(Self {
            associations: status.node.associations,
            instances: status.spool.unconsidered,
            studies: status.studies.iter().filter(is_early).count(),
            jobs: status.queue.len(),
            results: status.destinations.iter().map(|destination| destination.waiting + destination.held).sum(),
            audit: status.forward.map(|forward| forward.waiting),
            own: Trail::new(places.updater).waiting()?,
            untold: untold.filter(|action| matches!(action.step, Step::Ended { .. })).map(|action| action.id),
        })
    }

    /// One line for each thing.
    pub fn in_words(&self) -> Vec<String> {
        let some = |count: u64, what: &str| (count > 0).then(|| format!("{count} {what}"));
        let audit = match self.audit {
            Some(waiting) => some(waiting, "events of the audit log that are not collected yet"),
            None => Some("the audit log, which nobody collects".to_owned()),
        };
        let own = some(self.own as u64, "audit events of the updater that the agent has not taken");
        let untold = self.untold.as_ref().map(|id| format!("how action {id} ended, which the channel was not told"));
        let associations = some(self.associations.into(), "associations that are open");
        let instances = some(self.instances, "images whose study is not complete yet");
        let studies = some(self.studies as u64, "studies that have no job yet");
        let jobs = some(self.jobs as u64, "jobs that are not done");
        let results = some(self.results, "results that are not sent");
        [associations, instances, studies, jobs, results, audit, own, untold].into_iter().flatten().collect()
    }
}

async fn status(agent: &Path) -> std::io::Result<AgentStatus> {
    let mut stream = UnixStream::connect(agent).await?;
    stream.write_all(b"\"status\"\n").await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    let Answer::Status(status) = serde_json::from_slice(&answer)?;
    Ok(status)
}
