//! A task's place on the GPU: a stream of its own.
use crate::KernelError;
use crate::cuda::machine::Machine;
use crate::cuda::{Cuda, CudaError, CudaMemory, launch};
use crate::device::place::{Brought, Done, Kind, OnDevice, Place};
use crate::device::steps::{self, Field, Held, Made, Step, Stored};
use crate::device::{DeviceError, Samples};

/// A task's place on a GPU, beside the lanes.
pub struct GpuPlace(Cuda);

impl GpuPlace {
    /// On the GPU of that number, of those that the process may see.
    pub fn open(ordinal: usize) -> Result<Self, CudaError> {
        Cuda::open(ordinal).map(Self)
    }
}

impl Place for GpuPlace {
    fn stored(&mut self, samples: &Samples, dims: [usize; 3]) -> Result<OnDevice, DeviceError> {
        Ok(named(steps::stored(&mut self.0, samples, dims)?))
    }

    fn step(&mut self, step: &Step, from: &OnDevice) -> Result<Done, DeviceError> {
        Ok(match steps::step(&mut self.0, step, from.held()?)? {
            Made::Held(held) => Done::Held(named(held)),
            Made::Range([low, high]) => Done::Range(low, high),
            Made::Region(region) => Done::Region(region),
        })
    }

    fn take(&mut self, answer: OnDevice) -> Result<OnDevice, DeviceError> {
        let Kind::Scores(channels) = answer.kind else { return Err(no_kind()) };
        let values = self.0.copied(answer.held::<CudaMemory<f32>>()?)?;
        // The lane's memory goes when this returns.
        self.0.wait()?;
        Ok(named(Held::Scores { channels, dims: answer.dims, values }))
    }

    fn finish(&mut self) -> Result<(), DeviceError> {
        Ok(self.0.wait()?)
    }

    fn is_finite(&mut self, scores: &OnDevice) -> Result<bool, DeviceError> {
        let Held::Scores { values, .. } = scores.held::<Held<Cuda>>()? else { return Err(no_kind()) };
        let mut found = self.0.zeros(1)?;
        launch::not_finite(&mut self.0, values, &mut found)?;
        Ok(self.0.download(&found)? == [0])
    }

    fn bring(&mut self, value: &OnDevice) -> Result<Brought, DeviceError> {
        Ok(match value.held::<Held<Cuda>>()? {
            Held::Reals(Field { values, .. }) | Held::Scores { values, .. } => Brought::Reals(self.0.download(values)?),
            Held::Mask(Field { values, .. }) => Brought::Mask(self.0.download(values)?),
            Held::Stored(_) => return Err(no_kind()),
        })
    }
}

fn no_kind() -> DeviceError {
    CudaError::from(KernelError::Kind).into()
}

/// With its kind told.
fn named(held: Held<Cuda>) -> OnDevice {
    let (kind, dims) = match &held {
        Held::Stored(stored) => (Kind::Stored, extent(stored)),
        Held::Reals(reals) => (Kind::Reals, reals.dims),
        Held::Mask(mask) => (Kind::Mask, mask.dims),
        Held::Scores { channels, dims, .. } => (Kind::Scores(*channels), *dims),
    };
    OnDevice::new(kind, dims, held)
}

fn extent(stored: &Stored<Cuda>) -> [usize; 3] {
    match stored {
        Stored::U8(Field { dims, .. }) => *dims,
        Stored::I16(Field { dims, .. }) => *dims,
        Stored::U16(Field { dims, .. }) => *dims,
        Stored::F32(Field { dims, .. }) => *dims,
    }
}
