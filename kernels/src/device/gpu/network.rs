//! A plan in the GPU's memory, for the lanes to use one after the other.
use super::capture::{Captured, captured_on};
use crate::cuda::machine::{Machine, Memory, Plain};
use crate::cuda::{Cuda, CudaError, CudaMemory};
use crate::device::graphs::{Way, Ways, called};
use crate::device::{DeviceError, Network};
use crate::tensorrt::{Buffer, DataType, Library, Session, TensorRtError};
use cudarc::driver::{CudaEvent, CudaStream};
use std::sync::Arc;

/// A network with one input of reals, whose first output is its answer.
pub struct GpuNetwork {
    /// On each lane, by its stream; gone before the session.
    ways: Ways<Captured>,
    session: Session,
    /// For its context: what the session frees is in it.
    stream: Arc<CudaStream>,
    input: usize,
    output: usize,
    bytes: u64,
    profile: usize,
    /// The input's shape that the session knows.
    shape: Vec<i64>,
    /// The end of the run that was put on a stream last.
    ran: Option<CudaEvent>,
}

/// What a run gives, once the stream is through with it.
pub(super) struct Answer {
    /// Its bytes.
    pub(super) memory: CudaMemory<u8>,
    pub(super) shape: Vec<usize>,
    pub(super) kind: DataType,
}

impl GpuNetwork {
    pub(super) fn open(library: &Library, cuda: &Cuda, plan: &[u8], kernels: &[u8]) -> Result<Self, DeviceError> {
        let stream = Arc::clone(cuda.stream());
        stream.context().bind_to_thread().map_err(CudaError::from)?;
        let session = Session::open(library, plan, kernels)?;
        let tensors = session.tensors();
        let mut inputs = tensors.iter().enumerate().filter(|(_, tensor)| tensor.is_input);
        let (Some((input, own)), None) = (inputs.next(), inputs.next()) else {
            return Err(DeviceError::Refused("it does not have one input".into()));
        };
        let output = tensors.iter().position(|tensor| !tensor.is_input);
        let output = output.ok_or_else(|| DeviceError::Refused("it gives no output".into()))?;
        let is_real = |kind| matches!(kind, DataType::Float32 | DataType::Float16);
        if !is_real(own.data_type) || !is_real(tensors[output].data_type) {
            return Err(DeviceError::Refused("its input or its output is not of real numbers".into()));
        }
        // The plan is weights for the most part.
        let bytes = session.device_memory().saturating_add(plan.len() as u64);
        Ok(Self {
            ways: Ways::default(),
            session,
            stream,
            input,
            output,
            bytes,
            profile: 0,
            shape: Vec::new(),
            ran: None,
        })
    }

    /// Of the input.
    pub(super) fn kind(&self) -> DataType {
        self.session.tensors()[self.input].data_type
    }

    /// Runs each profile on zeros of the shape that it is tuned for, and waits.
    pub(super) fn warm_up(&mut self, cuda: &mut Cuda) -> Result<(), DeviceError> {
        for profile in 0..self.session.profiles() {
            let shape = self.session.tensors()[self.input].ranges[profile].opt.clone();
            let bytes = shape.iter().try_fold(self.kind().bytes(), |bytes, length| {
                usize::try_from(*length).ok().and_then(|length| bytes.checked_mul(length))
            });
            let bytes = bytes.ok_or_else(|| DeviceError::Refused(format!("{shape:?} is beyond memory")))?;
            let zeros = cuda.zeros::<u8>(bytes)?;
            let ran = self.run(cuda, &shape, &zeros);
            let ended = cuda.wait();
            ran?;
            ended?;
        }
        Ok(())
    }

    /// What TensorRT-RTX compiled so far.
    pub(super) fn kernels(&mut self) -> Result<Vec<u8>, DeviceError> {
        Ok(self.session.cache()?)
    }

    /// How many shapes its input may have: one, or more than that.
    pub(super) fn shapes(&self) -> usize {
        match &self.session.tensors()[self.input].ranges[..] {
            [range] if range.min == range.max => 1,
            _ => 2,
        }
    }

    /// The shape that it is tuned for.
    pub(super) fn tuned_shape(&self) -> Vec<i64> {
        self.session.tensors()[self.input].ranges.first().map(|range| range.opt.clone()).unwrap_or_default()
    }

    /// How it runs on a lane from now on, and the bytes that a graph takes.
    pub(super) fn runs(&mut self, cuda: &Cuda, way: Way<Captured>, bytes: u64) {
        self.ways.set(lane(cuda), way, bytes);
    }

    /// Why it runs call by call, for each lane where it does.
    pub fn called_because(&self) -> impl Iterator<Item = &str> {
        self.ways.reasons()
    }

    /// Gives up the graphs, whose memory is wanted. False where there is none.
    pub(super) fn give_up_graphs(&mut self) -> Result<bool, DeviceError> {
        if let Some(ran) = &self.ran {
            // None of them runs any more then.
            ran.synchronize().map_err(CudaError::from)?;
        }
        Ok(self.ways.give_up("memory lacked for a run"))
    }

    /// Puts a run on the stream and returns, as a graph where that was decided. `input` is freed on that stream, so behind the run.
    pub(super) fn run<T: Plain>(
        &mut self,
        cuda: &mut Cuda,
        shape: &[i64],
        input: &CudaMemory<T>,
    ) -> Result<Answer, DeviceError> {
        let lane = lane(cuda);
        if self.shape == shape
            && let Some((mut captured, place, bytes)) = self.ways.take(lane)
        {
            let answer = self.replayed(cuda, &mut captured, input);
            match answer {
                // Memory that lacks is the run's, and no reason against the graph.
                Ok(_) | Err(DeviceError::OutOfMemory(_)) => {
                    self.ways.set(lane, Way::Replayed(captured, place), bytes);
                    return answer;
                }
                Err(error) => {
                    // Nothing of it may be on its way when its memory goes.
                    let ended = cuda.wait();
                    self.ways.set(lane, called(error, "the graph does not run any more")?, 0);
                    ended?;
                }
            }
        }
        self.called(cuda, shape, input)
    }

    /// The same by a graph of this lane's.
    pub(super) fn replayed<T: Plain>(
        &mut self,
        cuda: &mut Cuda,
        captured: &mut Captured,
        input: &CudaMemory<T>,
    ) -> Result<Answer, DeviceError> {
        let mut memory = cuda.zeros::<u8>(captured.output.count())?;
        cuda.copy_bytes(input, &mut captured.input)?;
        self.wait_for_turn(cuda.stream())?;
        captured.graph.launch().map_err(CudaError::from)?;
        self.ran = Some(cuda.stream().record_event(None).map_err(CudaError::from)?);
        cuda.copy_bytes(&captured.output, &mut memory)?;
        Ok(Answer { memory, shape: captured.shape.clone(), kind: captured.kind })
    }

    /// Captures a run in the shape that the session knows, with memory of its own.
    pub(super) fn captured(&mut self, cuda: &mut Cuda) -> Result<Captured, DeviceError> {
        let (mut buffers, mut memories) = (Vec::new(), Vec::new());
        for index in 0..self.session.tensors().len() {
            let bytes = self.session.bytes(index)?;
            let memory = cuda.zeros::<u8>(bytes)?;
            buffers.push(Buffer { address: memory.address().place, bytes });
            memories.push(memory);
        }
        // An event from before the capture cannot be waited for in it.
        cuda.wait()?;
        if let Some(ran) = self.ran.take() {
            ran.synchronize().map_err(CudaError::from)?;
        }
        let stream = Arc::clone(cuda.stream());
        stream.context().bind_to_thread().map_err(CudaError::from)?;
        let session = &mut self.session;
        let graph = captured_on(cuda, || {
            // SAFETY: the stream is one of the context that the session was opened in, which is bound. Each buffer is memory of
            // this stream's machine, of the length that is told; it lives as long as the graph, and this stream alone uses it.
            Ok(unsafe { session.enqueue(&buffers, stream.cu_stream().cast()) }?)
        })?;
        let (shape, kind) = (self.session.shape(self.output)?, self.session.tensors()[self.output].data_type);
        let (mut input, mut output, mut others) = (None, None, Vec::new());
        for (index, memory) in memories.into_iter().enumerate() {
            match index {
                index if index == self.input => input = Some(memory),
                index if index == self.output => output = Some(memory),
                _ => others.push(memory),
            }
        }
        match (input, output) {
            (Some(input), Some(output)) => Ok(Captured { graph, input, output, others, shape, kind }),
            _ => Err(DeviceError::Failed("the input or the output has no memory".into())),
        }
    }

    /// One context, one run at a time.
    fn wait_for_turn(&self, stream: &CudaStream) -> Result<(), DeviceError> {
        if let Some(ran) = &self.ran {
            stream.wait(ran).map_err(CudaError::from)?;
        }
        Ok(())
    }

    /// The same call by call.
    pub(super) fn called<T: Plain>(
        &mut self,
        cuda: &mut Cuda,
        shape: &[i64],
        input: &CudaMemory<T>,
    ) -> Result<Answer, DeviceError> {
        let stream = Arc::clone(cuda.stream());
        stream.context().bind_to_thread().map_err(CudaError::from)?;
        self.wait_for_turn(&stream)?;
        self.take_shape(&stream, shape)?;
        let (mut buffers, mut outputs) = (Vec::new(), Vec::new());
        for index in 0..self.session.tensors().len() {
            if index == self.input {
                let bytes = input.count() * size_of::<T>();
                buffers.push(Buffer { address: input.address().place, bytes });
            } else {
                let bytes = self.session.bytes(index)?;
                let memory = cuda.zeros::<u8>(bytes)?;
                buffers.push(Buffer { address: memory.address().place, bytes });
                outputs.push((index, memory));
            }
        }
        // SAFETY: the stream is one of the context that the session was opened in, which is bound. Each buffer is memory of this
        // stream's machine, of the length that is told; all are freed on this stream, behind the run, and used by no other.
        unsafe { self.session.enqueue(&buffers, stream.cu_stream().cast()) }?;
        self.ran = Some(stream.record_event(None).map_err(CudaError::from)?);
        let shape = self.session.shape(self.output)?;
        let kind = self.session.tensors()[self.output].data_type;
        let memory = outputs.into_iter().find(|(index, _)| *index == self.output).map(|(_, memory)| memory);
        let memory = memory.ok_or_else(|| DeviceError::Failed("the output has no memory".into()))?;
        Ok(Answer { memory, shape, kind })
    }

    /// Another shape waits for the run before: it may move what that one uses.
    fn take_shape(&mut self, stream: &CudaStream, shape: &[i64]) -> Result<(), DeviceError> {
        if self.shape == shape {
            return Ok(());
        }
        let profile = self.session.profile_for(&[shape]).ok_or_else(|| TensorRtError::Shape {
            why: format!("no profile of the plan takes an input of {shape:?}"),
        })?;
        if let Some(ran) = &self.ran {
            ran.synchronize().map_err(CudaError::from)?;
        }
        self.shape.clear();
        if profile != self.profile {
            // SAFETY: the stream is one of the context that the session was opened in, which is bound.
            unsafe { self.session.set_profile(profile, stream.cu_stream().cast()) }?;
            self.profile = profile;
        }
        self.session.set_shape(self.input, shape)?;
        self.shape = shape.to_vec();
        Ok(())
    }
}

/// A lane, by its stream.
fn lane(cuda: &Cuda) -> usize {
    cuda.stream().cu_stream() as usize
}

impl Network for GpuNetwork {
    /// The plan's length, the context's memory, and that of the graphs.
    fn bytes(&self) -> u64 {
        self.bytes.saturating_add(self.ways.bytes())
    }

    /// A device that is lost says so at its next call.
    fn shrink(&mut self) -> bool {
        self.give_up_graphs().unwrap_or(false)
    }

    fn most(&self, shape: &[usize]) -> usize {
        let tensors = self.session.tensors();
        let is_free = |index: usize| tensors[index].shape.first() == Some(&-1);
        if !is_free(self.input) || tensors.iter().any(|tensor| !tensor.is_input && tensor.shape.first() != Some(&-1)) {
            return 1;
        }
        let one: Vec<i64> = shape.iter().map(|length| *length as i64).collect();
        let takes = tensors[self.input].ranges.iter().filter(|range| range.takes(&one));
        takes.filter_map(|range| usize::try_from(range.max[0]).ok()).max().unwrap_or(1)
    }
}

impl Drop for GpuNetwork {
    fn drop(&mut self) {
        // What the session and the graphs free is in this context; if it cannot be bound, it is gone with all that was in it.
        let _ = self.stream.context().bind_to_thread();
    }
}
