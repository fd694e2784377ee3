//! A slot is marked right before the restart that starts it. Where that did not come (nobody took the order, the updater was killed), the
//! mark is taken back at once: else a power cut would start the slot outside its window, or once its action is over.
use super::record::{Back, Slot};
use super::{Halt, Machine};
use crate::fault::Fault;
use crate::rauc::{self, Running};
use std::time::{Duration, Instant};

/// A restart that was agreed to comes within this time: services end first.
const RESTART: Duration = Duration::from_mins(10);

impl Machine {
    /// Asks for the restart that was marked.
    pub(super) async fn ask_for_restart(&mut self) -> Result<(), Halt> {
        rauc::reboot().await.map_err(Halt::Later)?;
        self.restarts_since = Some(Instant::now());
        Ok(())
    }

    /// Has the boot loader stay with what runs, where it may have been told otherwise, but for a restart that this updater has asked for
    /// and that is on its way. What fails is tried again with the next poll.
    pub(super) async fn unmark(&mut self) {
        if self.restarts_since.is_some_and(|since| since.elapsed() < RESTART) {
            return;
        }
        if let Err(fault) = self.take_back_mark().await {
            tracing::warn!(target: "audit", code = %fault.code, reason = fault.reason, "the boot loader may start the other slot next");
        }
    }

    async fn take_back_mark(&mut self) -> Result<(), Fault> {
        let Some(config) = self.config.os.as_ref() else { return Ok(()) };
        let running = rauc::running(config)?;
        if !self.is_marked(&running) {
            return Ok(());
        }
        rauc::keep_running_slot().await?;
        self.is_unmarked = true;
        let mut record = self.record.clone();
        match record.action.as_mut().and_then(|action| action.os.as_mut()) {
            Some(trial) => trial.slot = Slot::Written,
            None => record.back = record.back.map(|back| Back { boot: None, ..back }),
        }
        if record == self.record { Ok(()) } else { self.keep(record) }
    }

    /// Whether the boot loader was told in this very boot to start the other slot next, or may have been: it is told before that is kept.
    fn is_marked(&self, running: &Running) -> bool {
        match (self.os_trial(), &self.record.back) {
            (Some(trial), _) if trial.before != running.version => false,
            (Some(trial), _) => match trial.slot {
                Slot::Writing => false,
                Slot::Written => !self.is_unmarked,
                Slot::Marked => trial.boot == running.boot,
            },
            (None, Some(back)) if back.from != running.version => false,
            (None, Some(back)) => back.boot.as_ref().map_or(!self.is_unmarked, |boot| *boot == running.boot),
            (None, None) => false,
        }
    }
}
