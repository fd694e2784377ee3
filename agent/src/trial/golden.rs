//! Golden cases of a package in a worker, as the daemon runs them before the package serves: a network that crashes or eats
//! memory costs its case, not the command.
use crate::config::DEFAULT_BOUNDS;
use crate::fault::{Blame, Fault};
use crate::infer::EngineKind;
use crate::inference::Inference;
use crate::model::Package;
use crate::model::manifest::Golden;
use crate::worker::{Launcher, Process, Task, TaskError, run};
use std::os::fd::AsFd;

/// A worker for golden cases.
pub struct Bench {
    launcher: Launcher,
    worker: Option<Process>,
    ran: u64,
}

impl Bench {
    /// A bench without a worker yet.
    pub fn new() -> Result<Self, Fault> {
        let program = std::env::current_exe().map_err(|error| {
            Fault::new("worker-not-started", Blame::Box, format!("this program cannot be found: {error}"))
        })?;
        Ok(Self { launcher: Launcher::Child { program }, worker: None, ran: 0 })
    }

    /// What a worker answers to a case on an engine. Blocks the calling thread.
    pub fn run(&mut self, package: &Package, engine: &EngineKind, case: &Golden) -> Result<Inference, Fault> {
        let files = package.contents.descriptor()?;
        self.ran += 1;
        let task = Task {
            job: self.ran,
            package_digest: package.digest.clone(),
            engine: engine.clone(),
            golden: Some(case.name.clone()),
            memory: DEFAULT_BOUNDS.memory,
            instances: Vec::new(),
        };
        let worker = match self.worker.take() {
            Some(worker) => worker,
            None => self.launcher.launch()?,
        };
        let (worker, answer) = run(worker, &task, &[files.as_fd()], DEFAULT_BOUNDS, &mut |_| {});
        self.worker = worker;
        answer.map_err(TaskError::fault)
    }
}
