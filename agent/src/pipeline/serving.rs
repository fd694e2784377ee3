//! What serves: packages, routes and destinations as one set, which another takes the place of as a whole. A job goes on with
//! the set that it began with, and so does every job of its study; a study of which none has begun is answered by the set that
//! serves then.
use super::Pipeline;
use super::tried::Proven;
use crate::config::sha256;
use crate::deliver::Destination;
use crate::fault::{Blame, Fault};
use crate::infer::AcceptedEngines;
use crate::job::{Job, JobState};
use crate::model::{Floors, Package};
use crate::route::{Route, judge};
use crate::spool::{Batch, Table};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;
use tokio::sync::watch;

/// A state that the channel brought. A name can come again with other bytes, so that its hash counts as well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateId {
    /// Its name.
    pub name: String,
    /// SHA-256 of its document, 64 lower-case hexadecimal digits; absent where an agent activated it that knew states by their
    /// names alone.
    pub sha256: Option<String>,
}

impl StateId {
    /// True unless it is known to be another one.
    pub fn may_be(&self, other: &Self) -> bool {
        self.name == other.name && (self.sha256 == other.sha256 || self.sha256.is_none() || other.sha256.is_none())
    }
}

impl fmt::Display for StateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What serves at one time.
#[derive(Debug)]
pub struct ServingSet {
    /// The state that it came with by the channel; `None`: the box's own configuration.
    pub state: Option<StateId>,
    /// Since when.
    pub since: SystemTime,
    /// Model packages, opened and checked.
    pub packages: Vec<Package>,
    /// Engines that the site's acceptance cohort was run on: no other that is made here takes the place of one.
    pub accepted: AcceptedEngines,
    /// Routes, in the order of the configuration.
    pub routes: Vec<Route>,
    /// Where results go.
    pub destinations: Vec<Destination>,
    /// What golden cases must ask for.
    pub floors: Floors,
}

impl ServingSet {
    /// Packages and routes of the box's own configuration, without a destination.
    pub fn own(packages: Vec<Package>, routes: Vec<Route>) -> Self {
        let (since, floors) = (SystemTime::now(), Floors::default());
        let accepted = AcceptedEngines::new();
        Self { state: None, since, packages, accepted, routes, destinations: Vec::new(), floors }
    }

    /// What the spool calls it: a hash of its state's name and of its packages, so that a set is known again after a restart.
    pub(super) fn mark(&self) -> String {
        let mut packages: Vec<&str> = self.packages.iter().map(|package| package.digest.as_str()).collect();
        packages.sort_unstable();
        let state = self.state.as_ref().map(|id| format!("{}@{}", id.name, id.sha256.as_deref().unwrap_or_default()));
        sha256(&format!("{} {}", state.unwrap_or_default(), packages.join(" ")))
    }

    pub(super) fn package(&self, digest: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.digest == digest)
    }

    pub(super) fn route(&self, name: &str) -> Option<&Route> {
        self.routes.iter().find(|route| route.name == name)
    }

    pub(super) fn destination(&self, name: &str) -> Option<&Destination> {
        self.destinations.iter().find(|destination| destination.name == name)
    }
}

impl Pipeline {
    /// What serves now.
    pub fn serving_set(&self) -> Arc<ServingSet> {
        Arc::clone(&self.serving_set.borrow())
    }

    /// The same, for whoever waits for another one.
    pub(super) fn serving_sets(&self) -> watch::Receiver<Arc<ServingSet>> {
        self.serving_set.subscribe()
    }

    /// Has a set serve from the next job on. What was `proven` of its packages serves at once; golden cases of the others run
    /// before their first job, unless they are known to hold.
    pub(crate) fn serve(&self, set: ServingSet, proven: Vec<Proven>) {
        let before = self.serving_set();
        let set = Arc::new(set);
        self.take_up_models(&set, proven);
        self.serving_set.send_replace(Arc::clone(&set));
        self.begun.keep(&before);
        self.models.forget_but(|digest| set.package(digest).is_some() || before.package(digest).is_some());
        let state = set.state.as_ref().map_or("the box's own", |state| state.name.as_str());
        tracing::info!(state, "another set serves");
        self.recorder.changed();
        // Each of those that run jobs, so that its worker is warm before the first study comes.
        for _ in self.desks.all() {
            self.jobs.wake();
        }
        self.jobs.wake();
        self.deliveries.notify_waiters();
    }

    /// As [`Pipeline::serve`], where the set that served until now is left: what it was found to do must not go on, so that a study
    /// that began on it ends on the other.
    pub(crate) fn take_back(&self, set: ServingSet) {
        self.serve(set, Vec::new());
        self.begun.forget();
    }

    /// The set that a job runs on: the one that its study began with, as long as that is kept; else the one that serves now.
    pub(super) fn set_for(&self, study: &str) -> Arc<ServingSet> {
        self.begun.set_of(study).unwrap_or_else(|| self.serving_set())
    }

    /// The package that is to answer a job, which has not begun. A job that was decided under another version of the model is
    /// taken over by the one that serves now, where that one is meant for its series.
    pub(super) fn package_for<'s>(&self, job: &mut Job, set: &'s ServingSet) -> Result<&'s Package, Fault> {
        let gone = |what: String| {
            let reason = format!("{} {} {what}", job.package.title, job.package.version);
            Fault::new("package-gone", Blame::Configuration, reason)
        };
        if set.route(&job.route).is_some_and(|route| !route.models.contains(&job.package.name)) {
            return Err(gone(format!("no longer runs on route {}", job.route)));
        }
        if let Some(package) = set.package(&job.package.digest) {
            return Ok(package);
        }
        let by_name = set.packages.iter().find(|package| package.manifest.name == job.package.name);
        let package = by_name.ok_or_else(|| gone("is no longer loaded".to_owned()))?;
        let sources = self.sources(job)?;
        let headers: Vec<_> = sources.iter().map(|source| &source.header).collect();
        let unfit: Vec<String> = judge(&package.manifest.selection, &headers).iter().map(ToString::to_string).collect();
        if !unfit.is_empty() {
            return Err(Fault::new("not-applicable", Blame::Study, unfit.join("; ")));
        }
        self.take_over(job, package)?;
        Ok(package)
    }

    /// Records that another version answers a job; what was lost on the one before does not count against it.
    fn take_over(&self, job: &mut Job, package: &Package) -> Result<(), Fault> {
        let text = format!(
            "{} {} answers in place of {}, which no longer serves",
            package.manifest.title, package.manifest.version, job.package.version
        );
        job.package = package.reference();
        job.state = JobState::Waiting { attempts: 0 };
        let _one_at_a_time = self.studies.lock().unwrap_or_else(PoisonError::into_inner);
        if self.spool.get::<Job>(Table::Jobs, &Job::key(job.id))?.is_some_and(|job| job.is_open()) {
            let mut batch = Batch::new();
            batch.put(Table::Jobs, &Job::key(job.id), job, Some(&job.study))?;
            self.noted(&mut batch, &job.study, "routed", &text, None)?;
            self.spool.write_blocking(batch)?;
        }
        Ok(())
    }
}
