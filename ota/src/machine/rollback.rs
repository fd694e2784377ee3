//! Going back, on a miss or on a withdrawal.
//!
//! The box falls back to the newest state that held on it and is still listed. Where the listing can't be learned now (the channel
//! is away, its metadata expired), the one known last counts, without what is known since to be withdrawn: what was just found bad must not serve meanwhile, and a withdrawal is found
//! at the next poll. Where there is none, the box serves its own configuration, and the models there are suspended;
//! a box that never had a state goes back to its own configuration as it was. Where the agent goes back to nothing, the models that are to be
//! left are suspended until it does.
use super::listen::later;
use super::trial::NOT_SERVED;
use super::{Halt, Machine, files};
use crate::agent::StateId;
use crate::agent::client::AgentError;
use crate::descriptor::Descriptor;
use crate::fault::{Blame, Fault};
use crate::machine::record::{End, Good, Outcome, Record, Step, state_name};

/// What is said once for as long as it lasts.
const SWITCHED_OFF: &str = "what can't be left is switched off";

impl Machine {
    /// Takes the action in hand back, as far as it went. What was just found bad answers no study any more before its system is left, which
    /// may have to wait; where the agent does not answer, because of that very system perhaps, it is the other way round.
    pub(super) async fn roll_back(&mut self) -> Result<Outcome, Halt> {
        let Step::RollingBack { fault, boot, .. } = self.step().clone() else {
            return Err(later(Fault::new("record-unwritable", Blame::Updater, "the step was not kept")));
        };
        if let Some(trial) = self.record.action.as_ref().and_then(|action| action.os.clone()) {
            match self.leave_state().await {
                Err(Halt::Later(fault)) => tracing::warn!(%fault, "the system is left before its state"),
                done => done?,
            }
            let line = self.leave_trial(&trial, boot.as_deref()).await?;
            self.note_rollback(line)?;
        }
        self.agent_up().await?;
        self.leave_state().await?;
        let details = match self.step() {
            Step::RollingBack { details, .. } => details.clone(),
            _ => Vec::new(),
        };
        Ok(Outcome::failed(End::RolledBack, fault, details))
    }

    /// Falls back, but where another state serves already. An agent that serves none may not have come up under this one: its record names it,
    /// and it would serve it again once the cause has passed.
    async fn leave_state(&mut self) -> Result<(), Halt> {
        let serves = self.agent.status().await.map_err(later)?.state;
        let own = self.state_id();
        if serves.is_some_and(|serves| own.as_ref().is_none_or(|own| !serves.may_be(own))) {
            self.release_good().await;
            return Ok(());
        }
        let is_other = |good: &&Good| Some(StateId::from(&good.descriptor)) != own;
        let good: Vec<Good> = self.record.good.iter().filter(is_other).cloned().collect();
        let line = match self.fall_back(good).await {
            Err(Halt::Later(fault)) if fault.code == NOT_SERVED && self.serves_nothing().await => fault.reason,
            fallen_back => fallen_back?,
        };
        self.note_rollback(line)
    }

    /// Whether the agent answers and does not come up under what it is to go back to either. That is tried again with each poll, and keeps
    /// nobody from bringing another state.
    async fn serves_nothing(&self) -> bool {
        self.agent.status().await.is_ok_and(|status| status.state.is_none())
    }

    /// A line of the report, kept across the restart that leaves a system. Whoever was killed on the way back comes here again.
    fn note_rollback(&mut self, line: String) -> Result<(), Halt> {
        self.change(|action| {
            if let Step::RollingBack { details, .. } = &mut action.step
                && !details.contains(&line)
            {
                // Before figures and findings, which may be more than a report has room for.
                details.insert(0, line);
            }
        })
    }

    /// What serves is what held last. An action that was given up for another one, which then was not taken, can leave something else, and an
    /// agent that did not come up under it serves nothing of the region's.
    pub(super) async fn leave_unproven(&mut self) -> Result<(), Halt> {
        let Ok(status) = self.agent.status().await else { return Ok(()) };
        let good = self.record.good.first().map(|good| StateId::from(&good.descriptor));
        let is_good = match (&status.state, &good) {
            (Some(serves), Some(good)) => serves.may_be(good),
            (serves, good) => serves.is_none() && good.is_none(),
        };
        // Without a past the updater was set up anew beside an agent that has one: it leaves that alone, as long as it is listed. An action
        // that has ended since is no past of another state.
        let is_last = || status.state.as_ref().is_some_and(|serves| self.tried_last(serves));
        let has_past = !self.record.good.is_empty() || !self.record.unproven.is_empty() || is_last();
        if !has_past || is_good {
            self.release_good().await;
            return Ok(());
        }
        // Also where it was killed on the way back: what it had not yet suspended is suspended now.
        let line = self.fall_back(self.record.good.clone()).await?;
        match status.state.map(|state| state.name) {
            Some(state) => {
                tracing::warn!(target: "audit", state, line, "the agent served what did not hold on this box");
            }
            None => tracing::warn!(target: "audit", line, "the agent served nothing of what held on this box"),
        }
        Ok(())
    }

    /// Goes back. What serves is left by that; where it can't be, its models are switched off until it can.
    pub(super) async fn fall_back(&mut self, good: Vec<Good>) -> Result<String, Halt> {
        let left = self.agent.status().await.map_err(later)?.state;
        let gone_back = self.go_back(good).await;
        if gone_back.is_ok() {
            self.said.over(SWITCHED_OFF);
        } else if let Ok(status) = self.agent.status().await
            && status.state == left
            // A box that never had a state has its own configuration to go back to as it was.
            && (left.is_some() || self.record.had_states)
        {
            let state = left.map_or_else(String::new, |left| left.name);
            let withheld = self.withhold(&status.models).await;
            if self.said.is_news(SWITCHED_OFF, &format!("{state}: {}", withheld.is_ok())) {
                tracing::warn!(target: "audit", state, "it can't be left now: its models are switched off");
                if let Err(halt) = withheld {
                    tracing::warn!(target: "audit", ?halt, "a model could not be switched off");
                }
            }
        }
        gone_back
    }

    /// Serves the newest of some states that is still listed, else the box's own configuration.
    async fn go_back(&mut self, mut good: Vec<Good>) -> Result<String, Halt> {
        good = self.not_withdrawn(good).await;
        while let Some(newest) = good.first().map(|good| good.descriptor.clone()) {
            let state = state_name(&newest).to_owned();
            let kept = files::state_before(&self.config.store(), &newest).ok();
            self.suspend_coming(kept.as_ref().map(|state| state.get().models.as_slice())).await?;
            let id = StateId::from(&newest);
            match self.agent.revert(Some(&id)).await {
                Ok(_) => {
                    self.agent_reverted(Some(&id)).await?;
                    let record = Record { good, unproven: Vec::new(), ..self.record.clone() };
                    self.keep(record).map_err(Halt::Later)?;
                    self.release().await?;
                    self.suspend_at_once().await;
                    return Ok(format!("serves `{state}` again"));
                }
                Err(AgentError::Refused(fault)) => {
                    tracing::warn!(state, reason = fault.reason, "the agent does not go back to a state");
                    good.remove(0);
                }
                Err(error) => return Err(later(error)),
            }
        }
        self.serve_own().await
    }

    /// Those that the region has not withdrawn, as far as it can be asked.
    async fn not_withdrawn(&self, good: Vec<Good>) -> Vec<Good> {
        let trusted = self.trusted().await;
        let doubted = match &trusted {
            Ok(_) => None,
            Err(fault) => self.doubted(fault).await,
        };
        let mut left = Vec::new();
        for state in good {
            let is_withdrawn = match (&trusted, &doubted) {
                (Ok(trusted), _) => self.withdrawal(trusted, &state.descriptor).await.is_some(),
                (Err(_), _) if state.withdrawn => true,
                (Err(_), Some(doubted)) => self.doubted_withdrawal(doubted, &state.descriptor).await.is_some(),
                (Err(_), None) => self.is_for_others(&state.descriptor),
            };
            if !is_withdrawn {
                left.push(state);
            }
        }
        left
    }

    /// Whether a state that held here is for other boxes: this one was given another name since.
    fn is_for_others(&self, descriptor: &Descriptor) -> bool {
        let kept = files::state_before(&self.config.store(), descriptor);
        kept.is_ok_and(|state| !state.get().is_for(&self.config.id))
    }

    /// As before its first state, where it never had one. Else nothing is approved any more: what is off stays off, also what an earlier way back has
    /// switched off.
    async fn serve_own(&mut self) -> Result<String, Halt> {
        self.suspend_coming(None).await?;
        self.agent.revert(None).await.map_err(later)?;
        let status = self.agent_reverted(None).await?;
        if self.record.had_states {
            self.withhold(&status.models).await?;
        } else {
            self.release().await?;
        }
        let record = Record { good: Vec::new(), unproven: Vec::new(), ..self.record.clone() };
        self.keep(record).map_err(Halt::Later)?;
        self.suspend_at_once().await;
        let models = if self.record.had_states { "its models are suspended" } else { "as before its first state" };
        Ok(format!("serves the box's own configuration; {models}"))
    }

    /// The agent that does not come back from going back is waited for: there is nothing left to go back to.
    async fn agent_reverted(&self, state: Option<&StateId>) -> Result<crate::agent::AgentStatus, Halt> {
        self.while_polling(self.agent_serves(state)).await.map_err(|halt| match halt {
            Halt::RollBack(fault) => Halt::Later(fault),
            halt => halt,
        })
    }
}
