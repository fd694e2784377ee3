//! When the box may restart: within its window, once nothing is worked on. A busy box would miss its windows, so that no job begins while
//! it waits for those that run; studies are taken in all the same.
use super::Machine;
use super::system::LOOK;
use crate::agent::client::AgentError;
use crate::config::Os as OsConfig;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::Instant;

/// How long no job begins: who waits for an answer waits no longer for a restart that does not come.
const LONGEST_HOLD: Duration = Duration::from_mins(15);
/// How long they begin again before they are held once more.
const BETWEEN_HOLDS: Duration = Duration::from_hours(1);
/// How long an agent that is there and does not answer is taken for busy.
const LONGEST_SILENCE: Duration = Duration::from_mins(15);

/// What the box does to come to an instant without a job.
#[derive(Default)]
pub(super) struct Quiet {
    /// When jobs were held last.
    held: Option<Instant>,
    /// Since when the agent is there and does not answer.
    silent: Option<Instant>,
    /// The restart that leaves a system waits for such an instant.
    leaves: bool,
}

impl Machine {
    /// What the box itself has against a restart now.
    pub(super) async fn box_waits_for(&self, config: &OsConfig) -> Option<&'static str> {
        if config.window.as_ref().is_some_and(|window| !window.is_open(jiff::Timestamp::now())) {
            self.release_jobs().await;
            return Some("waits for its window");
        }
        self.hold_jobs().await;
        let status = self.agent.status().await;
        let silence = self.quiet(|quiet| {
            let is_silent = matches!(&status, Err(error) if !error.is_gone());
            quiet.silent = is_silent.then(|| quiet.silent.unwrap_or_else(Instant::now));
            quiet.silent.map(|since| since.elapsed())
        });
        match (status, silence) {
            (Ok(status), _) => (status.running > 0).then_some("waits for running studies"),
            (Err(_), Some(silence)) if silence < LONGEST_SILENCE => {
                Some("waits for the agent, which is there and does not answer")
            }
            (Err(error), Some(_)) => {
                tracing::warn!(target: "audit", %error, "the agent does not answer, and is not waited for any longer");
                None
            }
            // One that is not there works on nothing.
            (Err(_), None) => None,
        }
    }

    /// Keeps whether the box waits for an instant in which it can leave a system.
    pub(super) fn waits_to_leave(&self, leaves: bool) {
        self.quiet(|quiet| quiet.leaves = leaves);
    }

    /// Returns once the box can leave a system that it waits to leave: polls may be farther apart than such instants.
    pub async fn can_leave(&self) {
        match &self.config.os {
            Some(config) if self.quiet(|quiet| quiet.leaves) => {
                while self.box_waits_for(config).await.is_some() {
                    tokio::time::sleep(LOOK).await;
                }
            }
            _ => std::future::pending().await,
        }
    }

    /// Jobs begin again.
    pub(super) async fn release_jobs(&self) {
        let held = self.quiet(|quiet| {
            quiet.silent = None;
            quiet.held.take()
        });
        if held.is_some_and(|since| since.elapsed() < LONGEST_HOLD)
            && let Err(error) = self.agent.hold(Duration::ZERO).await
        {
            tracing::warn!(%error, "jobs are held until that ends by itself");
        }
    }

    async fn hold_jobs(&self) {
        let is_due = self.quiet(|quiet| {
            let is_due = quiet.held.is_none_or(|since| since.elapsed() >= LONGEST_HOLD + BETWEEN_HOLDS);
            if is_due {
                quiet.held = Some(Instant::now());
            }
            is_due
        });
        if !is_due {
            return;
        }
        match self.agent.hold(LONGEST_HOLD).await {
            Ok(running) => tracing::info!(running, "no job begins before the restart"),
            // An older agent does not know that: an instant without a job is waited for.
            Err(error) => tracing::info!(%error, "jobs go on beginning"),
        }
    }

    fn quiet<T>(&self, change: impl FnOnce(&mut Quiet) -> T) -> T {
        change(&mut self.quiet.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AgentError {
    /// Whether nobody listens on its socket: there is no agent that could work on something.
    fn is_gone(&self) -> bool {
        matches!(self, Self::Away { is_gone: true, .. })
    }
}
