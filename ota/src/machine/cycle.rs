//! One poll and all that follows from it.
use super::record::{Action, End, Good, KEPT_STATES, Origin, Outcome, Record, Step};
use super::switches::Look;
use super::system::LOOK;
use super::{ACTIVE, Halt, Machine};
use crate::ddi::client::{ActionLink, DdiError, Polled, feedback};
use crate::ddi::{Execution, Feedback, Finished};
use crate::descriptor::Descriptor;
use crate::fault::{Blame, Fault};
use crate::http::Http;
use crate::identity;
use std::sync::Arc;
use tokio::time::Instant;

/// Characters of what the server calls a version.
const MAX_VERSION: usize = 64;

/// What is said once for as long as it lasts.
const NOT_TAKEN_UP: &str = "a bundle is not taken up";
const NOT_LEFT: &str = "a withdrawn state is not left";
const HALF_WATCHED: &str = "a half-watched state is not left";
const NOT_RENEWED: &str = "the certificate is not renewed";
const NOBODY: &str = "the box is nobody";

/// What a cycle came to.
#[derive(Debug)]
pub enum Next {
    /// There is more to do at once.
    Again,
    /// Nothing until the next poll; why the work waits, where it does.
    Wait(Option<Fault>),
}

impl Machine {
    /// When the next poll is due.
    pub fn next_poll(&self) -> Instant {
        self.pace.next()
    }

    /// Polls, and does what the channel wants, to its end.
    pub async fn cycle(&mut self) -> Result<Next, Fault> {
        self.unmark().await;
        self.is_heard();
        let taken_up = self.take_up_stick().await;
        // A disk that does not write keeps nobody from hearing the region; the stick is tried again with the next poll.
        self.stick_fails = taken_up.is_err();
        if let Some(fault) = self.said.news(NOT_TAKEN_UP, &taken_up) {
            tracing::warn!(target: "audit", code = %fault.code, reason = fault.reason, "a bundle could not be taken up");
        }
        self.renew().await;
        let polled = self.poll().await;
        if polled.is_ok() {
            self.offers.keep(&self.config, &self.http).await;
        }
        // Also where the server is away: the repository may lie elsewhere, and a suspension is urgent.
        let Look { trusted, heeded } = self.look().await;
        self.learn_format().await;
        let met = self.meet_system().await;
        let left = match Box::pin(self.leave_withdrawn(&trusted)).await {
            Err(Halt::Later(fault) | Halt::Refused(fault) | Halt::RollBack(fault)) => Err(fault),
            // What is not left now is left at the next poll.
            Ok(()) | Err(Halt::Superseded | Halt::Stopped(_) | Halt::Withdrawn | Halt::Stick | Halt::Rebooting) => {
                Ok(())
            }
        };
        if let Some(fault) = self.said.news(NOT_LEFT, &left) {
            tracing::warn!(target: "audit", code = %fault.code, reason = fault.reason, "a withdrawn state could not be left");
        }
        self.stays_since = left.is_err().then(Instant::now);
        // An action that takes its place may never come: what nobody watches any more does not serve until then.
        if !self.record.unproven.is_empty() && !self.is_underway() {
            match Box::pin(self.leave_unproven()).await {
                Ok(()) => self.said.over(HALF_WATCHED),
                Err(halt) if self.said.is_news(HALF_WATCHED, "") => {
                    tracing::warn!(target: "audit", ?halt, "a state that was left half watched could not be left");
                }
                Err(_) => {}
            }
        }
        let system = match Box::pin(self.leave_system(&trusted)).await {
            Err(Halt::Rebooting) => return Ok(Next::Wait(None)),
            Err(Halt::Later(fault) | Halt::Refused(fault) | Halt::RollBack(fault)) => met.and(Err(fault)),
            Ok(()) | Err(Halt::Superseded | Halt::Stopped(_) | Halt::Withdrawn | Halt::Stick) => met,
        };
        self.os_trouble = system.err();
        let next = match polled {
            _ if self.is_from_stick() => Box::pin(self.work_on_stick()).await,
            Ok(polled) => {
                let troubles = heeded.and(left).and(self.os_trouble.clone().map_or(Ok(()), Err));
                Box::pin(self.heed(&polled, troubles)).await
            }
            // It needs nobody's word to come to its end; how it ended is told once the server is back.
            Err(_) if self.is_underway() => Box::pin(self.work()).await,
            Err(error) => return Ok(Next::Wait(Some(error.into()))),
        };
        match next {
            // What the channel was to be told, it is told at the next poll.
            Err(away @ DdiError::Away { .. }) => Ok(Next::Wait(Some(away.into()))),
            Err(error) => Err(error.into()),
            Ok(next) => Ok(next),
        }
    }

    async fn heed(&mut self, polled: &Polled, heeded: Result<(), Fault>) -> Result<Next, DdiError> {
        self.tell_attributes(polled).await;
        if self.is_underway() {
            // It needs nobody's word to come to its end, and a server that withholds, stops or confirms something else holds up none of it.
            self.heed_meanwhile(polled).await;
            return self.work().await;
        }
        if let Some(next) = self.tell_untold(polled).await? {
            return Ok(next);
        }
        if let Some(link) = polled.confirmation.as_ref().filter(|_| self.config.confirm) {
            self.ddi.confirm(link).await?;
            return Ok(Next::Again);
        }
        if let Some(link) = &polled.cancel {
            return self.heed_cancel(link).await;
        }
        if let Some(action) = self.record.action.clone() {
            let is_offered = polled.deployment.as_ref().is_some_and(|link| link.id == action.id);
            match action.step {
                Step::Ended { outcome } if is_offered => return self.report(&outcome).await,
                // The channel has it: the answer was lost, or this process was, before it was kept.
                Step::Ended { .. } => self.put_away().map_err(DdiError::Fault)?,
                _ if is_offered => {}
                _ => self.drop_action("the channel no longer has it").await?,
            }
        }
        match &polled.deployment {
            Some(link) => self.take_up(link).await,
            None => self.idle(heeded).await,
        }
    }

    /// What else the channel wants of a box that brings something to its end: what fails of it is asked for again at the next poll.
    async fn heed_meanwhile(&mut self, polled: &Polled) {
        let told = self.tell_untold(polled).await;
        self.log(told.map(|_| ()));
        if let Some(link) = polled.confirmation.as_ref().filter(|_| self.config.confirm) {
            self.log(self.ddi.confirm(link).await);
        }
        if let Some(link) = &polled.cancel {
            self.answer_stop(link, false).await;
        }
    }

    async fn take_up(&mut self, link: &ActionLink) -> Result<Next, DdiError> {
        let deployment = match self.ddi.deployment(link).await {
            // It ended between the two requests.
            Err(DdiError::Gone) => return Ok(Next::Wait(None)),
            deployment => deployment?,
        };
        // A window that can't be read ends an action that is new, and changes nothing for one in hand.
        let window = self.keep_when(link, &deployment);
        if self.record.action.is_none() {
            let named = match self.ddi.descriptor(&deployment).await {
                Ok(bytes) => window.and_then(|()| Descriptor::parse(&bytes)),
                Err(DdiError::Fault(fault)) => Err(fault),
                Err(DdiError::Gone) => {
                    Err(Fault::new("descriptor-missing", Blame::Channel, "the descriptor is named and not there"))
                }
                Err(error) => return Err(error),
            };
            let (descriptor, step) = match named {
                Ok(descriptor) => (Some(descriptor), Step::Candidate),
                Err(fault) => (None, Step::Ended { outcome: Outcome::failed(End::Refused, fault, Vec::new()) }),
            };
            let version = deployment.deployment.chunks.first().map_or("", |chunk| &chunk.version);
            let version = version.chars().take(MAX_VERSION).collect();
            let mut action = Action {
                id: link.id.clone(),
                origin: Origin::Channel,
                descriptor,
                since: super::now(),
                version,
                files: Vec::new(),
                vendors: None,
                os: None,
                step,
            };
            // The same action with the same state: it was tried here, and is not tried again. A new action is.
            if let Some(last) = self.record.last.as_ref().filter(|last| is_same(last, &action)) {
                action.step = last.step.clone();
            }
            let step = action.step.clone();
            self.keep(Record { action: Some(action), ..self.record.clone() }).map_err(DdiError::Fault)?;
            tracing::info!(target: "audit", action = link.id, state = self.state_name(), "an action was taken up");
            if let Step::Ended { outcome } = step {
                return self.report(&outcome).await;
            }
            self.tell_step("taken up").await;
        }
        self.work().await
    }

    /// Works on the action in hand, to its end or to where it has to wait.
    pub(super) async fn work(&mut self) -> Result<Next, DdiError> {
        let mut result = match self.step() {
            Step::RollingBack { .. } => self.roll_back().await,
            _ => self.converge().await,
        };
        if let Err(Halt::RollBack(fault)) = result {
            tracing::warn!(target: "audit", action = self.action_id(), state = self.state_name(), code = %fault.code, reason = fault.reason, "the state is taken back");
            let details = self.known().await;
            result = match self.advance(Step::RollingBack { fault, boot: None, details }).await {
                Ok(()) => self.roll_back().await,
                Err(halt) => Err(halt),
            };
        }
        match result {
            Ok(outcome) => self.end(outcome).await,
            Err(Halt::Refused(fault)) => self.end(Outcome::failed(End::Refused, fault, Vec::new())).await,
            // One that is being taken back and misses once more: its reason is the first.
            Err(Halt::Later(fault) | Halt::RollBack(fault)) => {
                tracing::warn!(action = self.action_id(), %fault, "the action waits");
                self.tell_wait(&fault).await;
                Ok(Next::Wait(Some(fault)))
            }
            Err(Halt::Stopped(link)) => self.stop(&link).await,
            Err(Halt::Superseded) => {
                if matches!(self.step(), Step::RollingBack { .. }) {
                    return Ok(Next::Wait(None));
                }
                self.drop_action("the channel has another action").await?;
                Ok(Next::Again)
            }
            Err(Halt::Withdrawn | Halt::Stick) => Ok(Next::Again),
            Err(Halt::Rebooting) => {
                self.tell_step("the box restarts").await;
                Ok(Next::Wait(None))
            }
        }
    }

    async fn end(&mut self, outcome: Outcome) -> Result<Next, DdiError> {
        let mut record = self.record.clone();
        let Some(action) = record.action.as_mut() else { return Ok(Next::Wait(None)) };
        action.step = Step::Ended { outcome: outcome.clone() };
        if let (End::Active, Some(descriptor)) = (outcome.end, action.descriptor.clone()) {
            record.good.retain(|good| good.descriptor != descriptor);
            record.good.insert(
                0,
                Good { version: action.version.clone(), files: action.files.clone(), descriptor, since: outcome.at },
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
    fn put_away(&mut self) -> Result<(), Fault> {
        let mut record = self.record.clone();
        record.last = record.action.take().or(record.last);
        self.keep(record)?;
        self.pace.say("idle");
        self.note(None);
        Ok(())
    }

    async fn heed_cancel(&mut self, link: &ActionLink) -> Result<Next, DdiError> {
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
    async fn stop(&mut self, link: &ActionLink) -> Result<Next, DdiError> {
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
    async fn drop_action(&mut self, why: &str) -> Result<(), DdiError> {
        tracing::info!(target: "audit", action = self.action_id(), state = self.state_name(), why, "the action was left");
        self.unwrite_os().await.map_err(DdiError::Fault)?;
        let canceled = feedback(Execution::Canceled, Finished::Failure, None, vec![why.to_owned()]);
        self.log(self.ddi.feedback(self.action_id(), &canceled).await);
        let mut record = self.record.clone();
        // The agent serves it, and reads its files.
        if let Some(action) = record.action.take().filter(|action| action.step.rank() >= ACTIVE) {
            record.unproven = action.files;
        }
        self.keep(record).map_err(DdiError::Fault)
    }

    async fn idle(&mut self, heeded: Result<(), Fault>) -> Result<Next, DdiError> {
        self.pace.say(&self.os_trouble.as_ref().map_or_else(|| "idle".to_owned(), Fault::to_string));
        self.note_now();
        match self.leave_unproven().await {
            Ok(()) if self.wait_to_leave_system().await => Ok(Next::Again),
            Ok(()) => Ok(Next::Wait(heeded.err())),
            Err(Halt::Superseded | Halt::Withdrawn | Halt::Stick) => Ok(Next::Again),
            Err(Halt::Later(fault) | Halt::Refused(fault) | Halt::RollBack(fault)) => Ok(Next::Wait(Some(fault))),
            Err(Halt::Stopped(_) | Halt::Rebooting) => Ok(Next::Wait(None)),
        }
    }

    /// Returns once a box that is nobody to the channel has another certificate. One that is of no use is looked at again with the next poll.
    pub async fn is_enrolled_anew(&self) {
        while self.renewal_fails || self.http.is_somebody().is_ok() || self.http.is_current(&self.config) {
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn renew(&mut self) {
        let renewed = if self.http.is_somebody().is_ok() && self.http.is_current(&self.config) {
            match identity::renew_if_due(&self.config, &self.http).await {
                Ok(None) => {
                    self.renewal_fails = false;
                    return self.said.over(NOT_RENEWED);
                }
                Ok(Some(validity)) => {
                    tracing::info!(target: "audit", until = validity.until, "the box's certificate was renewed");
                    Http::new(&self.config)
                }
                Err(fault) => Err(fault),
            }
        } else {
            // Somebody has enrolled the box meanwhile, or has brought back what was missing.
            identity::client(&self.config)
        };
        let applied = renewed.and_then(|http| {
            self.ddi = crate::ddi::client::Ddi::new(&self.config, http.clone())?;
            self.http = http;
            Ok(())
        });
        self.renewal_fails = applied.is_err();
        if let Some(fault) = self.said.news(NOT_RENEWED, &applied) {
            tracing::warn!(target: "audit", code = %fault.code, reason = fault.reason, "the box's certificate was not renewed");
        }
        if let Some(fault) = self.said.news(NOBODY, &self.http.is_somebody()) {
            tracing::warn!(target: "audit", code = %fault.code, reason = fault.reason, "this box is nobody to the channel");
        }
    }

    /// The configuration that it works by.
    pub fn config(&self) -> &Arc<crate::config::Config> {
        &self.config
    }
}

/// How an action ended, as the channel is told.
pub(super) fn closed(outcome: &Outcome) -> Feedback {
    // The code first: a server may cut the line.
    let reason = outcome.fault.iter().map(|fault| format!("{}: {}", fault.code, fault.reason));
    let lines = reason.chain(outcome.details.iter().cloned()).collect();
    feedback(Execution::Closed, outcome.finished(), None, lines)
}

fn is_same(last: &Action, action: &Action) -> bool {
    last.id == action.id && last.descriptor == action.descriptor && last.descriptor.is_some()
}
