//! Interpolation along a row, its taps laid out once for all rows.
use crate::lanes;
use crate::placement::Taps;
use std::ops::Range;

/// The column taps of a separable resampling.
pub struct Across {
    /// The source columns that any target needs.
    pub columns: Range<usize>,
    /// The target columns that lie inside the source.
    pub inside: Range<usize>,
    how: How,
}

enum How {
    /// Every weight is 0: values are only picked.
    Pick(Vec<usize>),
    /// Eight targets at a time out of sixteen neighbouring source values.
    Blocks(Vec<Block>),
    /// One by one: few targets, or more than about two source columns for each.
    Single(Vec<(usize, f32)>),
}

#[derive(Debug)]
/// Eight neighbouring targets whose source values lie within sixteen.
pub struct Block {
    /// Where the first target is written.
    pub target: usize,
    /// The first of the sixteen source values.
    pub source: usize,
    /// From there to each target's lower value, at most 14.
    pub low: [i32; lanes::WIDTH],
    /// The weight of the value above.
    pub weight: [f32; lanes::WIDTH],
}

impl Across {
    /// Lays out the taps.
    pub fn new(taps: &Taps) -> Self {
        let first = taps.low.iter().copied().min().unwrap_or(0);
        let end = taps.low.iter().zip(&taps.weight).map(|(low, weight)| low + 1 + usize::from(*weight > 0.0)).max();
        let taps_from_first: Vec<(usize, f32)> =
            taps.low.iter().zip(&taps.weight).map(|(low, weight)| (low - first, *weight)).collect();
        let how = if taps.weight.iter().all(|weight| *weight == 0.0) {
            How::Pick(taps_from_first.iter().map(|(low, _)| *low).collect())
        } else {
            blocks(&taps_from_first).map_or_else(|| How::Single(taps_from_first), How::Blocks)
        };
        Self { columns: first..end.unwrap_or(first), inside: taps.inside.clone(), how }
    }

    /// A row of zeros with room for the source columns, and beyond them for the last block to read.
    pub fn source_row(&self) -> Vec<f32> {
        vec![0.0; self.columns.len() + 2 * lanes::WIDTH]
    }

    /// Interpolates the inside of a target row.
    #[inline]
    pub fn interpolate(&self, source: &[f32], target: &mut [f32]) {
        let target = &mut target[self.inside.clone()];
        match &self.how {
            How::Pick(low) => target.iter_mut().zip(low).for_each(|(value, low)| *value = source[*low]),
            How::Blocks(blocks) => lanes::across(blocks, source, target),
            How::Single(taps) => target.iter_mut().zip(taps).for_each(|(value, (low, weight))| {
                *value = lanes::mix(source[*low], source[*low + 1], *weight);
            }),
        }
    }
}

/// The taps in blocks, the last of them overlapping the one before; `None` where a block spans too much.
fn blocks(taps: &[(usize, f32)]) -> Option<Vec<Block>> {
    let last = taps.len().checked_sub(lanes::WIDTH)?;
    let block = |target: usize| {
        let taps: &[(usize, f32); lanes::WIDTH] = taps[target..].first_chunk()?;
        let source = taps.iter().map(|(low, _)| *low).min()?;
        let fits = taps.iter().all(|(low, _)| low - source < 2 * lanes::WIDTH - 1);
        let low = taps.map(|(low, _)| (low - source) as i32);
        fits.then_some(Block { target, source, low, weight: taps.map(|(_, weight)| weight) })
    };
    (0..last).step_by(lanes::WIDTH).chain([last]).map(block).collect()
}
