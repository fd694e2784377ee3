//! A GPU as a scheduler's device: lanes are streams, buffers are shared by them and kept until every lane is through.
//!
//! A network is what a loader makes of a package's engine: with the feature `tensorrt` a session of TensorRT's.
use super::error::CudaError;
use super::gpu::{Cuda, CudaMemory};
use super::launch::{self, Prepared, Target, Work};
use super::machine::{Memory as _, Plain};
use super::staging::CudaStaging;
use crate::device::{Device, DeviceError, Element, Memory, Operation, Part, SampleKind};
use crate::{Grid, KernelError, Preparation, Sample};
use cudarc::driver::{CudaEvent, CudaSlice, CudaStream, DriverError};
use half::f16;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a lane that is waited for is looked at.
const LOOK: Duration = Duration::from_micros(50);

/// A network that runs on a GPU's stream.
pub trait CudaNetwork: Send {
    /// What its input is of.
    fn takes(&self) -> Element;

    /// The shape of its answer.
    ///
    /// # Safety
    /// The stream is one of the context in which the network was loaded; that context is bound.
    unsafe fn gives(&mut self, stream: &Arc<CudaStream>, shape: &[usize]) -> Result<Vec<usize>, DeviceError>;

    /// Puts one run on the stream and returns.
    ///
    /// # Safety
    /// As for `gives`. Each pair is an address in the GPU's memory and how many bytes are there; they stay until the stream is through.
    unsafe fn enqueue(
        &mut self,
        stream: &Arc<CudaStream>,
        shape: &[usize],
        from: (u64, usize),
        into: (u64, usize),
    ) -> Result<(), DeviceError>;
}

/// Makes a network of what [`Device::load`] is given, on the GPU of this stream, whose context is bound.
pub type CudaLoader = Box<dyn FnMut(&[u8], &Arc<CudaStream>) -> Result<Box<dyn CudaNetwork>, DeviceError> + Send>;

/// The device.
pub struct CudaDevice {
    /// Memory is allocated and freed on its stream, on which nothing else is done.
    cuda: Cuda,
    loader: CudaLoader,
}

/// Memory of the GPU that lanes share.
#[derive(Clone)]
pub struct CudaBuffer(Arc<CudaSlice<u8>>);

/// A stream, and what it uses.
pub struct CudaLane {
    cuda: Cuda,
    held: Vec<CudaBuffer>,
    uploads: Vec<CudaStaging>,
    downloads: Vec<CudaStaging>,
    /// It gave no answer: what it uses is never given back.
    is_hung: bool,
}

/// A network, and the end of its last run.
pub struct LoadedNetwork {
    network: Box<dyn CudaNetwork>,
    last: Option<CudaEvent>,
}

impl CudaDevice {
    /// The GPU of this number; see [`Cuda::open`].
    pub fn open(ordinal: usize, loader: CudaLoader) -> Result<Self, CudaError> {
        Ok(Self { cuda: Cuda::open(ordinal)?, loader })
    }

    fn out_of_memory(&self, asked: usize) -> DeviceError {
        DeviceError::OutOfMemory { asked, free: self.cuda.memory().map_or(0, |(free, _)| free) }
    }

    /// How much is free: the network that ran out of it does not know.
    fn counted(&self, error: DeviceError) -> DeviceError {
        match error {
            DeviceError::OutOfMemory { asked, .. } => self.out_of_memory(asked),
            other => other,
        }
    }

    /// What a network puts on a stream, behind all that it put on others before.
    fn in_turn<T>(
        &self,
        network: &mut LoadedNetwork,
        stream: &Arc<CudaStream>,
        work: impl FnOnce(&mut dyn CudaNetwork) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        let failed = |error: DriverError| self.failed(error.into());
        stream.context().bind_to_thread().map_err(failed)?;
        if let Some(last) = &network.last {
            stream.wait(last).map_err(failed)?;
        }
        let done = work(network.network.as_mut()).map_err(|error| self.counted(error));
        // Also after a failure: some of it may be on the stream.
        network.last = Some(stream.record_event(None).map_err(failed)?);
        done
    }

    fn failed(&self, error: CudaError) -> DeviceError {
        match error {
            CudaError::OutOfMemory { bytes } => self.out_of_memory(bytes),
            CudaError::Lost { said } => DeviceError::Lost(said),
            CudaError::Operation(error) => DeviceError::Operation(error),
            other => DeviceError::Refused(other.to_string()),
        }
    }
}

impl Device for CudaDevice {
    type Buffer = CudaBuffer;
    type Staging = CudaStaging;
    type Lane = CudaLane;
    type Network = LoadedNetwork;

    fn name(&self) -> String {
        self.cuda.name().unwrap_or_else(|_| "a GPU that does not tell its name".to_owned())
    }

    fn memory(&self) -> Result<Memory, DeviceError> {
        let (free, total) = self.cuda.memory().map_err(|error| self.failed(error))?;
        Ok(Memory { free, total })
    }

    fn lane(&mut self) -> Result<CudaLane, DeviceError> {
        let cuda = self.cuda.another_stream().map_err(|error| self.failed(error))?;
        Ok(CudaLane { cuda, held: Vec::new(), uploads: Vec::new(), downloads: Vec::new(), is_hung: false })
    }

    fn allocate(&mut self, bytes: usize) -> Result<CudaBuffer, DeviceError> {
        let memory = self.cuda.shared(bytes).map_err(|error| self.failed(error))?;
        Ok(CudaBuffer(memory))
    }

    fn staging(&mut self, bytes: usize) -> Result<CudaStaging, DeviceError> {
        CudaStaging::new(self.cuda.context(), bytes).map_err(|error| self.failed(error))
    }

    fn upload(&mut self, lane: &mut CudaLane, from: CudaStaging, to: &Part<CudaBuffer>) -> Result<(), DeviceError> {
        let mut to = lane.view::<u8>(to)?;
        // Kept first: the copy reads it until the lane is through.
        lane.uploads.push(from);
        let Some(from) = lane.uploads.last() else { return Ok(()) };
        lane.cuda.put(from.as_ref(), &mut to).map_err(|error| self.failed(error))
    }

    fn download(&mut self, lane: &mut CudaLane, from: &Part<CudaBuffer>, into: CudaStaging) -> Result<(), DeviceError> {
        let from = lane.view::<u8>(from)?;
        lane.downloads.push(into);
        let Some(into) = lane.downloads.last_mut() else { return Ok(()) };
        lane.cuda.get(&from, into.as_mut()).map_err(|error| self.failed(error))
    }

    fn launch(&mut self, lane: &mut CudaLane, operation: &Operation<CudaBuffer>) -> Result<(), DeviceError> {
        perform(lane, operation).map_err(|error| match error {
            Refusal::Device(error) => error,
            Refusal::Cuda(error) => self.failed(error),
        })
    }

    fn load(&mut self, network: &[u8]) -> Result<LoadedNetwork, DeviceError> {
        self.cuda.context().bind_to_thread().map_err(|error| self.failed(error.into()))?;
        let loaded = (self.loader)(network, self.cuda.stream()).map_err(|error| self.counted(error))?;
        Ok(LoadedNetwork { network: loaded, last: None })
    }

    fn takes(&self, network: &LoadedNetwork) -> Element {
        network.network.takes()
    }

    fn gives(&mut self, network: &mut LoadedNetwork, shape: &[usize]) -> Result<Vec<usize>, DeviceError> {
        let stream = Arc::clone(self.cuda.stream());
        self.in_turn(network, &stream, |network| {
            // SAFETY: the stream is one of the only context that this device has; `in_turn` bound it.
            unsafe { network.gives(&stream, shape) }
        })
    }

    fn enqueue(
        &mut self,
        lane: &mut CudaLane,
        network: &mut LoadedNetwork,
        shape: &[usize],
        from: &Part<CudaBuffer>,
        into: &Part<CudaBuffer>,
    ) -> Result<(), DeviceError> {
        let (input, output) = (lane.view::<u8>(from)?, lane.view::<u8>(into)?);
        let place = |memory: &CudaMemory<u8>| (memory.address().place, memory.count());
        let stream = Arc::clone(lane.cuda.stream());
        self.in_turn(network, &stream, |network| {
            // SAFETY: as for `gives`; both places are parts of buffers, which the lane keeps until it is through.
            unsafe { network.enqueue(&stream, shape, place(&input), place(&output)) }
        })
    }

    fn wait(&mut self, lane: &mut CudaLane, within: Duration) -> Result<Vec<CudaStaging>, DeviceError> {
        let until = Instant::now() + within;
        let end = lane.cuda.stream().record_event(None).map_err(|error| self.failed(error.into()))?;
        while !end.try_is_complete().map_err(|error| self.failed(error.into()))? {
            if Instant::now() >= until {
                lane.is_hung = true;
                return Err(DeviceError::Hung { seconds: within.as_secs() });
            }
            std::thread::sleep(LOOK);
        }
        lane.held.clear();
        lane.uploads.clear();
        Ok(std::mem::take(&mut lane.downloads))
    }
}

impl CudaLane {
    /// Part of a buffer as values, the buffer kept until the lane is through.
    fn view<T: Plain>(&mut self, part: &Part<CudaBuffer>) -> Result<CudaMemory<T>, DeviceError> {
        let Part { buffer, first, bytes } = part;
        let view = self.cuda.part(&buffer.0, *first, *bytes).ok_or_else(|| {
            let length = buffer.0.len();
            DeviceError::Refused(format!(
                "{bytes} bytes from byte {first} on are no values within a buffer of {length}"
            ))
        })?;
        self.held.push(buffer.clone());
        Ok(view)
    }
}

impl Drop for CudaLane {
    fn drop(&mut self) {
        // Nothing of what the lane uses may go while it is used. If the wait fails the GPU is lost, and uses nothing.
        if self.is_hung {
            std::mem::forget(std::mem::take(&mut self.held));
            std::mem::forget(std::mem::take(&mut self.uploads));
            std::mem::forget(std::mem::take(&mut self.downloads));
        } else {
            let _ = self.cuda.wait();
        }
    }
}

impl Drop for LoadedNetwork {
    fn drop(&mut self) {
        // A network's memory must not go while it runs. If the wait fails the GPU is lost, and runs nothing.
        if let Some(last) = &self.last {
            let _ = last.context().bind_to_thread();
            let _ = last.synchronize();
        }
    }
}

/// Why an operation was not put on its lane.
enum Refusal {
    Device(DeviceError),
    Cuda(CudaError),
}

impl From<DeviceError> for Refusal {
    fn from(error: DeviceError) -> Self {
        Self::Device(error)
    }
}

impl From<CudaError> for Refusal {
    fn from(error: CudaError) -> Self {
        Self::Cuda(error)
    }
}

impl From<KernelError> for Refusal {
    fn from(error: KernelError) -> Self {
        Self::Device(error.into())
    }
}

/// Puts an operation on its lane. What it works with beside its parts is allocated and freed in the lane's order.
fn perform(lane: &mut CudaLane, operation: &Operation<CudaBuffer>) -> Result<(), Refusal> {
    match operation {
        Operation::Preprocess { samples, kind, grid, onto, preparation, into, element } => {
            let (parts, grids) = ([samples, into], [grid, onto]);
            match kind {
                SampleKind::U8 => prepare_as::<u8>(lane, parts, grids, preparation, *element),
                SampleKind::I16 => prepare_as::<i16>(lane, parts, grids, preparation, *element),
                SampleKind::U16 => prepare_as::<u16>(lane, parts, grids, preparation, *element),
                SampleKind::I32 => prepare_as::<i32>(lane, parts, grids, preparation, *element),
                SampleKind::F32 => prepare_as::<f32>(lane, parts, grids, preparation, *element),
            }
        }
        Operation::NotFinite { values, into } => {
            let (values, mut into) = (lane.view::<f32>(values)?, lane.view::<u32>(into)?);
            Ok(launch::not_finite(&mut lane.cuda, &values, &mut into)?)
        }
        Operation::Softmax { scores, channels, into } => {
            let (scores, mut into) = (lane.view::<f32>(scores)?, lane.view::<f32>(into)?);
            lane.cuda.copy(&scores, &mut into)?;
            Ok(launch::softmax(&mut lane.cuda, &mut into, *channels)?)
        }
        Operation::Argmax { scores, channels, label, into } => {
            let (scores, mut into) = (lane.view::<f32>(scores)?, lane.view::<u8>(into)?);
            launch::argmax(&mut lane.cuda, &scores, *channels, &mut into)?;
            Ok(launch::argmax_is(&mut lane.cuda, &mut into, *label)?)
        }
        Operation::Threshold { scores, above, into } => {
            let (scores, mut into) = (lane.view::<f32>(scores)?, lane.view::<u8>(into)?);
            Ok(launch::threshold(&mut lane.cuda, &scores, *above, &mut into)?)
        }
        Operation::LargestComponent { mask, dims, into } => {
            let (mask, mut into) = (lane.view::<u8>(mask)?, lane.view::<u8>(into)?);
            let mut work = Work::new(&mut lane.cuda, *dims)?;
            Ok(launch::largest_component(&mut lane.cuda, &mask, *dims, &mut work, &mut into)?)
        }
        Operation::FillHoles { mask, dims, into } => {
            let (mask, mut into) = (lane.view::<u8>(mask)?, lane.view::<u8>(into)?);
            let mut work = Work::new(&mut lane.cuda, *dims)?;
            Ok(launch::fill_holes(&mut lane.cuda, &mask, *dims, &mut work, &mut into)?)
        }
    }
}

fn prepare_as<S: Sample + Plain>(
    lane: &mut CudaLane,
    parts: [&Part<CudaBuffer>; 2],
    grids: [&Grid; 2],
    preparation: &Preparation,
    element: Element,
) -> Result<(), Refusal> {
    match element {
        Element::Float16 => prepare::<S, f16>(lane, parts, grids, preparation),
        Element::Float32 => prepare::<S, f32>(lane, parts, grids, preparation),
    }
}

fn prepare<S: Sample + Plain, E: Target>(
    lane: &mut CudaLane,
    [samples, into]: [&Part<CudaBuffer>; 2],
    [grid, onto]: [&Grid; 2],
    preparation: &Preparation,
) -> Result<(), Refusal> {
    let (samples, mut into) = (lane.view::<S>(samples)?, lane.view::<E>(into)?);
    let prepared = Prepared::new(&mut lane.cuda, grid, onto, preparation)?;
    Ok(launch::preprocess(&mut lane.cuda, &prepared, &samples, &mut into)?)
}
