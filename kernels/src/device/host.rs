//! The processor in place of a device: the same order, the same refusals, the reference operations.
//!
//! Work is put off until its lane is waited for, as on a real device, so that a caller that forgets to wait is found out; the
//! memory that it may use has an end.
use super::{Device, DeviceError, Element, Memory, Operation, Part, SampleKind};
use crate::{Grid, KernelError, Preparation, Volume};
use crate::{Sample, argmax, fill_holes, largest_component, preprocess, softmax, threshold};
use half::f16;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A network that runs on the processor.
pub trait HostNetwork: Send {
    /// What its input is of; a 16-bit one is given its values in 32 bits, rounded.
    fn takes(&self) -> Element {
        Element::Float32
    }

    /// Bytes of the device's memory that it holds.
    fn bytes(&self) -> usize;

    /// The shape of its answer.
    fn gives(&mut self, shape: &[usize]) -> Result<Vec<usize>, DeviceError>;

    /// Its answer.
    fn run(&mut self, shape: &[usize], input: Vec<f32>) -> Result<Vec<f32>, DeviceError>;
}

/// Makes a network of what [`Device::load`] is given.
pub type Loader = Box<dyn FnMut(&[u8]) -> Result<Box<dyn HostNetwork>, DeviceError> + Send>;

/// What is asked of a device, for [`HostDevice::failing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Memory.
    Allocate,
    /// A network to be loaded.
    Load,
    /// A lane to be done.
    Wait,
}

type Faults = Box<dyn FnMut(Asked) -> Option<DeviceError> + Send>;

/// The stand-in.
pub struct HostDevice {
    total: usize,
    used: Arc<AtomicUsize>,
    loader: Loader,
    faults: Option<Faults>,
}

impl HostDevice {
    /// A device with so many bytes of memory.
    pub fn new(total: usize, loader: Loader) -> Self {
        Self { total, used: Arc::default(), loader, faults: None }
    }

    /// The same, but it fails where `faults` says so.
    #[must_use]
    pub fn failing(mut self, faults: impl FnMut(Asked) -> Option<DeviceError> + Send + 'static) -> Self {
        self.faults = Some(Box::new(faults));
        self
    }

    fn fails(&mut self, asked: Asked) -> Result<(), DeviceError> {
        self.faults.as_mut().and_then(|faults| faults(asked)).map_or(Ok(()), Err)
    }

    fn take(&self, bytes: usize) -> Result<Taken, DeviceError> {
        let free = self.total.saturating_sub(self.used.load(Ordering::Relaxed));
        if bytes > free {
            return Err(DeviceError::OutOfMemory { asked: bytes, free });
        }
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Ok(Taken { bytes, used: Arc::clone(&self.used) })
    }
}

/// A share of the memory, given back when it is dropped.
struct Taken {
    bytes: usize,
    used: Arc<AtomicUsize>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Memory of the stand-in.
#[derive(Clone)]
pub struct HostBuffer {
    bytes: Arc<Mutex<Vec<u8>>>,
    _taken: Arc<Taken>,
}

impl HostBuffer {
    fn read(part: &Part<Self>) -> Result<Vec<u8>, DeviceError> {
        let bytes = part.buffer.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let end = part.first.checked_add(part.bytes);
        end.and_then(|end| bytes.get(part.first..end)).map(<[u8]>::to_vec).ok_or_else(|| beyond(bytes.len(), part))
    }

    fn write(part: &Part<Self>, values: &[u8]) -> Result<(), DeviceError> {
        let mut bytes = part.buffer.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let length = bytes.len();
        let end = part.first.checked_add(part.bytes);
        match end.and_then(|end| bytes.get_mut(part.first..end)) {
            Some(place) if place.len() == values.len() => place.copy_from_slice(values),
            Some(_) => return Err(KernelError::Shape { expected: part.bytes, found: values.len() }.into()),
            None => return Err(beyond(length, part)),
        }
        Ok(())
    }
}

fn beyond(length: usize, part: &Part<HostBuffer>) -> DeviceError {
    let (first, bytes) = (part.first, part.bytes);
    DeviceError::Refused(format!("{bytes} bytes from byte {first} on are not within a buffer of {length}"))
}

/// Work that waits.
type Work = Box<dyn FnOnce(&mut Vec<Vec<u8>>) -> Result<(), DeviceError> + Send>;

/// Work in its order.
#[derive(Default)]
pub struct HostLane {
    work: VecDeque<Work>,
}

/// A loaded network.
#[derive(Clone)]
pub struct Loaded {
    network: Arc<Mutex<Box<dyn HostNetwork>>>,
    _taken: Arc<Taken>,
}

impl Loaded {
    fn lock(&self) -> std::sync::MutexGuard<'_, Box<dyn HostNetwork>> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Device for HostDevice {
    type Buffer = HostBuffer;
    type Staging = Vec<u8>;
    type Lane = HostLane;
    type Network = Loaded;

    fn name(&self) -> String {
        "processor in place of a device".to_owned()
    }

    fn memory(&self) -> Result<Memory, DeviceError> {
        Ok(Memory { free: self.total.saturating_sub(self.used.load(Ordering::Relaxed)), total: self.total })
    }

    fn lane(&mut self) -> Result<HostLane, DeviceError> {
        Ok(HostLane::default())
    }

    fn allocate(&mut self, bytes: usize) -> Result<HostBuffer, DeviceError> {
        self.fails(Asked::Allocate)?;
        let taken = self.take(bytes)?;
        // Not zeros: nothing may be read that was not written.
        Ok(HostBuffer { bytes: Arc::new(Mutex::new(vec![0xa5; bytes])), _taken: Arc::new(taken) })
    }

    fn staging(&mut self, bytes: usize) -> Result<Vec<u8>, DeviceError> {
        Ok(vec![0; bytes])
    }

    fn upload(&mut self, lane: &mut HostLane, from: Vec<u8>, to: &Part<HostBuffer>) -> Result<(), DeviceError> {
        let to = to.clone();
        lane.work.push_back(Box::new(move |_| HostBuffer::write(&to, &from)));
        Ok(())
    }

    fn download(&mut self, lane: &mut HostLane, from: &Part<HostBuffer>, into: Vec<u8>) -> Result<(), DeviceError> {
        let (from, mut into) = (from.clone(), into);
        lane.work.push_back(Box::new(move |done| {
            let bytes = HostBuffer::read(&from)?;
            if bytes.len() != into.len() {
                return Err(KernelError::Shape { expected: into.len(), found: bytes.len() }.into());
            }
            into.copy_from_slice(&bytes);
            done.push(into);
            Ok(())
        }));
        Ok(())
    }

    fn launch(&mut self, lane: &mut HostLane, operation: &Operation<HostBuffer>) -> Result<(), DeviceError> {
        let operation = operation.clone();
        lane.work.push_back(Box::new(move |_| perform(operation)));
        Ok(())
    }

    fn load(&mut self, network: &[u8]) -> Result<Loaded, DeviceError> {
        self.fails(Asked::Load)?;
        let network = (self.loader)(network)?;
        let taken = self.take(network.bytes())?;
        Ok(Loaded { network: Arc::new(Mutex::new(network)), _taken: Arc::new(taken) })
    }

    fn takes(&self, network: &Loaded) -> Element {
        network.lock().takes()
    }

    fn gives(&mut self, network: &mut Loaded, shape: &[usize]) -> Result<Vec<usize>, DeviceError> {
        network.lock().gives(shape)
    }

    fn enqueue(
        &mut self,
        lane: &mut HostLane,
        network: &mut Loaded,
        shape: &[usize],
        from: &Part<HostBuffer>,
        into: &Part<HostBuffer>,
    ) -> Result<(), DeviceError> {
        let (network, shape, from, into) = (network.clone(), shape.to_vec(), from.clone(), into.clone());
        lane.work.push_back(Box::new(move |_| {
            let mut network = network.lock();
            let bytes = HostBuffer::read(&from)?;
            let input = match network.takes() {
                Element::Float32 => reals(&bytes),
                Element::Float16 => bytes.as_chunks().0.iter().map(|two| f16::from_ne_bytes(*two).to_f32()).collect(),
            };
            let output = network.run(&shape, input)?;
            HostBuffer::write(&into, &bytes_of(&output))
        }));
        Ok(())
    }

    fn wait(&mut self, lane: &mut HostLane, _within: Duration) -> Result<Vec<Vec<u8>>, DeviceError> {
        let work = std::mem::take(&mut lane.work);
        self.fails(Asked::Wait)?;
        let mut done = Vec::new();
        work.into_iter().try_for_each(|work| work(&mut done))?;
        Ok(done)
    }
}

/// Does an operation by its reference.
fn perform(operation: Operation<HostBuffer>) -> Result<(), DeviceError> {
    match operation {
        Operation::Preprocess { samples, kind, grid, onto, preparation, into, element } => {
            let bytes = HostBuffer::read(&samples)?;
            let made = match kind {
                SampleKind::U8 => prepared(&bytes, &grid, &onto, &preparation, element),
                SampleKind::I16 => prepared(&each(&bytes, i16::from_ne_bytes), &grid, &onto, &preparation, element),
                SampleKind::U16 => prepared(&each(&bytes, u16::from_ne_bytes), &grid, &onto, &preparation, element),
                SampleKind::I32 => prepared(&each(&bytes, i32::from_ne_bytes), &grid, &onto, &preparation, element),
                SampleKind::F32 => prepared(&reals(&bytes), &grid, &onto, &preparation, element),
            }?;
            HostBuffer::write(&into, &made)
        }
        Operation::NotFinite { values, into } => {
            let is_finite = reals(&HostBuffer::read(&values)?).iter().all(|value| value.is_finite());
            HostBuffer::write(&into, &u32::from(!is_finite).to_ne_bytes())
        }
        Operation::Softmax { scores, channels, into } => {
            let mut scores = reals(&HostBuffer::read(&scores)?);
            softmax(&mut scores, channels)?;
            HostBuffer::write(&into, &bytes_of(&scores))
        }
        Operation::Argmax { scores, channels, label, into } => {
            let mut largest = argmax(&reals(&HostBuffer::read(&scores)?), channels)?;
            largest.iter_mut().for_each(|voxel| *voxel = u8::from(usize::from(*voxel) == label));
            HostBuffer::write(&into, &largest)
        }
        Operation::Threshold { scores, above, into } => {
            HostBuffer::write(&into, &threshold(&reals(&HostBuffer::read(&scores)?), above))
        }
        Operation::LargestComponent { mask, dims, into } => {
            HostBuffer::write(&into, &largest_component(&masked(&mask, dims)?).voxels)
        }
        Operation::FillHoles { mask, dims, into } => {
            HostBuffer::write(&into, &fill_holes(&masked(&mask, dims)?).voxels)
        }
    }
}

fn masked(mask: &Part<HostBuffer>, dims: [usize; 3]) -> Result<Volume<u8>, DeviceError> {
    // Where the mask lies in the patient is of no account to what touches what.
    Ok(Volume { grid: Grid { dims, to_patient: [[0.0; 4]; 3] }, voxels: HostBuffer::read(mask)? })
}

fn prepared<S: Sample>(
    samples: &[S],
    grid: &Grid,
    onto: &Grid,
    preparation: &Preparation,
    element: Element,
) -> Result<Vec<u8>, KernelError> {
    Ok(match element {
        Element::Float32 => bytes_of(&preprocess::<S, f32>(samples, grid, onto, preparation)?),
        Element::Float16 => {
            let made = preprocess::<S, f16>(samples, grid, onto, preparation)?;
            made.iter().flat_map(|value| value.to_ne_bytes()).collect()
        }
    })
}

fn each<const N: usize, T>(bytes: &[u8], value: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|bytes| value(*bytes)).collect()
}

/// 32-bit reals from their bytes; what is left over is left out.
pub fn reals(bytes: &[u8]) -> Vec<f32> {
    each(bytes, f32::from_ne_bytes)
}

/// 32-bit reals as their bytes.
pub fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_ne_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds 1 to each value.
    struct AddsOne;

    impl HostNetwork for AddsOne {
        fn bytes(&self) -> usize {
            40
        }

        fn gives(&mut self, shape: &[usize]) -> Result<Vec<usize>, DeviceError> {
            Ok(shape.to_vec())
        }

        fn run(&mut self, _: &[usize], input: Vec<f32>) -> Result<Vec<f32>, DeviceError> {
            Ok(input.into_iter().map(|value| value + 1.0).collect())
        }
    }

    fn device(total: usize) -> HostDevice {
        HostDevice::new(total, Box::new(|_| Ok(Box::new(AddsOne))))
    }

    const SOON: Duration = Duration::from_secs(1);

    #[test]
    fn a_lane_does_its_work_in_order_and_only_when_it_is_waited_for() {
        let mut device = device(100);
        let (mut lane, mut network) = (device.lane().unwrap(), device.load(b"").unwrap());
        let buffer = Part::of(device.allocate(8).unwrap(), 8);
        device.upload(&mut lane, bytes_of(&[1.0, 2.0]), &buffer).unwrap();
        device.enqueue(&mut lane, &mut network, &[2], &buffer, &buffer).unwrap();
        let mask = Part::of(device.allocate(2).unwrap(), 2);
        let operation = Operation::Threshold { scores: buffer.clone(), above: 2.0, into: mask.clone() };
        device.launch(&mut lane, &operation).unwrap();
        device.download(&mut lane, &mask, vec![0; 2]).unwrap();
        device.download(&mut lane, &buffer.part(4, 4), vec![0; 4]).unwrap();
        assert_eq!(HostBuffer::read(&mask).unwrap(), [0xa5; 2], "nothing is done before the wait");
        assert_eq!(device.wait(&mut lane, SOON).unwrap(), [vec![0, 1], bytes_of(&[3.0])]);
    }

    #[test]
    fn memory_has_an_end_and_comes_back_with_the_last_clone_and_its_work() {
        let mut device = device(100);
        let network = device.load(b"").unwrap();
        let buffer = device.allocate(60).unwrap();
        assert_eq!(device.memory().unwrap(), Memory { free: 0, total: 100 });
        assert_eq!(device.allocate(1).err(), Some(DeviceError::OutOfMemory { asked: 1, free: 0 }));
        let mut lane = device.lane().unwrap();
        device.download(&mut lane, &Part::of(buffer.clone(), 60), vec![0; 60]).unwrap();
        drop((buffer, network));
        assert_eq!(device.memory().unwrap().free, 40, "the lane still uses it");
        device.wait(&mut lane, SOON).unwrap();
        assert_eq!(device.memory().unwrap().free, 100);
    }

    #[test]
    fn a_part_beyond_its_buffer_is_refused() {
        let mut device = device(100);
        let mut lane = device.lane().unwrap();
        let buffer = Part::of(device.allocate(8).unwrap(), 8);
        for part in [buffer.part(4, 8), buffer.part(usize::MAX, 1)] {
            device.download(&mut lane, &part, vec![0; part.bytes]).unwrap();
            assert!(matches!(device.wait(&mut lane, SOON), Err(DeviceError::Refused(_))));
        }
    }

    #[test]
    fn a_fault_comes_where_it_was_ordered() {
        let mut device =
            device(100).failing(|asked| (asked == Asked::Wait).then_some(DeviceError::Hung { seconds: 1 }));
        let mut lane = device.lane().unwrap();
        assert!(device.allocate(1).is_ok());
        let error = device.wait(&mut lane, SOON).unwrap_err();
        assert!(error.ends_the_process(), "{error}");
    }
}
