//! While a system is on trial, the updater in it gives its word until when it will be heard again: see [`crate::guard`].
use super::record::{Record, Slot};
use super::{Halt, Machine};
use crate::guard;
use crate::rauc::{self, Running};
use std::time::Duration;
use tokio::time::Instant;

impl Machine {
    /// Gives its word, or takes it back once no system is on trial. What can't be written is tried with the next poll.
    pub(super) fn is_heard(&self) {
        let Some(config) = &self.config.os else { return };
        let said = rauc::running(config).and_then(|running| match self.good_before(&running) {
            Some(good) => guard::say(&self.config, &good, &running, self.until_next_poll()),
            None => guard::over(&self.config),
        });
        if let Err(fault) = said {
            tracing::warn!(%fault, "the system on trial is not guarded now");
        }
    }

    /// Another system is to be started: it does not run unguarded.
    pub(super) fn guard_next(&self, running: &Running) -> Result<(), Halt> {
        guard::say(&self.config, &running.version, running, self.until_next_poll()).map_err(Halt::Later)
    }

    /// The system that was found good, while another one is on trial or is to be started.
    fn good_before(&self, running: &Running) -> Option<String> {
        let Record { system, back, .. } = &self.record;
        if let Some(trial) = self.os_trial() {
            return (trial.slot == Slot::Marked && !trial.committed).then(|| trial.before.clone());
        }
        let leaves = back.as_ref().filter(|back| back.boot.is_some() && back.from == running.version);
        let leaves = leaves.map(|back| back.from.clone());
        let unexpected = || system.as_ref().map(|system| system.version.clone()).filter(|it| *it != running.version);
        leaves.or_else(unexpected)
    }

    fn until_next_poll(&self) -> Duration {
        self.next_poll().saturating_duration_since(Instant::now())
    }
}
