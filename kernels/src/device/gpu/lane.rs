//! A stream with its staging: page-locked memory on the host, which is dear to come by, is kept from one batch to the next.
use super::network::{GpuNetwork, Output};
use crate::cuda::launch::{self, Prepared, Target};
use crate::cuda::machine::{Machine, Memory, Plain};
use crate::cuda::{Cuda, CudaError, CudaMemory, Pinned};
use crate::device::{DeviceError, Input, Samples, Series, Tensor};
use crate::sample::Sample;
use crate::tensorrt::DataType;
use crate::{Grid, Preparation};
use cudarc::driver::CudaEvent;
use half::f16;

pub(super) struct Lane {
    cuda: Cuda,
    staging: Staging,
    /// The tables of the last series' grids: series of a protocol are alike.
    prepared: Option<(Grid, Grid, Preparation, Prepared<Cuda>)>,
    running: Option<Running>,
    /// What the last answer came in.
    answer: Option<Pinned<u8>>,
}

struct Running {
    inputs: usize,
    output: Output,
    answer: Pinned<u8>,
    done: CudaEvent,
}

/// For each input of a batch, by the type of what is copied.
#[derive(Default)]
struct Staging {
    u8: Slots<u8>,
    i16: Slots<i16>,
    u16: Slots<u16>,
    f32: Slots<f32>,
    f16: Slots<f16>,
}

/// Page-locked values.
type Slots<T> = Vec<Option<Pinned<T>>>;

trait Staged: Plain {
    fn slots(staging: &mut Staging) -> &mut Slots<Self>;
}

macro_rules! staged {
    ($($kind:ty: $field:ident),*) => {$(
        impl Staged for $kind {
            fn slots(staging: &mut Staging) -> &mut Slots<Self> {
                &mut staging.$field
            }
        }
    )*};
}
staged!(u8: u8, i16: i16, u16: u16, f32: f32, f16: f16);

/// What a network takes and gives.
trait Real: Target + Staged {
    fn from_real(value: f32) -> Self;
}

impl Real for f32 {
    fn from_real(value: f32) -> Self {
        value
    }
}

impl Real for f16 {
    fn from_real(value: f32) -> Self {
        Self::from_f32(value)
    }
}

impl Lane {
    pub(super) fn new(cuda: Cuda) -> Self {
        Self { cuda, staging: Staging::default(), prepared: None, running: None, answer: None }
    }

    pub(super) fn cuda(&self) -> &Cuda {
        &self.cuda
    }

    pub(super) fn cuda_mut(&mut self) -> &mut Cuda {
        &mut self.cuda
    }

    /// Copies in, prepares, runs, copies out: all on the stream, and none waited for.
    pub(super) fn begin(&mut self, network: &mut GpuNetwork, batch: &[&Input]) -> Result<(), DeviceError> {
        let mut shape: Vec<i64> =
            batch.first().map(|input| input.shape()).unwrap_or_default().iter().map(|n| *n as i64).collect();
        if let Some(first) = shape.first_mut() {
            *first = batch.len() as i64;
        }
        let output = match network.kind() {
            DataType::Float16 => {
                let input = self.input::<f16>(batch)?;
                network.run(&mut self.cuda, &shape, &input)?
            }
            _ => {
                let input = self.input::<f32>(batch)?;
                network.run(&mut self.cuda, &shape, &input)?
            }
        };
        if batch.len() > 1 && output.shape.first() != Some(&batch.len()) {
            return Err(DeviceError::Refused(format!("{} inputs have an output of {:?}", batch.len(), output.shape)));
        }
        let bytes = output.memory.count();
        let kept = self.answer.take().filter(|kept| kept.count() == bytes);
        let mut answer = kept.map_or_else(|| self.cuda.pinned(bytes), Ok)?;
        self.cuda.download_into(&output.memory, &mut answer)?;
        let done = self.cuda.stream().record_event(None).map_err(CudaError::from)?;
        self.running = Some(Running { inputs: batch.len(), output, answer, done });
        Ok(())
    }

    pub(super) fn poll(&mut self) -> Result<Option<Vec<Tensor>>, DeviceError> {
        let Some(running) = &self.running else { return Err(DeviceError::Failed("nothing runs on the lane".into())) };
        match running.done.try_is_complete() {
            Ok(false) => return Ok(None),
            Ok(true) => {}
            Err(error) => {
                self.running = None;
                return Err(CudaError::from(error).into());
            }
        }
        let Some(Running { inputs, output, answer, .. }) = self.running.take() else { return Ok(None) };
        let values = reals(answer.values()?, output.kind);
        self.answer = Some(answer);
        if inputs == 1 {
            return Ok(Some(vec![Tensor { shape: output.shape, values }]));
        }
        let mut shape = output.shape;
        shape[0] = 1;
        let one = shape.iter().product::<usize>().max(1);
        Ok(Some(values.chunks(one).map(|values| Tensor { shape: shape.clone(), values: values.to_vec() }).collect()))
    }

    /// The inputs of a batch, one behind the other.
    fn input<E: Real>(&mut self, batch: &[&Input]) -> Result<CudaMemory<E>, DeviceError> {
        let mut parts = Vec::with_capacity(batch.len());
        for (n, input) in batch.iter().enumerate() {
            parts.push(match input {
                Input::Values(tensor) => {
                    let values = tensor.values.iter().map(|value| E::from_real(*value));
                    self.stage(n, tensor.values.len(), |room| {
                        room.iter_mut().zip(values).for_each(|(room, value)| *room = value);
                    })?
                }
                Input::Series(series) => match &series.samples {
                    Samples::U8(samples) => self.prepare::<u8, E>(n, samples, series)?,
                    Samples::I16(samples) => self.prepare::<i16, E>(n, samples, series)?,
                    Samples::U16(samples) => self.prepare::<u16, E>(n, samples, series)?,
                    Samples::F32(samples) => self.prepare::<f32, E>(n, samples, series)?,
                },
            });
        }
        match parts.len() {
            1 => parts.pop().ok_or_else(unstaged),
            _ => Ok(self.cuda.joined(&parts)?),
        }
    }

    /// What `preprocess` makes of a series.
    fn prepare<S: Sample + Staged, E: Real>(
        &mut self,
        n: usize,
        samples: &[S],
        series: &Series,
    ) -> Result<CudaMemory<E>, DeviceError> {
        let Series { grid, onto, preparation, .. } = *series;
        let is_known =
            self.prepared.as_ref().is_some_and(|known| (known.0, known.1, known.2) == (grid, onto, preparation));
        if !is_known {
            let prepared = Prepared::new(&mut self.cuda, &grid, &onto, &preparation)?;
            self.prepared = Some((grid, onto, preparation, prepared));
        }
        let own = self.stage(n, samples.len(), |room: &mut [S]| room.copy_from_slice(samples))?;
        let mut out = self.cuda.zeros(onto.len())?;
        let (.., prepared) = self.prepared.as_ref().ok_or_else(unstaged)?;
        launch::preprocess(&mut self.cuda, prepared, &own, &mut out)?;
        Ok(out)
    }

    /// The batch's `n`-th input on its way to the GPU, from page-locked values that `fill` sets.
    fn stage<T: Staged>(
        &mut self,
        n: usize,
        count: usize,
        fill: impl FnOnce(&mut [T]),
    ) -> Result<CudaMemory<T>, DeviceError> {
        let slots = T::slots(&mut self.staging);
        if slots.len() <= n {
            slots.resize_with(n + 1, || None);
        }
        // The old ones are gone first: both may not fit.
        let kept = slots[n].take().filter(|kept| kept.count() == count);
        let mut pinned = kept.map_or_else(|| self.cuda.pinned(count), Ok)?;
        fill(pinned.values_mut()?);
        let mut own = self.cuda.zeros(count)?;
        self.cuda.upload_from(&pinned, &mut own)?;
        slots[n] = Some(pinned);
        Ok(own)
    }
}

fn unstaged() -> DeviceError {
    DeviceError::Failed("an input of the batch was not staged".into())
}

fn reals(bytes: &[u8], kind: DataType) -> Vec<f32> {
    match kind {
        DataType::Float16 => bytes.as_chunks().0.iter().map(|value| f16::from_ne_bytes(*value).to_f32()).collect(),
        _ => bytes.as_chunks().0.iter().map(|value| f32::from_ne_bytes(*value)).collect(),
    }
}
