//! Golden cases before service: a model is active once its known answers hold on the engine that serves it.
//!
//! They run in a worker, in the thread that runs jobs: while no job waits, or when the first job of the model comes. What held
//! is remembered in the spool for this package, this very engine and this `sund`, so that the next start need not run it
//! again. A miss is not remembered: it may have been the box, and the next start tries again.
use super::Pipeline;
use super::breaker::{self, Advice};
use super::runner::ATTEMPTS;
use super::serving::ServingSet;
use super::tried::Proven;
use crate::audit;
use crate::fault::{Blame, Fault};
use crate::infer::{Choice, EngineKind, Engines, Found};
use crate::inference::{EngineUsed, Inference};
use crate::model::manifest::Golden;
use crate::model::{Package, golden};
use crate::spool::{Batch, ReadGrant, Table};
use crate::worker::{Bounds, Company, Seat, Task, TaskError, look_for_gpu, run};
use std::collections::BTreeMap;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Before a worker that was not there is looked for again: at the start of a machine its unit may come up a little later.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The same, at most.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

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

/// Where a model stands.
#[derive(Clone, Debug)]
pub(super) enum Standing {
    /// Serves before its golden cases have run.
    Unchecked(Choice),
    /// Its golden cases are to run, or run; its jobs wait.
    Checking(Choice),
    /// Its golden cases hold on this engine.
    Active(Choice, EngineUsed),
    /// No worker is there to run its golden cases; they are tried again, with the next job or when the pause is over.
    Waiting(Waiting),
    /// No engine serves it.
    Off(Fault),
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

/// Golden cases that hold on an engine.
pub(super) struct Checked {
    pub(super) used: EngineUsed,
    /// Their numbers, in words.
    pub(super) figures: String,
}

/// The engine that is to answer a job.
pub(super) struct Serving {
    /// What a worker is told to use.
    pub(super) engine: EngineKind,
    /// What answered the golden cases, where they have run.
    checked: Option<EngineUsed>,
}

/// A model's wait for a worker.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    /// Why there is none.
    pub(super) fault: Fault,
    /// Times that there was none.
    tries: u32,
    /// Before the next try.
    until: Instant,
}

impl Waiting {
    /// The pause is doubled each time, up to a bound.
    fn after(tries: u32, fault: Fault) -> (Self, Duration) {
        let pause = FIRST_PAUSE.saturating_mul(1 << tries.min(16)).min(LONGEST_PAUSE);
        (Self { fault, tries: tries + 1, until: Instant::now() + pause }, pause)
    }
}

/// Where each model stands, by its package's digest.
#[derive(Default)]
pub(super) struct Models {
    standings: Mutex<BTreeMap<String, Standing>>,
    /// Engines that a package did not hold on, and why, by its digest.
    misses: Mutex<BTreeMap<String, Vec<(EngineKind, String)>>>,
    /// Held while golden cases run: one at a time, whoever runs jobs.
    one_at_a_time: Mutex<()>,
    /// Connections to the workers that run golden cases now, each with a number of its own.
    checks: Mutex<(u64, BTreeMap<u64, UnixStream>)>,
}

impl Models {
    pub(super) fn standing(&self, digest: &str) -> Option<Standing> {
        self.standings.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    /// Why a package is not served by an engine that it was checked on.
    pub(super) fn miss(&self, digest: &str, engine: &EngineKind) -> Option<String> {
        let misses = self.misses.lock().unwrap_or_else(PoisonError::into_inner);
        misses.get(digest)?.iter().find(|(known, _)| known == engine).map(|(_, reason)| reason.clone())
    }

    /// Held while golden cases run: one at a time, whoever runs jobs.
    pub(super) fn one_at_a_time(&self) -> MutexGuard<'_, ()> {
        self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn missed(&self, digest: &str, engine: EngineKind, fault: &Fault) {
        let mut misses = self.misses.lock().unwrap_or_else(PoisonError::into_inner);
        let of_package = misses.entry(digest.to_owned()).or_default();
        of_package.retain(|(known, _)| *known != engine);
        of_package.push((engine, fault.to_string()));
    }

    fn set(&self, digest: &str, standing: Standing) {
        self.standings.lock().unwrap_or_else(PoisonError::into_inner).insert(digest.to_owned(), standing);
    }

    /// Forgets the engines that a package did not hold on: it may have been the box, and a next trial tries again.
    pub(super) fn forget_misses(&self, digest: &str) {
        self.misses.lock().unwrap_or_else(PoisonError::into_inner).remove(digest);
    }

    /// Forgets what is known of packages but of those that are named.
    pub(super) fn forget_but(&self, is_kept: impl Fn(&str) -> bool) {
        self.standings.lock().unwrap_or_else(PoisonError::into_inner).retain(|digest, _| is_kept(digest));
        self.misses.lock().unwrap_or_else(PoisonError::into_inner).retain(|digest, _| is_kept(digest));
    }

    /// Ends the golden cases that run: their workers are lost. A drain need not wait for them.
    pub(super) fn interrupt(&self) {
        for connection in self.checks.lock().unwrap_or_else(PoisonError::into_inner).1.values() {
            // Fails only where the worker is gone.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// The connection can be interrupted until what is given is dropped.
    fn watch(&self, connection: Option<UnixStream>) -> Watched<'_> {
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        checks.0 += 1;
        let number = checks.0;
        checks.1.extend(connection.map(|connection| (number, connection)));
        Watched { models: self, number }
    }
}

/// A golden case that runs.
struct Watched<'m> {
    models: &'m Models,
    number: u64,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.models.checks.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&self.number);
    }
}

/// What is remembered of golden cases that held: the engine's own words.
fn evidence_key(package: &Package, engine: &EngineKind) -> Result<String, Fault> {
    Ok(format!("golden/{}/{}/sund {}", package.digest, engine.identity()?, env!("CARGO_PKG_VERSION")))
}

impl Pipeline {
    /// Where the models of a set stand before it serves.
    pub(super) fn take_up_models(&self, set: &ServingSet, mut proven: Vec<Proven>) {
        for package in &set.packages {
            let known = proven.iter().position(|proven| proven.digest == package.digest);
            if let Some(Proven { choice, used, .. }) = known.map(|n| proven.swap_remove(n)) {
                self.switch_on(package, choice, used);
                continue;
            }
            if matches!(self.models.standing(&package.digest), Some(Standing::Active(..) | Standing::Checking(_)))
                && set.floors.admit(&package.manifest).is_ok()
            {
                // It serves already, in the set before.
                continue;
            }
            if let Err(fault) = set.floors.admit(&package.manifest) {
                self.switch_off(package, fault);
                continue;
            }
            let choice = match self.engines().choose(package) {
                Ok(choice) => choice,
                Err(fault) => {
                    self.switch_off(package, fault);
                    continue;
                }
            };
            // A library that cannot be read is told by the check.
            // Before a worker has looked for a GPU it is not known what the package's first engine is.
            let remembered = if self.site.engines.libraries.is_empty() {
                self.remembered(package, &choice.engine)
            } else {
                Ok(None)
            };
            match (remembered, self.site.activation) {
                (Ok(Some(used)), _) => self.switch_on(package, choice, used),
                (_, Activation::AtStart) => self.models.set(&package.digest, Standing::Checking(choice)),
                (_, Activation::OnDemand) => self.models.set(&package.digest, Standing::Unchecked(choice)),
            }
        }
    }

    /// The engines of this machine, as far as they are known.
    pub(super) fn engines(&self) -> &Engines {
        self.found.get().unwrap_or(&self.site.engines)
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

    /// The engine that serves a package, checked first where that is due; `None` where the agent drains meanwhile.
    pub(super) fn serving(&self, package: &Package, seat: &Seat) -> Result<Option<Serving>, Fault> {
        let is_due =
            || matches!(self.models.standing(&package.digest), Some(Standing::Checking(_) | Standing::Waiting(_)));
        if is_due() {
            let _one_at_a_time = self.models.one_at_a_time();
            // Another one may have come first.
            if is_due() {
                self.activate(package, seat);
            }
        }
        match self.models.standing(&package.digest) {
            Some(Standing::Unchecked(choice)) => {
                self.unless_gpu_is_left(package, Serving { engine: choice.engine, checked: None }, seat)
            }
            Some(Standing::Active(choice, used)) => {
                self.unless_gpu_is_left(package, Serving { engine: choice.engine, checked: Some(used) }, seat)
            }
            Some(Standing::Waiting(Waiting { fault, .. }) | Standing::Off(fault)) => Err(fault),
            Some(Standing::Checking(_)) | None => Ok(None),
        }
    }

    /// The same engine, or one of the processor while its GPU is left alone; `None` where the agent drains meanwhile. Where no
    /// engine of the processor serves the package, the GPU is its only chance; but not one that answered golden cases wrongly.
    fn unless_gpu_is_left(&self, package: &Package, serving: Serving, seat: &Seat) -> Result<Option<Serving>, Fault> {
        if !serving.engine.is_on_gpu() {
            return Ok(Some(serving));
        }
        let is_used = match self.breakers.advice(seat.device()) {
            Advice::Use => true,
            Advice::Leave => false,
            Advice::Try => {
                let _one_at_a_time = self.models.one_at_a_time();
                self.try_gpu(package, &serving.engine, seat)
            }
        };
        if is_used {
            return Ok(Some(serving));
        }
        match self.without_gpu(package, seat) {
            Ok(other) => Ok(Some(other)),
            Err(_) if *self.draining.borrow() => Ok(None),
            Err(fault) if fault.code == "worker-not-started" => Err(fault),
            Err(_) => match self.breakers.why(seat.device()) {
                Some(miss) if !breaker::is_of_the_gpu(&miss) => Err(miss),
                _ => Ok(Some(serving)),
            },
        }
    }

    /// Runs the golden cases of a package on a GPU that was left alone. True where they hold: it is used again.
    fn try_gpu(&self, package: &Package, engine: &EngineKind, seat: &Seat) -> bool {
        let holds = |case: &Golden| {
            let inference = self.golden_answer(package, engine, case, 1, seat)?;
            golden::held(package, case, &inference).map(drop)
        };
        let tried = package.manifest.golden.iter().try_for_each(holds);
        match &tried {
            Ok(()) => self.breakers.answered(seat.device()),
            Err(fault) if fault.code == "worker-not-started" || *self.draining.borrow() => {
                self.breakers.untried(seat.device());
            }
            Err(fault) => self.gpu_lost(fault, seat),
        }
        self.recorder.changed();
        tried.is_ok()
    }

    /// Notes what came of a job on a GPU. One that was lost beside others may have been lost by their doing.
    pub(super) fn note_gpu(
        &self,
        engine: &EngineKind,
        company: Company,
        seat: &Seat,
        answer: &Result<Inference, TaskError>,
    ) {
        match answer {
            _ if !engine.is_on_gpu() => {}
            Ok(_) => self.breakers.answered_a_job(seat.device()),
            Err(TaskError::WorkerLost(fault)) if company == Company::Nobody && breaker::is_of_the_gpu(fault) => {
                self.gpu_lost(fault, seat);
            }
            Err(_) => {}
        }
    }

    fn gpu_lost(&self, fault: &Fault, seat: &Seat) {
        if let Some(pause) = self.breakers.lost(seat.device(), fault) {
            self.recorder.changed();
            self.jobs.wake_after(pause);
        }
    }

    /// The engine of the processor that answers a job in place of a GPU that was lost on it: the first that the package is
    /// validated for and whose golden cases hold, always checked. Where there is none, why.
    pub(super) fn without_gpu(&self, package: &Package, seat: &Seat) -> Result<Serving, Fault> {
        let _one_at_a_time = self.models.one_at_a_time();
        let mut against = Vec::new();
        for choice in self.engines().choices(package)? {
            if choice.engine.is_on_gpu() {
                continue;
            }
            match self.check(package, &choice.engine, seat) {
                Ok(Checked { used, .. }) => return Ok(Serving { engine: choice.engine, checked: Some(used) }),
                // That says nothing about the engine.
                Err(fault) if fault.code == "worker-not-started" => return Err(fault),
                Err(fault) => against.push(format!("{} does not serve it: {}", choice.engine, fault.reason)),
            }
        }
        if against.is_empty() {
            against.push("the package is validated for no engine of the processor that is here".to_owned());
        }
        Err(Fault::new("engine-not-validated", Blame::Package, against.join("; ")))
    }

    /// Whether an answer comes from the engine that the golden cases hold on. Where the library was replaced while the
    /// agent runs it does not: the model is checked anew.
    pub(super) fn is_from_checked_engine(&self, inference: &Inference, serving: &Serving) -> bool {
        let digest = &inference.package.digest;
        match (&serving.checked, self.models.standing(digest)) {
            (Some(checked), standing) if *checked != inference.engine => {
                tracing::warn!(package = digest, "the engine was replaced; its golden cases run again");
                if let Some(Standing::Active(choice, used)) = standing
                    && used == *checked
                {
                    self.models.set(digest, Standing::Checking(choice));
                }
                false
            }
            _ => true,
        }
    }

    /// Runs the golden cases on one allowed engine after the other, until they hold on one, which then serves.
    fn activate(&self, package: &Package, seat: &Seat) {
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
        match self.search(package, seat, &mut told) {
            Ok(Proven { choice, used, .. }) => self.switch_on(package, choice, used),
            Err(Unproven::NoWorker(fault)) => self.wait_for_worker(package, tries, fault),
            Err(Unproven::Missed(fault)) => self.switch_off(package, fault),
            Err(Unproven::Drains) => {}
        }
    }

    /// The first allowed engine on which the golden cases of a package hold; `told` is told of each.
    pub(super) fn search(
        &self,
        package: &Package,
        seat: &Seat,
        told: &mut dyn FnMut(Step<'_>),
    ) -> Result<Proven, Unproven> {
        self.look_for_gpu(seat).map_err(Unproven::NoWorker)?;
        let mut misses: Vec<Fault> = Vec::new();
        for mut choice in self.engines().choices(package).map_err(Unproven::Missed)? {
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
                Err(fault) if fault.code == "worker-not-started" => return Err(Unproven::NoWorker(fault)),
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
                let is_replaced = matches!(
                    self.models.standing(&package.digest),
                    Some(Standing::Active(active, _)) if active.engine.files().is_err()
                );
                if is_replaced {
                    // It was made anew in the place of the one that serves: all are checked again.
                    self.models.set(&package.digest, Standing::Checking(choice.clone()));
                }
                drop(self.missed(package, choice, fault));
            }
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

    fn remembered(&self, package: &Package, engine: &EngineKind) -> Result<Option<EngineUsed>, Fault> {
        Ok(self.spool.get(Table::Meta, &evidence_key(package, engine)?)?)
    }

    /// Runs the golden cases of a package on an engine, unless they are known to hold.
    fn check(&self, package: &Package, engine: &EngineKind, seat: &Seat) -> Result<Checked, Fault> {
        let key = evidence_key(package, engine)?;
        if let Some(used) = self.spool.get(Table::Meta, &key)? {
            return Ok(Checked { used, figures: "golden cases have held on this very engine before".to_owned() });
        }
        let mut used = None;
        let mut figures = Vec::new();
        for case in &package.manifest.golden {
            let inference = self.golden_answer(package, engine, case, ATTEMPTS, seat)?;
            let compared = golden::held(package, case, &inference)?;
            figures.push(format!("golden case `{}` holds: {}", case.name, golden::figures(&compared)));
            used = Some(inference.engine);
        }
        let used = used.ok_or_else(|| {
            let reason = "there is no golden case: without one no engine may serve it";
            Fault::new("package-invalid", Blame::Package, reason)
        })?;
        let mut batch = Batch::new();
        batch.put(Table::Meta, &key, &used, None)?;
        self.spool.write_blocking(batch)?;
        Ok(Checked { used, figures: figures.join("; ") })
    }

    /// What a worker answers to a golden case. Where a worker is lost on it, it is tried again on a fresh one, up to so many times.
    fn golden_answer(
        &self,
        package: &Package,
        engine: &EngineKind,
        case: &Golden,
        most: u32,
        seat: &Seat,
    ) -> Result<Inference, Fault> {
        let files = package.contents.descriptor()?;
        let task = Task {
            job: 0,
            package_digest: package.digest.clone(),
            engine: engine.clone(),
            golden: Some(case.name.clone()),
            memory: self.site.bounds.memory,
            series: ReadGrant::default(),
        };
        let mut attempts = 0;
        loop {
            attempts += 1;
            // A job that takes the worker with it says nothing about the model.
            let process = seat.take(Company::Nobody)?;
            let watched = self.models.watch(process.channel.connection().ok());
            if *self.draining.borrow() {
                self.models.interrupt();
            }
            let (process, answer) = run(process, &task, &[files.as_fd()], self.site.bounds, &mut |_| {});
            drop(watched);
            seat.put(process);
            match answer {
                Err(TaskError::WorkerLost(_)) if attempts < most && !*self.draining.borrow() => {}
                answer => return answer.map_err(TaskError::fault),
            }
        }
    }
}

fn named(package: &Package) -> audit::Model {
    let manifest = &package.manifest;
    audit::Model { name: format!("{} {}", manifest.name, manifest.version), digest: package.digest.clone() }
}
