//! How models do since the set that serves came into service: what the updater watches.
use super::standing::Standing;
use super::{Holder, Pipeline};
use crate::job::{Job, JobState};
use crate::outcome::Outcome;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Ends of a job that say nothing of its model.
const NOBODYS: [&str; 2] = ["model-suspended", "job-superseded"];

/// How a model does.
pub(crate) struct ModelFigures {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) digest: String,
    /// `active`, `checking`, `waiting`, `off` or `suspended`.
    pub(crate) standing: &'static str,
    /// Why it is off or waits.
    pub(crate) reason: Option<String>,
    /// By whose word it is suspended.
    pub(crate) by: Vec<Holder>,
    /// The engine that serves it.
    pub(crate) engine: Option<String>,
    /// `gpu` or `cpu`, once an engine of that class serves it.
    pub(crate) engine_class: Option<&'static str>,
    /// Jobs that ended with an answer.
    pub(crate) answered: u64,
    /// Jobs that failed or came too late, but for those that a suspension or a newer job ended.
    pub(crate) failed: u64,
    /// Jobs on studies that are not what the model is for.
    pub(crate) not_applicable: u64,
    /// Median time of the steps of an answer.
    pub(crate) median: Option<Duration>,
}

impl Pipeline {
    /// Jobs that run.
    pub(crate) fn running(&self) -> u32 {
        let (running, _) = self.jobs.view();
        // 0 is no job's number.
        running.iter().filter(|job| **job != 0).count() as u32
    }

    /// True where an engine on a GPU serves a model, and not every GPU is left alone.
    pub(crate) fn serves_on_gpu(&self) -> bool {
        self.serving_set().packages.iter().any(|package| self.engine_class(&package.digest) == Some("gpu"))
    }

    /// The class of the engine that serves a package; a GPU that is left alone serves nothing.
    fn engine_class(&self, digest: &str) -> Option<&'static str> {
        let Some(Standing::Active(choice, _)) = self.models.standing(digest) else { return None };
        let left: BTreeSet<Option<String>> = self.breakers.left().into_iter().map(|gpu| gpu.device).collect();
        let is_used = || self.desks.all().iter().any(|worker| !left.contains(&worker.device));
        Some(if choice.engine.is_on_gpu() && is_used() { "gpu" } else { "cpu" })
    }

    /// The models of the set that serves.
    pub(crate) fn model_figures(&self) -> Vec<ModelFigures> {
        let set = self.serving_set();
        let jobs = self.seen.jobs.all(&self.spool);
        let figures = |package: &crate::model::Package| {
            let name = &package.manifest.name;
            let (standing, reason, engine) = match self.models.standing(&package.digest) {
                Some(Standing::Active(choice, _)) => ("active", None, Some(choice.engine)),
                Some(Standing::Checking(choice) | Standing::Unchecked(choice)) => {
                    ("checking", None, Some(choice.engine))
                }
                Some(Standing::Waiting(waiting)) => ("waiting", Some(waiting.fault.to_string()), None),
                Some(Standing::Off(fault)) => ("off", Some(fault.to_string()), None),
                None => ("checking", None, None),
            };
            let (standing, reason, by) = match self.suspended.off(name, &package.manifest.version) {
                Some((fault, by)) => ("suspended", Some(fault.to_string()), by),
                None => (standing, reason, Vec::new()),
            };
            let of_it: Vec<&Job> =
                jobs.iter().map(Arc::as_ref).filter(|job| job.package.digest == package.digest).collect();
            let ended = of_it.iter().filter_map(|job| match &job.state {
                JobState::Ended { outcome, at, fault, times, .. } if *at >= set.since => Some((outcome, fault, times)),
                _ => None,
            });
            let (mut failed, mut not_applicable, mut took) = (0, 0, Vec::new());
            for (outcome, fault, times) in ended {
                match outcome {
                    Outcome::Finding | Outcome::NoFinding => took.push(times.iter().map(|time| time.took).sum()),
                    Outcome::NotApplicable => not_applicable += 1,
                    // Too late is no answer either, but where a newer job took its place.
                    Outcome::Failed | Outcome::TooLate
                        if fault.as_ref().is_none_or(|fault| !NOBODYS.contains(&fault.code.as_ref())) =>
                    {
                        failed += 1;
                    }
                    _ => {}
                }
            }
            ModelFigures {
                name: name.clone(),
                version: package.manifest.version.clone(),
                digest: package.digest.clone(),
                standing,
                reason,
                by,
                engine: engine.map(|engine| engine.to_string()),
                engine_class: self.engine_class(&package.digest),
                answered: took.len() as u64,
                failed,
                not_applicable,
                median: median(took),
            }
        };
        set.packages.iter().map(figures).collect()
    }
}

/// The lower of the two in the middle, where there are two.
fn median(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort_unstable();
    times.get(times.len().saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        let of = |times: &[u64]| median(times.iter().copied().map(Duration::from_millis).collect());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[9, 1, 5]), Some(Duration::from_millis(5)));
        assert_eq!(of(&[1, 9, 5, 7]), Some(Duration::from_millis(5)));
    }
}
