//! Golden cases in a worker, as the daemon runs jobs: a network or an engine that crashes, hangs or eats memory costs the
//! case, and the worker's bounds hold.
use crate::config::Config;
use crate::decode::SourceInstance;
use crate::fault::{Blame, Fault};
use crate::infer::EngineKind;
use crate::inference::Inference;
use crate::instance::{Arrival, Origin};
use crate::model::manifest::Golden;
use crate::model::{Package, golden};
use crate::spool::{Batch, Spool};
use crate::worker::{Bounds, Launcher, Process, Task, TaskInstance, run};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::SystemTime;

/// The study that golden cases are kept under in the scratch spool: whatever study their files name is nobody's concern.
const STUDY: &str = "2.25.1";

/// Runs golden cases.
pub struct Bench {
    spool: Spool,
    launcher: Launcher,
    bounds: Bounds,
    worker: Option<Process>,
    ran: u64,
}

impl Bench {
    /// A bench with its spool in `scratch`, a folder that is empty and soon to go.
    pub fn new(scratch: &Path) -> Result<Self, Fault> {
        let config = Config::embedded(scratch)?;
        let (launcher, bounds) = (config.worker.launcher, config.worker.bounds);
        Ok(Self { spool: Spool::open(config.spool)?, launcher, bounds, worker: None, ran: 0 })
    }

    /// What a worker answers to a case on an engine. Blocks the calling thread.
    pub fn run(&mut self, package: &Package, engine: &EngineKind, case: &Golden) -> Result<Inference, Fault> {
        let images = golden::series(package, case)?;
        let folder = File::open(&package.folder).map_err(|error| {
            let reason = format!("{} cannot be opened: {error}", package.folder.display());
            Fault::new("package-invalid", Blame::Package, reason)
        })?;
        let mut segments: Vec<(u32, OwnedFd)> = Vec::new();
        let instances =
            images.iter().map(|image| self.store(image, &mut segments)).collect::<Result<Vec<_>, Fault>>()?;
        self.ran += 1;
        let task = Task { job: self.ran, package_digest: package.digest.clone(), engine: engine.clone(), instances };
        let files: Vec<BorrowedFd<'_>> =
            std::iter::once(folder.as_fd()).chain(segments.iter().map(|(_, file)| file.as_fd())).collect();
        let worker = match self.worker.take() {
            Some(worker) => worker,
            None => self.launcher.launch()?,
        };
        let (worker, answer) = run(worker, &task, &files, self.bounds, &mut |_| {});
        self.worker = worker;
        answer.map_err(crate::worker::TaskError::fault)
    }

    fn store(&self, image: &SourceInstance, segments: &mut Vec<(u32, OwnedFd)>) -> Result<TaskInstance, Fault> {
        let mut incoming = self.spool.begin(STUDY)?;
        incoming.write(&image.dataset)?;
        let arrival = Arrival {
            sop_class: image.sop_class.clone(),
            sop_instance: image.sop_instance.clone(),
            study: STUDY.to_owned(),
            series: STUDY.to_owned(),
            transfer_syntax: image.header.transfer_syntax.clone(),
            at: SystemTime::now(),
            origin: Origin::Produced,
        };
        let stored = incoming.commit_blocking(arrival, Batch::new())?;
        Ok(TaskInstance {
            sop_class: image.sop_class.clone(),
            sop_instance: image.sop_instance.clone(),
            transfer_syntax: image.header.transfer_syntax.clone(),
            extents: self.spool.grant(&stored)?.into_parts(segments),
        })
    }
}
