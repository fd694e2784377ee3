//! What the watch looks at: whether a state does as it should, and its figures beside those of the one before.
use super::trial::named;
use crate::agent::{AgentStatus, ModelStatus, StateId};
use crate::config::Watch;
use crate::limits::watch::{MAX_SLOWDOWN, SLOWDOWN_FLOOR_MS};
use crate::machine::record::Before;
use crate::state::DesiredState;
use std::collections::BTreeMap;
use std::fmt;

/// How models do before another state takes their place.
pub(super) fn before(status: &AgentStatus) -> BTreeMap<String, Before> {
    let models = status.models.iter().map(|model| {
        let before = Before {
            version: model.version.clone(),
            answered: model.answered,
            failed: model.failed,
            not_applicable: model.not_applicable,
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
    before: &BTreeMap<String, Before>,
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
        Some(model) => model_miss(model, before.get(name), watch, is_over),
        None => Some(format!("`{name}` is on a route, and the agent does not know it")),
    })
}

fn model_miss(model: &ModelStatus, before: Option<&Before>, watch: &Watch, is_over: bool) -> Option<String> {
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
    match Pace::of(model, before, watch) {
        Pace::Slow { median, most, why } => {
            Some(format!("`{name}` answers in {median:.0} ms (median), where {most:.0} ms may be: {why}"))
        }
        Pace::Holds(_) | Pace::Unknown(_) => None,
    }
}

/// How fast a model answers, held against what the box is told or against the version before on this very box.
enum Pace {
    /// Fast enough, by this measure.
    Holds(String),
    /// Nothing can be said, for this reason.
    Unknown(String),
    /// Too slow, in milliseconds.
    Slow { median: f64, most: f64, why: String },
}

impl Pace {
    fn of(model: &ModelStatus, before: Option<&Before>, watch: &Watch) -> Self {
        let Some(median) = model.median_ms else { return Self::Unknown("nothing was answered".to_owned()) };
        let (most, why) = match (watch.max_median_ms, before) {
            (Some(most), _) => (most, "`max_median_ms` of this box".to_owned()),
            (None, None) => return Self::Unknown("there was no version before it on this box".to_owned()),
            (None, Some(Before { version, answered, median_ms: Some(ms), .. }))
                if model.answered.min(*answered) >= watch.min_jobs =>
            {
                let most = *ms as f64 * MAX_SLOWDOWN + SLOWDOWN_FLOOR_MS;
                (most, format!("{MAX_SLOWDOWN} times {version}'s {ms} ms before it, and {SLOWDOWN_FLOOR_MS} ms"))
            }
            (None, Some(_)) => {
                return Self::Unknown(format!("fewer than {} jobs were answered by it or before it", watch.min_jobs));
            }
        };
        if median > most {
            return Self::Slow { median, most, why };
        }
        Self::Holds(format!("at most {most:.0} ms: {why}"))
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holds(why) => write!(f, "latency holds ({why})"),
            Self::Unknown(why) => write!(f, "latency was not compared: {why}"),
            Self::Slow { most, why, .. } => write!(f, "latency does not hold (at most {most:.0} ms: {why})"),
        }
    }
}

/// How a model does, and how the one did whose place it took.
pub(super) fn figures(model: &ModelStatus, before: Option<&Before>, watch: &Watch) -> String {
    let engine = model.engine.as_deref().unwrap_or("no engine");
    let ModelStatus { name, version, standing, answered, failed, not_applicable, median_ms, .. } = model;
    let now = told(*answered, *failed, *not_applicable, median_ms.map(|ms| ms.round() as u64));
    let pace = Pace::of(model, before, watch);
    let before = before.map_or_else(
        || "no such model before".to_owned(),
        |Before { version, answered, failed, not_applicable, median_ms }| {
            format!("before it {version}: {}", told(*answered, *failed, *not_applicable, *median_ms))
        },
    );
    format!("{name} {version}: {standing} on {engine}, {now}; {before}; {pace}")
}

fn told(answered: u64, failed: u64, not_applicable: u64, median_ms: Option<u64>) -> String {
    let median = median_ms.map_or_else(|| "no".to_owned(), |ms| format!("{ms} ms"));
    format!("{answered} answered, {failed} failed, {not_applicable} not applicable, {median} median")
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
