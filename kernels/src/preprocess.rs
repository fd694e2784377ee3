//! preprocess: rescale, sample, contrast and normalise in one pass over the samples, from what is stored to what a network takes.
use crate::grid::voxels_of;
use crate::intensity::{STEP, window_foot};
use crate::lanes;
use crate::placement::Placement;
use crate::room::room;
use crate::rows::{Plan, Sampling};
use crate::sample::Sample;
use crate::{Grid, Interpolation, KernelError};
use half::f16;

/// How stored samples become a network's input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preparation {
    /// Real value = stored value * slope + intercept (PS3.3 C.11.1.1.2).
    pub slope: f32,
    /// See `slope`.
    pub intercept: f32,
    /// How a value between voxels is found.
    pub how: Interpolation,
    /// The real value beyond the volume.
    pub outside: f32,
    /// Which real values are told apart.
    pub contrast: Contrast,
    /// Behind the contrast: `x * scale + offset`.
    pub scale: f32,
    /// See `scale`.
    pub offset: f32,
}

/// Which real values are told apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Contrast {
    /// 0 to 1 over a window, as `window` makes it.
    Window {
        /// Its centre.
        center: f32,
        /// Its width.
        width: f32,
    },
    /// 0 to 1 over a range, as `clip_range` makes it.
    Range {
        /// Becomes 0, as does all below.
        low: f32,
        /// Becomes 1, as does all above.
        high: f32,
    },
    /// All of them, as they are.
    Whole,
}

impl Preparation {
    /// Values on another grid, as they are.
    pub fn as_is(how: Interpolation, outside: f32) -> Self {
        let (slope, intercept, contrast) = (1.0, 0.0, Contrast::Whole);
        Self { slope, intercept, how, outside, contrast, scale: 1.0, offset: 0.0 }
    }

    /// Stored values as real ones, on the grid that they lie on.
    pub fn rescaled(slope: f32, intercept: f32) -> Self {
        Self { slope, intercept, ..Self::as_is(Interpolation::Nearest, 0.0) }
    }

    /// The window of a CT, 0 to 1 and dark beyond the volume.
    pub fn ct(slope: f32, intercept: f32, center: f32, width: f32) -> Self {
        let contrast = Contrast::Window { center, width };
        Self { slope, intercept, how: Interpolation::Linear, outside: f32::MIN, contrast, scale: 1.0, offset: 0.0 }
    }

    /// What is left to do with an interpolated stored value.
    pub(crate) fn tone(&self) -> Tone {
        let (low, span) = match self.contrast {
            Contrast::Window { center, width } => window_foot(center, width),
            Contrast::Range { low, high } if high > low => (low, (high - low).max(STEP)),
            // 0 throughout.
            Contrast::Range { .. } => (self.intercept, f32::INFINITY),
            Contrast::Whole => (0.0, 1.0),
        };
        // Finite, so that a slope of 0 makes no NaN of it.
        let outside = if self.slope == 0.0 { 0.0 } else { (self.outside - self.intercept) / self.slope };
        Tone {
            slope: self.slope / span,
            intercept: (self.intercept - low) / span,
            is_clipped: self.contrast != Contrast::Whole,
            scale: self.scale,
            offset: self.offset,
            outside: outside.clamp(f32::MIN, f32::MAX),
        }
    }
}

/// The values of a preparation as one multiplication and one addition before the clipping, and one of each behind it:
/// trilinear weights sum to 1, so that rescaling and contrast may come behind the interpolation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tone {
    /// Before the clipping: `x * slope + intercept`.
    pub slope: f32,
    /// See `slope`.
    pub intercept: f32,
    /// Whether all is clipped to 0..1.
    pub is_clipped: bool,
    /// Behind the clipping: `x * scale + offset`.
    pub scale: f32,
    /// See `scale`.
    pub offset: f32,
    /// The stored value beyond the volume.
    pub outside: f32,
}

impl Tone {
    /// The result for an interpolated stored value.
    fn of(&self, stored: f32) -> f32 {
        let value = stored * self.slope + self.intercept;
        let value = if self.is_clipped { value.clamp(0.0, 1.0) } else { value };
        value * self.scale + self.offset
    }

    fn is_plain_window(&self) -> bool {
        self.is_clipped && (self.scale, self.offset) == (1.0, 0.0)
    }
}

/// What a network takes: 32-bit floats, or 16-bit ones, rounded to the nearest, ties to even.
pub trait Element: Copy + Default {
    /// Stores the results for a row of interpolated stored values.
    fn store(row: &[f32], tone: &Tone, out: &mut [Self]);
}

impl Element for f32 {
    fn store(row: &[f32], tone: &Tone, out: &mut [Self]) {
        out.iter_mut().zip(row).for_each(|(out, stored)| *out = tone.of(*stored));
    }
}

impl Element for f16 {
    fn store(row: &[f32], tone: &Tone, out: &mut [Self]) {
        if tone.is_plain_window() {
            return lanes::shade(row, tone.slope, tone.intercept, out);
        }
        out.iter_mut().zip(row).for_each(|(out, stored)| *out = Self::from_f32(tone.of(*stored)));
    }
}

/// Stored samples on `grid` to a network's values on `onto`, slices, rows, columns, column fastest; one thread.
///
/// `clip((sample(stored) * slope + intercept - low) / span, 0, 1) * scale + offset`, low and span those of the contrast: the
/// same as `rescale`, `resample`, `window` or `clip_range`, `scale_offset` and rounding one after another, to within what
/// 32 bits leave of the sums and one unit in the last place of 16 bits. `onto` says turning, spacing and obliqueness at once.
/// Worked: slope 1, intercept -1024, centre 40, width 400: sample 1063.5 (39.5 HU) → 0.5; scale 2, offset -1: → 0.
pub fn preprocess<S: Sample, E: Element>(
    samples: &[S],
    grid: &Grid,
    onto: &Grid,
    preparation: &Preparation,
) -> Result<Vec<E>, KernelError> {
    let expected = voxels_of(grid.dims)?;
    if samples.len() != expected {
        return Err(KernelError::Shape { expected, found: samples.len() });
    }
    if grid.is_empty() {
        return Err(KernelError::Empty);
    }
    let tone = preparation.tone();
    let plan = Plan::new(Placement::between(grid, onto)?, grid.dims, onto.dims, preparation.how);
    let mut out = room(onto.dims)?;
    let mut results = vec![E::default(); onto.dims[2]];
    let sampling = Sampling { source: samples, from: grid.dims, to: onto.dims, plan, outside: tone.outside };
    sampling.rows(|row| {
        E::store(row, &tone, &mut results);
        out.extend_from_slice(&results);
    });
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row of stored values 0, 10, 20, 30 at x = 0 to 3 mm, and one of voxels from `start` on, 1 mm apart.
    fn line(dims: usize, start: f64) -> Grid {
        Grid { dims: [1, 1, dims], to_patient: [[0.0, 0.0, 1.0, start], [0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]] }
    }

    fn prepared(start: f64, preparation: &Preparation) -> Vec<f32> {
        preprocess(&[0i16, 10, 20, 30], &line(4, 0.0), &line(3, start), preparation).unwrap()
    }

    #[test]
    fn a_window_a_range_and_the_whole_take_their_worked_values() {
        let ct = Preparation::ct(1.0, -1024.0, 40.0, 400.0);
        let at_center: Vec<f32> = preprocess(&[1063.5f32], &line(1, 0.0), &line(1, 0.0), &ct).unwrap();
        assert_eq!(at_center, [0.5]);
        let range = Preparation { contrast: Contrast::Range { low: 10.0, high: 20.0 }, ..ct };
        let range = Preparation { intercept: 0.0, scale: 2.0, offset: -1.0, ..range };
        assert_eq!(prepared(0.5, &range), [-1.0, 0.0, 1.0]);
        let whole = Preparation { contrast: Contrast::Whole, slope: 2.0, outside: -7.0, ..range };
        assert_eq!(prepared(1.25, &Preparation { offset: 0.0, scale: 1.0, ..whole }), [25.0, 45.0, 60.0]);
        assert_eq!(prepared(2.5, &Preparation { offset: 0.0, scale: 1.0, ..whole }), [50.0, 60.0, -7.0]);
    }

    #[test]
    fn sixteen_bits_are_the_rounded_thirty_two() {
        let range = Contrast::Range { low: 3.0, high: 40.0 };
        for (scale, offset) in [(1.0, 0.0), (3.0, -0.7)] {
            let preparation = Preparation { contrast: range, scale, offset, ..Preparation::ct(1.5, 0.3, 0.0, 1.0) };
            let halves: Vec<f16> = preprocess(&[0u8, 10, 20, 30], &line(4, 0.0), &line(3, 0.3), &preparation).unwrap();
            let rounded: Vec<f16> = prepared(0.3, &preparation).into_iter().map(f16::from_f32).collect();
            assert_eq!(halves, rounded);
        }
    }

    #[test]
    fn a_range_without_extent_and_a_slope_of_nought_make_no_nan() {
        let ct = Preparation::ct(0.0, 3.0, 40.0, 400.0);
        let range = Contrast::Range { low: 5.0, high: 5.0 };
        assert_eq!(prepared(2.0, &Preparation { contrast: range, ..ct }), [0.0; 3]);
        assert_eq!(prepared(2.0, &Preparation { contrast: Contrast::Whole, ..ct }), [3.0; 3]);
    }

    #[test]
    fn the_narrowest_window_is_a_step_behind_its_foot() {
        let ct = Preparation { slope: 0.25, ..Preparation::ct(1.0, -1024.0, -1018.5, 1.0) };
        assert_eq!(prepared(0.0, &ct), [0.0; 3]);
        assert_eq!(prepared(2.0, &ct), [0.0, 1.0, 0.0], "5, 7.5 and beyond, over a foot of 5");
        let narrow = Contrast::Range { low: -1019.0, high: (-1019.0f32).next_up() };
        assert_eq!(prepared(2.0, &Preparation { contrast: narrow, ..ct }), [0.0, 1.0, 0.0]);
    }

    #[test]
    fn samples_that_do_not_fill_their_grid_are_refused() {
        let ct = Preparation::ct(1.0, 0.0, 40.0, 400.0);
        let torn = preprocess::<i16, f32>(&[1, 2], &line(3, 0.0), &line(3, 0.0), &ct);
        assert_eq!(torn, Err(KernelError::Shape { expected: 3, found: 2 }));
        assert_eq!(preprocess::<i16, f32>(&[], &line(0, 0.0), &line(3, 0.0), &ct), Err(KernelError::Empty));
    }
}
