//! Engines that are compiled on this box: a package that is validated for a compiled engine, and does not bring along one that fits,
//! gets it made here, by a worker. The next choice serves meanwhile, and goes on serving where it cannot be made or its golden
//! cases do not hold.
use super::Pipeline;
use super::standing::Standing;
use crate::compile::{Order, keep_plan};
use crate::fault::{Blame, Fault};
use crate::infer::{EngineKind, Lacking};
use crate::limits::model::COMPILE_TIME;
use crate::model::Package;
use crate::spool::{Batch, Table};
use crate::worker::{Bounds, Company, Seat, TaskError, compile};
use rustix::fs::{MemfdFlags, memfd_create};
use std::collections::BTreeMap;
use std::fs::File;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Before a worker that was not there is looked for again.
const PAUSE: Duration = Duration::from_mins(1);

/// What is known of engines that lack.
#[derive(Debug, Default)]
pub(super) struct Compiling {
    /// What is told of each, by its identity.
    known: Mutex<BTreeMap<String, Stage>>,
    /// Connection to the worker that compiles now.
    worker: Mutex<Option<UnixStream>>,
}

#[derive(Clone, Debug)]
enum Stage {
    Compiles,
    Failed(Fault),
}

impl Compiling {
    /// Why an engine that lacks does, where it is known.
    pub(super) fn told(&self, lacking: &Lacking) -> Option<String> {
        Some(match self.known().get(&lacking.identity())? {
            Stage::Compiles => "it is compiled now".to_owned(),
            Stage::Failed(fault) => {
                format!("it could not be compiled here: {fault}")
            }
        })
    }

    /// Ends the worker that compiles: a drain need not wait for it.
    pub(super) fn interrupt(&self) {
        if let Some(connection) = &*self.worker.lock().unwrap_or_else(PoisonError::into_inner) {
            // Fails only where the worker is gone.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    fn watch(&self, connection: Option<UnixStream>) {
        *self.worker.lock().unwrap_or_else(PoisonError::into_inner) = connection;
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Stage>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has engines made that lack, one at a time, until the pipeline drains.
pub async fn compile_engines(pipeline: Arc<Pipeline>, mut seat: Seat) {
    let mut changes = pipeline.recorder.changes();
    let mut draining = pipeline.draining.subscribe();
    while !*draining.borrow() {
        changes.borrow_and_update();
        let mut pause = None;
        if let Some(lacking) = pipeline.lacking() {
            let this = Arc::clone(&pipeline);
            let made = tokio::task::spawn_blocking(move || {
                let made = this.make(&lacking, &seat);
                (seat, made)
            });
            match made.await {
                Ok((back, Ok(()))) => {
                    seat = back;
                    continue;
                }
                Ok((back, Err(_))) => {
                    seat = back;
                    pause = Some(PAUSE);
                }
                // It took its seat along: what is there goes on serving.
                Err(error) => {
                    tracing::error!(%error, "no more engines are compiled");
                    // Fails only where the pipeline is gone.
                    let _ = draining.wait_for(|draining| *draining).await;
                    return;
                }
            }
        }
        tokio::select! {
            _ = draining.wait_for(|draining| *draining) => return,
            () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
            changed = changes.changed(), if pause.is_none() => if changed.is_err() { return },
        }
    }
}

/// Where what was found out about an engine that lacks is remembered, for this `sund`.
fn memory(lacking: &Lacking) -> String {
    format!("compile/{}/sund {}", lacking.identity(), env!("CARGO_PKG_VERSION"))
}

impl Pipeline {
    /// The next engine to be made: of a model that serves without it, or that no engine here serves.
    fn lacking(&self) -> Option<Lacking> {
        let waits = |package: &&Package| match self.models.standing(&package.digest) {
            Some(Standing::Active(..)) => true,
            Some(Standing::Off(fault)) => fault.code == "engine-not-validated",
            _ => false,
        };
        let set = self.serving_set();
        let mut lacking = set.packages.iter().filter(waits).flat_map(|package| self.lacking_of(package));
        lacking.find(|lacking| self.is_untried(lacking))
    }

    /// The engines that a package lacks, by what golden cases have said so far.
    pub(super) fn lacking_of(&self, package: &Package) -> Vec<Lacking> {
        self.engines().lacking(package, |engine| self.models.miss(&package.digest, engine).is_some())
    }

    fn is_untried(&self, lacking: &Lacking) -> bool {
        let mut known = self.compiling.known();
        if known.contains_key(&lacking.identity()) {
            return false;
        }
        // What cannot be read is found out anew.
        let remembered = self.spool.get::<Fault>(Table::Meta, &memory(lacking)).ok().flatten();
        let is_untried = remembered.is_none();
        if let Some(fault) = remembered {
            known.insert(lacking.identity(), Stage::Failed(fault));
        }
        is_untried
    }

    /// Has an engine made, and takes it into service where its golden cases hold. A fault where no worker is to be had.
    fn make(&self, lacking: &Lacking, seat: &Seat) -> Result<(), Fault> {
        let set = self.serving_set();
        let Some(package) = set.package(&lacking.package_digest) else {
            return Ok(());
        };
        let (model, engine) = (&package.manifest.name, lacking.name());
        self.compiling.known().insert(lacking.identity(), Stage::Compiles);
        self.recorder.changed();
        tracing::info!(model, engine, gpu = %lacking.gpu, "an engine is compiled");
        let made = self.compiled(package, lacking, seat);
        self.compiling.known().remove(&lacking.identity());
        let made = match made {
            Ok(()) => {
                self.take_into_service(package, lacking, seat);
                // Its networks are to leave the GPU, which is another worker's.
                seat.renew();
                Ok(())
            }
            // The next start begins anew.
            Err(_) if *self.draining.borrow() => Ok(()),
            Err(fault) if fault.code == "worker-not-started" => Err(fault),
            Err(fault) => {
                tracing::error!(model, engine, code = %fault.code, reason = %fault.reason, "an engine cannot be compiled");
                crate::metrics::refusal(&fault.code);
                self.remember(lacking, &fault);
                self.compiling.known().insert(lacking.identity(), Stage::Failed(fault));
                Ok(())
            }
        };
        self.recorder.changed();
        made
    }

    /// Remembers why an engine cannot be made. What the box lacked, the next start may find; and why a worker was lost is not known.
    fn remember(&self, lacking: &Lacking, fault: &Fault) {
        if fault.blame == Blame::Box || fault.code.starts_with("worker-") {
            return;
        }
        let mut batch = Batch::new();
        let put = batch.put(Table::Meta, &memory(lacking), fault, None);
        if let Err(error) = put.and_then(|()| self.spool.write_blocking(batch)) {
            tracing::warn!(%error, "that an engine cannot be compiled is not remembered");
        }
    }

    /// Compiles an engine in a worker, which has a right on nothing but the package and the memory that it writes to.
    fn compiled(&self, package: &Package, lacking: &Lacking, seat: &Seat) -> Result<(), Fault> {
        let order = Order {
            package_digest: package.digest.clone(),
            library: lacking.library.clone(),
            precision: lacking.precision.clone(),
            architecture: lacking.gpu.architecture(),
            memory: self.site.bounds.memory,
        };
        let folder = package.contents.descriptor()?;
        let place = |_| memfd_create(c"sund-plan", MemfdFlags::CLOEXEC).map(File::from);
        let places: Result<Vec<File>, _> = lacking.files.iter().map(place).collect();
        let places = places.map_err(|error| {
            Fault::new("package-unwritable", Blame::Box, format!("there is no memory for a plan: {error}"))
        })?;
        let files: Vec<BorrowedFd<'_>> =
            std::iter::once(folder.as_fd()).chain(places.iter().map(AsFd::as_fd)).collect();
        let process = seat.take(Company::Nobody)?;
        self.compiling.watch(process.channel.connection().ok());
        if *self.draining.borrow() {
            self.compiling.interrupt();
        }
        let bounds = Bounds { time: COMPILE_TIME, ..self.site.bounds };
        let lengths = compile(process, &order, &files, bounds).map_err(TaskError::fault);
        self.compiling.watch(None);
        for ((path, place), length) in lacking.files.iter().zip(&places).zip(lengths?) {
            keep_plan(path, place, length)?;
        }
        Ok(())
    }

    /// Runs the golden cases on an engine that was made; where they hold it serves from now on. Where the site's acceptance cohort was run
    /// on another one, it is kept, and waits for the next trial.
    fn take_into_service(&self, package: &Package, lacking: &Lacking, seat: &Seat) {
        let is_made = |engine: &EngineKind| {
            engine.class_and_precision() == (lacking.library.class.as_str(), lacking.precision.as_str())
        };
        let _one_at_a_time = self.models.one_at_a_time();
        let choices = self.engines().choices(package).unwrap_or_default();
        let Some(choice) = choices.into_iter().find(|choice| is_made(&choice.engine)) else { return };
        if self.is_accepted(package, &choice.engine) {
            self.prefer(package, choice, seat);
            return;
        }
        let (model, engine) = (&package.manifest.name, lacking.name());
        tracing::warn!(model, engine, "an engine waits for the next trial");
        self.check_if_replaced(package);
    }
}
