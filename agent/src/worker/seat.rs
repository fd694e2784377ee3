//! Where workers work, one after the other, and how many tasks at once.
use super::call_off::CallOff;
use super::launch::{Launcher, Process};
use super::turns::{Company, Turn, Turns};
use crate::fault::{Blame, Fault};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A place at a worker: on a GPU that is named, or on what the worker finds. Who runs jobs has one. Seats that were made
/// together share a worker, and each has a conversation of its own with it while it has a task.
#[derive(Debug)]
pub struct Seat {
    post: Arc<Post>,
}

/// What seats share that were made together.
#[derive(Debug)]
struct Post {
    launcher: Launcher,
    device: Option<String>,
    places: usize,
    turns: Arc<Turns>,
    off: CallOff,
    /// The conversations with the worker that have no task.
    idle: Mutex<Vec<Process>>,
}

impl Seat {
    /// A seat with a worker of its own. `device` is what `nvidia-smi -L` calls a GPU, or a part of one: `GPU-…`, `MIG-…`.
    pub fn new(launcher: Launcher, device: Option<String>) -> Self {
        Self::until_called_off(launcher, device, CallOff::new())
    }

    /// The same, until somebody calls off what it is at: its worker ends at once then, and it has no other.
    pub fn until_called_off(launcher: Launcher, device: Option<String>, off: CallOff) -> Self {
        Self { post: Post::new(launcher, device, 1, off) }
    }

    /// So many seats at one worker.
    pub fn several(launcher: Launcher, device: Option<String>, places: usize) -> Vec<Self> {
        let post = Post::new(launcher, device, places, CallOff::new());
        (0..places).map(|_| Self { post: Arc::clone(&post) }).collect()
    }

    /// The worker that is there, or a fresh one, once there is a turn in this company. Give it back with [`Seat::put`]
    /// before another one is taken in the same thread.
    pub fn take(&self, company: Company) -> Result<Process, Fault> {
        let turn = Turn::wait(&self.post.turns, company);
        let mut process = self.post.conversation()?;
        process.turn = Some(turn);
        Ok(process)
    }

    /// What is left of the worker after a task; `None` where it was lost.
    pub fn put(&self, process: Option<Process>) {
        if let Some(mut process) = process {
            let turn = process.turn.take();
            self.post.idle().push(process);
            drop(turn);
        }
    }

    /// Has the next task find a fresh worker. Waits until no other seat has one.
    pub fn renew(&self) {
        let _alone = Turn::wait(&self.post.turns, Company::Nobody);
        self.post.idle().clear();
    }

    /// Why what it is at was called off, where it was.
    pub fn called_off(&self) -> Option<Fault> {
        self.post.off.called()
    }

    /// The GPU.
    pub fn device(&self) -> Option<&str> {
        self.post.device.as_deref()
    }
}

impl Post {
    fn new(launcher: Launcher, device: Option<String>, places: usize, off: CallOff) -> Arc<Self> {
        Arc::new(Self { launcher, device, places, turns: Arc::default(), off, idle: Mutex::default() })
    }

    /// The first conversation that has no task. Where there is none the worker is lost, or none was started yet.
    fn conversation(&self) -> Result<Process, Fault> {
        if let Some(why) = self.off.called() {
            return Err(why);
        }
        let mut idle = self.idle();
        idle.retain(|process| !process.is_over());
        if idle.is_empty() {
            *idle = self.launch()?;
        }
        let first = idle.iter().enumerate().min_by_key(|(_, process)| process.lane).map_or(0, |(at, _)| at);
        Ok(idle.swap_remove(first))
    }

    /// A fresh worker, by all its conversations.
    fn launch(&self) -> Result<Vec<Process>, Fault> {
        let mut all = vec![self.launcher.launch_on(self.device.as_deref(), &self.off)?];
        for lane in 1..self.places {
            let opened = all[0].open_lane(lane).map_err(|error| {
                let reason = format!("no connection to the worker can be had: {error}");
                Fault::new("worker-not-started", Blame::Box, reason)
            });
            all.push(opened?);
        }
        Ok(all)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Process>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
