//! A task's own place on a device: memory, and a queue in which its steps follow one another, beside the lanes on which networks run.
use super::steps::Step;
use super::{DeviceError, Samples};
use crate::Region;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// Something in a device's memory, which it leaves with the last of its clones.
#[derive(Clone)]
pub struct OnDevice {
    /// What it is.
    pub kind: Kind,
    /// Slices, rows, columns.
    pub dims: [usize; 3],
    held: Arc<dyn Any + Send + Sync>,
}

/// What something on a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Samples as they were stored.
    Stored,
    /// Real values.
    Reals,
    /// 0 or 1.
    Mask,
    /// A network's scores, of so many channels.
    Scores(usize),
}

/// What a step on a device makes.
#[derive(Clone, Debug)]
pub enum Done {
    /// In its memory.
    Held(OnDevice),
    /// Two quantiles.
    Range(f32, f32),
    /// The region that a mask occupies, where it does.
    Region(Option<Region>),
}

/// What comes back from a device's memory.
#[derive(Clone, Debug, PartialEq)]
pub enum Brought {
    /// Real values, or scores channel by channel.
    Reals(Vec<f32>),
    /// A mask.
    Mask(Vec<u8>),
}

/// Where one task does its steps.
pub trait Place: Send {
    /// Brings stored samples there.
    fn stored(&mut self, samples: &Samples, dims: [usize; 3]) -> Result<OnDevice, DeviceError>;

    /// Does a step.
    fn step(&mut self, step: &Step, from: &OnDevice) -> Result<Done, DeviceError>;

    /// Takes over a network's answer, which a lane made.
    fn take(&mut self, answer: OnDevice) -> Result<OnDevice, DeviceError>;

    /// Waits until what a network is to be given is there.
    fn finish(&mut self) -> Result<(), DeviceError>;

    /// Whether every score is finite: what is not compares as "not above", and would read as "nothing found".
    fn is_finite(&mut self, scores: &OnDevice) -> Result<bool, DeviceError>;

    /// Waits for a value and brings it back.
    fn bring(&mut self, value: &OnDevice) -> Result<Brought, DeviceError>;
}

impl OnDevice {
    /// What a device holds.
    pub fn new(kind: Kind, dims: [usize; 3], held: impl Any + Send + Sync) -> Self {
        Self { kind, dims, held: Arc::new(held) }
    }

    /// What is held, where it is this; of another device it is something else.
    pub fn held<T: Any>(&self) -> Result<&T, DeviceError> {
        self.held.downcast_ref().ok_or_else(|| DeviceError::Refused("the value is in another device's memory".into()))
    }
}

impl fmt::Debug for OnDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.kind, self.dims)
    }
}

/// Two are one where they are the same memory.
impl PartialEq for OnDevice {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.held, &other.held)
    }
}
