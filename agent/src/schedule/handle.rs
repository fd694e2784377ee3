//! The thread that owns the device, and the engine by which tasks reach it.
use super::queue::{Answer, Key, Request};
use super::scheduler::{Scheduler, Turn, told};
use crate::fault::{Blame, Fault};
use crate::infer::{Engine, Form, Made, Network, Tensor, checked, not_finite, not_held};
use crate::inference::EngineUsed;
use ring::digest::{SHA256, digest};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Instant;
use sund_kernels::device::place::Place;
use sund_kernels::device::{Device, DeviceError, Ending, Input, OnDevice, Output, Series};

/// Opens a task's place on the device, on the task's own thread.
pub type Places = dyn Fn() -> Result<Box<dyn Place>, DeviceError> + Send + Sync;

/// An engine on the device. Clones share it, each for one task at a time.
pub struct GpuEngine {
    requests: Sender<Request>,
    used: EngineUsed,
    takes: Form,
    places: Arc<Places>,
    /// Its own place, once it has been asked for.
    place: Option<Box<dyn Place>>,
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
    /// Opens places on it.
    pub places: Arc<Places>,
}

/// Opens a device on a thread of its own and serves it until the last engine is gone.
pub fn start<D: Device>(open: impl FnOnce() -> Result<Opened<D>, Fault> + Send + 'static) -> Result<GpuEngine, Fault> {
    let (requests, inbox) = channel();
    let (opened, is_open) = channel();
    // The device is made where it stays.
    let thread = std::thread::Builder::new().name("gpu".into()).spawn(move || {
        let unusable = |error: DeviceError| Fault::new("engine-unavailable", Blame::Box, error.to_string());
        let scheduler = open().and_then(|Opened { device, used, takes, places }| {
            Ok((Scheduler::new(device).map_err(unusable)?, (used, takes, places)))
        });
        // Neither answer fails but where nobody waits for it any more.
        match scheduler {
            Ok((mut scheduler, described)) => {
                let _ = opened.send(Ok(described));
                serve(&mut scheduler, &inbox);
            }
            Err(fault) => {
                let _ = opened.send(Err(fault));
            }
        }
    });
    thread.map_err(|error| Fault::new("engine-unavailable", Blame::Box, format!("no thread can be had: {error}")))?;
    let (used, takes, places) = is_open.recv().map_err(|_| gone())??;
    Ok(GpuEngine { requests, used, takes, places, place: None, keys: Vec::new() })
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

/// A clone has no place yet: it is another task's.
impl Clone for GpuEngine {
    fn clone(&self) -> Self {
        Self {
            requests: self.requests.clone(),
            used: self.used.clone(),
            takes: self.takes.clone(),
            places: Arc::clone(&self.places),
            place: None,
            keys: self.keys.clone(),
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
            Made::Mask { .. } | Made::Held { .. } => {
                let reason = format!("network {name} was asked for its answer, and something else came");
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

    fn place(&mut self) -> Option<&mut dyn Place> {
        if self.place.is_none() {
            match (self.places)() {
                Ok(place) => self.place = Some(place),
                // The next task asks again.
                Err(error) => tracing::warn!(reason = %error, "no place on the GPU: steps are done on the processor"),
            }
        }
        self.place.as_mut().map(|place| place.as_mut() as &mut dyn Place)
    }

    fn run_held(&mut self, name: &str, network: &Network<'_>, input: OnDevice) -> Result<OnDevice, Fault> {
        let failed = |error: DeviceError| told(name, &error);
        self.place().ok_or_else(|| not_held(name))?.finish().map_err(failed)?;
        let made = self.ask(name, network, Input::Held(input), None)?;
        let place = self.place().ok_or_else(|| not_held(name))?;
        match made {
            Made::Held { memory, .. } => {
                let answer = place.take(memory).map_err(failed)?;
                if place.is_finite(&answer).map_err(failed)? { Ok(answer) } else { Err(not_finite(name)) }
            }
            _ => Err(Fault::new("gpu-failed", Blame::Sund, format!("network {name}'s answer did not stay on the GPU"))),
        }
    }
}

fn done(name: &str, answer: Answer) -> Result<Made, Fault> {
    match answer {
        Answer::Done(Output::Scores(output)) => checked(name, output).map(Made::Scores),
        // The device has looked at all of the answer that the mask was made of.
        Answer::Done(Output::Mask { shape, voxels }) => Ok(Made::Mask { shape, voxels }),
        Answer::Done(Output::NotFinite) => Err(not_finite(name)),
        Answer::Done(Output::Held { shape, memory }) => Ok(Made::Held { shape, memory }),
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
