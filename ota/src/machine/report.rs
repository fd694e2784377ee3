//! Active | RolledBack → Reported: how the action in hand ended, and that the channel knows it.
use super::Machine;
use super::cycle::Next;
use super::record::{End, Good, KEPT_STATES, Outcome, Step};
use crate::ddi::client::{DdiError, Polled, feedback};
use crate::ddi::{Execution, Feedback};
use crate::fault::Fault;

impl Machine {
    /// Keeps how it ended, and tells it.
    pub(super) async fn end(&mut self, outcome: Outcome) -> Result<Next, DdiError> {
        let mut record = self.record.clone();
        let Some(action) = record.action.as_mut() else { return Ok(Next::Wait(None)) };
        action.step = Step::Ended { outcome: outcome.clone() };
        if let (End::Active, Some(descriptor)) = (outcome.end, action.descriptor.clone()) {
            record.good.retain(|good| good.descriptor != descriptor);
            record.good.insert(
                0,
                Good {
                    version: action.version.clone(),
                    files: action.files.clone(),
                    descriptor,
                    since: outcome.at,
                    withdrawn: false,
                },
            );
            record.good.truncate(KEPT_STATES);
            record.had_states = true;
            record.unproven.clear();
            if let (Some(system), Ok(status)) = (&mut record.system, self.agent.status().await) {
                system.engines = system.engines.seen(&status);
            }
        }
        self.keep(record).map_err(DdiError::Fault)?;
        if outcome.end == End::Active {
            self.tell_committed().await.map_err(DdiError::Fault)?;
        }
        let code = outcome.fault.as_ref().map(|fault| fault.code.to_string());
        let reason = outcome.fault.as_ref().map(|fault| fault.reason.clone());
        tracing::info!(target: "audit", action = self.action_id(), state = self.state_name(), end = ?outcome.end, code, reason, "the action ended");
        self.report(&outcome).await
    }

    /// Active | RolledBack → Reported.
    pub(super) async fn report(&mut self, outcome: &Outcome) -> Result<Next, DdiError> {
        if self.is_from_stick() {
            // The channel hears of it by the attributes.
            let id = self.action_id().to_owned();
            self.put_away().and_then(|()| self.config.inbox().remove(&id)).map_err(DdiError::Fault)?;
            self.tell_attributes(&Polled::default()).await;
            return Ok(Next::Wait(outcome.fault.clone()));
        }
        match self.ddi.feedback(self.action_id(), &closed(outcome)).await {
            // Gone: it was told before, or it no longer matters.
            Ok(()) | Err(DdiError::Gone) => {}
            Err(error) => return Err(error),
        }
        self.put_away().map_err(DdiError::Fault)?;
        self.tell_attributes(&Polled::default()).await;
        Ok(Next::Wait(outcome.fault.clone()))
    }

    /// The action in hand was reported.
    pub(super) fn put_away(&mut self) -> Result<(), Fault> {
        let mut record = self.record.clone();
        record.last = record.action.take().or(record.last);
        self.keep(record)?;
        self.pace.say("idle");
        self.note(None);
        Ok(())
    }
}

/// How an action ended, as the channel is told.
pub(super) fn closed(outcome: &Outcome) -> Feedback {
    // The code first: a server may cut the line.
    let reason = outcome.fault.iter().map(|fault| format!("{}: {}", fault.code, fault.reason));
    let lines = reason.chain(outcome.details.iter().cloned()).collect();
    feedback(Execution::Closed, outcome.finished(), None, lines)
}
