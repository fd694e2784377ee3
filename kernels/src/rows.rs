//! The engine of every resampling: hands each target row, interpolated, to a sink while it is in the first-level cache.
//!
//! Where the axes of both grids run alike it blends up to four source rows and then interpolates along the row;
//! elsewhere it walks through the source in fixed point. No fused multiply-add: every processor gives the same bits.
#![allow(clippy::inline_always, reason = "a loop is compiled for AVX2 only where it is part of `lanes::widest`'s work")]
use crate::Interpolation;
use crate::across::Across;
use crate::lanes::{self, mix};
use crate::placement::{Placement, SNAP, Taps, snapped};
use crate::sample::Sample;
use std::ops::Range;

/// A source and how it is sampled.
pub struct Sampling<'a, T> {
    /// As many values as `from` says, column index fastest.
    pub source: &'a [T],
    /// Slices, rows, columns of the source; none is 0.
    pub from: [usize; 3],
    /// Slices, rows, columns of the target.
    pub to: [usize; 3],
    /// Where each target takes its value from.
    pub plan: Plan,
    /// The value of a target outside the source.
    pub outside: f32,
}

/// Where each target takes its value from.
pub enum Plan {
    /// The axes of both grids run alike: slices, rows, columns on their own.
    Separable([Taps; 3]),
    /// Anything else.
    Oblique(Placement, Interpolation),
}

impl Plan {
    /// The plan for a target of `to` voxels that lie at `placement` in a source of `from` voxels.
    pub fn new(placement: Placement, from: [usize; 3], to: [usize; 3], how: Interpolation) -> Self {
        let Some(axes) = placement.along_axes(to) else {
            return Self::Oblique(placement, how);
        };
        Self::Separable(std::array::from_fn(|a| {
            let (step, start) = axes[a];
            Taps::new(from[a], to[a], how, |n| snapped(step * n as f64 + start + 0.5))
        }))
    }
}

impl<T: Sample> Sampling<'_, T> {
    /// Gives `sink` every target row, in the order of memory.
    pub fn rows(&self, sink: impl FnMut(&[f32])) {
        lanes::widest(|| match &self.plan {
            Plan::Separable(taps) => self.separable(taps, sink),
            Plan::Oblique(placement, how) => self.oblique(placement, *how, sink),
        });
    }

    #[inline(always)]
    fn separable(&self, [slices, rows, columns]: &[Taps; 3], mut sink: impl FnMut(&[f32])) {
        let across = Across::new(columns);
        let (first, count) = (across.columns.start, across.columns.len());
        let line = |k: usize, j: usize| &self.source[(k * self.from[1] + j) * self.from[2] + first..][..count];
        let mut blended = across.source_row();
        let blank = vec![self.outside; self.to[2]];
        let mut row = blank.clone();
        for k in 0..self.to[0] {
            for j in 0..self.to[1] {
                let (Some((k, behind)), Some((j, below))) = (slices.at(k), rows.at(j)) else {
                    sink(&blank);
                    continue;
                };
                match (behind > 0.0, below > 0.0) {
                    (false, false) => copy(line(k, j), &mut blended),
                    (false, true) => blend([line(k, j), line(k, j + 1)], below, &mut blended),
                    (true, false) => blend([line(k, j), line(k + 1, j)], behind, &mut blended),
                    (true, true) => {
                        let corners = [line(k, j), line(k, j + 1), line(k + 1, j), line(k + 1, j + 1)];
                        blend_four(corners, below, behind, &mut blended);
                    }
                }
                across.interpolate(&blended, &mut row);
                sink(&row);
            }
        }
    }

    #[inline(always)]
    fn oblique(&self, placement: &Placement, how: Interpolation, mut sink: impl FnMut(&[f32])) {
        let step = placement.step.map(|row| row[2]);
        let last = self.from.map(|n| n as f64 - 1.0);
        let mut row = vec![self.outside; self.to[2]];
        for k in 0..self.to[0] {
            for j in 0..self.to[1] {
                let start: [f64; 3] = std::array::from_fn(|a| {
                    let steps = placement.step[a];
                    steps[0] * k as f64 + steps[1] * j as f64 + placement.start[a]
                });
                let walk = Walk { start, step };
                row.fill(self.outside);
                let inside = walk.within(last.map(|last| (-0.5 - SNAP, last + 0.5 + SNAP)), 0..self.to[2]);
                let core = match how {
                    Interpolation::Nearest => inside.start..inside.start,
                    Interpolation::Linear => self.core(&walk, &inside),
                };
                for i in (inside.start..core.start).chain(core.end..inside.end) {
                    row[i] = self.near_edge(walk.at(i), how);
                }
                self.trilinear(&walk, core, &mut row);
                sink(&row);
            }
        }
    }

    /// The part of a walk on which all eight neighbours exist, or nothing at the beginning of `inside`.
    #[inline(always)]
    fn core(&self, walk: &Walk, inside: &Range<usize>) -> Range<usize> {
        let mut core = walk.within(self.from.map(|n| (0.0, n as f64 - 1.0)), inside.clone());
        // Fixed point is monotonous: where both ends have their neighbours, all between have them.
        let has_all = |core: &Range<usize>, i: usize| {
            let (at, step) = walk.fixed(core.start);
            (0..3).all(|a| {
                let place = at[a].wrapping_add(step[a].wrapping_mul((i - core.start) as i64));
                place >= 0 && (place >> FRACTION) + 1 < self.from[a] as i64
            })
        };
        while !core.is_empty() && !has_all(&core, core.start) {
            core.start += 1;
        }
        while !core.is_empty() && !has_all(&core, core.end - 1) {
            core.end -= 1;
        }
        if core.is_empty() { inside.start..inside.start } else { core }
    }

    #[inline(always)]
    fn trilinear(&self, walk: &Walk, core: Range<usize>, row: &mut [f32]) {
        let (mut at, step) = walk.fixed(core.start);
        let (line, plane) = (self.from[2], self.from[1] * self.from[2]);
        for value in &mut row[core] {
            let [k, j, i] = at.map(|place| (place >> FRACTION) as usize);
            let [behind, below, right] = at.map(|place| ((place as u32) >> 8) as f32 * (1.0 / 16_777_216.0));
            let corner = (k * self.from[1] + j) * self.from[2] + i;
            let pair = |from: usize| {
                let pair = &self.source[from..from + 2];
                mix(pair[0].number(), pair[1].number(), right)
            };
            let front = mix(pair(corner), pair(corner + line), below);
            let back = mix(pair(corner + plane), pair(corner + plane + line), below);
            *value = mix(front, back, behind);
            at = std::array::from_fn(|a| at[a].wrapping_add(step[a]));
        }
    }

    /// The value at a place up to half a voxel beyond the centres of the edge voxels, whose value holds there.
    fn near_edge(&self, place: [f64; 3], how: Interpolation) -> f32 {
        let place: [f64; 3] = std::array::from_fn(|a| snapped(place[a]).clamp(0.0, self.from[a] as f64 - 1.0));
        let value = |k: usize, j: usize, i: usize| self.source[(k * self.from[1] + j) * self.from[2] + i].number();
        if how == Interpolation::Nearest {
            // As in `Taps`, a place midway belongs to the upper voxel.
            let [k, j, i] = std::array::from_fn(|a| ((place[a] + 0.5) as usize).min(self.from[a] - 1));
            return value(k, j, i);
        }
        let low = place.map(|p| p as usize);
        let high: [usize; 3] = std::array::from_fn(|a| (low[a] + 1).min(self.from[a] - 1));
        let [behind, below, right] = place.map(|p| p.fract() as f32);
        let along = |k: usize, j: usize| mix(value(k, j, low[2]), value(k, j, high[2]), right);
        let plane = |k: usize| mix(along(k, low[1]), along(k, high[1]), below);
        mix(plane(low[0]), plane(high[0]), behind)
    }
}

/// The straight line that a target row is in the source.
struct Walk {
    start: [f64; 3],
    step: [f64; 3],
}

/// Bits behind the point: 2^-33 voxel of rounding in a step adds up to a millionth of a voxel after 4,096 steps.
const FRACTION: u32 = 32;

/// In fixed point.
pub fn fixed(v: f64) -> i64 {
    (v * (1u64 << FRACTION) as f64).round() as i64
}

impl Walk {
    fn at(&self, i: usize) -> [f64; 3] {
        std::array::from_fn(|a| self.start[a] + self.step[a] * i as f64)
    }

    /// Place at `i` and step in fixed point.
    fn fixed(&self, i: usize) -> ([i64; 3], [i64; 3]) {
        (self.at(i).map(fixed), self.step.map(fixed))
    }

    /// The part of `range` on which every coordinate is between its bounds.
    fn within(&self, bounds: [(f64, f64); 3], range: Range<usize>) -> Range<usize> {
        let (mut first, mut end) = (range.start as f64, range.end as f64);
        for (a, (low, high)) in bounds.into_iter().enumerate() {
            let (start, step) = (self.start[a], self.step[a]);
            if step == 0.0 {
                if !(low..=high).contains(&start) {
                    return range.start..range.start;
                }
                continue;
            }
            let (one, other) = ((low - start) / step, (high - start) / step);
            first = first.max(one.min(other).ceil());
            end = end.min(one.max(other).floor() + 1.0);
        }
        if first < end { first as usize..end as usize } else { range.start..range.start }
    }
}

#[inline(always)]
fn copy<T: Sample>(line: &[T], out: &mut [f32]) {
    out.iter_mut().zip(line).for_each(|(out, value)| *out = value.number());
}

#[inline(always)]
fn blend<T: Sample>([one, other]: [&[T]; 2], weight: f32, out: &mut [f32]) {
    out.iter_mut().zip(one).zip(other).for_each(|((out, a), b)| *out = mix(a.number(), b.number(), weight));
}

/// Corners: this slice's row and the one below it, then those of the slice behind.
#[inline(always)]
fn blend_four<T: Sample>([a, b, c, d]: [&[T]; 4], below: f32, behind: f32, out: &mut [f32]) {
    let corners = a.iter().zip(b).zip(c).zip(d);
    out.iter_mut().zip(corners).for_each(|(out, (((a, b), c), d))| {
        *out = mix(mix(a.number(), b.number(), below), mix(c.number(), d.number(), below), behind);
    });
}
