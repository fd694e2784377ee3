//! What serves is still listed, or is left: asked with each poll, also where the record was lost and the agent alone knows what serves.
use super::switches::Look;
use super::verify::is_not_approved;
use super::{ACTIVE, Halt, Machine, files};
use crate::agent::{ModelStatus, StateId};
use crate::descriptor::Descriptor;
use crate::fault::Fault;
use crate::machine::record::{Good, Record, state_name};
use crate::state::DesiredState;
use crate::trust::{Doubted, Trusted, Verified};

/// What is said once for as long as it lasts.
const WITHDRAWN: &str = "what serves was withdrawn";

impl Machine {
    /// Where the state that serves was withdrawn, leaves it, also while an action waits. One that has changed the box already comes to its
    /// end first.
    pub(super) async fn leave_withdrawn(&mut self, look: &Look) -> Result<(), Halt> {
        if self.is_underway() {
            return Ok(());
        }
        if let Some(doubted) = &look.doubted {
            return self.switch_off_withdrawn(doubted).await;
        }
        let trusted = match &look.trusted {
            Ok(trusted) => trusted,
            Err(fault) => {
                // Expiry and a channel that is away stop updates, never what runs.
                tracing::warn!(%fault, "what the region lists can't be learned now");
                return Ok(());
            }
        };
        let Some(newest) = self.record.good.first().cloned() else { return self.leave_unrecorded(trusted).await };
        match trusted.state_for(&self.config.id, &newest.descriptor).await {
            Ok(_) => {
                self.said.over(WITHDRAWN);
                self.note_withdrawn(false);
                self.release_approved(&newest.descriptor).await;
                return Ok(());
            }
            Err(fault) if is_not_approved(&fault) => {}
            // What was found to be withdrawn stays so until it can be learned.
            Err(_) => return Ok(()),
        }
        self.note_withdrawn(true);
        let state = state_name(&newest.descriptor);
        self.say_withdrawn(state);
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

    /// Where it can't be told how old what the region shows is, the models of what was withdrawn are off. It is left once that can be told:
    /// whatever would serve in its place may have been withdrawn since.
    async fn switch_off_withdrawn(&mut self, doubted: &Doubted) -> Result<(), Halt> {
        let Some(newest) = self.record.good.first().cloned() else { return Ok(()) };
        if self.doubted_withdrawal(doubted, &newest.descriptor).await.is_some() {
            self.note_withdrawn(true);
            self.say_withdrawn(state_name(&newest.descriptor));
        } else if !newest.withdrawn {
            return Ok(());
        }
        let status = self.agent_up().await?;
        if status.state.is_some_and(|serves| serves.may_be(&StateId::from(&newest.descriptor))) {
            self.withhold(&status.models).await?;
        }
        Ok(())
    }

    fn say_withdrawn(&self, state: &str) {
        if self.said.is_news(WITHDRAWN, state) {
            tracing::warn!(target: "audit", state, code = "state-withdrawn", "the region no longer lists the state that serves");
        }
    }

    /// Kept until it is left, or listed again: what was switched off for it stays off also where the region can't be asked.
    fn note_withdrawn(&mut self, is_withdrawn: bool) {
        let mut record = self.record.clone();
        let Some(newest) = record.good.first_mut().filter(|newest| newest.withdrawn != is_withdrawn) else { return };
        newest.withdrawn = is_withdrawn;
        if let Err(fault) = self.keep(record) {
            tracing::warn!(%fault, "it is not kept whether what serves was withdrawn");
        }
    }

    /// Where the record was begun anew, what serves is known by the agent alone, and the region's word counts for it all the same.
    async fn leave_unrecorded(&mut self, trusted: &Trusted) -> Result<(), Halt> {
        // What was left half watched goes whether it is listed or not.
        let is_half_watched = !self.record.unproven.is_empty();
        let Some(status) = self.agent.status().await.ok().filter(|_| !is_half_watched) else { return Ok(()) };
        let Some(serves) = status.state else {
            // A withdrawal has switched them off: the agent knows that, too.
            return if status.models.iter().any(ModelStatus::is_withheld) { self.has_had_states() } else { Ok(()) };
        };
        self.has_had_states()?;
        let Ok(listed) = trusted.named(&format!("state/{}.json", serves.name)) else { return Ok(()) };
        if let Some(listed) = listed.filter(|listed| serves.may_be(&StateId::from(listed)))
            && self.withdrawal(trusted, &listed).await.is_none()
        {
            self.said.over(WITHDRAWN);
            if let Ok(state) = trusted.state_for(&self.config.id, &listed).await {
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
            withdrawn: false,
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
    pub(super) fn tried_last(&self, state: &StateId) -> bool {
        let last = self.record.last.as_ref().and_then(|last| last.descriptor.as_ref());
        last.is_some_and(|last| state.may_be(&StateId::from(last)))
    }

    /// What held last serves, by itself perhaps: what was switched off meanwhile serves again, also while the region can't be asked.
    pub(super) async fn release_good(&mut self) {
        let good = self.record.good.first().filter(|good| !good.withdrawn).map(|good| good.descriptor.clone());
        if let Some(good) = good {
            self.release_approved(&good).await;
        }
    }

    /// What was switched off until the box could go back serves again, where the state that it is of is listed: the box was killed on the way,
    /// or the region has listed it again. What the region suspends of it stays off. An agent that is away is asked again with the next poll.
    async fn release_approved(&mut self, approved: &Descriptor) {
        let Ok(status) = self.agent.status().await else { return };
        let has_withheld = !self.record.suspended.is_empty() || status.models.iter().any(ModelStatus::is_withheld);
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
    pub(super) async fn heed_withdrawal(&self, look: &Look) -> Option<Halt> {
        let action = self.record.action.as_ref().filter(|action| action.step.rank() <= ACTIVE)?;
        if let Some(fault) = self.withdrawal_in(look, action.descriptor.as_ref()?).await {
            return Some(match look.doubted {
                None => self.judge(fault),
                Some(_) if action.step.rank() == ACTIVE => Halt::RollBack(fault),
                // It may be listed again by now: it waits until that can be told.
                Some(_) => Halt::Later(fault),
            });
        }
        // One that can't be left may be replaced by the state in hand, which has the time of a trial for that.
        let is_held_up = self.stays_since.is_some_and(|since| since.elapsed() < self.config.agent.trial);
        let serves = self.record.good.first().filter(|_| !is_held_up && !self.is_underway())?;
        // What is switched off already is left as soon as it can be.
        let is_off = look.doubted.is_some() && serves.withdrawn;
        self.withdrawal_in(look, &serves.descriptor).await.filter(|_| !is_off).map(|_| Halt::Withdrawn)
    }

    /// What trust says where the region has withdrawn a state, by what was shown at a poll.
    async fn withdrawal_in(&self, look: &Look, descriptor: &Descriptor) -> Option<Fault> {
        match (&look.doubted, &look.trusted) {
            (Some(doubted), _) => self.doubted_withdrawal(doubted, descriptor).await,
            (None, Ok(trusted)) => self.withdrawal(trusted, descriptor).await,
            (None, Err(_)) => None,
        }
    }
}
