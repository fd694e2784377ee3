//! Golden cases before service: a model is active once its known answers hold on the engine that serves it.
//!
//! They run in a worker, in the thread that runs jobs: while no job waits, or when the first job of the model comes.
use super::Pipeline;
use super::breaker::Advice;
use super::cases::Checked;
use super::serving::ServingSet;
use super::standing::{Standing, Waiting};
use super::tried::Proven;
use crate::audit;
use crate::fault::{Blame, Fault};
use crate::infer::{Choice, EngineKind, Engines, Found};
use crate::inference::EngineUsed;
use crate::model::Package;
use crate::worker::{Bounds, Company, Seat, look_for_gpu};
use std::time::{Duration, Instant};

/// A look for a GPU takes at most so long.
const LOOK: Duration = Duration::from_secs(30);

/// When golden cases are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Before the first job of the model. Every configured node.
    AtStart,
    /// Once [`Pipeline::demand_checks`] asks for them; until then models serve without. The demonstration sends the very
    /// images of the golden cases, and to run them first would double its time (brain on tract: about 6 s). So it shows
    /// its results as research, its models as not yet checked, and checks them after the story. A vendor's trial of a
    /// package at work runs its golden cases by `sund model check`.
    OnDemand,
}

/// Why no engine serves a package.
pub(super) enum Unproven {
    /// No worker is to be had.
    NoWorker(Fault),
    /// Its golden cases hold on none, for the reasons of all.
    Missed(Fault),
    /// The agent drains; the next start goes on with it.
    Drains,
}

/// How far the search for an engine is.
pub(super) enum Step<'a> {
    /// Golden cases begin to run on this one.
    Begins(&'a Choice),
    /// What came of them, and how long they took.
    Ends(&'a Choice, &'a Result<Checked, Fault>, Duration),
}

impl Pipeline {
    /// Where the models of a set stand before it serves.
    pub(super) fn take_up_models(&self, set: &ServingSet, mut proven: Vec<Proven>) {
        for package in &set.packages {
            let known = proven.iter().position(|proven| proven.digest == package.digest);
            match known.map(|n| proven.swap_remove(n)) {
                Some(Proven { choice, used, .. }) => {
                    self.models.accept(&package.digest, set.accepted.get(&package.digest));
                    self.switch_on(package, choice, used);
                }
                None => self.take_up_model(package, set),
            }
        }
    }

    /// The same of one of which nothing was proven just now.
    pub(super) fn take_up_model(&self, package: &Package, set: &ServingSet) {
        self.models.accept(&package.digest, set.accepted.get(&package.digest));
        if let Err(fault) = set.floors.admit(&package.manifest) {
            self.switch_off(package, fault);
            return;
        }
        if let Some(Standing::Active(choice, _) | Standing::Checking(choice)) = self.models.standing(&package.digest)
            && self.is_accepted(package, &choice.engine)
        {
            // It serves already, in the set before.
            return;
        }
        let choice = match self.choices(package) {
            Ok(mut choices) => choices.swap_remove(0),
            Err(fault) => {
                self.switch_off(package, fault);
                return;
            }
        };
        // A library that cannot be read is told by the check.
        // Before a worker has looked for a GPU it is not known what the package's first engine is.
        let remembered =
            if self.site.engines.libraries.is_empty() { self.remembered(package, &choice.engine) } else { Ok(None) };
        match (remembered, self.site.activation) {
            (Ok(Some(used)), _) => self.switch_on(package, choice, used),
            (_, Activation::AtStart) => self.models.set(&package.digest, Standing::Checking(choice)),
            (_, Activation::OnDemand) => self.models.set(&package.digest, Standing::Unchecked(choice)),
        }
    }

    /// The engines of this machine, as far as they are known.
    pub(crate) fn engines(&self) -> &Engines {
        self.found.get().unwrap_or(&self.site.engines)
    }

    /// The engines that may serve a package, the preferred one first; at least one. One that the site's acceptance cohort was run on
    /// comes before all others.
    pub(super) fn choices(&self, package: &Package) -> Result<Vec<Choice>, Fault> {
        let choices = self.engines().choices(package)?;
        match self.models.accepted(&package.digest) {
            Some(accepted) => accepted.among(choices),
            None => Ok(choices),
        }
    }

    /// Whether an engine may take a package over by itself: the one that the site's acceptance cohort was run on, or any where it was run
    /// on none.
    pub(super) fn is_accepted(&self, package: &Package, engine: &EngineKind) -> bool {
        self.models.accepted(&package.digest).is_none_or(|accepted| accepted.is(engine))
    }

    /// Has a worker look for a GPU, once, where a library is named that would use it. A fault where there is no worker.
    fn look_for_gpu(&self, seat: &Seat) -> Result<(), Fault> {
        let libraries = &self.site.engines.libraries;
        if libraries.is_empty() || self.found.get().is_some() {
            return Ok(());
        }
        // Else a job that takes the worker with it would have the GPU not used.
        let process = seat.take(Company::Nobody)?;
        let bounds = Bounds { time: self.site.bounds.time.min(LOOK), ..self.site.bounds };
        let (process, found) = look_for_gpu(process, libraries, bounds);
        seat.put(process);
        // What was called off has said nothing about the GPU, which others look for.
        if let Some(why) = seat.called_off() {
            return Err(why);
        }
        // A worker that dies of it, as of a driver that crashes, dies of it again: the CPU serves.
        let found =
            found.unwrap_or_else(|error| Found { trouble: Some(error.fault().to_string()), ..Found::default() });
        if let Some(trouble) = &found.trouble {
            tracing::warn!(trouble, "the GPU, or a library of TensorRT, is not used");
        }
        // It is set while golden cases run, by one at a time.
        let _ = self.found.set(self.site.engines.clone().with_found(found));
        self.recorder.changed();
        Ok(())
    }

    /// Has the golden cases run of models that serve without.
    pub fn demand_checks(&self) {
        for package in &self.serving_set().packages {
            if let Some(Standing::Unchecked(choice)) = self.models.standing(&package.digest) {
                self.models.set(&package.digest, Standing::Checking(choice));
            }
        }
        self.recorder.changed();
        self.jobs.wake();
    }

    /// Checks the models that are to be checked, as long as no job waits.
    pub(super) fn check_models(&self, seat: &Seat) {
        for package in &self.serving_set().packages {
            if !self.jobs.is_idle() {
                return;
            }
            // Where another one is at it there is no need to wait.
            let Ok(_one_at_a_time) = self.models.one_at_a_time.try_lock() else { return };
            match self.models.standing(&package.digest) {
                Some(Standing::Checking(_)) => self.activate(package, seat),
                Some(Standing::Waiting(waiting)) if waiting.until <= Instant::now() => self.activate(package, seat),
                Some(Standing::Active(choice, _) | Standing::Unchecked(choice))
                    if choice.engine.is_on_gpu() && self.breakers.advice(seat.device()) == Advice::Try =>
                {
                    self.try_gpu(package, &choice.engine, seat);
                }
                _ => {}
            }
        }
    }

    /// Runs the golden cases on one allowed engine after the other, until they hold on one, which then serves.
    pub(super) fn activate(&self, package: &Package, seat: &Seat) {
        let tries = match self.models.standing(&package.digest) {
            Some(Standing::Waiting(waiting)) => waiting.tries,
            _ => 0,
        };
        let mut told = |step: Step<'_>| {
            if let Step::Begins(choice) = step {
                self.models.set(&package.digest, Standing::Checking(choice.clone()));
                self.recorder.changed();
            }
        };
        match self.search(package, seat, Self::choices, &mut told) {
            Ok(Proven { choice, used, .. }) => self.switch_on(package, choice, used),
            Err(Unproven::NoWorker(fault)) => self.wait_for_worker(package, tries, fault),
            Err(Unproven::Missed(fault)) => self.switch_off(package, fault),
            Err(Unproven::Drains) => {}
        }
    }

    /// The first of the engines that `may` serve a package on which its golden cases hold; `told` is told of each.
    pub(super) fn search(
        &self,
        package: &Package,
        seat: &Seat,
        may: impl Fn(&Self, &Package) -> Result<Vec<Choice>, Fault>,
        told: &mut dyn FnMut(Step<'_>),
    ) -> Result<Proven, Unproven> {
        self.look_for_gpu(seat).map_err(Unproven::NoWorker)?;
        let mut misses: Vec<Fault> = Vec::new();
        for mut choice in may(self, package).map_err(Unproven::Missed)? {
            if let Some(miss) = misses.last() {
                choice.explanation.clone_from(&miss.reason);
            }
            told(Step::Begins(&choice));
            let begun = Instant::now();
            let checked = self.check(package, &choice.engine, seat);
            told(Step::Ends(&choice, &checked, begun.elapsed()));
            match checked {
                Ok(Checked { used, .. }) => return Ok(Proven { digest: package.digest.clone(), choice, used }),
                Err(_) if *self.draining.borrow() => return Err(Unproven::Drains),
                // That says nothing about the engine.
                Err(fault) if fault.code == "worker-not-started" || seat.called_off().is_some() => {
                    return Err(Unproven::NoWorker(fault));
                }
                Err(fault) => misses.push(self.missed(package, choice, fault)),
            }
        }
        let reason = misses.iter().map(|miss| miss.reason.as_str()).collect::<Vec<_>>().join("; ");
        Err(Unproven::Missed(match misses.pop() {
            Some(last) => Fault { reason, ..last },
            None => Fault::new(
                "engine-not-validated",
                Blame::Package,
                "the package is validated for no engine that is here",
            ),
        }))
    }

    /// Notes why an engine does not serve a package.
    fn missed(&self, package: &Package, choice: Choice, mut fault: Fault) -> Fault {
        fault.reason = format!("{} does not serve it: {}", choice.engine, fault.reason);
        tracing::error!(model = package.manifest.name, code = %fault.code, reason = %fault.reason, "a golden case");
        self.models.missed(&package.digest, choice.engine, &fault);
        fault
    }

    /// Has an engine serve that was not there when the package was activated, where its golden cases hold; what serves goes on
    /// serving otherwise. Who calls holds [`Models::one_at_a_time`].
    pub(super) fn prefer(&self, package: &Package, choice: Choice, seat: &Seat) {
        match self.check(package, &choice.engine, seat) {
            Ok(Checked { used, .. }) => self.switch_on(package, choice, used),
            // The next start chooses it first, and goes on with it.
            Err(fault) if fault.code == "worker-not-started" || *self.draining.borrow() => {}
            Err(fault) => {
                self.check_if_replaced(package);
                drop(self.missed(package, choice, fault));
            }
        }
    }

    /// Has all engines of a package checked again where one was made anew in the place of the one that serves.
    pub(super) fn check_if_replaced(&self, package: &Package) {
        if let Some(Standing::Active(active, _)) = self.models.standing(&package.digest)
            && active.engine.files().is_err()
        {
            self.models.set(&package.digest, Standing::Checking(active));
        }
    }

    /// Leaves a model to the next try. Its operator is told once, and once more when it serves.
    fn wait_for_worker(&self, package: &Package, tries: u32, fault: Fault) {
        if tries == 0 {
            tracing::warn!(model = package.manifest.name, code = %fault.code, reason = %fault.reason, "a model waits for a worker");
        }
        let (waiting, pause) = Waiting::after(tries, fault);
        self.models.set(&package.digest, Standing::Waiting(waiting));
        self.recorder.changed();
        self.jobs.wake_after(pause);
    }

    fn switch_on(&self, package: &Package, choice: Choice, used: EngineUsed) {
        let engine = format!("{} {} {}", used.class, used.precision, used.version);
        self.recorder.audit(audit::Event::PackageLoaded { model: named(package), engine });
        self.models.set(&package.digest, Standing::Active(choice, used));
        self.recorder.changed();
    }

    fn switch_off(&self, package: &Package, fault: Fault) {
        tracing::error!(model = package.manifest.name, code = %fault.code, reason = %fault.reason, "a model is off");
        self.recorder.audit(audit::Event::PackageRefused { name: named(package).name, fault: fault.clone() });
        self.models.set(&package.digest, Standing::Off(fault));
        self.recorder.changed();
    }
}

fn named(package: &Package) -> audit::Model {
    let manifest = &package.manifest;
    audit::Model { name: format!("{} {}", manifest.name, manifest.version), digest: package.digest.clone() }
}
