//! A plan of TensorRT's as a network on a GPU's stream.
use super::device::{CudaLoader, CudaNetwork};
use crate::device::{DeviceError, Element};
use crate::tensorrt::{Buffer, DataType, Library, Session, TensorRtError};
use cudarc::driver::CudaStream;
use std::sync::Arc;

/// The bytes to which TensorRT wants each tensor aligned.
const ALIGNMENT: u64 = 256;

/// Loads plans with this library. Give it only plans whose digest was checked.
pub fn plans(library: Library) -> CudaLoader {
    Box::new(move |plan, _| Ok(Box::new(Plan::open(&library, plan)?)))
}

/// A plan with one input and one output.
struct Plan {
    session: Session,
    input: usize,
    output: usize,
    takes: Element,
    profile: usize,
}

impl Plan {
    fn open(library: &Library, plan: &[u8]) -> Result<Self, DeviceError> {
        let session = Session::open(library, plan, &[]).map_err(|error| failed(&error, plan.len()))?;
        let (input, output) = match session.tensors() {
            [one, other] if one.is_input && !other.is_input => (0, 1),
            [one, other] if !one.is_input && other.is_input => (1, 0),
            tensors => {
                return Err(refused(format!("the plan has {} tensors, not an input and an output", tensors.len())));
            }
        };
        let kind = |index: usize| session.tensors()[index].data_type;
        let takes = match (kind(input), kind(output)) {
            (DataType::Float32, DataType::Float32) => Element::Float32,
            (DataType::Float16, DataType::Float32) => Element::Float16,
            (from, to) => return Err(refused(format!("the plan takes {from:?} and gives {to:?}; reals are wanted"))),
        };
        Ok(Self { session, input, output, takes, profile: 0 })
    }

    /// Tells the session the input's shape, under a profile that takes it.
    ///
    /// # Safety
    /// The stream is one of the context in which the session was opened, and that is bound.
    unsafe fn take_shape(&mut self, stream: &Arc<CudaStream>, shape: &[usize]) -> Result<(), DeviceError> {
        let lengths: Result<Vec<i64>, _> = shape.iter().map(|length| i64::try_from(*length)).collect();
        let lengths = lengths.map_err(|_| refused(format!("a shape of {shape:?} is beyond memory")))?;
        let profile = self.session.profile_for(&[&lengths]);
        let profile = profile.ok_or_else(|| refused(format!("no profile of the plan takes an input of {shape:?}")))?;
        if profile != self.profile {
            // SAFETY: the caller vouches for the stream.
            let set = unsafe { self.session.set_profile(profile, stream.cu_stream().cast()) };
            set.map_err(|error| self.failed(&error))?;
            self.profile = profile;
        }
        self.session.set_shape(self.input, &lengths).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &TensorRtError) -> DeviceError {
        failed(error, self.session.device_memory() as usize)
    }
}

impl CudaNetwork for Plan {
    fn takes(&self) -> Element {
        self.takes
    }

    unsafe fn gives(&mut self, stream: &Arc<CudaStream>, shape: &[usize]) -> Result<Vec<usize>, DeviceError> {
        // SAFETY: the caller vouches for the stream.
        unsafe { self.take_shape(stream, shape) }?;
        self.session.shape(self.output).map_err(|error| self.failed(&error))
    }

    unsafe fn enqueue(
        &mut self,
        stream: &Arc<CudaStream>,
        shape: &[usize],
        from: (u64, usize),
        into: (u64, usize),
    ) -> Result<(), DeviceError> {
        if [from, into].iter().any(|(address, _)| !address.is_multiple_of(ALIGNMENT)) {
            return Err(refused(format!("a network's input and answer begin at multiples of {ALIGNMENT} bytes")));
        }
        // SAFETY: the caller vouches for the stream.
        unsafe { self.take_shape(stream, shape) }?;
        let mut buffers = [Buffer { address: from.0, bytes: from.1 }; 2];
        buffers[self.output] = Buffer { address: into.0, bytes: into.1 };
        // SAFETY: as above for the stream; the caller vouches for the memory.
        unsafe { self.session.enqueue(&buffers, stream.cu_stream().cast()) }.map_err(|error| self.failed(&error))
    }
}

fn refused(why: String) -> DeviceError {
    DeviceError::Refused(why)
}

/// What TensorRT's error means for who asked for so many bytes.
fn failed(error: &TensorRtError, asked: usize) -> DeviceError {
    match error {
        TensorRtError::Execution { .. } => DeviceError::Lost(error.to_string()),
        TensorRtError::Memory { .. } => DeviceError::OutOfMemory { asked, free: 0 },
        _ => refused(error.to_string()),
    }
}
