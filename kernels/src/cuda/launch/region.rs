//! crop, paste, occupied_region.
use super::{dims, fills_dims};
use crate::KernelError;
use crate::cuda::machine::{Call, Machine, Plain};
use crate::grid::voxels_of;
use crate::region::{Region, occupied};

/// A type of voxels that parts are made of.
pub trait Voxel: Plain {
    /// As a kernel takes it.
    #[doc(hidden)]
    fn given(self, call: Call<'_>) -> Call<'_>;
}

macro_rules! voxel {
    ($($kind:ty),*) => {$(
        impl Voxel for $kind {
            fn given(self, call: Call<'_>) -> Call<'_> {
                call.value(self)
            }
        }
    )*};
}
voxel!(u8, f32);

/// The part of a volume of `shape`; `part` takes its voxels. `Region` where it is empty or reaches beyond the volume.
pub fn crop<M: Machine, T: Voxel>(
    machine: &mut M,
    volume: &M::Memory<T>,
    shape: [usize; 3],
    to: &Region,
    part: &mut M::Memory<T>,
) -> Result<(), M::Error> {
    fills_dims(volume, shape)?;
    if (0..3).any(|a| to[a].start >= to[a].end || to[a].end > shape[a]) {
        return Err(KernelError::Region.into());
    }
    let of_part = extent(to);
    let voxels = fills_dims(part, of_part)?;
    let call = Call::over(format!("crop_{}", T::NAME), voxels)?.pointer(volume).value(dims(shape)?);
    machine.launch(&call.pointer(part).value(dims(of_part)?).value(corner(to)?))
}

/// A volume of `fill` with `part` at `at`; `volume` takes its voxels, as many as `shape` says. `Region` where the part reaches beyond it.
pub fn paste<M: Machine, T: Voxel>(
    machine: &mut M,
    part: &M::Memory<T>,
    at: &Region,
    fill: T,
    shape: [usize; 3],
    volume: &mut M::Memory<T>,
) -> Result<(), M::Error> {
    let voxels = fills_dims(volume, shape)?;
    if (0..3).any(|a| at[a].start > at[a].end || at[a].end > shape[a]) {
        return Err(KernelError::Region.into());
    }
    let of_part = extent(at);
    fills_dims(part, of_part)?;
    let call = Call::over(format!("paste_{}", T::NAME), voxels)?.pointer(part).value(dims(of_part)?);
    machine.launch(&fill.given(call.pointer(volume).value(dims(shape)?).value(corner(at)?)))
}

/// The extent of a mask, as the reference has it. The host waits for the counts.
pub fn occupied_region<M: Machine>(
    machine: &mut M,
    mask: &M::Memory<u8>,
    shape: [usize; 3],
    occupancy: f64,
) -> Result<Option<Region>, M::Error> {
    fills_dims(mask, shape)?;
    let [slices, rows, columns] = shape;
    let counts = machine.zeros::<u32>(slices + rows + columns)?;
    let of_mask = dims(shape)?;
    for (step, threads) in [("lines", slices * rows), ("columns", slices * columns)] {
        let call = Call::over(format!("occupied_region_{step}"), threads)?.pointer(mask).value(of_mask);
        machine.launch(&call.pointer(&counts))?;
    }
    let counts = machine.download(&counts)?;
    let (of_slices, others) = counts.split_at(slices);
    let (of_rows, of_columns) = others.split_at(rows);
    Ok(occupied([of_slices, of_rows, of_columns], occupancy))
}

fn extent(region: &Region) -> [usize; 3] {
    [region[0].len(), region[1].len(), region[2].len()]
}

/// `Voxel` in region.cuh.
fn corner(region: &Region) -> Result<[i32; 3], KernelError> {
    voxels_of(extent(region))?;
    dims([region[0].start, region[1].start, region[2].start])
}
