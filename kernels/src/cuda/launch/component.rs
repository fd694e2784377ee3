//! largest_component and fill_holes.
use super::{dims, fills_dims};
use crate::KernelError;
use crate::cuda::machine::{Call, Machine};
use crate::grid::voxels_of;

/// What both work with, 8 bytes for each voxel; for any number of masks of that shape.
pub struct Work<M: Machine> {
    /// For each voxel its run, for a run an earlier one of its component or itself.
    parent: M::Memory<u32>,
    /// At a component's first voxel: its size, or whether it reaches the edge.
    roots: M::Memory<u32>,
    /// The largest component's size and first voxel.
    best: M::Memory<u64>,
}

impl<M: Machine> Work<M> {
    /// For masks of these slices, rows, columns; `TooLarge` from 2^31 voxels on.
    pub fn new(machine: &mut M, dims: [usize; 3]) -> Result<Self, M::Error> {
        let voxels = voxels_of(dims)?;
        if voxels >= 1 << 31 {
            return Err(KernelError::TooLarge.into());
        }
        Ok(Self { parent: machine.zeros(voxels)?, roots: machine.zeros(voxels)?, best: machine.zeros(1)? })
    }
}

/// The mask's largest 26-connected component, the first of equals, as 0 and 1.
pub fn largest_component<M: Machine>(
    machine: &mut M,
    mask: &M::Memory<u8>,
    shape: [usize; 3],
    work: &mut Work<M>,
    largest: &mut M::Memory<u8>,
) -> Result<(), M::Error> {
    let voxels = check::<M>(mask, shape, work, largest)?;
    machine.clear(&mut work.roots)?;
    machine.clear(&mut work.best)?;
    let Work { parent, roots, best } = &*work;
    let call = |step: &str| Call::over(format!("largest_component_{step}"), voxels);
    let shape = dims(shape)?;
    machine.launch(&call("runs")?.pointer(mask).value(shape).pointer(parent))?;
    machine.launch(&call("unite")?.pointer(mask).value(shape).pointer(parent))?;
    machine.launch(&call("measure")?.pointer(mask).value(shape).pointer(parent).pointer(roots))?;
    machine.launch(&call("choose")?.pointer(roots).value(voxels as u64).pointer(best))?;
    machine.launch(&call("keep")?.pointer(parent).value(voxels as u64).pointer(best).pointer(largest))
}

/// The mask, as 0 and 1, with background that does not reach the volume's edge through faces filled.
pub fn fill_holes<M: Machine>(
    machine: &mut M,
    mask: &M::Memory<u8>,
    shape: [usize; 3],
    work: &mut Work<M>,
    filled: &mut M::Memory<u8>,
) -> Result<(), M::Error> {
    let voxels = check::<M>(mask, shape, work, filled)?;
    machine.clear(&mut work.roots)?;
    let Work { parent, roots, .. } = &*work;
    let call = |step: &str| Call::over(format!("fill_holes_{step}"), voxels);
    let shape = dims(shape)?;
    machine.launch(&call("runs")?.pointer(mask).value(shape).pointer(parent))?;
    machine.launch(&call("unite")?.pointer(mask).value(shape).pointer(parent))?;
    machine.launch(&call("open")?.pointer(parent).value(shape).pointer(roots))?;
    machine.launch(&call("keep")?.pointer(parent).value(voxels as u64).pointer(roots).pointer(filled))
}

fn check<M: Machine>(
    mask: &M::Memory<u8>,
    dims: [usize; 3],
    work: &Work<M>,
    out: &M::Memory<u8>,
) -> Result<usize, KernelError> {
    fills_dims(mask, dims)?;
    fills_dims(out, dims)?;
    fills_dims(&work.parent, dims)
}
