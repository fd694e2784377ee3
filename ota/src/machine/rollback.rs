//! Going back, on a miss or on a withdrawal.
//!
//! The box falls back to the newest state that held on it and is still listed. Where the listing can't be learned now (the channel
//! is away, its metadata expired), the one known last counts: what was just found bad must not serve meanwhile, and a withdrawal is found
//! at the next poll. Where there is none, the box serves its own configuration, and the models there are suspended;
//! a box that never had a state goes back to its own configuration as it was. Where the agent goes back to nothing, the models that are to be
//! left are suspended until it does.
use super::listen::later;
use super::withheld::is_withheld;
use super::{ACTIVE, Halt, Machine, files};
use crate::agent::StateId;
use crate::agent::client::AgentError;
use crate::descriptor::Descriptor;
use crate::fault::{Blame, Fault};
use crate::machine::record::{End, Good, Outcome, Record, Step, state_name};
use crate::state::DesiredState;
use crate::trust::{Trusted, Verified};

/// What is said once for as long as it lasts.
const WITHDRAWN: &str = "what serves was withdrawn";
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

    /// Falls back where the state of the action in hand serves.
    async fn leave_state(&mut self) -> Result<(), Halt> {
        let serves = self.agent.status().await.map_err(later)?.state;
        let own = self.state_id();
        if !serves.zip(own.as_ref()).is_some_and(|(serves, own)| serves.may_be(own)) {
            return Ok(());
        }
        let is_other = |good: &&Good| Some(StateId::from(&good.descriptor)) != own;
        let good: Vec<Good> = self.record.good.iter().filter(is_other).cloned().collect();
        let line = self.fall_back(good).await?;
        self.note_rollback(line)
    }

    /// A line of the report, kept across the restart that leaves a system. Whoever was killed on the way back comes here again.
    fn note_rollback(&mut self, line: String) -> Result<(), Halt> {
        self.change(|action| {
            if let Step::RollingBack { details, .. } = &mut action.step
                && !details.contains(&line)
            {
                details.push(line);
            }
        })
    }

    /// Where the state that serves was withdrawn, leaves it, also while an action waits. One that has changed the box already comes to its
    /// end first.
    pub(super) async fn leave_withdrawn(&mut self, trusted: &Result<Trusted, Fault>) -> Result<(), Halt> {
        if self.is_underway() {
            return Ok(());
        }
        let trusted = match trusted {
            Ok(trusted) => trusted,
            Err(fault) => {
                // Expiry and a channel that is away stop updates, never what runs.
                tracing::warn!(%fault, "what the region lists can't be learned now");
                return Ok(());
            }
        };
        let Some(newest) = self.record.good.first().cloned() else { return self.leave_unrecorded(trusted).await };
        if self.withdrawal(trusted, &newest.descriptor).await.is_none() {
            self.said.over(WITHDRAWN);
            self.release_approved(&newest.descriptor).await;
            return Ok(());
        }
        let state = state_name(&newest.descriptor);
        if self.said.is_news(WITHDRAWN, state) {
            tracing::warn!(target: "audit", state, code = "state-withdrawn", "the region no longer lists the state that serves");
        }
        let kept = files::state_before(&self.config.store(), &newest.descriptor).ok();
        self.note_system(kept.as_ref().map(Verified::get)).map_err(Halt::Later)?;
        let rest = self.record.good[1..].to_vec();
        let serves = self.agent_up().await?.state;
        // Without a state it was killed on the way back, or the agent lost it: the models of the box's own configuration are on.
        if serves.is_none_or(|serves| serves.may_be(&StateId::from(&newest.descriptor))) {
            let line = self.fall_back(rest).await?;
            tracing::warn!(target: "audit", state, line, "the state was left");
        } else {
            self.keep(Record { good: rest, ..self.record.clone() }).map_err(Halt::Later)?;
        }
        Ok(())
    }

    /// Where the record was begun anew, what serves is known by the agent alone, and the region's word counts for it all the same.
    async fn leave_unrecorded(&mut self, trusted: &Trusted) -> Result<(), Halt> {
        // What was left half watched goes whether it is listed or not.
        let is_half_watched = !self.record.unproven.is_empty();
        let Some(status) = self.agent.status().await.ok().filter(|_| !is_half_watched) else { return Ok(()) };
        let Some(serves) = status.state else {
            // A withdrawal has switched them off: by the reason that is known, too.
            return if status.models.iter().any(is_withheld) { self.has_had_states() } else { Ok(()) };
        };
        self.has_had_states()?;
        let Ok(listed) = trusted.named(&format!("state/{}.json", serves.name)) else { return Ok(()) };
        if let Some(listed) = listed.filter(|listed| serves.may_be(&StateId::from(listed)))
            && self.withdrawal(trusted, &listed).await.is_none()
        {
            self.said.over(WITHDRAWN);
            if let Ok(state) = trusted.state(&listed).await {
                self.adopt(&listed, &state)?;
            }
            self.release_approved(&listed).await;
            return Ok(());
        }
        let state = serves.name;
        if self.said.is_news(WITHDRAWN, &state) {
            tracing::warn!(target: "audit", state, code = "state-withdrawn", "the region does not list the state that serves");
        }
        let line = self.fall_back(Vec::new()).await?;
        tracing::warn!(target: "audit", state, line, "the state was left");
        Ok(())
    }

    /// The state that serves counts as one that held: it is gone back to. What was tried last, and did not hold, does not count.
    fn adopt(&mut self, listed: &Descriptor, state: &Verified<DesiredState>) -> Result<(), Halt> {
        if self.tried_last(&StateId::from(listed)) {
            return Ok(());
        }
        let payloads = files::payloads(state.get()).map(|(pin, _)| pin.sha256.clone());
        let good = Good {
            descriptor: listed.clone(),
            version: state_name(listed).to_owned(),
            files: std::iter::once(listed.sha256.clone()).chain(payloads).collect(),
            since: super::now(),
        };
        tracing::info!(target: "audit", state = state_name(listed), "the state that serves is listed, and was not in the record");
        self.keep(Record { good: vec![good], ..self.record.clone() }).map_err(Halt::Later)
    }

    /// From then on nothing serves here that no approved state has brought.
    fn has_had_states(&mut self) -> Result<(), Halt> {
        if self.record.had_states {
            return Ok(());
        }
        self.keep(Record { had_states: true, ..self.record.clone() }).map_err(Halt::Later)
    }

    /// Whether the action that was reported last had this state.
    fn tried_last(&self, state: &StateId) -> bool {
        let last = self.record.last.as_ref().and_then(|last| last.descriptor.as_ref());
        last.is_some_and(|last| state.may_be(&StateId::from(last)))
    }

    /// What was switched off until the box could go back serves again, where the state that it is of is listed: the box was killed on the way,
    /// or the region has listed it again. What the region suspends of it stays off. An agent that is away is asked again with the next poll.
    async fn release_approved(&mut self, approved: &Descriptor) {
        let Ok(status) = self.agent.status().await else { return };
        let has_withheld = !self.record.suspended.is_empty() || status.models.iter().any(is_withheld);
        let serves_it = status.state.is_some_and(|serves| serves.may_be(&StateId::from(approved)));
        if !has_withheld || !serves_it {
            return;
        }
        let kept = files::state_before(&self.config.store(), approved).ok();
        let released = match self.suspend_coming(kept.as_ref().map(|state| state.get().models.as_slice())).await {
            Ok(()) => self.release().await,
            halted => halted,
        };
        if let Err(halt) = released {
            tracing::warn!(?halt, "what was switched off stays so until the next poll");
        }
        self.suspend_at_once().await;
    }

    /// Why the work in hand does not go on where the region has withdrawn a state: its own, or the one that serves meanwhile.
    pub(super) async fn heed_withdrawal(&self, trusted: &Trusted) -> Option<Halt> {
        let action = self.record.action.as_ref().filter(|action| action.step.rank() <= ACTIVE)?;
        if let Some(fault) = self.withdrawal(trusted, action.descriptor.as_ref()?).await {
            return Some(self.judge(fault));
        }
        // One that can't be left may be replaced by the state in hand, which has the time of a trial for that.
        let is_held_up = self.stays_since.is_some_and(|since| since.elapsed() < self.config.agent.trial);
        let serves = self.record.good.first().filter(|_| !is_held_up && !self.is_underway())?;
        self.withdrawal(trusted, &serves.descriptor).await.map(|_| Halt::Withdrawn)
    }

    /// What serves is what held last. An action that was given up for another one, which then was not taken, can leave something else.
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
            return Ok(());
        }
        // Also where it was killed on the way back: what it had not yet suspended is suspended now.
        let line = self.fall_back(self.record.good.clone()).await?;
        tracing::warn!(target: "audit", state = status.state.map(|state| state.name), line, "the agent served what did not hold on this box");
        Ok(())
    }

    /// Goes back. What serves is left by that; where it can't be, its models are switched off until it can.
    async fn fall_back(&mut self, good: Vec<Good>) -> Result<String, Halt> {
        let left = self.agent.status().await.map_err(later)?.state;
        let gone_back = self.go_back(good).await;
        if gone_back.is_ok() {
            self.said.over(SWITCHED_OFF);
        } else if let Ok(status) = self.agent.status().await
            && status.state == left
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
        if let Ok(trusted) = self.trusted().await {
            let mut listed = Vec::new();
            for state in good {
                if self.withdrawal(&trusted, &state.descriptor).await.is_none() {
                    listed.push(state);
                }
            }
            good = listed;
        }
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
        self.agent_serves(state).await.map_err(|halt| match halt {
            Halt::RollBack(fault) => Halt::Later(fault),
            halt => halt,
        })
    }
}
