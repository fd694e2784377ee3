//! The region's two switches, signed like a release and looked at with each poll: all rollouts stop, and models are suspended
//! clinically, whichever state the box runs.
//!
//! What can't be learned now (the server is away, frozen, or withholds a document) stands as it was learned last. Where it is the age alone
//! of what is shown that can't be told, more can be switched off by it, and nothing on.
use super::listen::later;
use super::{Halt, Machine};
use crate::agent::{BY_REGION, Holder, ModelStatus};
use crate::fault::{Blame, Fault};
use crate::machine::record::{Suspended, Switches};
use crate::recovery;
use crate::state::Model;
use crate::trust::{Doubted, Trusted};
use std::sync::{MutexGuard, PoisonError};

/// What is said once for as long as it lasts.
const NOT_READ: &str = "a switch is not read";
const NOT_APPLIED: &str = "a suspension is not applied";
/// Characters of a reason; the agent takes no longer one.
pub(super) const MAX_REASON: usize = 500;

/// What the region shows at a poll.
pub(super) struct Look {
    /// The repository, where its metadata holds now.
    pub(super) trusted: Result<Trusted, Fault>,
    /// The same where it holds but for its age, which can't be told.
    pub(super) doubted: Option<Doubted>,
    /// Whether its switches are heeded.
    pub(super) heeded: Result<(), Fault>,
}

impl Machine {
    /// Learns how the switches stand, and applies them.
    pub(super) async fn look(&self) -> Look {
        let trusted = self.trusted().await;
        let learned = match &trusted {
            Ok(trusted) => {
                let all = async {
                    let learned = self.learn(trusted).await;
                    recovery::ask(trusted, &self.config.directory).await;
                    learned
                };
                Box::pin(all).await
            }
            // Written down where it was refused.
            Err(_) => Ok(()),
        };
        let unheard = trusted.as_ref().err().or(learned.as_ref().err());
        if self.pace.hears(unheard) {
            self.note_now();
        }
        let doubted = match unheard {
            Some(fault) => self.doubted(fault).await,
            None => None,
        };
        if let Some(doubted) = &doubted {
            Box::pin(self.learn_more(doubted)).await;
        }
        let applied = Box::pin(self.apply_suspensions(unheard.is_none())).await;
        // On a slow line the poll is long ago by now.
        self.is_heard();
        Look { trusted, doubted, heeded: learned.and(applied) }
    }

    /// Learns how the switches stand. One that can't be read is no reason not to heed the other.
    pub(super) async fn learn(&self, trusted: &Trusted) -> Result<(), Fault> {
        let (stopped, suspended) = (trusted.stopped().await, trusted.suspended().await);
        let suspended = suspended.map(|all| all.into_iter().map(Suspended::from).collect());
        self.change_switches(|switches| {
            if let Ok(stopped) = &stopped {
                switches.stopped.clone_from(stopped);
            }
            if let Ok(suspended) = &suspended {
                switches.suspended.clone_from(suspended);
            }
        })?;
        let heeded = stopped.map(|_| ()).and(suspended.map(|_| ()));
        if let Some(fault) = self.said.news(NOT_READ, &heeded) {
            tracing::warn!(target: "audit", code = %fault.code, reason = fault.reason, "a switch of the region was not read");
        }
        heeded
    }

    /// Learns what a repository of doubted age switches off beside what is off already, and lets nothing go on by it.
    async fn learn_more(&self, doubted: &Doubted) {
        let (stopped, suspended) = (doubted.stopped().await, doubted.suspended().await);
        let kept = self.change_switches(|switches| {
            if let (None, Ok(stopped)) = (&switches.stopped, stopped) {
                switches.stopped = stopped;
            }
            suspended.into_iter().flatten().for_each(|more| switches.suspend_too(more.into()));
        });
        if let Err(fault) = kept {
            tracing::warn!(%fault, "what the region switches off is not kept");
        }
    }

    fn change_switches(&self, change: impl FnOnce(&mut Switches)) -> Result<(), Fault> {
        let before = self.switches().stopped.clone();
        self.switch(change)?;
        match (&before, &self.switches().stopped) {
            (None, Some(reason)) => tracing::warn!(target: "audit", reason, "the region stopped all rollouts"),
            (Some(_), None) => tracing::info!(target: "audit", "the region lets rollouts go on"),
            _ => {}
        }
        Ok(())
    }

    /// Nothing new is begun while all rollouts are stopped.
    pub(super) fn heed_stop(&self) -> Result<(), Halt> {
        self.switches().stopped.as_ref().map_or(Ok(()), |reason| {
            let reason =
                format!("the region has stopped all rollouts {reason}; the action waits until it lets them go on");
            Err(later(Fault::new("rollouts-stopped", Blame::Region, reason)))
        })
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.switches().stopped.is_some()
    }

    /// Switches off what the region suspends of what the agent serves now, and lets serve what it suspends no longer: where the region is heard,
    /// also what no record has, which was lost perhaps, or is an earlier region's.
    async fn apply_suspensions(&self, is_heard: bool) -> Result<(), Fault> {
        let switches = self.switches().clone();
        let has_any = !switches.suspended.is_empty() || !switches.applied.is_empty();
        if !has_any && !is_heard {
            return Ok(());
        }
        let mut heeded = Ok(());
        match self.agent.status().await {
            Ok(status) => {
                let told = self.tell_suspensions(&status, &switches, is_heard).await;
                let is_told = matches!(told, Ok(true));
                for model in &status.models {
                    let is_listed = status.region_lists(&model.name, &model.version);
                    let applied = self.apply_to(model, &switches, is_heard, is_told, is_listed).await;
                    heeded = heeded.and(applied);
                }
                heeded = told.map(drop).and(heeded);
            }
            Err(error) if has_any => heeded = Err(error.into()),
            // Nothing is known that it would have to do.
            Err(_) => {}
        }
        if let Some(fault) = self.said.news(NOT_APPLIED, &heeded) {
            tracing::warn!(target: "audit", code = %fault.code, reason = fault.reason, "a suspension of the region was not applied");
        }
        heeded
    }

    /// After the region was heard beside a poll, on a stick perhaps. What can't be learned or done now is so with the next poll.
    pub(super) async fn heed_suspensions(&self, trusted: &Trusted) {
        if Box::pin(self.learn(trusted)).await.is_ok() {
            let _ = Box::pin(self.apply_suspensions(true)).await;
        }
    }

    /// As [`Machine::apply_suspensions`], after another state began to serve. What fails is tried again with the next poll.
    pub(super) async fn suspend_at_once(&self) {
        let _ = Box::pin(self.apply_suspensions(false)).await;
    }

    /// Before another state begins to serve: what the region suspends of its models answers not even once. Where it is not known which
    /// models those are, all that the region suspends is switched off.
    pub(super) async fn suspend_coming(&self, models: Option<&[Model]>) -> Result<(), Halt> {
        let is_coming = |suspended: &&Suspended| {
            models.is_none_or(|models| models.iter().any(|model| suspended.is_of(&model.name, &model.version)))
        };
        let coming: Vec<Suspended> = self.switches().suspended.iter().filter(is_coming).cloned().collect();
        if coming.is_empty() {
            return Ok(());
        }
        let status = self.agent.status().await.map_err(later)?;
        let switches = self.switches().clone();
        self.tell_suspensions(&status, &switches, false).await.map_err(later)?;
        for Suspended { package, reason, .. } in &coming {
            // Beside a person's word as well, which may be taken back at any time; the updater's own ends when another state serves. By its name
            // also where the list has it off already.
            let is_off = status
                .models
                .iter()
                .any(|model| model.name == *package && model.is_off_by_region() && !model.is_withheld());
            if is_off && switches.applied.contains_key(package) {
                continue;
            }
            match self.switch_off(package, reason).await {
                // Most of what the region suspends is not here. What is, is switched off once it serves.
                Err(fault) if models.is_none() && fault.code == "agent-refused" => {
                    if self.said.is_news(&format!("{package} is not suspended beforehand"), &fault.code) {
                        tracing::warn!(target: "audit", package, reason = fault.reason, "a suspension of the region was not applied beforehand");
                    }
                }
                switched => switched.map_err(later)?,
            }
        }
        Ok(())
    }

    /// Nothing goes on where the agent could not be told all that the region suspends, and what `is_listed` there only once the region is heard.
    async fn apply_to(
        &self,
        model: &ModelStatus,
        switches: &Switches,
        is_heard: bool,
        is_told: bool,
        is_listed: bool,
    ) -> Result<(), Fault> {
        let ModelStatus { name, version, .. } = model;
        let (is_off, is_known) = (model.is_off_by_region(), switches.applied.contains_key(name));
        match switches.suspended.iter().find(|suspended| suspended.is_of(name, version)) {
            // By the list perhaps, and by its name as well: the box may go back to an agent from before.
            Some(suspended) if is_off && is_listed && !is_known && !model.is_withheld() => {
                self.switch_off(name, &suspended.reason).await?;
            }
            Some(_) if is_off && !is_known => {
                self.switch(|switches| {
                    switches.applied.insert(name.clone(), BY_REGION.to_owned());
                })?;
            }
            // The agent keeps a person's word beside the region's: it is lifted by nobody else, and lifts nothing of the region's.
            Some(_) if is_off || model.is_withheld() => {}
            Some(suspended) => self.switch_off(name, &suspended.reason).await?,
            None if is_off && (!is_told || is_listed && !is_heard) => {}
            // The updater's own word has taken the place of the region's in the agent: it stands until another state serves.
            None if model.is_withheld() => self.forget_applied(name)?,
            // What a person has suspended meanwhile the channel does not take back.
            None if is_off && (is_heard || is_known) => {
                self.agent.resume(name).await?;
                tracing::info!(target: "audit", package = name, version, "a suspension of the region was lifted");
                self.forget_applied(name)?;
            }
            None => self.forget_applied(name)?,
        }
        Ok(())
    }

    fn forget_applied(&self, package: &str) -> Result<(), Fault> {
        self.switch(|switches| {
            switches.applied.remove(package);
        })
    }

    /// Switches a model off with the region's reason.
    async fn switch_off(&self, package: &str, reason: &str) -> Result<(), Fault> {
        let reason: String = BY_REGION.chars().chain(reason.trim().chars()).take(MAX_REASON).collect();
        let reason = reason.trim_end();
        // Kept before it is done: what was done is known again after a power cut.
        self.switch(|switches| {
            switches.applied.insert(package.to_owned(), reason.to_owned());
        })?;
        self.agent.suspend(package, reason, Holder::Region).await?;
        tracing::warn!(target: "audit", package, reason, "a suspension of the region was applied");
        Ok(())
    }

    /// How the switches stand. They change while a step works, and that alone does: see [`Machine::keep`].
    pub(super) fn switches(&self) -> MutexGuard<'_, Switches> {
        self.switches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn switch(&self, change: impl FnOnce(&mut Switches)) -> Result<(), Fault> {
        let before = self.switches().clone();
        change(&mut self.switches());
        if *self.switches() == before {
            return Ok(());
        }
        if let Err(fault) = self.as_it_stands(self.record.clone()).write(&self.config.record_file()) {
            *self.switches() = before;
            return Err(fault);
        }
        self.note_now();
        Ok(())
    }
}
