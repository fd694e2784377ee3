//! Golden cases of a package in a worker, as the daemon runs them before the package serves: a network that crashes or eats
//! memory costs its case, not the command.
use crate::config::DEFAULT_BOUNDS;
use crate::fault::{Blame, Fault};
use crate::infer::{Candidate, EngineKind, Engines};
use crate::inference::{EngineUsed, Inference};
use crate::model::manifest::Golden;
use crate::model::{Package, golden};
use crate::spool::ReadGrant;
use crate::worker::{Launcher, Process, Task, TaskError, run};
use serde::Serialize;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// A worker for golden cases.
pub struct Rig {
    launcher: Launcher,
    worker: Option<Process>,
    ran: u64,
}

/// Workers that are this very program.
pub fn this_program() -> Result<Launcher, Fault> {
    let program = std::env::current_exe().map_err(|error| {
        Fault::new("worker-not-started", Blame::Box, format!("this program cannot be found: {error}"))
    })?;
    Ok(Launcher::Child { program })
}

/// What came of a golden case on an engine.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// Name of the case.
    pub case: String,
    /// The engine: `tract fp32`.
    pub engine: String,
    /// What answered, where something did.
    pub used: Option<EngineUsed>,
    /// The numbers that the case asks for, beside those that were found.
    pub compared: Vec<golden::Compared>,
    /// Why the case does not hold.
    pub fault: Option<Fault>,
    /// From the task to its answer.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub took: Duration,
}

/// All golden cases of a package on all engines of this machine that it is validated for.
#[derive(Clone, Debug, Serialize)]
pub struct Trials {
    /// By engine, the preferred one first, and by case.
    pub trials: Vec<Trial>,
    /// Engines that did not run, with the reason.
    pub not_run: Vec<NotRun>,
}

/// An engine that did not run.
#[derive(Clone, Debug, Serialize)]
pub struct NotRun {
    /// `onnxruntime fp32`.
    pub engine: String,
    /// Why.
    pub reason: String,
}

impl Trials {
    /// Runs them; `on_case` is told of each before it runs, and gives what is dropped behind it.
    pub fn run<T>(
        package: &Package,
        here: &Engines,
        launcher: &Launcher,
        on_case: &mut dyn FnMut(&Golden, &str) -> T,
    ) -> Result<Self, Fault> {
        // Refused where no engine of this machine may serve the package.
        here.choose(package)?;
        let mut rig = Rig::new(launcher.clone());
        let (mut trials, mut not_run) = (Vec::new(), Vec::new());
        for Candidate { name, engine } in here.candidates(package) {
            match engine {
                Err(reason) => not_run.push(NotRun { engine: name, reason }),
                Ok(engine) => {
                    for case in &package.manifest.golden {
                        let _told = on_case(case, &name);
                        trials.push(rig.try_case(package, &engine, &name, case));
                    }
                }
            }
        }
        Ok(Self { trials, not_run })
    }

    /// Why the last case that does not hold does not; `None` where all hold.
    pub fn missed(&self) -> Option<&Fault> {
        self.trials.iter().rev().find_map(|trial| trial.fault.as_ref())
    }
}

impl Rig {
    /// A rig without a worker yet.
    pub fn new(launcher: Launcher) -> Self {
        Self { launcher, worker: None, ran: 0 }
    }

    /// Runs a case on an engine, and compares its answer. Blocks the calling thread.
    fn try_case(&mut self, package: &Package, engine: &EngineKind, name: &str, case: &Golden) -> Trial {
        let begun = Instant::now();
        let answer = self.run(package, engine, case);
        let took = begun.elapsed();
        let used = answer.as_ref().ok().map(|inference| inference.engine.clone());
        let compared = answer.as_ref().map_or(Ok(Vec::new()), |inference| golden::judge(package, case, inference));
        let fault = answer.and_then(|inference| golden::held(package, case, &inference)).err();
        let (case, engine) = (case.name.clone(), name.to_owned());
        Trial { case, engine, used, compared: compared.unwrap_or_default(), fault, took }
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
            series: ReadGrant::default(),
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

fn seconds<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(took.as_secs_f64())
}
