//! route → bracket: takes jobs in order and has a worker run them.
use super::Pipeline;
use super::answering::Serving;
use super::serving::ServingSet;
use crate::audit;
use crate::fault::{Blame, Fault};
use crate::infer::EngineKind;
use crate::inference::Inference;
use crate::job::{Job, JobState};
use crate::model::Package;
use crate::outcome::Outcome;
use crate::spool::{Batch, Table};
use crate::status::Moment;
use crate::worker::{Company, Seat, Task, TaskError, run};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Times that a job is tried on the engine that serves its model while workers are lost on it. Where that engine is on a GPU
/// there is one more, on an engine of the processor.
pub(super) const ATTEMPTS: u32 = 2;
/// Before a job that could not be recorded is tried again.
const RETRY: Duration = Duration::from_secs(30);
/// Before a job is taken up again for which no worker was to be had.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// What came of taking up a job.
enum Turn {
    /// It is over, or no longer to be run.
    Over,
    /// No worker is to be had, for this reason; it waits.
    Waits(Fault),
    /// What it was taken up with holds no more: another set serves, its model is suspended, or it was ended meanwhile.
    Again,
}

/// Runs jobs, one at a time, until the pipeline drains. Blocks its thread. Several may do so, each in a seat of its own: a
/// job is taken by whoever is free.
pub fn run_jobs(pipeline: &Arc<Pipeline>, seat: Seat) {
    let desk = pipeline.desks.open(seat.device());
    // Told once for as long as it lasts.
    let mut is_told = false;
    let mut warm = pipeline.serving_set();
    loop {
        pipeline.check_models(&seat);
        let set = pipeline.serving_set();
        if pipeline.jobs.is_idle() && !Arc::ptr_eq(&set, &warm) {
            pipeline.warm(&warm, &set, &seat);
            warm = set;
        }
        pipeline.run_check(&seat);
        let Some(id) = pipeline.jobs.take() else { return };
        pipeline.desks.takes(desk, id);
        let outcome = pipeline.run_job(id, &seat);
        pipeline.desks.is_free(desk);
        pipeline.jobs.ended(id);
        pipeline.recorder.changed();
        match outcome {
            // 0 is no job's number.
            Ok(Turn::Over) => is_told &= id == 0,
            Ok(Turn::Waits(fault)) => {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::warn!(job = id, code = %fault.code, reason = %fault.reason, "jobs wait for a worker");
                }
                pipeline.jobs.put_off(id, LOOK_AGAIN);
            }
            Ok(Turn::Again) => pipeline.jobs.push(id),
            Err(fault) => {
                // The job is still open in the spool: a full disk, most likely.
                tracing::error!(job = id, code = %fault.code, reason = %fault.reason, "a job could not be recorded");
                pipeline.jobs.put_off(id, RETRY);
            }
        }
    }
}

impl Pipeline {
    fn run_job(&self, id: u64, seat: &Seat) -> Result<Turn, Fault> {
        let Some(mut job) = self.spool.get::<Job>(Table::Jobs, &Job::key(id))? else { return Ok(Turn::Over) };
        if !job.is_open() {
            // A recall has ended it.
            self.let_go(&job.study);
            return Ok(Turn::Over);
        }
        let _study = self.span(&job.study).entered();
        // Once the job has begun it goes on with it to its end, whatever serves by then.
        let set = self.set_for(&job.study);
        if self.is_refused(&job.study)? {
            // Taken up again when the study is as it should be.
            return Ok(Turn::Over);
        }
        if let Some(reason) = job.not_applicable.clone() {
            let fault = Fault::new("not-applicable", Blame::Study, reason);
            return self.over(&set, &job, Outcome::NotApplicable, Err(fault));
        }
        if job.deadline.is_some_and(|deadline| deadline < SystemTime::now()) {
            return self.over(&set, &job, Outcome::TooLate, Err(too_late()));
        }
        let package = match self.package_for(&mut job, &set) {
            Ok(package) => package,
            Err(fault) if fault.blame == Blame::Study => {
                return self.over(&set, &job, Outcome::NotApplicable, Err(fault));
            }
            Err(fault) => return self.over(&set, &job, Outcome::Failed, Err(fault)),
        };
        if let Some(fault) = self.suspension_of(&job) {
            return self.over(&set, &job, Outcome::Failed, Err(fault));
        }
        let mut serving = match self.serving(package, seat) {
            Ok(Some(serving)) => serving,
            // The next start takes the job up.
            Ok(None) if *self.draining.borrow() => return Ok(Turn::Over),
            Ok(None) => return Ok(Turn::Again),
            Err(fault) if self.waits(&job, &fault) => return self.wait(&job, fault),
            Err(fault) => return self.over(&set, &job, Outcome::Failed, Err(fault)),
        };
        match seat.take(Company::Others) {
            Ok(process) => seat.put(Some(process)),
            Err(fault) if self.waits(&job, &fault) => return self.wait(&job, fault),
            Err(fault) => return self.over(&set, &job, Outcome::Failed, Err(fault)),
        }
        if !self.begins(&job, &set)? {
            return Ok(Turn::Again);
        }
        crate::metrics::stage("queue", job.created.elapsed().unwrap_or_default());
        let engine = &serving.engine;
        tracing::info!(job = id, model = job.package.name, version = job.package.version, %engine, "a job runs");
        self.note_running(&job, &set)?;
        // What was lost and is not yet said.
        let mut loss = (lost(&job) >= ATTEMPTS).then(|| {
            Fault::new("worker-died", Blame::Package, "workers were lost on the job before the agent was restarted")
        });
        loop {
            if let Some(fault) = loss.take() {
                if serving.engine.is_on_gpu() && lost(&job) >= ATTEMPTS {
                    match self.off_the_gpu(&set, package, &job, &fault, seat)? {
                        ControlFlow::Continue(other) => serving = other,
                        ControlFlow::Break(turn) => return Ok(turn),
                    }
                }
                self.say_restarted(&job, &serving.engine, fault);
            }
            let fault = match self.infer(package, &job, &serving.engine, seat) {
                Ok(inference) if !self.is_from_checked_engine(&inference, &serving) => {
                    seat.renew();
                    return self.run_job(id, seat);
                }
                Ok(inference) => {
                    let late = job.deadline.is_some_and(|deadline| deadline < SystemTime::now());
                    let (outcome, answer) =
                        if late { (Outcome::TooLate, Err(too_late())) } else { (inference.outcome, Ok(inference)) };
                    return self.over(&set, &job, outcome, answer);
                }
                Err(TaskError::Refused(fault)) => {
                    // A study that is whole, and not what the model is for; everything else should have run.
                    let is_unfit = fault.blame == Blame::Study;
                    let outcome = if is_unfit { Outcome::NotApplicable } else { Outcome::Failed };
                    return self.over(&set, &job, outcome, Err(fault));
                }
                Err(TaskError::WorkerLost(fault)) if self.waits(&job, &fault) => return self.wait(&job, fault),
                Err(TaskError::WorkerLost(fault)) => fault,
            };
            let JobState::Waiting { attempts } = &mut job.state else { return Ok(Turn::Over) };
            *attempts += 1;
            crate::metrics::worker_restart(cause(&fault));
            tracing::warn!(job = id, code = %fault.code, reason = %fault.reason, engine = %serving.engine, "a worker was lost");
            if *attempts >= ATTEMPTS && !serving.engine.is_on_gpu() {
                return self.over(&set, &job, Outcome::Failed, Err(fault));
            }
            if !self.record_loss(&job)? {
                return Ok(Turn::Over);
            }
            loss = Some(fault);
        }
    }

    /// Has a job begin on a set, where what it was taken up with holds still: it may have waited long for golden cases and for a worker.
    fn begins(&self, job: &Job, set: &Arc<ServingSet>) -> Result<bool, Fault> {
        let is_open = self.spool.get::<Job>(Table::Jobs, &Job::key(job.id))?.is_some_and(|job| job.is_open());
        let is_suspended = self.suspension_of(job).is_some();
        Ok(is_open && !is_suspended && self.begun.begin(&job.study, set, || self.serving_set()))
    }

    /// Moves a job, of which a GPU's workers were lost, to an engine of the processor; or ends it, or has it wait.
    fn off_the_gpu(
        &self,
        set: &ServingSet,
        package: &Package,
        job: &Job,
        lost: &Fault,
        seat: &Seat,
    ) -> Result<ControlFlow<Turn, Serving>, Fault> {
        match self.without_gpu(package, seat) {
            Ok(serving) => {
                let text = format!("{} runs again, on {}: {}", job.package.title, serving.engine, lost.reason);
                self.note(&job.study, "running", &text, Some(&lost.code))?;
                Ok(ControlFlow::Continue(serving))
            }
            // The next start takes the job up.
            Err(_) if *self.draining.borrow() => Ok(ControlFlow::Break(Turn::Over)),
            Err(why) if self.waits(job, &why) => self.wait(job, why).map(ControlFlow::Break),
            Err(why) => {
                let reason = format!("{}; {}", lost.reason, why.reason);
                self.over(set, job, Outcome::Failed, Err(Fault { reason, ..lost.clone() })).map(ControlFlow::Break)
            }
        }
    }

    fn say_restarted(&self, job: &Job, engine: &EngineKind, fault: Fault) {
        self.recorder.audit(audit::Event::JobRestarted {
            study: self.audit_study(&job.study),
            job: job.id,
            model: model(job),
            engine: engine.to_string(),
            fault,
        });
    }

    fn over(
        &self,
        set: &ServingSet,
        job: &Job,
        outcome: Outcome,
        answer: Result<Inference, Fault>,
    ) -> Result<Turn, Fault> {
        self.conclude(set, job, outcome, answer)?;
        self.let_go(&job.study);
        Ok(Turn::Over)
    }

    /// A study of which no job is open is answered by what serves when it comes again.
    pub(super) fn let_go(&self, study: &str) {
        let is_open = |job: &Arc<Job>| job.study == study && job.is_open();
        if !self.seen.jobs.all(&self.spool).iter().any(is_open) {
            self.begun.end(study);
        }
    }

    /// True where a job is to wait because no worker can be had; counted from the start where it is older than the agent.
    fn waits(&self, job: &Job, fault: &Fault) -> bool {
        let waited = job.created.max(self.started).elapsed().unwrap_or_default();
        fault.code == "worker-not-started" && waited < self.site.bounds.wait
    }

    /// Has a job wait for a worker; its timeline says so once.
    fn wait(&self, job: &Job, fault: Fault) -> Result<Turn, Fault> {
        let is_told = self.study_record(&job.study)?.is_none_or(|record| {
            let since = |moment: &&Moment| moment.at >= job.created.max(self.started);
            record.timeline.iter().filter(since).any(|moment| moment.step == "waiting")
        });
        if !is_told {
            self.note(&job.study, "waiting", &fault.reason, Some(&fault.code))?;
        }
        Ok(Turn::Waits(fault))
    }

    /// Counts a lost worker, so that a job that ends workers does not begin anew with each start of the agent. False where
    /// the job was superseded or erased meanwhile.
    fn record_loss(&self, job: &Job) -> Result<bool, Fault> {
        let _one_at_a_time = self.studies.lock().unwrap_or_else(PoisonError::into_inner);
        let is_open = self.spool.get::<Job>(Table::Jobs, &Job::key(job.id))?.is_some_and(|job| job.is_open());
        if is_open {
            let mut batch = Batch::new();
            batch.put(Table::Jobs, &Job::key(job.id), job, Some(&job.study))?;
            self.spool.write_blocking(batch)?;
        }
        Ok(is_open)
    }

    /// Says that a job runs, and keeps on which set: what is open of its study runs on that one also after a restart.
    fn note_running(&self, job: &Job, set: &ServingSet) -> Result<(), Fault> {
        self.recorder.audit(audit::Event::JobStarted {
            study: self.audit_study(&job.study),
            job: job.id,
            model: model(job),
        });
        let _one_at_a_time = self.studies.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut record) = self.study_record(&job.study)? else { return Ok(()) };
        record.begun_on = Some(set.mark());
        record.note("running", format!("{} {}", job.package.title, job.package.version), None);
        let mut batch = Batch::new();
        batch.put(Table::Studies, &job.study, &record, Some(&job.study))?;
        self.spool.write_blocking(batch)?;
        self.recorder.changed();
        Ok(())
    }

    /// Has a worker run the bracket on the job's input.
    fn infer(&self, package: &Package, job: &Job, engine: &EngineKind, seat: &Seat) -> Result<Inference, TaskError> {
        let begun = Instant::now();
        let folder = package.contents.descriptor().map_err(TaskError::Refused)?;
        let granted = self.spool.grant(&job.inputs);
        let (series, segments) = granted.map_err(|error| TaskError::Refused(error.into()))?;
        let (package_digest, engine) = (package.digest.clone(), engine.clone());
        let memory = self.site.bounds.memory;
        let task = Task { job: job.id, package_digest, engine, golden: None, memory, series };
        let files: Vec<BorrowedFd<'_>> =
            std::iter::once(folder.as_fd()).chain(segments.iter().map(AsFd::as_fd)).collect();
        let waiting = Instant::now();
        let company = company(job, &task.engine);
        let process = seat.take(company).map_err(TaskError::WorkerLost)?;
        let waited = waiting.elapsed();
        let mut in_steps = Duration::ZERO;
        let (process, answer) = run(process, &task, &files, self.site.bounds, &mut |step| {
            let stage = match step.step.as_str() {
                "decode" => "decode",
                "preprocess" => "preprocess",
                "infer" => "infer",
                _ => "postprocess",
            };
            crate::metrics::stage(stage, step.took);
            // What a worker says becomes a label only where it is a name of the package's.
            if let Some(network) =
                step.network.as_deref().filter(|name| package.manifest.networks.iter().any(|known| known.name == *name))
            {
                crate::metrics::network(&job.package.name, network, step.took);
            }
            in_steps = in_steps.saturating_add(step.took);
        });
        // Grants, decryption, headers, and the way of the answer back.
        crate::metrics::stage("handover", begun.elapsed().saturating_sub(in_steps).saturating_sub(waited));
        seat.put(process);
        self.note_gpu(&task.engine, company, seat, &answer);
        answer
    }
}

/// Times that a worker was lost on a job.
fn lost(job: &Job) -> u32 {
    match job.state {
        JobState::Waiting { attempts } => attempts,
        JobState::Ended { .. } => 0,
    }
}

/// On a GPU a job runs beside others; once a worker was lost on it, alone: whose fault that was is seen then, and a job that
/// was beside a bad one is lost with it once. On the processor more than one would only share the cores.
fn company(job: &Job, engine: &EngineKind) -> Company {
    if engine.is_on_gpu() && lost(job) == 0 { Company::Others } else { Company::Nobody }
}

/// Why a worker had to be started anew, as the metric has it.
fn cause(fault: &Fault) -> &'static str {
    match fault.code.as_ref() {
        "worker-timeout" => "timeout",
        "worker-out-of-memory" => "memory",
        code if code.starts_with("gpu-") => "gpu",
        _ => "died",
    }
}

fn too_late() -> Fault {
    Fault::new("too-late", Blame::Box, "the answer came after the time in which it is of use on this route")
}

/// How the audit names a job's model.
pub(super) fn model(job: &Job) -> audit::Model {
    audit::Model { name: format!("{} {}", job.package.name, job.package.version), digest: job.package.digest.clone() }
}
