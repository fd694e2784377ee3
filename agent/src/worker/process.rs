//! The worker's own side: takes tasks from standard input, one at a time in each conversation, until the agent goes away.
use super::channel::{Channel, ChannelError};
use super::message::{Answer, Asked, Question, Said, Task};
use super::supervise::{WATCH_EVERY, resident_bytes};
use super::{bulk, nvml, sources};
use crate::bracket;
use crate::dataset::scan::scan;
use crate::decode::SourceInstance;
use crate::fault::{Blame, Fault};
use crate::infer::{Engine, EngineKind, Found};
use crate::inference::{Inference, StepTime};
use crate::limits::worker::MAX_PLACES;
use crate::model::{Package, golden};
use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Serves tasks on the socket that standard input is, and on those that come by it.
pub fn serve() -> Result<(), ChannelError> {
    serve_with(|| {
        let mut kept = Kept::default();
        Box::new(move |task, files, on_step| work(task, files, &mut kept, on_step))
    })
}

/// Does one task on the files that came with it, and says which steps have ended.
pub type Work = Box<dyn FnMut(&Task, &[OwnedFd], &mut dyn FnMut(&StepTime)) -> Result<Inference, Fault>>;

/// The same with other work, for who measures what everything but the work costs. `make` is called for each conversation.
pub fn serve_with(make: fn() -> Work) -> Result<(), ChannelError> {
    let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    end_with_the_agent(socket.try_clone()?);
    let all = Arc::new(Conversations { allowed: AtomicU64::new(u64::MAX), mouths: Mutex::default() });
    end_when_overgrown(Arc::clone(&all));
    converse(socket, &all, make)
}

/// What the conversations of the process have in common.
struct Conversations {
    /// Resident memory that the process may take, in bytes, whatever number of tasks it has.
    allowed: AtomicU64,
    mouths: Mutex<Vec<Arc<Mutex<Mouth>>>>,
}

impl Conversations {
    fn mouths(&self) -> MutexGuard<'_, Vec<Arc<Mutex<Mouth>>>> {
        self.mouths.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One conversation: one task after the other, until the agent goes away.
fn converse(socket: UnixStream, all: &Arc<Conversations>, make: fn() -> Work) -> Result<(), ChannelError> {
    let mut work = make();
    let mouth = Arc::new(Mutex::new(Mouth { channel: Channel::new(socket.try_clone()?), number: 0 }));
    all.mouths().push(Arc::clone(&mouth));
    let mouth_open = || mouth.lock().unwrap_or_else(PoisonError::into_inner);
    let say = |said: Said, files: &[BorrowedFd<'_>]| mouth_open().say(said, files);
    let mut channel = Channel::new(socket);
    loop {
        let (Question { number, asked }, files) = match channel.receive() {
            Ok(question) => question,
            Err(ChannelError::Closed) => return Ok(()),
            Err(error) => return Err(error),
        };
        mouth_open().number = number;
        let task = match asked {
            Asked::Task(task) => task.into_owned(),
            Asked::Gpu(libraries) => {
                say(Said::Found(Found::look(&libraries)), &[])?;
                continue;
            }
            Asked::Watch(order) => {
                all.allowed.store(order.memory, Ordering::Relaxed);
                let fault = nvml::tell(&order.named, &mut |told| say(Said::Told(told), &[]))?;
                say(Said::Failed(fault), &[])?;
                continue;
            }
            Asked::Compile(order) => {
                all.allowed.store(order.memory, Ordering::Relaxed);
                say(order.fill(&files).map_or_else(Said::Failed, Said::Compiled), &[])?;
                continue;
            }
            Asked::See(device) => {
                see(&device)?;
                continue;
            }
            Asked::Lane => {
                open_lane(files, all, make)?;
                continue;
            }
        };
        all.allowed.store(task.memory, Ordering::Relaxed);
        let mut said = Ok(());
        let done = work(&task, &files, &mut |step| {
            if said.is_ok() {
                said = say(Said::Step(step.clone()), &[]);
            }
        });
        said?;
        match done {
            Err(fault) => say(Said::Failed(fault), &[])?,
            Ok(mut inference) => {
                // What a golden case shows is the package's, and not among what came.
                let series = task.series.instances();
                let places =
                    if task.golden.is_some() { Some(Vec::new()) } else { sources::places(&mut inference, series) };
                let Some(sources) = places else {
                    say(Said::Failed(strange()), &[])?;
                    continue;
                };
                let (layout, file) = bulk::seal(&mut inference)?;
                say(Said::Done { inference, sources, layout }, &[file.as_fd()])?;
            }
        }
    }
}

/// Holds one more conversation, on a thread of its own. Where that goes wrong the process ends: a task of it would wait.
fn open_lane(files: Vec<OwnedFd>, all: &Arc<Conversations>, make: fn() -> Work) -> Result<(), ChannelError> {
    let Some(socket) = files.into_iter().next().filter(|_| all.mouths().len() < MAX_PLACES) else {
        return Err(ChannelError::TooLarge { bytes: 0, files: MAX_PLACES });
    };
    let all = Arc::clone(all);
    std::thread::Builder::new().name("lane".into()).stack_size(LANE_STACK).spawn(move || {
        let _end = EndOnPanic;
        if converse(UnixStream::from(socket), &all, make).is_err() {
            std::process::exit(1);
        }
    })?;
    Ok(())
}

/// The stack that the first conversation has, on the main thread.
const LANE_STACK: usize = 8 << 20;

/// Ends the process with a thread that panics, as with the main one: its task must not wait for its time to be over.
struct EndOnPanic;

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::exit(101);
        }
    }
}

fn strange() -> Fault {
    Fault::new("worker-garbled", Blame::Sund, "the answer names an image that is not in the series")
}

/// What the worker says, as the answer to the question that it was asked last.
struct Mouth {
    channel: Channel,
    number: u64,
}

impl Mouth {
    fn say(&mut self, said: Said, files: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
        self.channel.send(&Answer { number: self.number, said }, files)
    }
}

/// The driver's own variable: a process sees the devices that it names when it first asks, a part of a GPU by this alone.
const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";

/// Begins anew with this GPU alone to see: the program is started in place of itself, on the same connection.
fn see(device: &str) -> std::io::Result<()> {
    if std::env::var_os(VISIBLE).is_some_and(|seen| seen == device) {
        return Ok(());
    }
    // Returns only where it fails.
    Err(Command::new(std::env::current_exe()?).args(std::env::args_os().skip(1)).env(VISIBLE, device).exec())
}

/// Ends this process as soon as the agent closes the connection, in the middle of a job as well: a unit's worker is not
/// the agent's to kill, and a child outlives an agent that is killed.
fn end_with_the_agent(socket: UnixStream) {
    std::thread::spawn(move || {
        let mut watched = [PollFd::new(&socket, PollFlags::RDHUP)];
        while poll(&mut watched, None) == Err(Errno::INTR) {}
        std::process::exit(0);
    });
}

/// Ends this process once it has taken more memory than a task allows, and says so in every conversation: the agent cannot
/// look into a unit.
fn end_when_overgrown(all: Arc<Conversations>) {
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(WATCH_EVERY);
            let Some(bytes) = resident_bytes("self") else { continue };
            if bytes > all.allowed.load(Ordering::Relaxed) {
                for mouth in all.mouths().iter() {
                    // Fails only where the agent is gone.
                    let _ = mouth.lock().unwrap_or_else(PoisonError::into_inner).say(Said::Overgrown { bytes }, &[]);
                }
                std::process::exit(1);
            }
        }
    });
}

/// What stays from one task to the next.
#[derive(Default)]
struct Kept {
    /// Engines, once they are open: ONNX Runtime cannot be opened twice in a process.
    engines: Vec<(EngineKind, Box<dyn Engine>)>,
    /// The package that the last task was for, and its engine, which has its networks loaded.
    package: Option<(Package, EngineKind)>,
    /// What the package is read from, by this descriptor's number: were it closed, another conversation's file could bear it.
    folder: Option<OwnedFd>,
}

impl Kept {
    /// The package and the engine of a task.
    fn take_up(
        &mut self,
        task: &Task,
        folder: &OwnedFd,
        engine: &[OwnedFd],
    ) -> Result<(&Package, &mut dyn Engine), Fault> {
        let at = match self.engines.iter().position(|(kind, _)| *kind == task.engine) {
            Some(at) => at,
            None => {
                self.engines.push((task.engine.clone(), task.engine.open(engine)?));
                self.engines.len() - 1
            }
        };
        let fits =
            |(package, kind): &(Package, EngineKind)| package.digest == task.package_digest && *kind == task.engine;
        if !self.package.as_ref().is_some_and(fits) {
            self.package = None;
            self.engines.iter_mut().for_each(|(_, engine)| engine.unload());
            let folder = folder.try_clone().map_err(|error| {
                Fault::new("engine-unavailable", Blame::Box, format!("the package cannot be held open: {error}"))
            })?;
            let package = Package::of_descriptor(&folder)?;
            self.folder = Some(folder);
            self.package = Some((package, task.engine.clone()));
        }
        let (package, _) = self.package.as_ref().filter(|package| fits(package)).ok_or_else(|| {
            Fault::new("package-altered", Blame::Package, "the package on disk is not the one that was activated")
        })?;
        Ok((package, self.engines[at].1.as_mut()))
    }
}

fn work(
    task: &Task,
    files: &[OwnedFd],
    kept: &mut Kept,
    on_step: &mut dyn FnMut(&StepTime),
) -> Result<Inference, Fault> {
    let garbled = || Fault::new("worker-garbled", Blame::Sund, "the task came without its package or its engine");
    let (folder, files) = files.split_first().ok_or_else(garbled)?;
    let segments = files.len().checked_sub(task.engine.kept()).ok_or_else(garbled)?;
    let (segments, engine) = files.split_at(segments);
    let (package, engine) = kept.take_up(task, folder, engine)?;
    if let Some(name) = &task.golden {
        let case = package.manifest.golden.iter().find(|case| case.name == *name).ok_or_else(|| {
            Fault::new("worker-garbled", Blame::Sund, format!("the package has no golden case `{name}`"))
        })?;
        return bracket::run(package, engine, &golden::series(package, case)?, on_step);
    }
    let segments: Vec<BorrowedFd<'_>> = segments.iter().map(AsFd::as_fd).collect();
    let series = task.series.instances().iter().map(|instance| {
        let dataset = Bytes::from(task.series.read(instance, &segments)?);
        Ok(SourceInstance {
            sop_class: instance.sop_class.clone(),
            sop_instance: instance.sop_instance.clone(),
            header: scan(&dataset, &instance.transfer_syntax)?,
            dataset,
        })
    });
    let series = series.collect::<Result<Vec<_>, Fault>>()?;
    bracket::run(package, engine, &series, on_step)
}
