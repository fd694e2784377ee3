//! What runs next, and on which lane. It is told the time and never waits.
use super::queue::{Answer, Key, Queue, Request, Waiting};
use super::residents::Residents;
use crate::fault::{Blame, Fault};
use crate::limits::device::{BUDGET_PERCENT, MAX_BATCH, MAX_WAITING, POLL, RUN};
use std::time::{Duration, Instant};
use sund_kernels::device::{Device, DeviceError, Network, Output, Run};

/// Decides what a device does.
pub struct Scheduler<D: Device> {
    device: D,
    residents: Residents<D::Network>,
    queue: Queue,
    lanes: Vec<Option<Running>>,
    /// The oldest request found no memory while others ran: nothing begins until one of these has ended.
    waits_for_memory: bool,
    /// Why the device serves nobody any more.
    lost: Option<Fault>,
}

/// A batch on its way.
struct Running {
    key: Key,
    batch: Vec<Waiting>,
    /// When it was asked for first: what was loaded between took time that is not its own.
    since: Option<Instant>,
}

/// What is to be done after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing, until the next request.
    Idle,
    /// Another turn after so long, or at the next request.
    Again(Duration),
}

/// Why a batch did not begin.
enum Held {
    /// It waits in the queue again.
    Again,
    /// The device serves nobody any more.
    Lost,
}

impl<D: Device> Scheduler<D> {
    /// For a device whose memory is nobody else's.
    pub fn new(device: D) -> Result<Self, DeviceError> {
        let budget = device.memory()? / 100 * BUDGET_PERCENT;
        let lanes = (0..device.lanes().max(1)).map(|_| None).collect();
        let (residents, queue) = (Residents::new(budget), Queue::default());
        Ok(Self { device, residents, queue, lanes, waits_for_memory: false, lost: None })
    }

    /// The device.
    pub fn device(&mut self) -> &mut D {
        &mut self.device
    }

    /// Takes a request. It is answered at once or at a later turn; once, in any case.
    pub fn take(&mut self, request: Request, now: Instant) {
        let Request { key, plan, .. } = &request;
        if let Some(fault) = &self.lost {
            (request.reply)(Answer::Failed(fault.clone()));
        } else if plan.is_none() && self.residents.get(key).is_none() && !self.queue.brings(key) {
            (request.reply)(Answer::Absent(request.input));
        } else if self.queue.len() >= MAX_WAITING {
            let reason = format!("{MAX_WAITING} requests wait for the GPU already");
            (request.reply)(Answer::Failed(Fault::new("gpu-busy", Blame::Box, reason)));
        } else {
            self.queue.push(request, now);
        }
    }

    /// Answers what is done, and begins what can begin.
    pub fn turn(&mut self, now: Instant) -> Turn {
        for lane in 0..self.lanes.len() {
            self.poll(lane, now);
        }
        while let Some(lane) = self.free_lane()
            && !self.waits_for_memory
            && let Some(at) = self.ready(now)
        {
            match self.begin(lane, at) {
                Ok(()) | Err(Held::Again) => {}
                Err(Held::Lost) => break,
            }
        }
        let runs = self.lanes.iter().any(Option::is_some).then_some(POLL);
        // What has waited long enough waits for a lane or for memory now, and these come free where something runs.
        let next = self.free_lane().filter(|_| !self.waits_for_memory).and_then(|_| self.queue.next(now));
        match (runs, next) {
            (None, None) => Turn::Idle,
            (Some(pause), None) | (None, Some(pause)) => Turn::Again(pause),
            (Some(poll), Some(next)) => Turn::Again(poll.min(next)),
        }
    }

    fn free_lane(&self) -> Option<usize> {
        self.lanes.iter().position(Option::is_none)
    }

    fn ready(&self, now: Instant) -> Option<usize> {
        self.queue.ready(now, |key, shape| self.residents.get(key).map(|network| most(network, shape)))
    }

    /// Answers a lane's batch if it is done.
    fn poll(&mut self, lane: usize, now: Instant) {
        let Some(running) = &mut self.lanes[lane] else { return };
        let polled = self.device.poll(lane);
        let is_late = now.duration_since(*running.since.get_or_insert(now)) >= RUN;
        if matches!(polled, Ok(None)) {
            if is_late {
                let name = running.batch.first().map_or("", |waiting| waiting.request.name.as_str());
                let reason = format!("the GPU did not end network {name} within {RUN:?}");
                self.lose(Fault::new("gpu-hung", Blame::Box, reason));
            }
            return;
        }
        let Some(Running { key, batch, .. }) = self.lanes[lane].take() else { return };
        self.residents.ended(&key);
        self.waits_for_memory = false;
        match polled {
            Ok(outputs) => self.answer(batch, outputs.unwrap_or_default()),
            Err(error) => self.failed(batch, error),
        }
    }

    fn answer(&mut self, batch: Vec<Waiting>, outputs: Vec<Output>) {
        if outputs.len() != batch.len() {
            let error = format!("{} answers came for {} inputs", outputs.len(), batch.len());
            return self.failed(batch, DeviceError::Failed(error));
        }
        for (waiting, output) in batch.into_iter().zip(outputs) {
            waiting.answer(Answer::Done(output));
        }
    }

    /// A batch failed: its requests run one by one, so that only the one whose doing it was fails.
    fn failed(&mut self, batch: Vec<Waiting>, error: DeviceError) {
        if let DeviceError::Lost(why) = error {
            for waiting in batch {
                waiting.answer(Answer::Failed(lost(&why)));
            }
            return self.lose(lost(&why));
        }
        if batch.len() > 1 {
            return self.queue.put_back(batch.into_iter().map(Waiting::alone).collect());
        }
        for waiting in batch {
            let fault = told(&waiting.request.name, &error);
            waiting.answer(Answer::Failed(fault));
        }
    }

    /// Nothing runs any more: every request is answered with the fault, those that are still to come too.
    fn lose(&mut self, fault: Fault) {
        let running = self.lanes.iter_mut().filter_map(Option::take).flat_map(|running| running.batch);
        running.for_each(|waiting| waiting.answer(Answer::Failed(fault.clone())));
        self.queue.drain().for_each(|request| (request.reply)(Answer::Failed(fault.clone())));
        self.lost = Some(fault);
    }

    /// Begins the batch of the request at `at`, with its network loaded first where it is not there.
    fn begin(&mut self, lane: usize, at: usize) -> Result<(), Held> {
        let (key, shape) = (self.queue.at(at).request.key, self.queue.at(at).shape().to_vec());
        if self.residents.get(&key).is_none() {
            self.load(at, &key)?;
        }
        let mut most = self.residents.get(&key).map_or(1, |network| most(network, &shape));
        let (mut at, mut has_evicted) = (at, false);
        loop {
            let batch = self.queue.take(at, most);
            let runs: Vec<Run<'_>> = batch.iter().map(Waiting::run).collect();
            let Some(network) = self.residents.take_up(&key) else {
                self.queue.put_back(batch);
                return Err(Held::Again);
            };
            match self.device.begin(lane, network, &runs) {
                Ok(()) => {
                    self.residents.began(&key);
                    self.lanes[lane] = Some(Running { key, batch, since: None });
                    return Ok(());
                }
                Err(DeviceError::OutOfMemory(_)) if !has_evicted => {
                    self.evict_all(&key);
                    has_evicted = true;
                }
                Err(DeviceError::OutOfMemory(_)) if batch.len() > 1 => most = batch.len().div_ceil(2),
                Err(DeviceError::OutOfMemory(_)) if self.runs() => {
                    self.queue.put_back(batch);
                    self.waits_for_memory = true;
                    return Err(Held::Again);
                }
                Err(error) => {
                    self.failed(batch, error);
                    return if self.lost.is_some() { Err(Held::Lost) } else { Err(Held::Again) };
                }
            }
            self.queue.put_back(batch);
            at = 0;
        }
    }

    /// Loads the network of the request at `at`. Where that cannot be, the request is answered or waits.
    fn load(&mut self, at: usize, key: &Key) -> Result<(), Held> {
        let Some(plan) = self.queue.at(at).request.plan.take() else {
            // Given up since the request came.
            for waiting in self.queue.take(at, 1) {
                let Request { input, reply, .. } = waiting.request;
                reply(Answer::Absent(input));
            }
            return Err(Held::Again);
        };
        let loaded = self.loaded(key, &plan);
        self.queue.at(at).request.plan = Some(plan);
        let error = match loaded {
            Ok(network) => {
                self.residents.add(*key, network);
                return Ok(());
            }
            Err(DeviceError::OutOfMemory(_)) if self.runs() => {
                self.waits_for_memory = true;
                return Err(Held::Again);
            }
            Err(error) => error,
        };
        let batch = self.queue.take(at, 1);
        self.failed(batch, error);
        if self.lost.is_some() { Err(Held::Lost) } else { Err(Held::Again) }
    }

    /// Makes room within the budget and loads a plan; once more with all idle networks gone where memory lacks.
    fn loaded(&mut self, key: &Key, plan: &[u8]) -> Result<D::Network, DeviceError> {
        self.make_room(key, self.residents.expected(key, plan))?;
        let mut network = match self.device.load(plan) {
            Err(DeviceError::OutOfMemory(_)) if self.evict_all(key) => self.device.load(plan)?,
            other => other?,
        };
        // Only now is it known what it takes.
        self.residents.learn(*key, network.bytes());
        match self.make_room(key, network.bytes()) {
            Err(_) if network.shrink() => {
                self.residents.learn(*key, network.bytes());
                self.make_room(key, network.bytes())?;
            }
            other => other?,
        }
        Ok(network)
    }

    fn make_room(&mut self, key: &Key, bytes: u64) -> Result<(), DeviceError> {
        while !self.residents.has_room(bytes) {
            if !self.residents.evict(key, |key| self.queue.waits_for(key)) {
                let budget = self.residents.budget();
                let held = self.residents.bytes();
                let why = format!("it takes {bytes} bytes, of {budget} that networks may take {held} are in use");
                return Err(DeviceError::OutOfMemory(why));
            }
        }
        Ok(())
    }

    fn evict_all(&mut self, but: &Key) -> bool {
        let mut any = false;
        while self.residents.evict(but, |_| false) {
            any = true;
        }
        any
    }

    fn runs(&self) -> bool {
        self.lanes.iter().any(Option::is_some)
    }
}

fn most(network: &impl Network, shape: &[usize]) -> usize {
    network.most(shape).clamp(1, MAX_BATCH)
}

fn lost(why: &str) -> Fault {
    Fault::new("gpu-lost", Blame::Box, format!("the GPU is lost to this worker: {why}"))
}

pub(super) fn told(name: &str, error: &DeviceError) -> Fault {
    match error {
        DeviceError::OutOfMemory(why) => {
            Fault::new("gpu-memory", Blame::Box, format!("network {name} does not fit into the GPU: {why}"))
        }
        DeviceError::Lost(why) => lost(why),
        DeviceError::Refused(why) => {
            Fault::new("network-failed", Blame::Package, format!("network {name} failed: {why}"))
        }
        DeviceError::Failed(why) => Fault::new("gpu-failed", Blame::Box, format!("network {name} failed: {why}")),
    }
}
