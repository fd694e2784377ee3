//! A session with memory of its own on a GPU's stream: values in, values out.
use super::error::TensorRtError;
use super::gpu::{Gpu, failed};
use super::library::{Kind, Library};
use super::session::{Buffer, Session, Tensor};
use cudarc::driver::{CudaSlice, DevicePtrMut};
use std::ffi::c_void;

/// Values of one tensor, last axis fastest, as the machine has them in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values {
    /// Length of each axis.
    pub shape: Vec<i64>,
    /// Of the tensor's type.
    pub bytes: Vec<u8>,
}

/// Runs a plan, one run at a time, and waits for each.
pub struct Runner {
    session: Session,
    gpu: Gpu,
    /// Of each tensor, grown to the largest shape that was asked for.
    memory: Vec<CudaSlice<u8>>,
    profile: usize,
}

impl Runner {
    /// Loads a plan; see [`Session::open`] for `plan` and `cache`.
    pub fn open(library: &Library, gpu: &Gpu, plan: &[u8], cache: &[u8]) -> Result<Self, TensorRtError> {
        let kind = library.kind();
        gpu.stream().context().bind_to_thread().map_err(|error| failed(kind, error))?;
        let session = Session::open(library, plan, cache)?;
        let empty = |_: &Tensor| gpu.stream().null().map_err(|error| failed(kind, error));
        let memory = session.tensors().iter().map(empty).collect::<Result<_, _>>()?;
        Ok(Self { session, gpu: gpu.clone(), memory, profile: 0 })
    }

    /// Inputs and outputs, in the plan's order.
    pub fn tensors(&self) -> &[Tensor] {
        self.session.tensors()
    }

    /// Runs the plan on its inputs; its outputs, both in the order of [`Runner::tensors`].
    pub fn run(&mut self, inputs: &[Values]) -> Result<Vec<Values>, TensorRtError> {
        let kind = self.session.kind();
        self.bind(kind)?;
        self.take_shapes(inputs)?;
        self.grow(kind)?;
        let outputs = self.enqueue(kind, inputs);
        // Also after a failure: nothing of this run may still be on its way when the memory of its values goes.
        let ended = self.gpu.stream().synchronize().map_err(|error| failed(kind, error));
        let outputs = outputs?;
        ended.map(|()| outputs)
    }

    /// Runs each profile once on zeros, in the shape that it is tuned for: TensorRT-RTX compiles its kernels then, and not
    /// while a study waits.
    pub fn warm_up(&mut self) -> Result<(), TensorRtError> {
        for profile in 0..self.session.profiles() {
            let zeros = |tensor: &Tensor| {
                let shape = tensor.ranges[profile].opt.clone();
                let length = shape.iter().try_fold(tensor.data_type.bytes(), |bytes, length| {
                    usize::try_from(*length).ok().and_then(|length| bytes.checked_mul(length))
                });
                let length = length.ok_or_else(|| too_large(&tensor.name))?;
                let mut bytes = Vec::new();
                bytes.try_reserve_exact(length).map_err(|_| too_large(&tensor.name))?;
                bytes.resize(length, 0);
                Ok(Values { shape, bytes })
            };
            let inputs = self.tensors().iter().filter(|tensor| tensor.is_input).map(zeros);
            let inputs = inputs.collect::<Result<Vec<_>, TensorRtError>>()?;
            self.run(&inputs)?;
        }
        Ok(())
    }

    /// See [`Session::cache`].
    pub fn cache(&mut self) -> Result<Vec<u8>, TensorRtError> {
        self.bind(self.session.kind())?;
        self.session.cache()
    }

    /// Bytes of the GPU's memory that a run takes beside weights, inputs and outputs.
    pub fn device_memory(&self) -> u64 {
        self.session.device_memory()
    }

    fn bind(&self, kind: Kind) -> Result<(), TensorRtError> {
        self.gpu.stream().context().bind_to_thread().map_err(|error| failed(kind, error))
    }

    /// Tells the session the shapes of the inputs, under a profile that takes them.
    fn take_shapes(&mut self, inputs: &[Values]) -> Result<(), TensorRtError> {
        let shapes: Vec<&[i64]> = inputs.iter().map(|input| input.shape.as_slice()).collect();
        let profile = self.session.profile_for(&shapes).ok_or_else(|| TensorRtError::Shape {
            why: format!("no profile of the plan takes inputs of {shapes:?}"),
        })?;
        if profile != self.profile {
            // SAFETY: the stream is one of this GPU's, whose context the session was opened in and which is bound.
            unsafe { self.session.set_profile(profile, self.stream()) }?;
            self.profile = profile;
        }
        let own: Vec<usize> = self.indices(true);
        for (index, shape) in own.into_iter().zip(shapes) {
            self.session.set_shape(index, shape)?;
        }
        Ok(())
    }

    /// Gives each tensor the memory that its shape needs.
    fn grow(&mut self, kind: Kind) -> Result<(), TensorRtError> {
        for index in 0..self.memory.len() {
            let needed = self.session.bytes(index)?;
            if self.memory[index].len() < needed {
                // The old memory first: both may not fit.
                let stream = self.gpu.stream();
                self.memory[index] = stream.null().map_err(|error| failed(kind, error))?;
                self.memory[index] = stream.alloc_zeros(needed).map_err(|error| failed(kind, error))?;
            }
        }
        Ok(())
    }

    /// Copies in, runs, copies out, all on the stream.
    fn enqueue(&mut self, kind: Kind, inputs: &[Values]) -> Result<Vec<Values>, TensorRtError> {
        let stream = self.gpu.stream().clone();
        for (index, input) in self.indices(true).into_iter().zip(inputs) {
            let needed = self.session.bytes(index)?;
            if input.bytes.len() != needed {
                let name = &self.session.tensors()[index].name;
                let why = format!("{name} of shape {:?} has {needed} bytes, not {}", input.shape, input.bytes.len());
                return Err(TensorRtError::Shape { why });
            }
            stream.memcpy_htod(&input.bytes, &mut self.memory[index]).map_err(|error| failed(kind, error))?;
        }
        let handle = self.stream();
        let (mut buffers, mut held) = (Vec::new(), Vec::new());
        for memory in &mut self.memory {
            let bytes = memory.len();
            let (address, guard) = memory.device_ptr_mut(&stream);
            buffers.push(Buffer { address, bytes });
            held.push(guard);
        }
        // SAFETY: the stream is one of this GPU's, whose context the session was opened in and which is bound. The memory is
        // the runner's own, used on this stream alone, and freed on it after what was put on it before.
        let enqueued = unsafe { self.session.enqueue(&buffers, handle) };
        drop(held);
        enqueued?;
        self.indices(false).into_iter().map(|index| self.output(kind, index)).collect()
    }

    fn output(&mut self, kind: Kind, index: usize) -> Result<Values, TensorRtError> {
        let bytes = self.session.bytes(index)?;
        let shape = self.session.shape(index)?.into_iter().map(|length| length as i64).collect();
        let values = self.memory[index].slice(..bytes);
        let bytes = self.gpu.stream().clone_dtoh(&values).map_err(|error| failed(kind, error))?;
        Ok(Values { shape, bytes })
    }

    fn indices(&self, inputs: bool) -> Vec<usize> {
        let tensors = self.session.tensors().iter().enumerate();
        tensors.filter(|(_, tensor)| tensor.is_input == inputs).map(|(index, _)| index).collect()
    }

    fn stream(&self) -> *mut c_void {
        self.gpu.stream().cu_stream().cast()
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        // What the session frees is in this context; if it cannot be bound, it is gone with all that was in it.
        let _ = self.bind(self.session.kind());
    }
}

fn too_large(name: &str) -> TensorRtError {
    TensorRtError::Shape { why: format!("{name} is beyond memory in the shape that the plan is tuned for") }
}
