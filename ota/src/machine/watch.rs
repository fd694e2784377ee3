//! Active: the state serves, and the box watches itself for as long as the state says: how its jobs end, how long they take, and
//! whether golden cases still hold in the workers that serve, at the beginning and at the end.
//!
//! A watch in which nothing was answered proves nothing by its quiet: there the golden cases alone are what counts, and the report
//! says so.
use super::listen::later;
use super::system::LOOK;
use super::trial::{in_words, named};
use super::watched::{figures, miss, unanswered};
use super::{Active, Halt, Machine};
use crate::agent::client::AgentError;
use crate::agent::{AgentStatus, StateId, Trial, TrialStanding};
use crate::fault::{Blame, Fault};
use crate::limits::watch::TOLD_EVERY;
use crate::machine::record::{Before, End, Outcome, Step};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// Seconds of watching after which they are kept.
const KEPT_EVERY: u64 = 60;
/// Times that a check is asked for anew because the agent has lost it.
const MAX_CHECKS: u32 = 3;

impl Machine {
    pub(super) async fn watch(&self, active: Active) -> Result<Outcome, Halt> {
        self.guard_to_the_end(self.watch_to_the_end(active)).await?
    }

    async fn watch_to_the_end(&self, active: Active) -> Result<Outcome, Halt> {
        let Active(tested) = active;
        let state = tested.state.get();
        let missing = || later(Fault::new("record-unwritable", Blame::Updater, "the action is not in the record"));
        let id = self.state_id().ok_or_else(missing)?;
        self.recheck(&id, "at the beginning of the watch").await?;
        let (before, begun) = (self.watched(), Instant::now());
        let (mut answered, mut told) = (begun, before / TOLD_EVERY);
        loop {
            let watched = before + begun.elapsed().as_secs();
            self.keep_watched(watched)?;
            let is_over = watched >= state.watch_seconds;
            match self.agent.status().await {
                Ok(status) => {
                    answered = Instant::now();
                    if let Some(missed) = miss(&status, &id, state, self.before(), &self.config.watch, is_over) {
                        return Err(Halt::RollBack(Fault::new("watch-missed", Blame::Package, missed)));
                    }
                    if is_over && !self.waits_for_jobs(&status, watched) {
                        let checked = self.recheck(&id, "at the end of the watch").await?;
                        return Ok(self.held(tested.findings, &status, checked));
                    }
                }
                // Its service starts it again; one that does not come back is a reason to go back.
                Err(AgentError::Away { .. }) if answered.elapsed() < self.config.agent.start => {}
                Err(error) => return Err(Halt::RollBack(error.into())),
            }
            // A word that is lost is not said again before the next one is due: a channel that is slow must not delay what is looked at here.
            if watched / TOLD_EVERY > told {
                told = watched / TOLD_EVERY;
                self.tell_step(&format!("is watched, for {told} h so far")).await;
            }
            let rest = state.watch_seconds.saturating_sub(watched).max(1);
            let pause = self.config.watch.every.min(Duration::from_secs(rest));
            tokio::time::sleep(pause).await;
        }
    }

    /// Seconds for which the state in hand was watched, also by an updater before this one. The time in which the box was off, or in which
    /// its clock was set forward, is none of them.
    fn watched(&self) -> u64 {
        match self.step() {
            Step::Active { watched, .. } => watched + self.watched_since.load(Ordering::Relaxed),
            _ => 0,
        }
    }

    /// Keeps them once a minute has come together: a power cut costs the watch no more than that.
    fn keep_watched(&self, seconds: u64) -> Result<(), Halt> {
        let more = seconds.saturating_sub(self.watched());
        if more < KEPT_EVERY {
            return Ok(());
        }
        self.watched_since.fetch_add(more, Ordering::Relaxed);
        let record = self.as_it_stands(self.record.clone());
        record.write(&self.config.record_file()).map_err(Halt::Later)
    }

    /// What is known of the state in hand before it is taken back: its figures, where it serves, and the findings of its trial.
    pub(super) async fn known(&self) -> Vec<String> {
        let mut details = Vec::new();
        if let Ok(status) = self.agent.status().await
            && status.state.is_some()
            && status.state == self.state_id()
        {
            details.extend(self.figures_of(&status));
        }
        if let Step::Tested { findings } | Step::Active { findings, .. } = self.step() {
            details.extend(findings.iter().cloned());
        }
        details
    }

    /// Whether the watch goes on although its time is over: the box is told to wait for more jobs, and has not waited for too long.
    fn waits_for_jobs(&self, status: &AgentStatus, watched: u64) -> bool {
        let answered: u64 = status.models.iter().map(|model| model.answered).sum();
        answered < self.config.watch.jobs && watched < self.config.watch.longest.as_secs()
    }

    /// It ends well: what the channel is told of it. The figures first, since a report has a bounded number of lines.
    fn held(&self, findings: Vec<String>, status: &AgentStatus, checked: Vec<String>) -> Outcome {
        let sentence = unanswered(status, self.config.watch.jobs);
        let details = self.figures_of(status).into_iter().chain(sentence).chain(findings).chain(checked);
        Outcome { end: End::Active, at: super::now(), fault: None, details: details.collect() }
    }

    fn figures_of(&self, status: &AgentStatus) -> Vec<String> {
        let (before, watch) = (self.before(), &self.config.watch);
        status.models.iter().map(|model| figures(model, before.get(&model.name), watch)).collect()
    }

    /// How models did before this state took their place.
    fn before(&self) -> &BTreeMap<String, Before> {
        static NOTHING: BTreeMap<String, Before> = BTreeMap::new();
        match self.step() {
            Step::Active { before, .. } => before,
            _ => &NOTHING,
        }
    }

    /// Has the golden cases of what serves run again; what was found, in words. A miss takes the state back.
    async fn recheck(&self, id: &StateId, when: &str) -> Result<Vec<String>, Halt> {
        let until = Instant::now() + self.config.agent.trial;
        let mut check = self.begin_check(id).await?;
        let mut begun = 1;
        loop {
            match check.standing {
                TrialStanding::Held => {
                    return Ok(in_words(&check.findings).map(|line| format!("{when}: {line}")).collect());
                }
                TrialStanding::Missed(ref fault) => {
                    let found: Vec<String> = in_words(&check.findings).collect();
                    // Without a worker they have not run: that is no model's doing.
                    let (what, blame) = match fault.blame.as_str() {
                        "box" | "configuration" => ("cannot be run", Blame::Box),
                        _ => ("miss", Blame::Package),
                    };
                    let reason =
                        format!("golden cases {what} {when}: {} [{}]; {}", fault.reason, fault.code, found.join("; "));
                    return Err(Halt::RollBack(Fault::new("watch-missed", blame, reason)));
                }
                TrialStanding::Running if Instant::now() >= until => {
                    let within = self.config.agent.trial.as_secs();
                    let reason = format!("golden cases of {} have not ended within {within} s {when}", named(Some(id)));
                    return Err(Halt::RollBack(Fault::new("watch-missed", Blame::Agent, reason)));
                }
                TrialStanding::Running => {}
            }
            tokio::time::sleep(LOOK).await;
            check = match self.agent.checked().await {
                Ok(next) if next.state == *id => next,
                // It was started anew meanwhile, and knows nothing of the check.
                Ok(_) | Err(AgentError::Away { .. } | AgentError::Refused(_)) if begun < MAX_CHECKS => {
                    begun += 1;
                    self.begin_check(id).await?
                }
                Ok(_) => {
                    let reason = "the agent has lost the check of golden cases again and again: see its journal";
                    return Err(Halt::RollBack(Fault::new("watch-missed", Blame::Agent, reason)));
                }
                Err(error) => return Err(Halt::RollBack(error.into())),
            };
        }
    }

    async fn begin_check(&self, id: &StateId) -> Result<Trial, Halt> {
        self.agent_answers().await?;
        self.agent.check(id).await.map_err(|error| match error {
            error @ AgentError::Away { .. } => later(error),
            error => Halt::RollBack(error.into()),
        })
    }
}
