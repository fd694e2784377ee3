//! accumulate_tile and normalise_tiles.
use super::{Score, dims, fills};
use crate::KernelError;
use crate::cuda::machine::{Call, Machine, Memory};
use crate::grid::voxels_of;
use crate::tiles::{check_tile, tile_weights};

/// Threads of a block along a row.
const COLUMNS: u32 = 64;

/// A network's scores on a volume, growing tile by tile: `Blend` on a machine.
pub struct TiledScores<M: Machine> {
    dims: [usize; 3],
    channels: usize,
    tile: [usize; 3],
    /// The bells along a tile's slices, rows, columns.
    bells: M::Memory<f32>,
    sums: M::Memory<f32>,
    weights: M::Memory<f32>,
}

impl<M: Machine> TiledScores<M> {
    /// Of nothing yet: scores of so many channels on a volume of `dims`, from tiles of `tile`.
    pub fn new(machine: &mut M, dims: [usize; 3], channels: usize, tile: [usize; 3]) -> Result<Self, M::Error> {
        let voxels = voxels_of(dims)?;
        let values = voxels.checked_mul(channels).ok_or(KernelError::TooLarge)?;
        voxels_of(tile)?;
        let bells: Vec<f32> = tile.into_iter().flat_map(tile_weights).collect();
        let (bells, sums, weights) = (machine.upload(&bells)?, machine.zeros(values)?, machine.zeros(voxels)?);
        Ok(Self { dims, channels, tile, bells, sums, weights })
    }

    /// Forgets all tiles.
    pub fn clear(&mut self, machine: &mut M) -> Result<(), M::Error> {
        machine.clear(&mut self.sums)?;
        machine.clear(&mut self.weights)
    }

    /// Weighted sums, after `normalise_tiles` the scores, `[channels, slices, rows, columns]`.
    pub fn scores(&self) -> &M::Memory<f32> {
        &self.sums
    }
}

/// Adds the scores `[channels, tile]` of the tile whose first voxel is `at`, as the reference to the same bits.
pub fn accumulate_tile<M: Machine, T: Score>(
    machine: &mut M,
    blend: &mut TiledScores<M>,
    scores: &M::Memory<T>,
    at: [usize; 3],
) -> Result<(), M::Error> {
    let TiledScores { channels, tile, .. } = *blend;
    check_tile(blend.dims, channels, scores.count(), tile, at)?;
    let blocks = [tile[2].div_ceil(COLUMNS as usize), tile[1], tile[0]];
    let call = Call::new(format!("accumulate_tile_{}", T::NAME), blocks, COLUMNS)?;
    let call = call.pointer(scores).value(channels as u32).value(dims(tile)?).value(dims(at)?).value(dims(blend.dims)?);
    machine.launch(&call.pointer(&blend.bells).pointer(&blend.sums).pointer(&blend.weights))
}

/// Weighted sums to weighted means, in place; 0 where no tile was.
pub fn normalise_tiles<M: Machine>(machine: &mut M, blend: &mut TiledScores<M>) -> Result<(), M::Error> {
    let voxels = blend.weights.count();
    fills(&blend.sums, voxels * blend.channels)?;
    let call = Call::over("normalise_tiles", voxels)?;
    let call = call.pointer(&blend.sums).value(blend.channels as u32).value(voxels as u64).pointer(&blend.weights);
    machine.launch(&call)
}
