//! A network's run as a CUDA graph: captured, compared and replayed. When that is done is decided in `device/graphs.rs`.
use super::lane::Lane;
use super::network::{Answer, GpuNetwork};
use crate::cuda::machine::{Machine, Memory};
use crate::cuda::{Cuda, CudaError, CudaMemory};
use crate::device::DeviceError;
use crate::device::graphs::{Capture, Way, confirmed, decided};
use crate::tensorrt::DataType;
use cudarc::driver::CudaGraph;
use half::f16;

/// A run as it was captured, with the memory whose addresses it has. The graph goes before its memory.
pub(super) struct Captured {
    pub(super) graph: CudaGraph,
    pub(super) input: CudaMemory<u8>,
    pub(super) output: CudaMemory<u8>,
    /// Of further outputs, which nobody reads.
    pub(super) others: Vec<CudaMemory<u8>>,
    pub(super) shape: Vec<usize>,
    pub(super) kind: DataType,
}

impl Captured {
    /// Bytes of its memory.
    fn bytes(&self) -> u64 {
        let others = self.others.iter().map(CudaMemory::count).sum::<usize>();
        (self.input.count() + self.output.count() + others) as u64
    }
}

/// Decides for each lane how a network that was just loaded runs there: call by call, where a lane has work that would be held up.
pub(super) fn decide(network: &mut GpuNetwork, lanes: &mut [Lane]) -> Result<(), DeviceError> {
    if !lanes.iter().all(Lane::is_idle) {
        for lane in lanes {
            network.runs(lane.cuda(), Way::Called("another one ran when it was loaded".into()), 0);
        }
        return Ok(());
    }
    let mut ways = Vec::new();
    for lane in lanes.iter_mut() {
        let (cuda, places) = lane.idle();
        let shapes = network.shapes();
        let way = decided(&mut Attempt { network, cuda }, shapes, places);
        let ended = cuda.wait();
        ways.push(way?);
        ended?;
    }
    for (lane, way) in lanes.iter_mut().zip(ways) {
        let (cuda, _) = lane.idle();
        let way = match way {
            Way::Replayed(captured, place) => confirmed(&mut Attempt { network, cuda }, captured, place),
            called @ Way::Called(_) => Ok(called),
        };
        let ended = cuda.wait();
        let way = way?;
        ended?;
        let bytes = match &way {
            Way::Replayed(captured, _) => captured.bytes(),
            Way::Called(_) => 0,
        };
        network.runs(cuda, way, bytes);
    }
    Ok(())
}

/// A network on a lane, while it is decided how it runs there.
struct Attempt<'a> {
    network: &'a mut GpuNetwork,
    cuda: &'a mut Cuda,
}

impl Attempt<'_> {
    /// Small reals, others for each trial, in the shape that the network has.
    fn input(&mut self, trial: u8) -> Result<(Vec<i64>, CudaMemory<u8>), DeviceError> {
        let shape = self.network.tuned_shape();
        let count = shape.iter().try_fold(1usize, |count, length| count.checked_mul(usize::try_from(*length).ok()?));
        let count = count.ok_or_else(|| DeviceError::Refused(format!("{shape:?} is beyond memory")))?;
        let real = |n: usize| ((n * 31 + usize::from(trial) * 17) % 61) as f32 / 61.0 - 0.5;
        let bytes: Vec<u8> = match self.network.kind() {
            DataType::Float16 => (0..count).flat_map(|n| f16::from_f32(real(n)).to_ne_bytes()).collect(),
            _ => (0..count).flat_map(|n| real(n).to_ne_bytes()).collect(),
        };
        Ok((shape, self.cuda.upload(&bytes)?))
    }

    /// Waits, also after an error: nothing is on its way when the memory goes.
    fn bytes(&mut self, answer: Result<Answer, DeviceError>) -> Result<Vec<u8>, DeviceError> {
        let ended = self.cuda.wait();
        let answer = answer?;
        ended?;
        Ok(self.cuda.download(&answer.memory)?)
    }
}

impl Capture for Attempt<'_> {
    type Graph = Captured;

    fn called(&mut self, trial: u8) -> Result<Vec<u8>, DeviceError> {
        let (shape, input) = self.input(trial)?;
        let answer = self.network.called(self.cuda, &shape, &input);
        self.bytes(answer)
    }

    fn capture(&mut self) -> Result<Captured, DeviceError> {
        let captured = self.network.captured(self.cuda);
        let ended = self.cuda.wait();
        let captured = captured?;
        ended?;
        Ok(captured)
    }

    fn replayed(&mut self, captured: &mut Captured, trial: u8) -> Result<Vec<u8>, DeviceError> {
        let (_, input) = self.input(trial)?;
        let answer = self.network.replayed(self.cuda, captured, &input);
        self.bytes(answer)
    }
}

/// For the driver: nothing but what is done on this thread meanwhile is in the capture, or breaks it.
pub(super) fn captured_on(
    cuda: &Cuda,
    enqueue: impl FnOnce() -> Result<(), DeviceError>,
) -> Result<CudaGraph, DeviceError> {
    use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
    let stream = cuda.stream();
    stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).map_err(CudaError::from)?;
    let enqueued = enqueue();
    // Also after an error: the stream does not run anything until its capture has ended.
    let graph = stream.end_capture(CUgraphInstantiate_flags(0)).map_err(CudaError::from);
    enqueued?;
    let graph = graph?.ok_or_else(|| DeviceError::Failed("nothing was captured".into()))?;
    graph.upload().map_err(CudaError::from)?;
    Ok(graph)
}
