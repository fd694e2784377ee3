//! What the watch looks at: whether a state does as it should, and its figures beside those of the one before.
use super::trial::named;
use crate::agent::{AgentStatus, ModelStatus, StateId};
use crate::config::Watch;
use crate::machine::record::Before;
use crate::state::DesiredState;
use std::collections::BTreeMap;

/// How models do before another state takes their place.
pub(super) fn before(status: &AgentStatus) -> BTreeMap<String, Before> {
    let models = status.models.iter().map(|model| {
        let before = Before {
            version: model.version.clone(),
            answered: model.answered,
            failed: model.failed,
            median_ms: model.median_ms.map(|ms| ms.round() as u64),
        };
        (model.name.clone(), before)
    });
    models.collect()
}

/// What does not hold, if anything.
pub(super) fn miss(
    status: &AgentStatus,
    id: &StateId,
    state: &DesiredState,
    watch: &Watch,
    is_over: bool,
) -> Option<String> {
    if status.state.as_ref() != Some(id) {
        let serves = named(status.state.as_ref());
        let hash =
            if status.state.as_ref().is_some_and(|serves| serves.name == id.name) { " of other bytes" } else { "" };
        return Some(format!("the agent serves {serves}{hash} and not `{}`", id.name));
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
    // Too few to tell a share; but one that has answered nothing of what came has shown nothing else.
    if is_over && model.answered == 0 && model.failed > 0 {
        return Some(format!("`{name}` answered none of {} jobs that came in the watch", model.failed));
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

/// How a model does, and how the one did whose place it took.
pub(super) fn figures(model: &ModelStatus, before: Option<&Before>) -> String {
    let engine = model.engine.as_deref().unwrap_or("no engine");
    let now = told(model.answered, model.failed, model.median_ms.map(|ms| ms.round() as u64));
    let before = before.map_or_else(
        || "no such model before".to_owned(),
        |before| format!("before it {}: {}", before.version, told(before.answered, before.failed, before.median_ms)),
    );
    format!("{} {}: {} on {engine}, {now}; {before}", model.name, model.version, model.standing)
}

fn told(answered: u64, failed: u64, median_ms: Option<u64>) -> String {
    let median = median_ms.map_or_else(|| "no".to_owned(), |ms| format!("{ms} ms"));
    format!("{answered} answered, {failed} failed, {median} median")
}

/// What a report says of a watch in which fewer jobs were answered than would tell something.
pub(super) fn unanswered(status: &AgentStatus, wanted: u64) -> Option<String> {
    let answered: u64 = status.models.iter().map(|model| model.answered).sum();
    match answered {
        0 => Some("no study was answered in the watch; golden cases held".to_owned()),
        answered if answered < wanted => {
            Some(format!("{answered} of the {wanted} jobs that were waited for came in the watch; golden cases held"))
        }
        _ => None,
    }
}
