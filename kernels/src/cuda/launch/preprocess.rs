//! preprocess: what is laid out on the host, once for a pair of grids, and the launch.
use super::{dims, fills_dims};
use crate::cuda::machine::{Call, Machine, Plain, THREADS, Value};
use crate::grid::voxels_of;
use crate::placement::{Placement, Taps};
use crate::preprocess::Tone;
use crate::rows::{Plan, fixed};
use crate::sample::Sample;
use crate::{Element, Grid, Interpolation, KernelError, Preparation};

/// What has to be mixed names the kernel; with it the target rows of a thread, `ROWS` in preprocess.cu.
#[derive(Clone, Copy)]
struct Mixed(&'static str, usize);

const NOTHING: Mixed = Mixed("nothing", 8);
const PLANE: Mixed = Mixed("plane", 4);
const VOLUME: Mixed = Mixed("volume", 2);

/// Target rows of a block; `BLOCK_ROWS` in preprocess_oblique.cu.
const BLOCK_ROWS: usize = 32;

/// Threads of a block along a row.
const COLUMNS: u32 = 128;

/// What a kernel makes of samples.
pub trait Target: Element + Plain {}
impl<T: Element + Plain> Target for T {}

/// A preparation for a pair of grids, its tables on the machine: for any number of series of that shape.
pub struct Prepared<M: Machine> {
    from: [usize; 3],
    to: [usize; 3],
    way: Way<M>,
    tone: Tone,
}

enum Way<M: Machine> {
    /// Lower index and weight for each target slice, row, column: 8 bytes each.
    Straight(Mixed, M::Memory<u64>),
    Oblique(Placement, Interpolation),
}

impl<M: Machine> Prepared<M> {
    /// Lays out where the voxels of `onto` take their values from; errors as those of the reference.
    pub fn new(machine: &mut M, grid: &Grid, onto: &Grid, preparation: &Preparation) -> Result<Self, M::Error> {
        for shape in [grid.dims, onto.dims] {
            voxels_of(shape)?;
            // Within a slice the kernels count in 32 bits.
            dims([shape[0], shape[1], shape[1] * shape[2]])?;
        }
        if grid.is_empty() {
            return Err(KernelError::Empty.into());
        }
        let placement = Placement::between(grid, onto)?;
        let plan = Plan::new(placement, grid.dims, onto.dims, preparation.how);
        Self::planned(machine, grid.dims, onto.dims, plan, preparation.tone())
    }

    /// Other dimensions over the same extent, each value as it is: `resize`.
    pub fn resized(machine: &mut M, from: [usize; 3], to: [usize; 3], how: Interpolation) -> Result<Self, M::Error> {
        for shape in [from, to] {
            voxels_of(shape)?;
            dims([shape[0], shape[1], shape[1] * shape[2]])?;
            if shape.contains(&0) {
                return Err(KernelError::Empty.into());
            }
        }
        let plan = Plan::Separable(std::array::from_fn(|a| Taps::over(from[a], to[a], how)));
        Self::planned(machine, from, to, plan, Preparation::as_is(how, 0.0).tone())
    }

    fn planned(machine: &mut M, from: [usize; 3], to: [usize; 3], plan: Plan, tone: Tone) -> Result<Self, M::Error> {
        let way = match plan {
            Plan::Oblique(placement, how) => Way::Oblique(placement, how),
            Plan::Separable(taps) => {
                let table: Vec<u64> = taps.iter().zip(to).flat_map(|(taps, n)| table(taps, n)).collect();
                Way::Straight(mixed(&taps), machine.upload(&table)?)
            }
        };
        Ok(Self { from, to, way, tone })
    }

    /// The call that prepares `samples`.
    fn call<'a, S: Sample + Plain, E: Target>(
        &'a self,
        samples: &'a M::Memory<S>,
        out: &'a M::Memory<E>,
    ) -> Result<Call<'a>, KernelError> {
        let [slices, rows, columns] = self.to;
        let kernel = |way: &str| format!("preprocess_{way}_{}_{}", S::NAME, E::NAME);
        let call = match &self.way {
            Way::Straight(Mixed(mixed, its_rows), _) => {
                let blocks = [columns.div_ceil(COLUMNS as usize), rows.div_ceil(*its_rows), slices];
                Call::new(kernel(mixed), blocks, COLUMNS)?
            }
            Way::Oblique(..) => {
                let rows = i32::try_from(slices * rows).map_err(|_| KernelError::TooLarge)? as usize;
                Call::new(kernel("oblique"), [rows.div_ceil(BLOCK_ROWS), 1, 1], THREADS)?
            }
        };
        let call = call.pointer(samples).value(dims(self.from)?).pointer(out).value(dims(self.to)?);
        Ok(match &self.way {
            Way::Straight(_, taps) => call.pointer(taps),
            Way::Oblique(placement, how) => call.value(Turned(placement, *how)),
        }
        .value(self.tone))
    }
}

/// Stored samples to a network's values, as `preprocess` of the reference makes them, to the same bits.
///
/// `Shape` where samples or results do not fill their grids.
pub fn preprocess<M: Machine, S: Sample + Plain, E: Target>(
    machine: &mut M,
    prepared: &Prepared<M>,
    samples: &M::Memory<S>,
    out: &mut M::Memory<E>,
) -> Result<(), M::Error> {
    fills_dims(samples, prepared.from)?;
    fills_dims(out, prepared.to)?;
    machine.launch(&prepared.call(samples, out)?)
}

/// `Tap` for each of `n` target indices: the lower index in the lower half, -1 beyond the volume, the weight's bits above.
fn table(taps: &Taps, n: usize) -> impl Iterator<Item = u64> {
    (0..n).map(|n| {
        let (low, weight) = taps.at(n).map_or((-1, 0.0), |(low, weight)| (low as i32, weight));
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&low.to_ne_bytes());
        bytes[4..].copy_from_slice(&weight.to_ne_bytes());
        u64::from_ne_bytes(bytes)
    })
}

/// What has to be mixed.
fn mixed([slices, rows, columns]: &[Taps; 3]) -> Mixed {
    let mixes = |taps: &Taps| taps.weight.iter().any(|weight| *weight > 0.0);
    match (mixes(slices), mixes(rows) || mixes(columns)) {
        (false, false) => NOTHING,
        (false, true) => PLANE,
        (true, _) => VOLUME,
    }
}

/// `Tone` in tone.cuh.
impl Value for Tone {
    fn append(&self, bytes: &mut Vec<u8>) {
        [self.slope, self.intercept].append(bytes);
        i32::from(self.is_clipped).append(bytes);
        [self.scale, self.offset, self.outside].append(bytes);
    }
}

/// `Placement` in preprocess_oblique.cu.
struct Turned<'a>(&'a Placement, Interpolation);

impl Value for Turned<'_> {
    fn append(&self, bytes: &mut Vec<u8>) {
        let Self(Placement { step, start }, how) = self;
        step.append(bytes);
        start.append(bytes);
        step.map(|row| fixed(row[2])).append(bytes);
        i64::from(*how == Interpolation::Nearest).append(bytes);
    }
}
