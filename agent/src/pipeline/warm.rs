//! Golden cases in the workers that serve, after their models came into service: once by each worker when another set serves, so that
//! the first study does not wait for a model to be loaded; and whenever the updater asks, which watches what it has activated.
use super::Pipeline;
use super::runner::ATTEMPTS;
use super::serving::{ServingSet, StateId};
use super::standing::{Standing, pause};
use crate::fault::{Blame, Fault};
use crate::limits::channel::{CHECK_PATIENCE, MAX_CHECK_TRIES};
use crate::model::{Package, golden};
use crate::worker::Seat;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The check that runs, or ran last.
#[derive(Default)]
pub(super) struct Checks(Mutex<Option<Check>>);

struct Check {
    set: Arc<ServingSet>,
    asked: Instant,
    is_taken: bool,
    /// Times that no worker was to be had for it, and when it is taken again.
    tries: u32,
    again: Instant,
    told: Rechecked,
}

/// What came of golden cases that were run again.
#[derive(Clone, Debug)]
pub(crate) struct Rechecked {
    /// The state that serves.
    pub(crate) state: StateId,
    /// Whether they hold; `None` while they wait or run.
    pub(crate) held: Option<Result<(), Fault>>,
    /// What was found of each package.
    pub(crate) packages: Vec<RecheckedPackage>,
}

/// What was found of a package.
#[derive(Clone, Debug)]
pub(crate) struct RecheckedPackage {
    /// Its name.
    pub(crate) name: String,
    /// Whether its cases hold.
    pub(crate) held: bool,
    /// In words, with the figures.
    pub(crate) text: String,
    /// How long they took.
    pub(crate) took: Duration,
}

impl Checks {
    fn lock(&self) -> MutexGuard<'_, Option<Check>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The check that waits, to be run now: while no job waits, or where it has waited for long enough.
    fn take(&self, is_idle: bool) -> Option<Arc<ServingSet>> {
        let mut check = self.lock();
        let due = check.as_mut().filter(|check| !check.is_taken && check.again <= Instant::now())?;
        if !is_idle && due.asked.elapsed() < CHECK_PATIENCE {
            return None;
        }
        due.is_taken = true;
        Some(Arc::clone(&due.set))
    }

    /// Leaves a check untaken that said nothing of its models, to be taken again after the pause that is given; `None` where that was done
    /// often enough.
    fn put_back(&self, set: &Arc<ServingSet>) -> Option<Duration> {
        let mut check = self.lock();
        let taken = check.as_mut().filter(|check| Arc::ptr_eq(&check.set, set) && check.tries + 1 < MAX_CHECK_TRIES)?;
        let pause = pause(taken.tries);
        taken.tries += 1;
        taken.again = Instant::now() + pause;
        taken.is_taken = false;
        taken.told.packages.clear();
        Some(pause)
    }

    fn tell(&self, set: &Arc<ServingSet>, tell: impl FnOnce(&mut Rechecked)) {
        if let Some(check) = self.lock().as_mut().filter(|check| Arc::ptr_eq(&check.set, set)) {
            tell(&mut check.told);
        }
    }
}

impl Pipeline {
    /// Has the golden cases of what serves run again, where it is this state. One check at a time.
    pub(crate) fn check_again(&self, state: &StateId) -> Result<Rechecked, Fault> {
        let set = self.serving_set();
        if set.state.as_ref() != Some(state) {
            let serves = set.state.as_ref().map_or("the box's own configuration", |state| state.name.as_str());
            let reason =
                format!("the state {state} does not serve, or was activated under another hash; {serves} does");
            return Err(Fault::new("state-not-serving", Blame::Peer, reason));
        }
        let mut check = self.checks.lock();
        if let Some(running) = check.as_ref().filter(|check| Arc::ptr_eq(&check.set, &set) && check.told.held.is_none())
        {
            return Ok(running.told.clone());
        }
        let told = Rechecked { state: state.clone(), held: None, packages: Vec::new() };
        let now = Instant::now();
        *check = Some(Check { set, asked: now, is_taken: false, tries: 0, again: now, told: told.clone() });
        drop(check);
        self.jobs.wake();
        Ok(told)
    }

    /// How that stands; `None` where none was asked for since the agent started.
    pub(crate) fn checked_again(&self) -> Option<Rechecked> {
        self.checks.lock().as_ref().map(|check| check.told.clone())
    }

    /// Runs the check that waits, if it is its turn. A worker that is not to be had says nothing of the models: it is run again a few times, and
    /// is then told for what it is.
    pub(super) fn run_check(&self, seat: &Seat) {
        let Some(set) = self.checks.take(self.jobs.is_idle()) else { return };
        let held = set.packages.iter().try_for_each(|package| {
            if !Arc::ptr_eq(&set, &self.serving_set()) {
                let reason = "another state took its place before its golden cases were run again";
                return Err(Fault::new("state-not-serving", Blame::Peer, reason));
            }
            let begun = Instant::now();
            let name = package.manifest.name.clone();
            let found = match self.suspended.fault(&name, &package.manifest.version) {
                Some(_) => Ok("is suspended: its golden cases were not run again".to_owned()),
                None => self.prove_again(package, seat),
            };
            let (held, text) =
                found.as_ref().map_or_else(|fault| (false, fault.to_string()), |text| (true, text.clone()));
            tracing::info!(model = name, held, "golden cases ran again: {text}");
            self.checks.tell(&set, |told| {
                told.packages.push(RecheckedPackage { name, held, text, took: begun.elapsed() });
            });
            found.map(drop)
        });
        if *self.draining.borrow() {
            // Who asked asks again after the next start.
            return;
        }
        if let Err(fault) = held.as_ref()
            && fault.code == "worker-not-started"
            && let Some(pause) = self.checks.put_back(&set)
        {
            tracing::warn!(code = %fault.code, reason = %fault.reason, "golden cases wait for a worker");
            self.jobs.wake_after(pause);
            return;
        }
        self.checks.tell(&set, |told| told.held = Some(held));
    }

    /// Has the worker of this seat answer a golden case of each model that has come into service since `before`, so that it has
    /// loaded it. While a job waits that comes first, and warms it just as well.
    pub(super) fn warm(&self, before: &ServingSet, set: &ServingSet, seat: &Seat) {
        for package in set.packages.iter().filter(|package| before.package(&package.digest).is_none()) {
            let is_active = matches!(self.models.standing(&package.digest), Some(Standing::Active(..)));
            if !self.jobs.is_idle() || *self.draining.borrow() {
                return;
            }
            let (model, version) = (&package.manifest.name, &package.manifest.version);
            if !is_active || self.suspended.fault(model, version).is_some() {
                continue;
            }
            let begun = Instant::now();
            match self.prove_again(package, seat) {
                Ok(_) => tracing::info!(model, version, took = ?begun.elapsed(), "a worker is warm"),
                Err(fault) => {
                    tracing::warn!(model, version, code = %fault.code, reason = fault.reason, "a worker could not be warmed");
                }
            }
        }
    }

    /// Runs the golden cases of a package on the engine that serves it; their figures.
    fn prove_again(&self, package: &Package, seat: &Seat) -> Result<String, Fault> {
        let draining = || Fault::new("agent-draining", Blame::Box, "the agent ends; golden cases were not run again");
        let serving = self.serving(package, seat)?.ok_or_else(draining)?;
        let mut figures = Vec::new();
        for case in &package.manifest.golden {
            let inference = self.golden_answer(package, &serving.engine, case, ATTEMPTS, seat)?;
            let compared = golden::held(package, case, &inference)?;
            figures.push(format!("golden case `{}` holds: {}", case.name, golden::figures(&compared)));
        }
        Ok(format!("{}: {}", serving.engine, figures.join("; ")))
    }
}
