//! The channel stops the action in hand, or no longer has it.
use super::cycle::Next;
use super::record::{End, Outcome, Step};
use super::{ACTIVE, Machine};
use crate::ddi::client::{ActionLink, DdiError, feedback};
use crate::ddi::{Execution, Finished};

impl Machine {
    /// Answers who wants an action stopped while nothing is worked on.
    pub(super) async fn heed_cancel(&mut self, link: &ActionLink) -> Result<Next, DdiError> {
        let stops = self.ddi.stops(link).await?;
        let action = self.record.action.as_ref().filter(|action| action.id == stops);
        match action.map(|action| action.step.clone()) {
            None => self.ddi.answer_cancel(link, Ok("nothing of it is done here")).await?,
            // Its outcome stands; the answer to the cancel action is the word that counts.
            Some(Step::Ended { outcome }) => {
                self.reject(link).await;
                return self.report(&outcome).await;
            }
            Some(_) => return self.stop(link).await,
        }
        Ok(Next::Again)
    }

    /// Stops the action in hand, which has not served yet.
    pub(super) async fn stop(&mut self, link: &ActionLink) -> Result<Next, DdiError> {
        if let Err(fault) = self.unwrite_os().await {
            return Ok(Next::Wait(Some(fault)));
        }
        tracing::info!(target: "audit", action = self.action_id(), state = self.state_name(), "the channel stopped the action");
        self.ddi.answer_cancel(link, Ok("stopped before it served")).await?;
        let outcome = Outcome { end: End::Stopped, at: super::now(), fault: None, details: Vec::new() };
        let mut record = self.record.clone();
        record.action.iter_mut().for_each(|action| action.step = Step::Ended { outcome: outcome.clone() });
        self.keep(record).and_then(|()| self.put_away()).map_err(DdiError::Fault)?;
        Ok(Next::Again)
    }

    /// Leaves an action that the channel no longer has: it may be taken up again.
    pub(super) async fn drop_action(&mut self, why: &str) -> Result<(), DdiError> {
        tracing::info!(target: "audit", action = self.action_id(), state = self.state_name(), why, "the action was left");
        self.unwrite_os().await.map_err(DdiError::Fault)?;
        let canceled = feedback(Execution::Canceled, Finished::Failure, None, vec![why.to_owned()]);
        self.log(self.ddi.feedback(self.action_id(), &canceled).await);
        let mut record = self.record.clone();
        // The agent serves it, and reads its files.
        if let Some(action) = record.action.take().filter(|action| action.step.rank() >= ACTIVE) {
            record.unproven = action.files;
        }
        self.keep(record).map_err(DdiError::Fault)?;
        self.leave_unwanted_trial().await;
        Ok(())
    }
}
