//! Golden cases in a worker. What held is remembered in the spool for this package, this very engine and this `sund`, so that the
//! next start need not run it again. A miss is not remembered: it may have been the box, and the next start tries again.
use super::Pipeline;
use super::runner::ATTEMPTS;
use crate::fault::{Blame, Fault};
use crate::infer::EngineKind;
use crate::inference::{EngineUsed, Inference};
use crate::model::manifest::Golden;
use crate::model::{Package, golden};
use crate::spool::{Batch, ReadGrant, Table};
use crate::worker::{Company, Seat, Task, TaskError, run};
use std::os::fd::AsFd;

/// Golden cases that hold on an engine.
pub(super) struct Checked {
    pub(super) used: EngineUsed,
    /// Their numbers, in words.
    pub(super) figures: String,
}

/// What is remembered of golden cases that held: the engine's own words.
fn evidence_key(package: &Package, engine: &EngineKind) -> Result<String, Fault> {
    Ok(format!("golden/{}/{}/sund {}", package.digest, engine.identity()?, env!("CARGO_PKG_VERSION")))
}

impl Pipeline {
    pub(super) fn remembered(&self, package: &Package, engine: &EngineKind) -> Result<Option<EngineUsed>, Fault> {
        Ok(self.spool.get(Table::Meta, &evidence_key(package, engine)?)?)
    }

    /// Runs the golden cases of a package on an engine, unless they are known to hold.
    pub(super) fn check(&self, package: &Package, engine: &EngineKind, seat: &Seat) -> Result<Checked, Fault> {
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
    pub(super) fn golden_answer(
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
