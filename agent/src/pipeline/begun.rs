//! Studies under way, each with the set that its first job ran on: the jobs that are left of it run on that set too, so that one
//! study is not answered by two versions. The set before the one that serves is kept for that, and none before it. The record of a study
//! says which it began with, so that it is so after a restart as well.
use super::Pipeline;
use super::serving::ServingSet;
use crate::job::Job;
use crate::model::Package;
use crate::spool::{SpoolError, Table};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Studies of which a job has begun and not all have ended, by their UID.
#[derive(Debug, Default)]
pub(super) struct Begun(Mutex<BTreeMap<String, Arc<ServingSet>>>);

impl Begun {
    /// A job of the study runs on this set. False where it may not: the study is on another one, or none of it has begun and the set that
    /// `serves` is another by now.
    pub(super) fn begin(&self, study: &str, set: &Arc<ServingSet>, serves: impl FnOnce() -> Arc<ServingSet>) -> bool {
        // What serves is asked for while these are held: who replaces it lets go of them afterwards.
        let mut studies = self.studies();
        if let Some(of_study) = studies.get(study) {
            return Arc::ptr_eq(of_study, set);
        }
        let is_serving = Arc::ptr_eq(&serves(), set);
        if is_serving {
            studies.insert(study.to_owned(), Arc::clone(set));
        }
        is_serving
    }

    /// A study that began with a set before the agent was started.
    fn take_up(&self, study: String, set: &Arc<ServingSet>) {
        self.studies().insert(study, Arc::clone(set));
    }

    /// The set that a study began with.
    pub(super) fn set_of(&self, study: &str) -> Option<Arc<ServingSet>> {
        self.studies().get(study).cloned()
    }

    /// No job of the study is open.
    pub(super) fn end(&self, study: &str) {
        self.studies().remove(study);
    }

    /// Another set takes the place of this one; those before it are kept no longer.
    pub(super) fn keep(&self, set: &Arc<ServingSet>) {
        self.studies().retain(|_, of_study| Arc::ptr_eq(of_study, set));
    }

    /// Every study goes on with what serves.
    pub(super) fn forget(&self) {
        self.studies().clear();
    }

    fn studies(&self) -> MutexGuard<'_, BTreeMap<String, Arc<ServingSet>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pipeline {
    /// Has the studies that were under way when the agent stopped end on the set that they began with: the one that serves, or the one
    /// `before` it, which is asked for only where a study began with another than serves, and before any job is taken. Where it is not to be
    /// had, or is not what it was, they end on what serves, and their timelines say so.
    pub(crate) fn take_up_begun(&self, before: impl FnOnce() -> Option<ServingSet>) -> Result<(), SpoolError> {
        let serves = self.serving_set();
        let jobs: Vec<Job> = self.spool.scan(Table::Jobs, "")?;
        let studies: BTreeSet<String> = jobs.into_iter().filter(Job::is_open).map(|job| job.study).collect();
        let mut others = Vec::new();
        for study in studies {
            // A record that does not read is told when its jobs come to it; it keeps nobody from starting.
            match self.study_record(&study).ok().flatten().and_then(|record| record.begun_on) {
                Some(mark) if mark == serves.mark() => self.begun.take_up(study, &serves),
                Some(mark) => others.push((study, mark)),
                None => {}
            }
        }
        if others.is_empty() {
            return Ok(());
        }
        let studies = others.len();
        let before = before().map(Arc::new);
        others.retain(|(_, mark)| before.as_ref().is_some_and(|before| *mark == before.mark()));
        tracing::info!(studies, go_on = others.len(), "studies under way began with another set than serves");
        if let Some(before) = before.filter(|_| !others.is_empty()) {
            // What both have serves already, by the floors of what serves.
            let is_shared = |one: &Package| serves.packages.iter().any(|served| served.digest == one.digest);
            for package in before.packages.iter().filter(|package| !is_shared(package)) {
                self.take_up_model(package, &before);
            }
            for (study, _) in others {
                self.begun.take_up(study, &before);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_study_stays_with_the_set_that_it_began_with_for_as_long_as_that_is_kept() {
        let sets: Vec<Arc<ServingSet>> = (0..2).map(|_| Arc::new(ServingSet::own(Vec::new(), Vec::new()))).collect();
        let begun = Begun::default();
        let is_on = |study: &str, n: usize| begun.set_of(study).is_some_and(|set| Arc::ptr_eq(&set, &sets[n]));
        let begin = |study: &str, n: usize, serves: usize| begun.begin(study, &sets[n], || Arc::clone(&sets[serves]));
        assert!(begin("a", 0, 0));
        begun.keep(&sets[0]);
        assert!(begin("a", 0, 1) && !begin("a", 1, 1) && begin("b", 1, 1));
        assert!(is_on("a", 0) && is_on("b", 1));
        begun.end("b");
        assert!(begun.set_of("b").is_none());
        begun.keep(&sets[1]);
        assert!(begun.set_of("a").is_none(), "two sets later it is answered by what serves");
        assert!(begin("c", 1, 1));
        begun.forget();
        assert!(begun.set_of("c").is_none(), "what is taken back answers nothing more");
        assert!(!begin("d", 1, 0) && begun.set_of("d").is_none(), "nor does it to a job that has waited meanwhile");
    }
}
