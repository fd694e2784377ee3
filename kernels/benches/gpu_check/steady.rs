//! Studies one after another on the lanes: transfer alone, engine alone, and both at once.
//!
//! Were the lanes perfect, both at once would take as long as the slower of the two. What a lane is does not matter here: the
//! benchmark gives streams of a GPU, the tests a clock that they turn.
use half::f16;
use sund_kernels::cuda::launch::{Prepared, argmax, preprocess, softmax};
use sund_kernels::cuda::machine::Machine;
use sund_kernels::{Grid, Preparation};

/// Studies of a round.
pub const STUDIES: usize = 16;

/// Rounds that are measured; the median counts. One more comes before them.
const ROUNDS: usize = 5;

/// Most repetitions of the stand-in's work.
const MOST_PASSES: usize = 1000;

/// Queues of copies and kernels. Nothing waits but `wait`.
pub trait Lanes {
    type Error;

    fn count(&self) -> usize;
    /// Stored samples, from page-locked memory to the device.
    fn bring(&mut self, lane: usize) -> Result<(), Self::Error>;
    /// What makes the result of the samples.
    fn run(&mut self, lane: usize) -> Result<(), Self::Error>;
    /// The result, from the device to page-locked memory.
    fn take_back(&mut self, lane: usize) -> Result<(), Self::Error>;
    /// Until all that was put on the lane is done.
    fn wait(&mut self, lane: usize) -> Result<(), Self::Error>;
    /// Milliseconds on a clock that does not go back.
    fn now(&mut self) -> f64;
}

/// What of a study is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Transfer,
    Engine,
    Both,
}

/// Milliseconds of a study, each the median of rounds of [`STUDIES`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Steady {
    pub transfer: f64,
    pub engine: f64,
    pub both: f64,
}

impl Steady {
    /// The speed of both at once as a share of that of the slower alone.
    pub fn of_slower(&self) -> f64 {
        self.transfer.max(self.engine) / self.both
    }
}

/// Measures all three.
pub fn measured<L: Lanes>(lanes: &mut L) -> Result<Steady, L::Error> {
    let [transfer, engine, both] = [Part::Transfer, Part::Engine, Part::Both].map(|part| of_a_study(lanes, part));
    Ok(Steady { transfer: transfer?, engine: engine?, both: both? })
}

/// Milliseconds of a study where so much of it is done.
pub fn of_a_study<L: Lanes>(lanes: &mut L, part: Part) -> Result<f64, L::Error> {
    round(lanes, part)?;
    let mut times = (0..ROUNDS).map(|_| round(lanes, part)).collect::<Result<Vec<f64>, _>>()?;
    times.sort_by(f64::total_cmp);
    Ok(times[ROUNDS / 2] / STUDIES as f64)
}

/// Milliseconds of a round. A lane takes its next study when its last one is done, as the schedule of a worker has it.
fn round<L: Lanes>(lanes: &mut L, part: Part) -> Result<f64, L::Error> {
    let count = lanes.count().max(1);
    let begun = lanes.now();
    for study in 0..STUDIES {
        let lane = study % count;
        if study >= count {
            lanes.wait(lane)?;
        }
        if part != Part::Engine {
            lanes.bring(lane)?;
        }
        if part != Part::Transfer {
            lanes.run(lane)?;
        }
        if part != Part::Engine {
            lanes.take_back(lane)?;
        }
    }
    (0..count).try_for_each(|lane| lanes.wait(lane))?;
    Ok(lanes.now() - begun)
}

/// Where no network runs: `preprocess`, softmax over and over until its time is a network's, and argmax. All are kernels of
/// Sund, so it says what the lanes do, and nothing of a network.
pub struct StandIn<M: Machine> {
    prepared: Prepared<M>,
    input: M::Memory<f16>,
    scores: M::Memory<f32>,
    /// The result: a byte for each voxel.
    pub mask: M::Memory<u8>,
}

/// Of the stand-in's scores.
const CHANNELS: usize = 2;

impl<M: Machine> StandIn<M> {
    pub fn new(machine: &mut M, from: &Grid, onto: &Grid, preparation: &Preparation) -> Result<Self, M::Error> {
        let (voxels, values) = (onto.len(), CHANNELS * onto.len());
        let scores: Vec<f32> = (0..values).map(|n| (n as f32 * 0.37).sin() * 9.0).collect();
        Ok(Self {
            prepared: Prepared::new(machine, from, onto, preparation)?,
            input: machine.zeros(voxels)?,
            scores: machine.upload(&scores)?,
            mask: machine.zeros(voxels)?,
        })
    }

    pub fn run(&mut self, machine: &mut M, samples: &M::Memory<i16>, passes: usize) -> Result<(), M::Error> {
        preprocess(machine, &self.prepared, samples, &mut self.input)?;
        for _ in 0..passes {
            softmax(machine, &mut self.scores, CHANNELS)?;
        }
        argmax(machine, &self.scores, CHANNELS, &mut self.mask)
    }
}

/// How often the stand-in repeats itself to take about as long as the transfer, which is where lanes are tried the hardest.
/// `once` and `twice` are its milliseconds with one pass and with two.
pub fn passes(transfer: f64, once: f64, twice: f64) -> usize {
    let of_a_pass = twice - once;
    if of_a_pass.is_nan() || of_a_pass <= 0.0 {
        return 1;
    }
    // A float that is too large, or NaN, becomes the nearest integer, or 0.
    (((transfer - once) / of_a_pass + 1.0).round() as usize).clamp(1, MOST_PASSES)
}
