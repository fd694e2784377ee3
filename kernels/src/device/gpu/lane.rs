//! A stream with its staging: page-locked memory on the host, which is dear to come by, is kept from one batch to the next.
use super::network::{Answer, GpuNetwork};
use crate::cuda::launch::{self, Ended, Prepared, Score, Target};
use crate::cuda::machine::{Machine, Memory, Plain};
use crate::cuda::{Cuda, CudaError, CudaMemory, Pinned};
use crate::device::graphs::Places;
use crate::device::place::{Kind, OnDevice};
use crate::device::steps::Held;
use crate::device::{DeviceError, Ending, Input, Output, Run, Samples, Series, Tensor};
use crate::sample::Sample;
use crate::tensorrt::DataType;
use crate::{Grid, Interpolation, Preparation};
use cudarc::driver::CudaEvent;
use half::f16;

pub(super) struct Lane {
    cuda: Cuda,
    staging: Staging,
    /// The tables of the last series' grids: series of a protocol are alike.
    prepared: Option<(Grid, Grid, Preparation, Prepared<Cuda>)>,
    running: Option<Running>,
    /// What the last answers came in.
    rooms: Vec<Pinned<u8>>,
    flags: Vec<Pinned<u32>>,
    /// Of the networks' graphs.
    places: Places,
}

struct Running {
    given: Vec<Given>,
    /// What the batch was given in the GPU's memory: it stays until the copies out of it are done.
    _held: Vec<OnDevice>,
    done: CudaEvent,
}

/// What is on its way back. The memory that it comes from stays until it is there.
enum Given {
    /// The answers to so many inputs.
    Scores { inputs: usize, answer: Answer, room: Pinned<u8> },
    /// The answer to one, which stays.
    Held { shape: Vec<usize>, memory: CudaMemory<f32> },
    /// What an ending made of the answer to one, whose shape this is.
    Mask { shape: Vec<usize>, ended: Ended<Cuda>, room: Pinned<u8>, flag: Pinned<u32> },
}

/// How the answer to an input goes on.
enum Way {
    /// To the host, as it is.
    Scores,
    /// To the host, as a mask.
    Mask(Ending),
    /// It stays in the GPU's memory.
    Stays,
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
trait Real: Target + Staged + Score {
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
        let (staging, places) = (Staging::default(), Places::default());
        Self { cuda, staging, prepared: None, running: None, rooms: Vec::new(), flags: Vec::new(), places }
    }

    pub(super) fn cuda(&self) -> &Cuda {
        &self.cuda
    }

    pub(super) fn cuda_mut(&mut self) -> &mut Cuda {
        &mut self.cuda
    }

    /// Whether nothing runs on it.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_none()
    }

    /// The lane while nothing runs on it, and the places of its graphs.
    pub(super) fn idle(&mut self) -> (&mut Cuda, &Places) {
        (&mut self.cuda, &self.places)
    }

    /// Copies in, prepares, runs, ends, copies out: all on the stream, and none waited for.
    pub(super) fn begin(&mut self, network: &mut GpuNetwork, batch: &[Run<'_>]) -> Result<(), DeviceError> {
        let mut shape: Vec<i64> =
            batch.first().map(|run| run.input.shape()).unwrap_or_default().iter().map(|n| *n as i64).collect();
        if let Some(first) = shape.first_mut() {
            *first = batch.len() as i64;
        }
        let answer = match network.kind() {
            DataType::Float16 => {
                let input = self.input::<f16>(batch)?;
                network.run(&mut self.cuda, &shape, &input)?
            }
            _ => {
                let input = self.input::<f32>(batch)?;
                network.run(&mut self.cuda, &shape, &input)?
            }
        };
        if batch.len() > 1 && answer.shape.first() != Some(&batch.len()) {
            return Err(DeviceError::Refused(format!("{} inputs have an output of {:?}", batch.len(), answer.shape)));
        }
        let given = self.give(answer, batch)?;
        let held = batch.iter().filter_map(|run| match run.input {
            Input::Held(values) => Some(values.clone()),
            _ => None,
        });
        let held = held.collect();
        let done = self.cuda.stream().record_event(None).map_err(CudaError::from)?;
        self.running = Some(Running { given, _held: held, done });
        Ok(())
    }

    /// Puts the way back on the stream: as scores, or with an ending where one was asked for that fits.
    fn give(&mut self, answer: Answer, batch: &[Run<'_>]) -> Result<Vec<Given>, DeviceError> {
        let Answer { shape, kind, .. } = &answer;
        let (kind, one) = (*kind, of_one(shape, batch.len()));
        let fits = |ending: &Ending| {
            let is_exact = match kind {
                DataType::Float16 => launch::is_exact::<f16>(ending),
                _ => launch::is_exact::<f32>(ending),
            };
            is_exact && ending.channels(&one).is_some()
        };
        // A place takes 32 bits, channel by channel.
        let stays = |run: &Run<'_>| matches!(run.input, Input::Held(_)) && kind == DataType::Float32 && one.len() == 5;
        let ways: Vec<Way> = batch
            .iter()
            .map(|run| match run.ending.filter(fits) {
                _ if stays(run) => Way::Stays,
                Some(ending) => Way::Mask(ending),
                None => Way::Scores,
            })
            .collect();
        if ways.iter().all(|way| matches!(way, Way::Scores)) {
            return Ok(vec![self.scores(answer, batch.len())?]);
        }
        let parts = self.cuda.parts(answer.memory, batch.len())?;
        let given = parts.into_iter().zip(ways).map(|(memory, way)| match (way, kind) {
            (Way::Stays, _) => Ok(Given::Held { shape: one.clone(), memory: memory.reinterpreted()? }),
            (Way::Scores, _) => self.scores(Answer { memory, shape: one.clone(), kind }, 1),
            (Way::Mask(ending), DataType::Float16) => self.mask::<f16>(memory.reinterpreted()?, &one, &ending),
            (Way::Mask(ending), _) => self.mask::<f32>(memory.reinterpreted()?, &one, &ending),
        });
        given.collect()
    }

    fn scores(&mut self, answer: Answer, inputs: usize) -> Result<Given, DeviceError> {
        let mut room = self.room(answer.memory.count())?;
        self.cuda.download_into(&answer.memory, &mut room)?;
        Ok(Given::Scores { inputs, answer, room })
    }

    fn mask<E: Real>(
        &mut self,
        mut scores: CudaMemory<E>,
        shape: &[usize],
        ending: &Ending,
    ) -> Result<Given, DeviceError> {
        let ended = launch::end(&mut self.cuda, &mut scores, shape, ending)?;
        let mut room = self.room(ended.mask.count())?;
        let mut flag = self.flags.pop().map_or_else(|| self.cuda.pinned(1), Ok)?;
        self.cuda.download_into(&ended.mask, &mut room)?;
        self.cuda.download_into(&ended.not_finite, &mut flag)?;
        Ok(Given::Mask { shape: shape.to_vec(), ended, room, flag })
    }

    /// Page-locked memory for what comes back.
    fn room(&mut self, bytes: usize) -> Result<Pinned<u8>, DeviceError> {
        if let Some(at) = self.rooms.iter().position(|room| room.count() == bytes) {
            return Ok(self.rooms.swap_remove(at));
        }
        // The old ones are gone first: both may not fit.
        self.rooms.clear();
        Ok(self.cuda.pinned(bytes)?)
    }

    pub(super) fn poll(&mut self) -> Result<Option<Vec<Output>>, DeviceError> {
        let Some(running) = &self.running else { return Err(DeviceError::Failed("nothing runs on the lane".into())) };
        match running.done.try_is_complete() {
            Ok(false) => return Ok(None),
            Ok(true) => {}
            Err(error) => {
                self.running = None;
                return Err(CudaError::from(error).into());
            }
        }
        let Some(Running { given, .. }) = self.running.take() else { return Ok(None) };
        let mut outputs = Vec::new();
        for one in given {
            match one {
                Given::Scores { inputs, answer, room } => {
                    let shape = of_one(&answer.shape, inputs);
                    let values = reals(room.values()?, answer.kind);
                    self.rooms.push(room);
                    if inputs == 1 {
                        outputs.push(Output::Scores(Tensor { shape, values }));
                        continue;
                    }
                    let of_an_input = shape.iter().product::<usize>().max(1);
                    let tensor = |values: &[f32]| Tensor { shape: shape.clone(), values: values.to_vec() };
                    outputs.extend(values.chunks(of_an_input).map(tensor).map(Output::Scores));
                }
                Given::Held { shape, memory } => {
                    let [_, channels, slices, rows, columns] = shape[..] else { return Err(unstaged()) };
                    let memory = OnDevice::new(Kind::Scores(channels), [slices, rows, columns], memory);
                    outputs.push(Output::Held { shape, memory });
                }
                Given::Mask { shape, ended, room, flag } => {
                    outputs.push(match flag.values()? {
                        [0] => Output::Mask { shape, voxels: room.values()?.to_vec() },
                        _ => Output::NotFinite,
                    });
                    drop(ended);
                    self.rooms.push(room);
                    self.flags.push(flag);
                }
            }
        }
        Ok(Some(outputs))
    }

    /// The inputs of a batch, one behind the other.
    fn input<E: Real>(&mut self, batch: &[Run<'_>]) -> Result<CudaMemory<E>, DeviceError> {
        let mut parts = Vec::with_capacity(batch.len());
        for (n, run) in batch.iter().enumerate() {
            parts.push(match run.input {
                Input::Values(tensor) => {
                    let values = tensor.values.iter().map(|value| E::from_real(*value));
                    self.stage(n, tensor.values.len(), |room| {
                        room.iter_mut().zip(values).for_each(|(room, value)| *room = value);
                    })?
                }
                Input::Held(values) => self.taken::<E>(values)?,
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

    /// Values of a task's place.
    fn taken<E: Real>(&mut self, values: &OnDevice) -> Result<CudaMemory<E>, DeviceError> {
        let Held::Reals(reals) = values.held::<Held<Cuda>>()? else {
            return Err(DeviceError::Refused("a network takes reals".into()));
        };
        let copy = self.cuda.copied(&reals.values)?;
        let prepared = Prepared::resized(&mut self.cuda, reals.dims, reals.dims, Interpolation::Nearest)?;
        let mut out = self.cuda.zeros(copy.count())?;
        launch::preprocess(&mut self.cuda, &prepared, &copy, &mut out)?;
        Ok(out)
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

/// The shape of one answer out of those to so many inputs.
fn of_one(shape: &[usize], inputs: usize) -> Vec<usize> {
    let mut shape = shape.to_vec();
    if let Some(first) = shape.first_mut().filter(|_| inputs > 1) {
        *first = 1;
    }
    shape
}

fn reals(bytes: &[u8], kind: DataType) -> Vec<f32> {
    match kind {
        DataType::Float16 => bytes.as_chunks().0.iter().map(|value| f16::from_ne_bytes(*value).to_f32()).collect(),
        _ => bytes.as_chunks().0.iter().map(|value| f32::from_ne_bytes(*value)).collect(),
    }
}
