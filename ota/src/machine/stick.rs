//! A state that a person brings on a stick. It walks the very steps of a deployment; what it is verified by is the repository in the
//! bundle, and the channel hears of it when the box meets it again.
//!
//! It takes the place of whatever is in hand and has not changed the box. What has comes to its end first, and so does what was begun
//! from a stick, whatever the channel has meanwhile.
use super::cycle::Next;
use super::report::closed;
use super::system::LOOK;
use super::{Halt, Machine};
use crate::bundle::{self, inbox::Waiting};
use crate::ddi::client::{DdiError, Polled};
use crate::descriptor::Descriptor;
use crate::fault::{Blame, Fault};
use crate::machine::record::{Action, End, Origin, Outcome, Record, Step, state_name};
use crate::trust::Trusted;

impl Machine {
    /// Whether the action in hand came on a stick.
    pub(super) fn is_from_stick(&self) -> bool {
        self.record.action.as_ref().is_some_and(|action| action.origin == Origin::Stick)
    }

    /// A bundle that can be taken up now.
    fn stick(&self) -> Option<Waiting> {
        let waiting = self.config.inbox().waiting()?;
        let is_it = |action: &Action| action.id == waiting.id;
        let is_known = self.record.action.as_ref().is_some_and(|action| is_it(action) || action.is_under_way())
            || self.record.last.as_ref().is_some_and(is_it);
        (!is_known).then_some(waiting)
    }

    /// Returns once there is a bundle that can be taken up.
    pub async fn stick_arrives(&self) {
        while self.stick_fails || self.stick().is_none() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Takes up a bundle that waits. What it has to be left for is taken up again when the channel still wants it.
    pub(super) async fn take_up_stick(&mut self) -> Result<(), Fault> {
        if let Some(last) = self.record.last.as_ref().filter(|last| last.origin == Origin::Stick) {
            // The updater was killed between its end and this.
            self.config.inbox().remove(&last.id)?;
        }
        let Some(Waiting { id, .. }) = self.stick() else { return Ok(()) };
        let named = self.open_bundle(&id).await;
        let mut record = self.record.clone();
        if let Some(left) = record.action.take() {
            tracing::info!(target: "audit", action = left.id, state = left.state(), "the action was left for a state on a stick");
            if left.origin == Origin::Channel && matches!(left.step, Step::Ended { .. }) {
                record.untold = Some(left);
            }
        }
        let (descriptor, step) = match named {
            Ok((_, descriptor)) => (Some(descriptor), Step::Candidate),
            Err(fault) => (None, Step::Ended { outcome: Outcome::failed(End::Refused, fault, Vec::new()) }),
        };
        record.action = Some(Action {
            version: descriptor.as_ref().map_or("", state_name).to_owned(),
            id,
            origin: Origin::Stick,
            descriptor,
            since: super::now(),
            files: Vec::new(),
            vendors: None,
            os: None,
            step,
        });
        self.pace.say("a state on a stick");
        self.note_now();
        self.keep(record)?;
        self.forget_when();
        tracing::info!(target: "audit", action = self.action_id(), state = self.state_name(), "a state on a stick was taken up");
        Ok(())
    }

    /// What the action in hand is verified by now: the channel's repository, or the one in the bundle.
    pub(super) async fn repository(&self, descriptor: &Descriptor) -> Result<Trusted, Fault> {
        if !self.is_from_stick() {
            return self.trusted().await;
        }
        let (trusted, named) = self.open_bundle(self.action_id()).await?;
        if named == *descriptor {
            return Ok(trusted);
        }
        let reason = format!("the bundle names {} now, and named {}: bring it again", named.target, descriptor.target);
        Err(Fault::new("bundle-invalid", Blame::Box, reason))
    }

    async fn open_bundle(&self, id: &str) -> Result<(Trusted, Descriptor), Fault> {
        let root = self.root()?;
        let _one_at_a_time = self.metadata.lock().await;
        Box::pin(bundle::open(&self.config.inbox().path(id), root, self.config.tuf())).await
    }

    /// Works on the action in hand, which came on a stick; one that was refused at once is put away.
    pub(super) async fn work_on_stick(&mut self) -> Result<Next, DdiError> {
        match self.step().clone() {
            Step::Ended { outcome } => self.report(&outcome).await,
            _ => self.work().await,
        }
    }

    /// Tells the channel how an action ended that had to be put aside for a stick before it was told.
    pub(super) async fn tell_untold(&mut self, polled: &Polled) -> Result<Option<Next>, DdiError> {
        let Some(untold) = self.record.untold.clone() else { return Ok(None) };
        let is_asked = polled.deployment.as_ref().is_some_and(|link| link.id == untold.id);
        if let (true, Step::Ended { outcome }) = (is_asked, &untold.step) {
            match self.ddi.feedback(&untold.id, &closed(outcome)).await {
                Ok(()) | Err(DdiError::Gone) => {}
                Err(error) => return Err(error),
            }
        }
        self.keep(Record { untold: None, ..self.record.clone() }).map_err(DdiError::Fault)?;
        Ok(is_asked.then_some(Next::Again))
    }

    /// Whether work in hand is left for a bundle; resolves when there is one.
    pub(super) async fn left_for_stick(&self) -> Halt {
        self.stick_arrives().await;
        Halt::Stick
    }
}
