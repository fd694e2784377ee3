//! A device of the processor's own: the trait's promises held to the letter, memory that really runs out, faults on demand.
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use sund_agent::schedule::Places;
use sund_kernels::device::place::{Brought, Done, Kind, Place};
use sund_kernels::device::steps::Step;
use sund_kernels::device::{Device, DeviceError, Ending, Input, Network, OnDevice, Output, Run, Samples, Tensor};

/// The input value on which every batch with it fails.
pub const POISON: f32 = -666.0;

/// A network of this device: `y = x * factor + factor`, which tells whose answer it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    pub factor: u8,
    /// Bytes of the network, and of each input of a batch that runs.
    pub bytes: u32,
    pub run_bytes: u32,
    /// Most inputs of a batch.
    pub most: u8,
}

impl Plan {
    pub fn bytes(self) -> Vec<u8> {
        [&[self.factor, self.most][..], &self.bytes.to_le_bytes(), &self.run_bytes.to_le_bytes()].concat()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (head, numbers) = bytes.split_at_checked(2)?;
        let (numbers, rest) = numbers.as_chunks::<4>();
        let [bytes, run_bytes] = *numbers else { return None };
        let (bytes, run_bytes) = (u32::from_le_bytes(bytes), u32::from_le_bytes(run_bytes));
        rest.is_empty().then_some(Self { factor: head[0], most: head[1], bytes, run_bytes })
    }

    pub fn answer(self, values: &[f32]) -> Vec<f32> {
        values.iter().map(|x| x * f32::from(self.factor) + f32::from(self.factor)).collect()
    }
}

/// What happened, for a test to look at.
#[derive(Default)]
pub struct Seen {
    pub total: u64,
    /// Bytes of networks, and of runs.
    pub resident: u64,
    pub running: u64,
    /// Most bytes of networks at once.
    pub peak: u64,
    pub loads: Vec<u8>,
    /// Factor and first value of each input, batch by batch, as they began.
    pub begun: Vec<Vec<(u8, f32)>>,
    pub most_lanes_at_once: usize,
}

pub struct HostDevice {
    lanes: Vec<Option<Batch>>,
    seen: Rc<RefCell<Seen>>,
    /// How often a batch is asked for before it is done, one batch after another, then again from the first.
    pub polls: Vec<u32>,
    /// The poll, counted from 0, at which the device is lost.
    pub lost_at: Option<u32>,
    pub hangs: bool,
    /// What every network computes, whatever its bytes; none: each is a [`Plan`].
    pub computes: Option<fn(Tensor) -> Tensor>,
    /// Bytes that a network takes beside its own, where there is room, and gives up when it must.
    pub extra: u32,
    polled: u32,
}

struct Batch {
    left: u32,
    bytes: u64,
    plan: Plan,
    inputs: Vec<(Tensor, Way)>,
}

/// How an answer goes on.
enum Way {
    Back(Option<Ending>),
    Stays,
}

/// A place that does no steps: what it is given, and what it takes, are values of this device.
pub struct HostPlace;

impl Place for HostPlace {
    fn stored(&mut self, _: &Samples, _: [usize; 3]) -> Result<OnDevice, DeviceError> {
        Err(DeviceError::Refused("no samples are kept here".into()))
    }

    fn step(&mut self, _: &Step, _: &OnDevice) -> Result<Done, DeviceError> {
        Err(DeviceError::Refused("no steps are done here".into()))
    }

    fn take(&mut self, answer: OnDevice) -> Result<OnDevice, DeviceError> {
        Ok(answer)
    }

    fn finish(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn is_finite(&mut self, scores: &OnDevice) -> Result<bool, DeviceError> {
        Ok(scores.held::<Vec<f32>>()?.iter().all(|value| value.is_finite()))
    }

    fn bring(&mut self, value: &OnDevice) -> Result<Brought, DeviceError> {
        Ok(Brought::Reals(value.held::<Vec<f32>>()?.clone()))
    }
}

/// No task has a place.
pub fn without_places() -> Arc<Places> {
    Arc::new(|| Err(DeviceError::Refused("there are no places".into())))
}

pub struct Loaded {
    plan: Plan,
    extra: u32,
    seen: Rc<RefCell<Seen>>,
}

impl HostDevice {
    pub fn new(total: u64, lanes: usize) -> (Self, Rc<RefCell<Seen>>) {
        let seen = Rc::new(RefCell::new(Seen { total, ..Seen::default() }));
        let lanes = (0..lanes).map(|_| None).collect();
        let seen_too = Rc::clone(&seen);
        let (polls, lost_at, hangs, computes) = (vec![1], None, false, None);
        let device = Self { lanes, seen: seen_too, polls, lost_at, hangs, computes, extra: 0, polled: 0 };
        (device, seen)
    }
}

impl Device for HostDevice {
    type Network = Loaded;

    fn memory(&self) -> Result<u64, DeviceError> {
        Ok(self.seen.borrow().total)
    }

    fn lanes(&self) -> usize {
        self.lanes.len()
    }

    fn load(&mut self, plan: &[u8]) -> Result<Loaded, DeviceError> {
        let any = self.computes.map(|_| Plan { factor: 1, bytes: 1, run_bytes: 1, most: 1 });
        let plan = any.or_else(|| Plan::read(plan)).ok_or_else(|| DeviceError::Refused("it is no plan".into()))?;
        let mut seen = self.seen.borrow_mut();
        if seen.resident + seen.running + u64::from(plan.bytes) > seen.total {
            return Err(DeviceError::OutOfMemory(format!("{} bytes", plan.bytes)));
        }
        seen.resident += u64::from(plan.bytes);
        let has_room = seen.resident + seen.running + u64::from(self.extra) <= seen.total;
        let extra = if has_room { self.extra } else { 0 };
        seen.resident += u64::from(extra);
        seen.peak = seen.peak.max(seen.resident);
        seen.loads.push(plan.factor);
        Ok(Loaded { plan, extra, seen: Rc::clone(&self.seen) })
    }

    fn begin(&mut self, lane: usize, network: &mut Loaded, batch: &[Run<'_>]) -> Result<(), DeviceError> {
        assert!(self.lanes[lane].is_none(), "a batch runs on lane {lane}");
        assert!(
            (1..=network.plan.most as usize).contains(&batch.len()),
            "{} inputs of {:?}",
            batch.len(),
            network.plan
        );
        assert!(batch.iter().all(|run| run.input.shape() == batch[0].input.shape()), "a batch of several shapes");
        let bytes = u64::from(network.plan.run_bytes) * batch.len() as u64;
        let is_full = |seen: &RefCell<Seen>| {
            let seen = seen.borrow();
            seen.resident + seen.running + bytes > seen.total
        };
        if is_full(&self.seen) && (!network.shrink() || is_full(&self.seen)) {
            return Err(DeviceError::OutOfMemory(format!("{bytes} bytes for a run")));
        }
        let mut seen = self.seen.borrow_mut();
        let tensor = |run: &Run<'_>| match run.input {
            Input::Values(tensor) => Ok((tensor.clone(), Way::Back(run.ending))),
            Input::Held(values) => {
                let tensor = Tensor { shape: run.input.shape(), values: values.held::<Vec<f32>>()?.clone() };
                Ok((tensor, Way::Stays))
            }
            Input::Series(series) => {
                let values = series.prepared().map_err(|error| DeviceError::Refused(error.to_string()))?;
                Ok((Tensor { shape: series.shape(), values }, Way::Back(run.ending)))
            }
        };
        let inputs: Vec<(Tensor, _)> = batch.iter().map(tensor).collect::<Result<_, DeviceError>>()?;
        seen.running += bytes;
        let left = self.polls[seen.begun.len() % self.polls.len()];
        seen.begun.push(inputs.iter().map(|(input, _)| (network.plan.factor, input.values[0])).collect());
        self.lanes[lane] = Some(Batch { left, bytes, plan: network.plan, inputs });
        let lanes = self.lanes.iter().flatten().count();
        seen.most_lanes_at_once = seen.most_lanes_at_once.max(lanes);
        Ok(())
    }

    fn poll(&mut self, lane: usize) -> Result<Option<Vec<Output>>, DeviceError> {
        let polled = self.polled;
        self.polled += 1;
        if self.lost_at.is_some_and(|at| polled >= at) {
            return Err(DeviceError::Lost("Xid 79".into()));
        }
        let batch = self.lanes[lane].as_mut().expect("a batch runs on the lane");
        if self.hangs || batch.left > 0 {
            batch.left = batch.left.saturating_sub(1);
            return Ok(None);
        }
        let Batch { bytes, plan, inputs, .. } = self.lanes[lane].take().expect("it was there");
        self.seen.borrow_mut().running -= bytes;
        if inputs.iter().any(|(input, _)| input.values[0] == POISON) {
            return Err(DeviceError::Failed("an input was poisoned".into()));
        }
        let answer = |Tensor { shape, values }| Tensor { shape, values: plan.answer(&values) };
        let outputs = inputs.into_iter().map(|(input, way)| {
            let answer = match self.computes {
                Some(computes) => computes(input),
                None => answer(input),
            };
            match way {
                Way::Back(Some(ending)) => ending.of(answer),
                Way::Back(None) => Output::Scores(answer),
                Way::Stays => {
                    let Tensor { shape, values } = answer;
                    let [_, channels, k, j, i] = shape[..] else { panic!("an answer of {shape:?}") };
                    Output::Held { memory: OnDevice::new(Kind::Scores(channels), [k, j, i], values), shape }
                }
            }
        });
        Ok(Some(outputs.collect()))
    }
}

impl Network for Loaded {
    fn bytes(&self) -> u64 {
        u64::from(self.plan.bytes) + u64::from(self.extra)
    }

    fn shrink(&mut self) -> bool {
        self.seen.borrow_mut().resident -= u64::from(self.extra);
        std::mem::take(&mut self.extra) > 0
    }

    fn most(&self, _shape: &[usize]) -> usize {
        usize::from(self.plan.most)
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.seen.borrow_mut().resident -= self.bytes();
    }
}
