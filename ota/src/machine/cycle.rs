//! One poll and all that follows from it.
use super::record::{Action, End, Origin, Outcome, Record, Step};
use super::switches::Look;
use super::{Halt, Machine};
use crate::ddi::client::{ActionLink, DdiError, Polled};
use crate::descriptor::Descriptor;
use crate::fault::{Blame, Fault};
use std::sync::Arc;
use tokio::time::Instant;

/// Characters of what the server calls a version.
const MAX_VERSION: usize = 64;

/// What is said once for as long as it lasts.
const NOT_TAKEN_UP: &str = "a bundle is not taken up";
const NOT_LEFT: &str = "a withdrawn state is not left";
const NOT_PUT_BACK: &str = "what held is not put back";
const WAITS: &str = "the action in hand waits";

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
        self.waits_to_leave(false);
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
        let look = self.look().await;
        if let Ok(trusted) = &look.trusted {
            self.learn_authorities(trusted).await;
        }
        self.learn_format().await;
        self.leave_unwanted_trial().await;
        let met = self.meet_system().await;
        let left = trouble(Box::pin(self.leave_withdrawn(&look)).await);
        if let Some(fault) = self.said.news(NOT_LEFT, &left) {
            tracing::warn!(target: "audit", code = %fault.code, reason = fault.reason, "a withdrawn state could not be left");
        }
        self.stays_since = left.is_err().then(Instant::now);
        let Look { trusted, heeded, .. } = look;
        // Also while the channel is away or an action waits: that may last, and an action may never come.
        let put_back = if self.is_underway() { Ok(()) } else { trouble(Box::pin(self.leave_unproven()).await) };
        if let Some(fault) = self.said.news(NOT_PUT_BACK, &put_back) {
            tracing::warn!(target: "audit", code = %fault.code, reason = fault.reason, "what held on this box could not be served again");
        }
        let system = Box::pin(self.leave_system(&trusted)).await;
        if matches!(system, Err(Halt::Rebooting)) {
            return Ok(Next::Wait(None));
        }
        self.os_trouble = met.and(trouble(system)).err();
        self.note_troubles();
        let next = match polled {
            _ if self.is_from_stick() => Box::pin(self.work_on_stick()).await,
            Ok(polled) => {
                let troubles = heeded.and(left).and(put_back).and(self.os_trouble.clone().map_or(Ok(()), Err));
                Box::pin(self.heed(&polled, troubles)).await
            }
            // It needs nobody's word to come to its end; how it ended is told once the server is back.
            Err(_) if self.is_underway() => Box::pin(self.work()).await,
            Err(error) => return Ok(Next::Wait(Some(error.into()))),
        };
        match next {
            // What the channel was to be told, it is told at the next poll.
            Err(away @ DdiError::Away { .. }) => {
                self.heed_retry_after(&away);
                Ok(Next::Wait(Some(away.into())))
            }
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
            None => Ok(self.idle(heeded)),
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
        if !matches!(result, Err(Halt::Later(_) | Halt::RollBack(_))) {
            self.said.over(WAITS);
        }
        match result {
            Ok(outcome) => self.end(outcome).await,
            Err(Halt::Refused(fault)) => self.end(Outcome::failed(End::Refused, fault, Vec::new())).await,
            // One that is being taken back and misses once more: its reason is the first.
            Err(Halt::Later(fault) | Halt::RollBack(fault)) => {
                if self.said.is_refused_anew(WAITS, &fault) {
                    tracing::warn!(action = self.action_id(), %fault, "the action waits");
                } else {
                    tracing::info!(action = self.action_id(), %fault, "the action waits still");
                }
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
            Err(Halt::Withdrawn | Halt::Authorities | Halt::Stick) => Ok(Next::Again),
            Err(Halt::Rebooting) => {
                self.tell_step("the box restarts").await;
                Ok(Next::Wait(None))
            }
        }
    }

    fn idle(&self, heeded: Result<(), Fault>) -> Next {
        let unheard = || self.pace.unheard().map(|fault| format!("idle; the region is not heard: {fault}"));
        let doing = self.os_trouble.as_ref().map(Fault::to_string).or_else(unheard);
        self.pace.say(doing.as_deref().unwrap_or("idle"));
        self.note_now();
        Next::Wait(heeded.err())
    }

    /// The configuration that it works by.
    pub fn config(&self) -> &Arc<crate::config::Config> {
        &self.config
    }
}

/// What is the matter with something that each poll tries again; what was left for something else comes to its end then.
fn trouble(tried: Result<(), Halt>) -> Result<(), Fault> {
    match tried {
        Err(Halt::Later(fault) | Halt::Refused(fault) | Halt::RollBack(fault)) => Err(fault),
        Ok(())
        | Err(
            Halt::Superseded | Halt::Stopped(_) | Halt::Withdrawn | Halt::Authorities | Halt::Stick | Halt::Rebooting,
        ) => Ok(()),
    }
}

fn is_same(last: &Action, action: &Action) -> bool {
    last.id == action.id && last.descriptor == action.descriptor && last.descriptor.is_some()
}
