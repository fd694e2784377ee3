//! Runs one task on a worker and watches over it: time, memory, death. Whatever the worker does costs this one task.
use super::bulk;
use super::channel::ChannelError;
use super::launch::Process;
use super::message::{Said, Task};
use crate::fault::{Blame, Fault};
use crate::inference::{Inference, StepTime};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// Bounds on one task.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Resident memory of the worker, in bytes.
    pub memory: u64,
    /// Wall time of one task.
    pub time: Duration,
}

/// How often the watchdog looks at the worker's memory.
const WATCH_EVERY: Duration = Duration::from_millis(100);

/// Why a task gave no inference.
#[derive(Debug)]
pub enum TaskError {
    /// A stage said no; the worker is well and can be used again.
    Refused(Fault),
    /// The worker is gone, or had to be ended; the task may be tried once more on a fresh one.
    WorkerLost(Fault),
}

impl TaskError {
    /// What happened.
    pub fn fault(self) -> Fault {
        match self {
            TaskError::Refused(fault) | TaskError::WorkerLost(fault) => fault,
        }
    }
}

/// Runs `task` to its end. Blocks the calling thread; gives the worker back with a result or a refusal.
pub fn run(
    mut worker: Process,
    task: &Task,
    files: &[BorrowedFd<'_>],
    bounds: Bounds,
    on_step: &mut dyn FnMut(&StepTime),
) -> (Option<Process>, Result<Inference, TaskError>) {
    match exchange(&mut worker, task, files, bounds, on_step) {
        Ok(inference) => (Some(worker), Ok(inference)),
        Err(TaskError::Refused(fault)) => (Some(worker), Err(TaskError::Refused(fault))),
        Err(lost) => {
            worker.kill();
            (None, Err(lost))
        }
    }
}

fn exchange(
    worker: &mut Process,
    task: &Task,
    files: &[BorrowedFd<'_>],
    bounds: Bounds,
    on_step: &mut dyn FnMut(&StepTime),
) -> Result<Inference, TaskError> {
    let deadline = Instant::now() + bounds.time;
    worker.channel.send(task, files).map_err(|error| lost(worker, &error))?;
    loop {
        while !worker.channel.is_readable(WATCH_EVERY).map_err(|error| lost(worker, &error))? {
            watch(worker, bounds, deadline)?;
        }
        let (said, files) = worker.channel.receive::<Said>().map_err(|error| lost(worker, &error))?;
        match said {
            Said::Step(step) => on_step(&step),
            Said::Failed(fault) => return Err(TaskError::Refused(fault)),
            Said::Done { mut inference, layout } => {
                let file = files.into_iter().next().ok_or_else(|| garbled("its result came without its file"))?;
                bulk::unseal(&mut inference, &layout, file).map_err(|error| garbled(&error.to_string()))?;
                return Ok(inference);
            }
        }
        watch(worker, bounds, deadline)?;
    }
}

fn watch(worker: &Process, bounds: Bounds, deadline: Instant) -> Result<(), TaskError> {
    if Instant::now() >= deadline {
        let reason = format!("the worker gave no answer within {} s and was ended", bounds.time.as_secs());
        return Err(TaskError::WorkerLost(Fault::new("worker-timeout", Blame::Package, reason)));
    }
    match worker.pid.and_then(resident_bytes) {
        Some(bytes) if bytes > bounds.memory => {
            let reason = format!(
                "the worker took {} MiB of memory, {} are allowed, and was ended",
                bytes >> 20,
                bounds.memory >> 20
            );
            Err(TaskError::WorkerLost(Fault::new("worker-out-of-memory", Blame::Package, reason)))
        }
        _ => Ok(()),
    }
}

/// Resident set of a process, in bytes (proc(5), statm, second field, in pages).
fn resident_bytes(pid: i32) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn lost(worker: &mut Process, error: &ChannelError) -> TaskError {
    let how = match error {
        ChannelError::Closed => worker.verdict().unwrap_or_else(|| "closed the connection".into()),
        other => other.to_string(),
    };
    TaskError::WorkerLost(Fault::new("worker-died", Blame::Package, format!("the worker {how} during the job")))
}

fn garbled(what: &str) -> TaskError {
    TaskError::WorkerLost(Fault::new(
        "worker-garbled",
        Blame::Sund,
        format!("the worker's answer cannot be used: {what}"),
    ))
}
