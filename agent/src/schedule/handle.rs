//! The thread that owns the device, and the engine by which tasks reach it.
use super::queue::{Answer, Key, Request};
use super::scheduler::{Scheduler, Turn};
use crate::fault::{Blame, Fault};
use crate::infer::{Engine, Form, Made, Network, Tensor, checked, not_finite};
use crate::inference::EngineUsed;
use ring::digest::{SHA256, digest};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Instant;
use sund_kernels::device::{Device, DeviceError, Ending, Input, Output, Series};

/// An engine on the device. Clones share it, each for one task at a time.
#[derive(Clone)]
pub struct GpuEngine {
    requests: Sender<Request>,
    used: EngineUsed,
    takes: Form,
    /// The networks of the package at hand, by name.
    keys: Vec<(String, Key)>,
}

/// A device that was opened, and what it is.
pub struct Opened<D> {
    /// The device.
    pub device: D,
    /// Class and version of what runs on it.
    pub used: EngineUsed,
    /// What it takes for a network.
    pub takes: Form,
}

/// Opens a device on a thread of its own and serves it until the last engine is gone.
pub fn start<D: Device>(open: impl FnOnce() -> Result<Opened<D>, Fault> + Send + 'static) -> Result<GpuEngine, Fault> {
    let (requests, inbox) = channel();
    let (opened, is_open) = channel();
    // The device is made where it stays.
    let thread = std::thread::Builder::new().name("gpu".into()).spawn(move || {
        let unusable = |error: DeviceError| Fault::new("engine-unavailable", Blame::Box, error.to_string());
        let scheduler = open()
            .and_then(|Opened { device, used, takes }| Ok((Scheduler::new(device).map_err(unusable)?, used, takes)));
        // Neither answer fails but where nobody waits for it any more.
        match scheduler {
            Ok((mut scheduler, used, takes)) => {
                let _ = opened.send(Ok((used, takes)));
                serve(&mut scheduler, &inbox);
            }
            Err(fault) => {
                let _ = opened.send(Err(fault));
            }
        }
    });
    thread.map_err(|error| Fault::new("engine-unavailable", Blame::Box, format!("no thread can be had: {error}")))?;
    let (used, takes) = is_open.recv().map_err(|_| gone())??;
    Ok(GpuEngine { requests, used, takes, keys: Vec::new() })
}

fn serve<D: Device>(scheduler: &mut Scheduler<D>, inbox: &Receiver<Request>) {
    loop {
        let next = match scheduler.turn(Instant::now()) {
            Turn::Idle => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Turn::Again(pause) => inbox.recv_timeout(pause),
        };
        match next {
            Ok(request) => scheduler.take(request, Instant::now()),
            Err(RecvTimeoutError::Timeout) => continue,
            // Who would take an answer is gone.
            Err(RecvTimeoutError::Disconnected) => return,
        }
        while let Ok(request) = inbox.try_recv() {
            scheduler.take(request, Instant::now());
        }
    }
}

impl GpuEngine {
    /// The same for plans of this precision, as packages name it.
    #[must_use]
    pub fn with_precision(mut self, precision: &str) -> Self {
        precision.clone_into(&mut self.used.precision);
        self
    }

    fn ask(&mut self, name: &str, network: &Network<'_>, input: Input, ending: Option<Ending>) -> Result<Made, Fault> {
        let known = self.keys.iter().find(|(known, _)| known == name).map(|(_, key)| *key);
        let (key, plan) = match known {
            Some(key) => (key, None),
            None => {
                let plan = network()?;
                let key = key(&plan);
                self.keys.push((name.to_owned(), key));
                (key, Some(plan))
            }
        };
        let input = match self.send(name, key, plan, input, ending)? {
            Answer::Absent(input) => input,
            answer => return done(name, answer),
        };
        // Given up for another network since: its plan is read again.
        let plan = network()?;
        if self::key(&plan) != key {
            let reason = format!("network {name} is not the one that was loaded before");
            return Err(Fault::new("package-altered", Blame::Package, reason));
        }
        done(name, self.send(name, key, Some(plan), input, ending)?)
    }

    /// The network's answer as it is.
    fn scores(&mut self, name: &str, network: &Network<'_>, input: Input) -> Result<Tensor, Fault> {
        match self.ask(name, network, input, None)? {
            Made::Scores(tensor) => Ok(tensor),
            Made::Mask { .. } => {
                let reason = format!("a mask came of network {name}, and its answer was asked for");
                Err(Fault::new("gpu-failed", Blame::Sund, reason))
            }
        }
    }

    fn send(
        &self,
        name: &str,
        key: Key,
        plan: Option<Vec<u8>>,
        input: Input,
        ending: Option<Ending>,
    ) -> Result<Answer, Fault> {
        let (answer, answered) = channel();
        let reply = Box::new(move |said| {
            // Fails only where the task is gone.
            let _ = answer.send(said);
        });
        let request = Request { key, name: name.to_owned(), plan, input, ending, reply };
        self.requests.send(request).map_err(|_| gone())?;
        // No time of its own: the device's is bounded by the scheduler, the task's by the agent.
        answered.recv().map_err(|_| gone())
    }
}

impl Engine for GpuEngine {
    fn used(&self) -> EngineUsed {
        self.used.clone()
    }

    fn takes(&self) -> Form {
        self.takes.clone()
    }

    /// The names are another package's; networks stay on the device until their memory is needed.
    fn unload(&mut self) {
        self.keys.clear();
    }

    fn run(&mut self, name: &str, network: &Network<'_>, input: Tensor) -> Result<Tensor, Fault> {
        self.scores(name, network, Input::Values(input))
    }

    fn takes_samples(&self) -> bool {
        true
    }

    fn run_on_samples(&mut self, name: &str, network: &Network<'_>, series: Series) -> Result<Tensor, Fault> {
        self.scores(name, network, Input::Series(Box::new(series)))
    }

    fn makes_masks(&self) -> bool {
        true
    }

    fn run_to_mask(&mut self, name: &str, network: &Network<'_>, input: Input, ending: Ending) -> Result<Made, Fault> {
        self.ask(name, network, input, Some(ending))
    }
}

fn done(name: &str, answer: Answer) -> Result<Made, Fault> {
    match answer {
        Answer::Done(Output::Scores(output)) => checked(name, output).map(Made::Scores),
        // The device has looked at all of the answer that the mask was made of.
        Answer::Done(Output::Mask { shape, voxels }) => Ok(Made::Mask { shape, voxels }),
        Answer::Done(Output::NotFinite) => Err(not_finite(name)),
        Answer::Failed(fault) => Err(fault),
        Answer::Absent(_) => {
            let reason = format!("network {name} was sent to the GPU and is not there");
            Err(Fault::new("gpu-failed", Blame::Sund, reason))
        }
    }
}

fn key(plan: &[u8]) -> Key {
    let mut key = Key::default();
    key.copy_from_slice(digest(&SHA256, plan).as_ref());
    key
}

/// The device's thread has ended, which it does of its own only where a defect ended it.
fn gone() -> Fault {
    Fault::new("gpu-lost", Blame::Sund, "the thread that serves the GPU is gone")
}
