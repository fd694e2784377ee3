//! The steps of a cascade on a machine: what they read and make stays in its memory, so that a study's voxels go to it once and
//! come back as a mask. Each step is the operation of its name, with its reference's result.
//!
//! Few numbers come to the host, which waits for them: quantiles, a region, whether all is finite, the lanes of a z-score's sums.
use crate::cuda::launch::{self, Prepared, Voxel, Work};
use crate::cuda::machine::{Machine, Memory, Plain};
use crate::device::Samples;
use crate::grid::voxels_of;
use crate::{Grid, Interpolation, KernelError, Preparation, Region, Sample};

/// What steps read and make, in a machine's memory.
pub enum Held<M: Machine> {
    /// Samples as they were stored.
    Stored(Stored<M>),
    /// Real values.
    Reals(Field<M, f32>),
    /// 0 or 1.
    Mask(Field<M, u8>),
    /// A network's scores, channel by channel.
    Scores {
        /// Channels.
        channels: usize,
        /// Slices, rows, columns of each.
        dims: [usize; 3],
        /// `channels * slices * rows * columns` values.
        values: M::Memory<f32>,
    },
}

/// Stored samples in a machine's memory.
pub enum Stored<M: Machine> {
    /// Unsigned 8 bit.
    U8(Field<M, u8>),
    /// Signed 16 bit.
    I16(Field<M, i16>),
    /// Unsigned 16 bit.
    U16(Field<M, u16>),
    /// Real values.
    F32(Field<M, f32>),
}

/// Values on slices, rows, columns.
pub struct Field<M: Machine, T: Plain> {
    /// How many of each.
    pub dims: [usize; 3],
    /// A value for each voxel.
    pub values: M::Memory<T>,
}

/// A step on something held.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Stored samples to reals: `preprocess`.
    Prepare {
        /// The grid that they lie on.
        grid: Grid,
        /// That of the reals.
        onto: Grid,
        /// How.
        preparation: Preparation,
    },
    /// Reals or a mask on another grid, 0 beyond their own: `resample`.
    Resample {
        /// The grid that they lie on.
        grid: Grid,
        /// The other.
        onto: Grid,
        /// How.
        how: Interpolation,
    },
    /// Reals over the same extent: `resize`.
    Resize {
        /// Slices, rows, columns.
        dims: [usize; 3],
        /// How.
        how: Interpolation,
    },
    /// Reals: `window`.
    Window {
        /// Its centre.
        center: f32,
        /// Its width.
        width: f32,
    },
    /// Reals: `clip_range`.
    ClipRange {
        /// Becomes 0.
        low: f32,
        /// Becomes 1.
        high: f32,
    },
    /// Reals: `z_score`.
    ZScore,
    /// Reals: `scale_offset`.
    ScaleOffset {
        /// Factor.
        scale: f32,
        /// Added behind it.
        offset: f32,
    },
    /// Reals: `quantiles`.
    Quantiles {
        /// Shares, 0 to 1.
        shares: [f64; 2],
    },
    /// Reals or a mask: `crop`.
    Crop {
        /// The part.
        region: Region,
    },
    /// Reals or a mask: `paste` into zeros.
    Paste {
        /// Where.
        region: Region,
        /// Slices, rows, columns of the whole.
        dims: [usize; 3],
    },
    /// Scores: `softmax`.
    Softmax,
    /// Scores: a channel's as reals.
    Channel {
        /// Which, from 0.
        channel: usize,
    },
    /// Scores: the mask of where this channel's is the largest: `argmax`.
    Argmax {
        /// Which, from 0.
        label: usize,
    },
    /// Reals: `threshold`.
    Threshold {
        /// 1 above.
        above: f32,
    },
    /// A mask: `largest_component`.
    LargestComponent,
    /// A mask: `fill_holes`.
    FillHoles,
    /// A mask: `occupied_region`.
    OccupiedRegion {
        /// Share of a plane.
        occupancy: f64,
    },
}

/// What a step makes.
pub enum Made<M: Machine> {
    /// In the machine's memory.
    Held(Held<M>),
    /// Of `quantiles`.
    Range([f32; 2]),
    /// Of `occupied_region`.
    Region(Option<Region>),
}

impl<M: Machine, T: Plain> Field<M, T> {
    /// Zeros.
    fn zeros(machine: &mut M, dims: [usize; 3]) -> Result<Self, M::Error> {
        Ok(Self { dims, values: machine.zeros(voxels_of(dims)?)? })
    }
}

/// A step's result. `Kind` where it is none for what it is given; otherwise the errors of its operation.
pub fn step<M: Machine>(machine: &mut M, step: &Step, from: &Held<M>) -> Result<Made<M>, M::Error> {
    let held = match (from, step) {
        (Held::Reals(reals), step) => match step {
            Step::Quantiles { shares } => {
                let found = launch::quantiles(machine, &reals.values, shares)?;
                return Ok(Made::Range([found[0], found[1]]));
            }
            Step::Threshold { above } => Held::Mask(thresholded(machine, reals, *above)?),
            step => Held::Reals(on_reals(machine, step, reals)?),
        },
        (Held::Mask(mask), Step::OccupiedRegion { occupancy }) => {
            let found = launch::occupied_region(machine, &mask.values, mask.dims, *occupancy)?;
            return Ok(Made::Region(found));
        }
        (Held::Stored(stored), Step::Prepare { grid, onto, preparation }) => {
            let prepared = Prepared::new(machine, grid, onto, preparation)?;
            Held::Reals(match stored {
                Stored::U8(samples) => through(machine, &prepared, &samples.values, onto.dims),
                Stored::I16(samples) => through(machine, &prepared, &samples.values, onto.dims),
                Stored::U16(samples) => through(machine, &prepared, &samples.values, onto.dims),
                Stored::F32(samples) => through(machine, &prepared, &samples.values, onto.dims),
            }?)
        }
        (Held::Stored(_), _) => return Err(KernelError::Kind.into()),
        (Held::Mask(mask), step) => Held::Mask(on_mask(machine, step, mask)?),
        (Held::Scores { channels, dims, values }, step) => on_scores(machine, step, *channels, *dims, values)?,
    };
    Ok(Made::Held(held))
}

/// Stored samples, brought to the machine.
pub fn stored<M: Machine>(machine: &mut M, samples: &Samples, dims: [usize; 3]) -> Result<Held<M>, M::Error> {
    Ok(Held::Stored(match samples {
        Samples::U8(samples) => Stored::U8(uploaded(machine, samples, dims)?),
        Samples::I16(samples) => Stored::I16(uploaded(machine, samples, dims)?),
        Samples::U16(samples) => Stored::U16(uploaded(machine, samples, dims)?),
        Samples::F32(samples) => Stored::F32(uploaded(machine, samples, dims)?),
    }))
}

fn uploaded<M: Machine, T: Plain>(machine: &mut M, values: &[T], dims: [usize; 3]) -> Result<Field<M, T>, M::Error> {
    match voxels_of(dims)? {
        expected if expected != values.len() => Err(KernelError::Shape { expected, found: values.len() }.into()),
        _ => Ok(Field { dims, values: machine.upload(values)? }),
    }
}

fn through<M: Machine, S: Sample + Plain>(
    machine: &mut M,
    prepared: &Prepared<M>,
    samples: &M::Memory<S>,
    dims: [usize; 3],
) -> Result<Field<M, f32>, M::Error> {
    let mut made = Field::zeros(machine, dims)?;
    launch::preprocess(machine, prepared, samples, &mut made.values)?;
    Ok(made)
}

fn on_reals<M: Machine>(machine: &mut M, step: &Step, reals: &Field<M, f32>) -> Result<Field<M, f32>, M::Error> {
    if let Some(made) = part(machine, step, reals)? {
        return Ok(made);
    }
    let Field { dims, values } = reals;
    Ok(match step {
        Step::Resample { grid, onto, how } => {
            let prepared = Prepared::new(machine, grid, onto, &Preparation::as_is(*how, 0.0))?;
            through(machine, &prepared, values, onto.dims)?
        }
        Step::Resize { dims: to, how } => {
            let prepared = Prepared::resized(machine, *dims, *to, *how)?;
            through(machine, &prepared, values, *to)?
        }
        step => {
            let mut made = Field::zeros(machine, *dims)?;
            let into = &mut made.values;
            match step {
                Step::Window { center, width } => launch::window(machine, values, *center, *width, into)?,
                Step::ClipRange { low, high } => launch::clip_range(machine, values, *low, *high, into)?,
                Step::ZScore => launch::z_score(machine, values, into)?,
                Step::ScaleOffset { scale, offset } => launch::scale_offset(machine, values, *scale, *offset, into)?,
                _ => return Err(KernelError::Kind.into()),
            }
            made
        }
    })
}

/// What reals and masks have alike, `crop` and `paste`; none for another step.
fn part<M: Machine, T: Voxel>(
    machine: &mut M,
    step: &Step,
    from: &Field<M, T>,
) -> Result<Option<Field<M, T>>, M::Error> {
    let Field { dims, values } = from;
    Ok(match step {
        Step::Crop { region } => {
            let mut made = Field::zeros(machine, extent(region))?;
            launch::crop(machine, values, *dims, region, &mut made.values)?;
            Some(made)
        }
        Step::Paste { region, dims: whole } => {
            fits(region, *dims)?;
            let mut made = Field::zeros(machine, *whole)?;
            launch::paste(machine, values, region, T::default(), *whole, &mut made.values)?;
            Some(made)
        }
        _ => None,
    })
}

fn on_mask<M: Machine>(machine: &mut M, step: &Step, mask: &Field<M, u8>) -> Result<Field<M, u8>, M::Error> {
    if let Some(made) = part(machine, step, mask)? {
        return Ok(made);
    }
    let Field { dims, values } = mask;
    Ok(match step {
        Step::Resample { grid, onto, how } => {
            let prepared = Prepared::new(machine, grid, onto, &Preparation::as_is(*how, 0.0))?;
            let reals = through(machine, &prepared, values, onto.dims)?;
            thresholded(machine, &reals, 0.5)?
        }
        Step::LargestComponent | Step::FillHoles => {
            let (mut work, mut made) = (Work::new(machine, *dims)?, Field::zeros(machine, *dims)?);
            match step {
                Step::FillHoles => launch::fill_holes(machine, values, *dims, &mut work, &mut made.values)?,
                _ => launch::largest_component(machine, values, *dims, &mut work, &mut made.values)?,
            }
            made
        }
        _ => return Err(KernelError::Kind.into()),
    })
}

fn on_scores<M: Machine>(
    machine: &mut M,
    step: &Step,
    channels: usize,
    dims: [usize; 3],
    values: &M::Memory<f32>,
) -> Result<Held<M>, M::Error> {
    let n = voxels_of(dims)?;
    // Channels as slices, each of one row.
    let shape = [channels, 1, n];
    match step {
        Step::Channel { channel } => {
            let mut made = Field::zeros(machine, dims)?;
            launch::crop(machine, values, shape, &[*channel..*channel + 1, 0..1, 0..n], &mut made.values)?;
            Ok(Held::Reals(made))
        }
        Step::Argmax { label } => {
            if *label >= channels {
                return Err(KernelError::Region.into());
            }
            let mut made = Field::zeros(machine, dims)?;
            launch::argmax(machine, values, channels, &mut made.values)?;
            launch::argmax_is(machine, &mut made.values, *label)?;
            Ok(Held::Mask(made))
        }
        Step::Softmax => {
            let mut shares = machine.zeros(values.count())?;
            launch::crop(machine, values, shape, &[0..channels, 0..1, 0..n], &mut shares)?;
            launch::softmax(machine, &mut shares, channels)?;
            Ok(Held::Scores { channels, dims, values: shares })
        }
        _ => Err(KernelError::Kind.into()),
    }
}

fn thresholded<M: Machine>(machine: &mut M, reals: &Field<M, f32>, above: f32) -> Result<Field<M, u8>, M::Error> {
    let mut mask = Field::zeros(machine, reals.dims)?;
    launch::threshold(machine, &reals.values, above, &mut mask.values)?;
    Ok(mask)
}

/// As many voxels with other sides would be pasted without a sign.
fn fits(region: &Region, dims: [usize; 3]) -> Result<(), KernelError> {
    if extent(region) == dims { Ok(()) } else { Err(KernelError::Region) }
}

fn extent(region: &Region) -> [usize; 3] {
    [region[0].len(), region[1].len(), region[2].len()]
}
