//! The lanes of a GPU, as a worker has them: a stream each, with page-locked memory of its own.
use super::Checked;
use super::measure::ct;
use super::steady::{Lanes, Part, StandIn, of_a_study, passes};
use std::time::Instant;
use sund_kernels::cuda::machine::Machine;
use sund_kernels::cuda::{Cuda, CudaError, CudaMemory, Pinned};
use sund_kernels::{Preparation, grid_with_spacing};

/// As many as `GpuDevice` has.
const LANES: usize = 2;

pub struct GpuLanes {
    lanes: Vec<Lane>,
    /// Repetitions of the stand-in's work.
    passes: usize,
    begun: Instant,
}

struct Lane {
    gpu: Cuda,
    stored: Pinned<i16>,
    samples: CudaMemory<i16>,
    engine: StandIn<Cuda>,
    result: Pinned<u8>,
}

impl GpuLanes {
    /// With as many passes as make the engine about as long as the transfer.
    pub fn open() -> Checked<Self> {
        let lanes = (0..LANES).map(|_| Lane::open()).collect::<Checked<_>>()?;
        let mut lanes = Self { lanes, passes: 1, begun: Instant::now() };
        let transfer = of_a_study(&mut lanes, Part::Transfer)?;
        let once = of_a_study(&mut lanes, Part::Engine)?;
        lanes.passes = 2;
        let twice = of_a_study(&mut lanes, Part::Engine)?;
        lanes.passes = passes(transfer, once, twice);
        Ok(lanes)
    }

    /// What runs as the engine.
    pub fn engine(&self) -> String {
        let times = if self.passes == 1 { "once".into() } else { format!("{} times over", self.passes) };
        format!("no network, but kernels in its place: preprocess, softmax {times}, argmax")
    }
}

impl Lane {
    fn open() -> Checked<Self> {
        let mut gpu = Cuda::open(0)?;
        let from = ct(1.25);
        let onto = grid_with_spacing(&from, [1.0; 3]);
        let mut stored = gpu.pinned(from.len())?;
        let samples = stored.values_mut()?.iter_mut().enumerate();
        samples.for_each(|(n, sample)| *sample = (n.wrapping_mul(2_654_435_761) >> 20) as i16 & 0xfff);
        let engine = StandIn::new(&mut gpu, &from, &onto, &Preparation::ct(1.0, -1024.0, 40.0, 400.0))?;
        let (samples, result) = (gpu.zeros(from.len())?, gpu.pinned(onto.len())?);
        gpu.wait()?;
        Ok(Self { gpu, stored, samples, engine, result })
    }
}

impl Lanes for GpuLanes {
    type Error = CudaError;

    fn count(&self) -> usize {
        self.lanes.len()
    }

    fn bring(&mut self, lane: usize) -> Checked<()> {
        let Lane { gpu, stored, samples, .. } = &mut self.lanes[lane];
        gpu.upload_from(stored, samples)
    }

    fn run(&mut self, lane: usize) -> Checked<()> {
        let Lane { gpu, samples, engine, .. } = &mut self.lanes[lane];
        engine.run(gpu, samples, self.passes)
    }

    fn take_back(&mut self, lane: usize) -> Checked<()> {
        let Lane { gpu, engine, result, .. } = &mut self.lanes[lane];
        gpu.download_into(&engine.mask, result)
    }

    fn wait(&mut self, lane: usize) -> Checked<()> {
        self.lanes[lane].gpu.wait()
    }

    fn now(&mut self) -> f64 {
        self.begun.elapsed().as_secs_f64() * 1e3
    }
}
