//! Runs one task on a worker and watches over it: time, memory, death. Whatever the worker does costs this one task, and
//! those beside it one more run.
//!
//! A watchdog beside the conversation closes the connection when a bound is passed or the task is called off, so that a worker that stops in the
//! middle of a message, never reads, or talks without end holds up nobody.
use super::call_off::CallOff;
use super::channel::ChannelError;
use super::launch::Process;
use super::message::{Answer, Asked, Said, Task};
use super::{bulk, sources};
use crate::compile::Order;
use crate::fault::{Blame, Fault};
use crate::infer::{Found, TensorRtLibrary};
use crate::inference::{Inference, StepTime};
use crate::limits::model::MAX_NETWORK;
use crate::limits::worker::{MAX_CODE, MAX_REASON};
use crate::outcome::Outcome;
use std::borrow::Cow;
use std::io::ErrorKind;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Bounds on one task.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Resident memory of the worker, in bytes.
    pub memory: u64,
    /// Wall time of one task.
    pub time: Duration,
    /// How long a job waits while no worker can be had.
    pub wait: Duration,
}

/// How often the watchdog looks at the worker's memory.
pub(super) const WATCH_EVERY: Duration = Duration::from_millis(100);

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

/// Runs `task` to its end. Its engine's own files go behind those that are given. Blocks the calling thread; gives the worker back
/// with a result or a refusal.
pub fn run(
    mut worker: Process,
    task: &Task,
    files: &[BorrowedFd<'_>],
    bounds: Bounds,
    on_step: &mut dyn FnMut(&StepTime),
) -> (Option<Process>, Result<Inference, TaskError>) {
    let engine = match task.engine.files() {
        Ok(files) => files,
        // The job may go elsewhere, as where a worker is lost.
        Err(fault) => return (Some(worker), Err(TaskError::WorkerLost(fault))),
    };
    let files: Vec<BorrowedFd<'_>> = files.iter().copied().chain(engine.iter().map(AsFd::as_fd)).collect();
    let answer = watched(&mut worker, Asked::Task(Cow::Borrowed(task)), &files, bounds, on_step);
    let answer = answer.and_then(|said| answer_to(task, said).ok_or_else(|| garbled("it is no answer to the task")));
    match answer {
        Ok(inference) => (Some(worker), Ok(inference)),
        Err(TaskError::Refused(fault)) if is_of_the_gpu(&fault, task) => {
            worker.end_for(&fault.code);
            (None, Err(TaskError::WorkerLost(fault)))
        }
        Err(TaskError::Refused(fault)) => (Some(worker), Err(TaskError::Refused(fault))),
        Err(TaskError::WorkerLost(fault)) => {
            // One that died by itself says how to whoever asks.
            if fault.code == "worker-died" {
                worker.kill();
            } else {
                worker.end_for(&fault.code);
            }
            (None, Err(TaskError::WorkerLost(fault)))
        }
    }
}

/// What there is on this machine to run compiled networks, as the worker sees it; `libraries` are opened there.
pub fn look_for_gpu(
    mut worker: Process,
    libraries: &[(String, PathBuf)],
    bounds: Bounds,
) -> (Option<Process>, Result<Found, TaskError>) {
    match watched(&mut worker, Asked::Gpu(libraries.to_vec()), &[], bounds, &mut |_| {}) {
        Ok(Said::Found(found)) if is_finding(&found, libraries) => (Some(worker), Ok(found)),
        Err(TaskError::Refused(fault)) => (Some(worker), Err(TaskError::Refused(fault))),
        answer => {
            worker.kill();
            (None, Err(answer.err().unwrap_or_else(|| garbled("it does not say what it found"))))
        }
    }
}

/// Has a worker compile the networks of a package into memory files, which come behind the package's; the plans' lengths. The worker
/// ends with it.
pub fn compile(
    mut worker: Process,
    order: &Order,
    files: &[BorrowedFd<'_>],
    bounds: Bounds,
) -> Result<Vec<u64>, TaskError> {
    let is_plan = |length: &u64| (1..=MAX_NETWORK).contains(length);
    match watched(&mut worker, Asked::Compile(Cow::Borrowed(order)), files, bounds, &mut |_| {})? {
        Said::Compiled(lengths) if lengths.len() + 1 == files.len() && lengths.iter().all(is_plan) => Ok(lengths),
        _ => Err(garbled("it does not say what it compiled")),
    }
}

fn watched(
    worker: &mut Process,
    asked: Asked<'_>,
    files: &[BorrowedFd<'_>],
    bounds: Bounds,
    on_step: &mut dyn FnMut(&StepTime),
) -> Result<Said, TaskError> {
    let pid = worker.pid;
    let connection = worker.channel.connection().map_err(|error| died(&error.to_string()))?;
    let (foretell, off) = (worker.foretell(), worker.off.clone());
    let (running, ended) = channel();
    let (answer, passed) = std::thread::scope(|scope| {
        let watchdog = scope.spawn(move || {
            let passed = watch(pid, bounds, &off, &ended)?;
            foretell(&passed.code);
            // Fails only where the worker is gone, which ends the conversation as well.
            let _ = connection.shutdown(Shutdown::Both);
            Some(passed)
        });
        let answer = exchange(worker, asked, files, on_step);
        drop(running);
        (answer, watchdog.join().unwrap_or(None))
    });
    match (answer, passed) {
        (_, Some(fault)) => Err(TaskError::WorkerLost(fault)),
        (Ok(Said::Failed(fault)), None) if is_sound(&fault) => Err(TaskError::Refused(fault)),
        (Ok(Said::Overgrown { bytes }), None) => Err(TaskError::WorkerLost(overgrown(bytes, bounds))),
        (Ok(Said::Failed(_)), None) => Err(garbled("it is no answer to the task")),
        (Ok(said), None) => Ok(said),
        (Err(ChannelError::Closed | ChannelError::Io(_)), None) if worker.ended_for().is_some() => {
            Err(TaskError::WorkerLost(beside(&worker.ended_for().unwrap_or_default())))
        }
        (Err(ChannelError::Closed), None) => Err(died(worker.verdict().as_deref().unwrap_or("closed the connection"))),
        (Err(ChannelError::Io(error)), None) => Err(died(&error.to_string())),
        // The parser's own words may quote what was sent.
        (Err(ChannelError::Malformed(_)), None) => Err(garbled("it is no message of a worker")),
        (Err(error @ (ChannelError::TooLarge { .. } | ChannelError::Stale | ChannelError::Bulk(_))), None) => {
            Err(garbled(&error.to_string()))
        }
    }
}

/// The conversation: steps, then how the task ended; a result with its bulk in place.
fn exchange(
    worker: &mut Process,
    asked: Asked<'_>,
    files: &[BorrowedFd<'_>],
    on_step: &mut dyn FnMut(&StepTime),
) -> Result<Said, ChannelError> {
    let asked = worker.ask(asked, files)?;
    loop {
        let (Answer { number, said }, files) = worker.channel.receive()?;
        if number != asked {
            return Err(ChannelError::Stale);
        }
        match said {
            Said::Step(step) => on_step(&step),
            ended @ (Said::Failed(_) | Said::Found(_) | Said::Compiled(_) | Said::Told(_) | Said::Overgrown { .. }) => {
                return Ok(ended);
            }
            Said::Done { mut inference, sources, layout } => {
                let file = files.into_iter().next().ok_or_else(|| ChannelError::Bulk(ErrorKind::NotFound.into()))?;
                bulk::unseal(&mut inference, &layout, file).map_err(ChannelError::Bulk)?;
                return Ok(Said::Done { inference, sources, layout });
            }
        }
    }
}

/// Which bound the worker passed, or why its task was called off; `None` where the task ended before.
fn watch(pid: Option<i32>, bounds: Bounds, off: &CallOff, ended: &Receiver<()>) -> Option<Fault> {
    let deadline = Instant::now() + bounds.time;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if ended.recv_timeout(left.min(WATCH_EVERY)) != Err(RecvTimeoutError::Timeout) {
            return None;
        }
        if let Some(why) = off.called() {
            return Some(why);
        }
        if Instant::now() >= deadline {
            let reason = format!("the worker gave no answer within {:?} and was ended", bounds.time);
            return Some(Fault::new("worker-timeout", Blame::Package, reason));
        }
        // A unit's worker is nobody that the agent may look at: that one watches itself, and its cgroup stands behind it.
        let resident = pid.and_then(|pid| resident_bytes(&pid.to_string()));
        if let Some(bytes) = resident.filter(|bytes| *bytes > bounds.memory) {
            return Some(overgrown(bytes, bounds));
        }
    }
}

fn overgrown(bytes: u64, bounds: Bounds) -> Fault {
    let (took, allowed) = (bytes >> 20, bounds.memory >> 20);
    let reason = format!("the worker took {took} MiB of memory, {allowed} are allowed, and was ended");
    Fault::new("worker-out-of-memory", Blame::Package, reason)
}

/// Resident set of a process, or of `self`, in bytes (proc(5), statm, second field, in pages).
pub(super) fn resident_bytes(pid: &str) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// A worker that was taken over must not write what it likes into reports, metrics and the audit trail.
pub(super) fn is_sound(fault: &Fault) -> bool {
    let is_code = fault.code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    is_code && fault.code.len() <= MAX_CODE && is_short(&fault.reason)
}

/// No longer than a text that is shown.
pub(super) fn is_short(text: &str) -> bool {
    text.chars().count() <= MAX_REASON
}

/// It names the libraries that it was asked about and no others, and no text of it is longer than one that is shown.
fn is_finding(found: &Found, libraries: &[(String, PathBuf)]) -> bool {
    let is_asked = |known: &TensorRtLibrary| {
        is_short(&known.version) && libraries.iter().any(|(class, path)| *class == known.class && *path == known.path)
    };
    found.tensorrt.len() <= libraries.len()
        && found.tensorrt.iter().all(is_asked)
        && found.trouble.as_deref().is_none_or(is_short)
        && found.gpu.as_ref().is_none_or(|gpu| is_short(&gpu.name) && is_short(&gpu.driver))
}

/// True for what an engine says of its card and not of the task: full, gone, failed. What the process holds there is of no
/// more use; the codes are the engine's, `gpu-memory`, `gpu-lost`, `gpu-failed`, …
fn is_of_the_gpu(fault: &Fault, task: &Task) -> bool {
    task.engine.is_on_gpu() && fault.code.starts_with("gpu-")
}

/// From the model that was asked, on the engine that was asked for, and of images that it was given.
fn answer_to(task: &Task, said: Said) -> Option<Inference> {
    let Said::Done { mut inference, sources, .. } = said else { return None };
    let used = (inference.engine.class.as_str(), inference.engine.precision.as_str());
    let is_answer = inference.package.digest == task.package_digest
        && used == task.engine.class_and_precision()
        && matches!(inference.outcome, Outcome::Finding | Outcome::NoFinding)
        && (task.golden.is_some() || sources::name(&mut inference, &sources, task.series.instances()));
    is_answer.then_some(inference)
}

fn died(how: &str) -> TaskError {
    TaskError::WorkerLost(Fault::new("worker-died", Blame::Package, format!("the worker {how} during the job")))
}

/// The worker was ended for what came of the task beside.
fn beside(code: &str) -> Fault {
    let reason = format!("the worker was ended because of the job beside this one ({code})");
    Fault::new("worker-died", Blame::Box, reason)
}

fn garbled(what: &str) -> TaskError {
    let reason = format!("the worker's answer cannot be used: {what}");
    TaskError::WorkerLost(Fault::new("worker-garbled", Blame::Sund, reason))
}
