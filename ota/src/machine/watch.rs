//! Active: the state serves, and the box watches itself for as long as the state says.
use super::{Active, Halt, Machine};
use crate::agent::client::AgentError;
use crate::agent::{AgentStatus, ModelStatus};
use crate::config::Watch;
use crate::fault::{Blame, Fault};
use crate::machine::record::{End, Outcome, Step};
use crate::state::DesiredState;
use std::time::Duration;
use tokio::time::Instant;

impl Machine {
    pub(super) async fn watch(&mut self, active: Active) -> Result<Outcome, Halt> {
        let Active { tested, mut since } = active;
        let state = tested.state.get();
        let mut answered = Instant::now();
        loop {
            // A clock that was set back does not prolong the watch for years: it begins anew.
            since = since.min(super::now());
            let watched = u64::try_from(super::now() - since).unwrap_or(0);
            let is_over = watched >= state.watch_seconds;
            match self.agent.status().await {
                Ok(status) => {
                    answered = Instant::now();
                    if let Some(missed) = miss(&status, state, &self.config.watch, is_over) {
                        return Err(Halt::RollBack(Fault::new("watch-missed", Blame::Package, missed)));
                    }
                    if is_over {
                        let figures = status.models.iter().map(figures);
                        let details = tested.findings.iter().cloned().chain(figures).collect();
                        return Ok(Outcome { end: End::Active, at: super::now(), fault: None, details });
                    }
                }
                // Its service starts it again; one that does not come back is a reason to go back.
                Err(AgentError::Away { .. }) if answered.elapsed() < self.config.agent.start => {}
                Err(error) => return Err(Halt::RollBack(error.into())),
            }
            let rest = state.watch_seconds.saturating_sub(watched).max(1);
            let pause = self.config.watch.every.min(Duration::from_secs(rest));
            self.guard_to_the_end(tokio::time::sleep(pause)).await?;
        }
    }

    /// What is known of the state in hand before it is taken back: the findings of its trial and, where it serves, its figures.
    pub(super) async fn known(&self) -> Vec<String> {
        let mut details = match self.step() {
            Step::Tested { findings } | Step::Active { findings, .. } => findings.clone(),
            _ => Vec::new(),
        };
        if let Ok(status) = self.agent.status().await
            && status.state.as_deref() == Some(self.state_name())
        {
            details.extend(status.models.iter().map(figures));
        }
        details
    }
}

/// What does not hold, if anything.
fn miss(status: &AgentStatus, state: &DesiredState, watch: &Watch, is_over: bool) -> Option<String> {
    if status.state.as_ref() != Some(&state.name) {
        return Some(format!("the agent serves {:?} and not `{}`", status.state, state.name));
    }
    if !status.node_answers {
        return Some("the DICOM node does not answer its own echo".to_owned());
    }
    let mut names: Vec<&String> = state.routes.values().flat_map(|plan| &plan.models).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().find_map(|name| match status.models.iter().find(|model| model.name == *name) {
        Some(model) => model_miss(model, watch, is_over),
        None => Some(format!("`{name}` is on a route, and the agent does not know it")),
    })
}

fn model_miss(model: &ModelStatus, watch: &Watch, is_over: bool) -> Option<String> {
    let name = &model.name;
    let why = model.reason.as_deref().unwrap_or("no reason given");
    match model.standing.as_str() {
        "off" => return Some(format!("`{name}` is off: {why}")),
        // A person has suspended it: nothing is learned about it, and going back would not bring it back.
        "active" | "suspended" => {}
        standing if is_over => return Some(format!("`{name}` is still `{standing}` at the end of the watch: {why}")),
        _ => {}
    }
    let jobs = model.answered.saturating_add(model.failed);
    let share = model.failed as f64 / jobs.max(1) as f64;
    if jobs >= watch.min_jobs && share > watch.max_failed_share {
        return Some(format!(
            "`{name}`: {} of {jobs} jobs failed, {:.0} % where {:.0} % may",
            model.failed,
            share * 100.0,
            watch.max_failed_share * 100.0
        ));
    }
    match (model.median_ms, watch.max_median_ms) {
        (Some(median), Some(most)) if median > most => {
            Some(format!("`{name}` answers in {median:.0} ms (median), where {most:.0} ms may be"))
        }
        _ => None,
    }
}

fn figures(model: &ModelStatus) -> String {
    let median = model.median_ms.map_or_else(|| "no".to_owned(), |ms| format!("{ms:.0} ms"));
    let engine = model.engine.as_deref().unwrap_or("no engine");
    format!(
        "{} {}: {} on {engine}, {} answered, {} failed, {median} median",
        model.name, model.version, model.standing, model.answered, model.failed
    )
}
