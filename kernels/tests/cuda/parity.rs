//! Every operation on a machine against its reference, over many shapes. What a machine is does not matter here: the tests
//! give the processor, `gpu_check` a GPU.
use half::f16;
use std::fmt::Debug;
use sund_kernels as reference;
use sund_kernels::cuda::launch::{self, Prepared, Score, Target, TiledScores, Voxel, Work};
use sund_kernels::cuda::machine::{Machine, Memory, Plain};
use sund_kernels::{Blend, Contrast, Grid, Interpolation, Preparation, Sample, Volume, grid_with_spacing};

/// An operation whose kernels are held against its reference.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    Preprocess,
    Softmax,
    Argmax,
    Threshold,
    NotFinite,
    LargestComponent,
    FillHoles,
    AccumulateTile,
    Overlay,
    Quantiles,
    ZScore,
    Crop,
    Paste,
    OccupiedRegion,
    Window,
    ClipRange,
    ScaleOffset,
}

pub const OPERATIONS: [Operation; 17] = [
    Operation::Preprocess,
    Operation::Softmax,
    Operation::Argmax,
    Operation::Threshold,
    Operation::NotFinite,
    Operation::LargestComponent,
    Operation::FillHoles,
    Operation::AccumulateTile,
    Operation::Overlay,
    Operation::Quantiles,
    Operation::ZScore,
    Operation::Crop,
    Operation::Paste,
    Operation::OccupiedRegion,
    Operation::Window,
    Operation::ClipRange,
    Operation::ScaleOffset,
];

impl Operation {
    /// Its name: that of reference, kernel, launcher and benchmark.
    pub fn name(self) -> &'static str {
        match self {
            Self::Preprocess => "preprocess",
            Self::Softmax => "softmax",
            Self::Argmax => "argmax",
            Self::Threshold => "threshold",
            Self::NotFinite => "not_finite",
            Self::LargestComponent => "largest_component",
            Self::FillHoles => "fill_holes",
            Self::AccumulateTile => "accumulate_tile",
            Self::Overlay => "overlay",
            Self::Quantiles => "quantiles",
            Self::ZScore => "z_score",
            Self::Crop => "crop",
            Self::Paste => "paste",
            Self::OccupiedRegion => "occupied_region",
            Self::Window => "window",
            Self::ClipRange => "clip_range",
            Self::ScaleOffset => "scale_offset",
        }
    }

    /// Panics where one of so many cases (of each kind of samples and results) differs; the seed is in what it says.
    pub fn check<M: Machine<Error: Debug>>(self, machine: &mut M, cases: u64) {
        for seed in 0..cases {
            let dice = &mut Dice::new(seed);
            match self {
                Self::Preprocess => {
                    preprocess::<M, i16, f16>(machine, dice);
                    preprocess::<M, i16, f32>(machine, dice);
                    preprocess::<M, u16, f16>(machine, dice);
                    preprocess::<M, u16, f32>(machine, dice);
                    preprocess::<M, u8, f16>(machine, dice);
                    preprocess::<M, u8, f32>(machine, dice);
                    preprocess::<M, i32, f16>(machine, dice);
                    preprocess::<M, i32, f32>(machine, dice);
                    preprocess::<M, f32, f16>(machine, dice);
                    preprocess::<M, f32, f32>(machine, dice);
                }
                Self::Softmax => {
                    softmax::<M, f32>(machine, dice, 1e-6);
                    // Half a unit in the last place of 16 bits below 1, and what 32 bits leave of the sums.
                    softmax::<M, f16>(machine, dice, 2.5e-4);
                }
                Self::Argmax => {
                    argmax::<M, f32>(machine, dice);
                    argmax::<M, f16>(machine, dice);
                }
                Self::Threshold => {
                    threshold::<M, f32>(machine, dice);
                    threshold::<M, f16>(machine, dice);
                }
                Self::NotFinite => {
                    not_finite::<M, f32>(machine, dice);
                    not_finite::<M, f16>(machine, dice);
                }
                Self::LargestComponent => {
                    let mask = mask(dice);
                    component(machine, &mask, reference::largest_component(&mask), dice, launch::largest_component);
                }
                Self::FillHoles => {
                    let mask = mask(dice);
                    component(machine, &mask, reference::fill_holes(&mask), dice, launch::fill_holes);
                }
                Self::AccumulateTile => {
                    accumulate_tile::<M, f32>(machine, dice);
                    accumulate_tile::<M, f16>(machine, dice);
                }
                Self::Overlay => overlay(machine, dice),
                Self::Quantiles => quantiles(machine, dice),
                Self::ZScore => z_score(machine, dice),
                Self::Crop => {
                    crop::<M, u8>(machine, dice);
                    crop::<M, f32>(machine, dice);
                }
                Self::Paste => {
                    paste::<M, u8>(machine, dice);
                    paste::<M, f32>(machine, dice);
                }
                Self::OccupiedRegion => occupied_region(machine, dice),
                Self::Window => {
                    let (center, width) = (dice.within(-9.0, 9.0) as f32, dice.of(&[-7.0, 1.0, 1.5, 400.0]));
                    let change = |values: &mut [f32]| reference::window(values, center, width);
                    changed(machine, dice, change, |machine, values, into| {
                        launch::window(machine, values, center, width, into)
                    });
                }
                Self::ClipRange => {
                    let (low, high) = (dice.within(-9.0, 9.0) as f32, dice.of(&[-20.0, 0.5, 12.0]));
                    let change = |values: &mut [f32]| reference::clip_range(values, low, high);
                    changed(machine, dice, change, |machine, values, into| {
                        launch::clip_range(machine, values, low, high, into)
                    });
                }
                Self::ScaleOffset => {
                    let (scale, offset) = (dice.within(-2.0, 2.0) as f32, dice.within(-2.0, 2.0) as f32);
                    let change = |values: &mut [f32]| reference::scale_offset(values, scale, offset);
                    changed(machine, dice, change, |machine, values, into| {
                        launch::scale_offset(machine, values, scale, offset, into)
                    });
                }
            }
        }
    }
}

/// Numbers that look random and are the same each time (splitmix64).
#[derive(Debug)]
pub struct Dice {
    seed: u64,
    state: u64,
}

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self { seed, state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// From `low` up to `high`.
    pub fn within(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn of<T: Copy>(&mut self, these: &[T]) -> T {
        these[self.below(these.len())]
    }

    /// Sides that are short, odd, or longer than a block is wide.
    fn dims(&mut self) -> [usize; 3] {
        let longest = self.of(&[[1, 1, 300], [3, 40, 20], [9, 9, 9], [2, 5, 70], [33, 3, 2]]);
        longest.map(|n| 1 + self.below(n))
    }
}

/// Where a voxel lies: spacing, tilted or not, axes exchanged or reversed.
pub fn grid(dice: &mut Dice) -> Grid {
    let dims = dice.dims();
    let mut axes = [[0.0; 3]; 3];
    let order = dice.of(&[[2, 1, 0], [2, 1, 0], [0, 1, 2], [1, 2, 0], [0, 2, 1]]);
    for (axis, patient) in order.into_iter().enumerate() {
        axes[axis][patient] = dice.of(&[0.35, 0.5, 0.703_125, 1.0, 3.0]) * dice.of(&[1.0, -1.0]);
    }
    let start: [f64; 3] = std::array::from_fn(|_| dice.within(-200.0, 200.0));
    let to_patient = std::array::from_fn(|r| [axes[0][r], axes[1][r], axes[2][r], start[r]]);
    let grid = Grid { dims, to_patient };
    let tilt = dice.of(&[0.0, 0.0, 0.3]);
    turned(grid, [tilt, -tilt / 3.0])
}

/// The grid turned by these angles about its middle.
fn turned(mut grid: Grid, angles: [f64; 2]) -> Grid {
    let middle = grid.dims.map(|n| (n as f64 - 1.0) / 2.0);
    let before = grid.to_mm(middle);
    for ([a, b], angle) in [[0, 1], [1, 2]].into_iter().zip(angles) {
        let (sin, cos) = angle.sin_cos();
        for column in 0..3 {
            let (va, vb) = (grid.to_patient[a][column], grid.to_patient[b][column]);
            grid.to_patient[a][column] = cos * va - sin * vb;
            grid.to_patient[b][column] = sin * va + cos * vb;
        }
    }
    let after = grid.to_mm(middle);
    (0..3).for_each(|r| grid.to_patient[r][3] += before[r] - after[r]);
    grid
}

/// A target for a source: the same, another spacing, moved, reversed, axes exchanged, turned, far away.
fn onto(source: &Grid, dice: &mut Dice) -> Grid {
    let mm = [0; 3].map(|_| dice.of(&[0.4, 0.5, 0.9, 1.0, 2.0]));
    let mut onto = match dice.below(8) {
        0 => *source,
        1 | 2 => grid_with_spacing(source, mm),
        3 => turned(grid_with_spacing(source, mm), [std::f64::consts::PI, 0.0]),
        4 => turned(*source, [0.2, 0.1]),
        5 => turned(grid_with_spacing(source, mm), [dice.within(-3.0, 3.0), dice.within(-3.0, 3.0)]),
        6 => exchanged(source, dice),
        _ => grid_with_spacing(source, [dice.of(&[1.0, 5.0]); 3]),
    };
    // A target as large as may be is cut to what is quickly run.
    onto.dims = onto.dims.map(|n| n.min(60));
    let moved = dice.of(&[0.0, 0.0, 0.25, 0.5, -0.7, 3.0, 1e4]);
    (0..3).for_each(|r| onto.to_patient[r][3] += moved * onto.to_patient[r][2]);
    onto
}

/// The same voxels, slices for columns, counted from the other end.
fn exchanged(source: &Grid, dice: &mut Dice) -> Grid {
    let axis = dice.below(2);
    let mut grid = *source;
    grid.dims.swap(axis, 2);
    for row in &mut grid.to_patient {
        row.swap(axis, 2);
        row[3] += row[2] * (grid.dims[2] - 1) as f64;
        row[2] = -row[2];
    }
    grid
}

fn preparation(dice: &mut Dice) -> Preparation {
    let contrast = match dice.below(4) {
        0 => Contrast::Window { center: 40.0, width: dice.of(&[1.0, 80.0, 400.0, 60_000.0]) },
        1 => Contrast::Range { low: -500.0, high: dice.of(&[-500.0, 0.0, 900.0]) },
        _ => Contrast::Whole,
    };
    let (scale, offset) = dice.of(&[(1.0, 0.0), (2.0, -1.0), (0.3, 0.7)]);
    Preparation {
        slope: dice.of(&[1.0, 0.25, -2.0]),
        intercept: dice.of(&[0.0, -1024.0, 3.5]),
        how: dice.of(&[Interpolation::Linear, Interpolation::Linear, Interpolation::Nearest]),
        outside: dice.of(&[0.0, -1024.0, f32::MIN]),
        contrast,
        scale,
        offset,
    }
}

/// A kind of samples.
trait Rolled: Sample + Plain {
    fn rolled(dice: &mut Dice) -> Self;
}

macro_rules! rolled {
    ($($kind:ty),*) => {$(
        impl Rolled for $kind {
            fn rolled(dice: &mut Dice) -> Self {
                dice.next() as Self
            }
        }
    )*};
}
rolled!(u8, i16, u16, i32);

impl Rolled for f32 {
    fn rolled(dice: &mut Dice) -> Self {
        dice.within(-1e4, 1e4) as Self
    }
}

fn preprocess<M: Machine<Error: Debug>, S: Rolled, E: Target + PartialEq + Debug>(machine: &mut M, dice: &mut Dice) {
    let source = grid(dice);
    let (onto, preparation) = (onto(&source, dice), preparation(dice));
    let samples: Vec<S> = (0..source.len()).map(|_| S::rolled(dice)).collect();
    let expected: Vec<E> = reference::preprocess(&samples, &source, &onto, &preparation).unwrap();
    let prepared = Prepared::new(machine, &source, &onto, &preparation).unwrap();
    let samples = machine.upload(&samples).unwrap();
    let mut out = machine.zeros::<E>(onto.len()).unwrap();
    launch::preprocess(machine, &prepared, &samples, &mut out).unwrap();
    let got = machine.download(&out).unwrap();
    let (kinds, seed) = ([S::NAME, E::NAME], dice.seed);
    for (n, (got, expected)) in got.iter().zip(&expected).enumerate() {
        assert_eq!(got, expected, "{kinds:?} at {n}, seed {seed}: {source:?} onto {onto:?}, {preparation:?}");
    }
}

/// A kind of scores.
trait Rounded: Score {
    fn rounded(value: f32) -> Self;
    fn wide(self) -> f32;
}

impl Rounded for f32 {
    fn rounded(value: f32) -> Self {
        value
    }
    fn wide(self) -> f32 {
        self
    }
}

impl Rounded for f16 {
    fn rounded(value: f32) -> Self {
        Self::from_f32(value)
    }
    fn wide(self) -> f32 {
        self.to_f32()
    }
}

/// Scores of so many channels, with equals among them.
fn scores<T: Rounded>(dice: &mut Dice, channels: usize, spread: f64) -> Vec<T> {
    let n = dice.of(&[1, 7, 255, 256, 1000, 2049]);
    let step = dice.of(&[0.0, 0.5]);
    let value = |dice: &mut Dice| {
        let value = dice.within(-spread, spread);
        T::rounded(if step > 0.0 { (value / step).round() * step } else { value } as f32)
    };
    (0..channels * n).map(|_| value(dice)).collect()
}

fn wide<T: Rounded>(values: &[T]) -> Vec<f32> {
    values.iter().map(|value| value.wide()).collect()
}

fn softmax<M: Machine<Error: Debug>, T: Rounded>(machine: &mut M, dice: &mut Dice, tolerance: f32) {
    let channels = dice.of(&[1, 2, 5, 17, 256]);
    let spread = dice.of(&[1.0, 30.0, 900.0]);
    let logits = scores::<T>(dice, channels, spread);
    let mut expected = wide(&logits);
    reference::softmax(&mut expected, channels).unwrap();
    let mut memory = machine.upload(&logits).unwrap();
    launch::softmax(machine, &mut memory, channels).unwrap();
    for (n, (got, expected)) in machine.download(&memory).unwrap().iter().zip(&expected).enumerate() {
        assert!((got.wide() - expected).abs() <= tolerance, "at {n}, seed {}: {} {expected}", dice.seed, got.wide());
    }
}

fn argmax<M: Machine<Error: Debug>, T: Rounded>(machine: &mut M, dice: &mut Dice) {
    let channels = dice.of(&[1, 2, 5, 17, 256]);
    let scores = scores::<T>(dice, channels, 2.0);
    let expected = reference::argmax(&wide(&scores), channels).unwrap();
    let memory = machine.upload(&scores).unwrap();
    let mut labels = machine.zeros(expected.len()).unwrap();
    launch::argmax(machine, &memory, channels, &mut labels).unwrap();
    assert_eq!(machine.download(&labels).unwrap(), expected, "seed {}", dice.seed);
    let label = if dice.below(4) == 0 { 300 } else { usize::from(dice.of(&expected)) };
    launch::argmax_is(machine, &mut labels, label).unwrap();
    let expected: Vec<u8> = expected.iter().map(|found| u8::from(usize::from(*found) == label)).collect();
    assert_eq!(machine.download(&labels).unwrap(), expected, "label {label}, seed {}", dice.seed);
}

/// Twice on the same place: what the first run found must not stay.
fn not_finite<M: Machine<Error: Debug>, T: Rounded>(machine: &mut M, dice: &mut Dice) {
    let mut values = scores::<T>(dice, 1, 9.0);
    let place = dice.below(values.len());
    let mut found = machine.zeros(1).unwrap();
    // The largest of 32 bits, which is infinite in 16, and the largest of 16.
    for odd in [dice.of(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY]), f32::MAX, 65504.0] {
        values[place] = T::rounded(odd);
        let memory = machine.upload(&values).unwrap();
        launch::not_finite(machine, &memory, &mut found).unwrap();
        let expected = u32::from(reference::not_finite(&wide(&values)));
        assert_eq!(machine.download(&found).unwrap(), [expected], "{odd} at {place}");
    }
}

fn threshold<M: Machine<Error: Debug>, T: Rounded>(machine: &mut M, dice: &mut Dice) {
    let channels = dice.of(&[1, 1, 2, 5]);
    let mut scores = scores::<T>(dice, channels, 2.0);
    scores[0] = T::rounded(f32::NAN);
    let (above, n, channel) = (dice.of(&[0.5, 0.0, -3.0]), scores.len() / channels, dice.below(channels));
    let expected = reference::threshold(&wide(&scores[channel * n..(channel + 1) * n]), above);
    let memory = machine.upload(&scores).unwrap();
    let mut mask = machine.zeros(expected.len()).unwrap();
    launch::threshold_channel(machine, &memory, channels, channel, above, &mut mask).unwrap();
    assert_eq!(machine.download(&mask).unwrap(), expected, "channel {channel}, seed {}", dice.seed);
    if channels == 1 {
        launch::threshold(machine, &memory, above, &mut mask).unwrap();
        assert_eq!(machine.download(&mask).unwrap(), expected, "seed {}", dice.seed);
    }
}

/// Speckle of any density, blobs, a comb whose teeth join only at its far end, a diagonal, equals, all, nothing.
fn mask(dice: &mut Dice) -> Volume<u8> {
    let dims = dice.dims();
    let grid = Grid { dims, to_patient: [[0.0; 4]; 3] };
    let (kind, density) = (dice.below(8), dice.of(&[0.02, 0.1, 0.2, 0.35, 0.5, 0.9, 0.98]));
    let voxels = (0..grid.len()).map(|n| {
        let [k, j, i] = [n / (dims[1] * dims[2]), n / dims[2] % dims[1], n % dims[2]];
        let is_set = match kind {
            0 => true,
            1 => false,
            2 => i % 2 == 0 || (k + 1 == dims[0] && j + 1 == dims[1]),
            3 => (i + j + k) % 2 == 0,
            4 => i % 4 == 1 && j % 2 == 0,
            5 => i.abs_diff(j) == k % 3,
            _ => dice.within(0.0, 1.0) < density,
        };
        if is_set { dice.of(&[1, 1, 200]) } else { 0 }
    });
    let voxels = voxels.collect();
    Volume { grid, voxels }
}

type Component<M> = fn(
    &mut M,
    &<M as Machine>::Memory<u8>,
    [usize; 3],
    &mut Work<M>,
    &mut <M as Machine>::Memory<u8>,
) -> Result<(), <M as Machine>::Error>;

/// Twice: what the first run leaves behind must not show in the second.
fn component<M: Machine<Error: Debug>>(
    machine: &mut M,
    mask: &Volume<u8>,
    expected: Volume<u8>,
    dice: &Dice,
    operation: Component<M>,
) {
    let dims = mask.grid.dims;
    let mut work = Work::new(machine, dims).unwrap();
    let memory = machine.upload(&mask.voxels).unwrap();
    let mut out = machine.zeros(mask.voxels.len()).unwrap();
    for _ in 0..2 {
        operation(machine, &memory, dims, &mut work, &mut out).unwrap();
        assert_eq!(machine.download(&out).unwrap(), expected.voxels, "{dims:?}, seed {}", dice.seed);
    }
}

fn accumulate_tile<M: Machine<Error: Debug>, T: Rounded>(machine: &mut M, dice: &mut Dice) {
    let dims = [0; 3].map(|_| 1 + dice.below(14));
    let tile = [0; 3].map(|_| 1 + dice.below(9));
    let channels = 1 + dice.below(3);
    let mut expected = Blend::new(dims, channels).unwrap();
    let mut blend = TiledScores::new(machine, dims, channels, tile).unwrap();
    for _ in 0..4 {
        let at = dims.map(|n| dice.below(n));
        let scores: Vec<T> =
            (0..channels * tile.iter().product::<usize>()).map(|_| T::rounded(dice.within(-1.0, 1.0) as f32)).collect();
        reference::accumulate_tile(&mut expected, &wide(&scores), tile, at).unwrap();
        let memory = machine.upload(&scores).unwrap();
        launch::accumulate_tile(machine, &mut blend, &memory, at).unwrap();
    }
    assert_eq!(machine.download(blend.scores()).unwrap(), expected.sums, "sums, seed {}", dice.seed);
    reference::normalise_tiles(&mut expected);
    launch::normalise_tiles(machine, &mut blend).unwrap();
    assert_eq!(machine.download(blend.scores()).unwrap(), expected.sums, "means, seed {}", dice.seed);
}

fn overlay<M: Machine<Error: Debug>>(machine: &mut M, dice: &mut Dice) {
    let mask = mask(dice);
    let shape = [mask.grid.dims[0] * mask.grid.dims[1], mask.grid.dims[2]];
    let colour = [0; 3].map(|_| dice.next() as u8);
    let mut expected: Vec<u8> = (0..3 * mask.voxels.len()).map(|_| dice.next() as u8).collect();
    let mut rgb = machine.upload(&expected).unwrap();
    reference::overlay(&mut expected, &mask.voxels, shape, colour).unwrap();
    let mask = machine.upload(&mask.voxels).unwrap();
    launch::overlay(machine, &mut rgb, &mask, shape, colour).unwrap();
    assert_eq!((rgb.count(), machine.download(&rgb).unwrap()), (expected.len(), expected), "seed {}", dice.seed);
}

/// Values of both signs with equals, both zeros and infinities among them; one is no number at times, and refused.
fn quantiles<M: Machine<Error: Debug>>(machine: &mut M, dice: &mut Dice) {
    let spread = dice.of(&[1e-40, 3.0, 1e30]);
    let mut values = scores::<f32>(dice, 1, spread);
    for odd in [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY] {
        let place = dice.below(values.len());
        values[place] = odd;
    }
    let shares = [0.0, 0.005, dice.within(0.0, 1.0), 0.5, 0.995, 1.0];
    let memory = machine.upload(&values).unwrap();
    let got = launch::quantiles(machine, &memory, &shares).unwrap();
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<u32>>();
    let expected = reference::quantiles(&values, &shares).unwrap();
    assert_eq!(bits(&got), bits(&expected), "{got:?} {expected:?}, seed {}", dice.seed);
    let place = dice.below(values.len());
    values[place] = f32::from_bits(dice.of(&[f32::NAN.to_bits(), 0xffc0_0000, 0x7f80_0001]));
    let memory = machine.upload(&values).unwrap();
    assert!(launch::quantiles(machine, &memory, &shares).is_err(), "seed {}", dice.seed);
}

fn z_score<M: Machine<Error: Debug>>(machine: &mut M, dice: &mut Dice) {
    let n = dice.of(&[1, 2, 300, 16_383, 16_384, 40_000]);
    let spread = dice.of(&[0.0, 1.0, 1e4]);
    let mut expected: Vec<f32> = (0..n).map(|_| (1000.0 + dice.within(-spread, spread)) as f32).collect();
    let memory = machine.upload(&expected).unwrap();
    reference::z_score(&mut expected);
    let mut scores = machine.zeros(n).unwrap();
    launch::z_score(machine, &memory, &mut scores).unwrap();
    assert_eq!(machine.download(&scores).unwrap(), expected, "{n}, seed {}", dice.seed);
}

/// A part of a volume that is not empty.
fn region(dice: &mut Dice, dims: [usize; 3]) -> reference::Region {
    dims.map(|n| {
        let start = dice.below(n);
        start..start + 1 + dice.below(n - start)
    })
}

fn volume<T: Rolled>(dice: &mut Dice, dims: [usize; 3]) -> Volume<T> {
    let grid = Grid { dims, to_patient: [[0.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]] };
    Volume { grid, voxels: (0..grid.len()).map(|_| T::rolled(dice)).collect() }
}

fn crop<M: Machine<Error: Debug>, T: Rolled + Voxel + PartialEq + Debug>(machine: &mut M, dice: &mut Dice) {
    let dims = dice.dims();
    let (volume, to) = (volume::<T>(dice, dims), region(dice, dims));
    let expected = reference::crop(&volume, &to).unwrap();
    let memory = machine.upload(&volume.voxels).unwrap();
    let mut part = machine.zeros(expected.voxels.len()).unwrap();
    launch::crop(machine, &memory, dims, &to, &mut part).unwrap();
    assert_eq!(machine.download(&part).unwrap(), expected.voxels, "{to:?} of {dims:?}, seed {}", dice.seed);
    let beyond = [to[0].clone(), to[1].clone(), to[2].start..dims[2] + 1];
    assert!(launch::crop(machine, &memory, dims, &beyond, &mut part).is_err());
}

fn paste<M: Machine<Error: Debug>, T: Rolled + Voxel + PartialEq + Debug>(machine: &mut M, dice: &mut Dice) {
    let dims = dice.dims();
    let at = region(dice, dims);
    let part = volume::<T>(dice, [at[0].len(), at[1].len(), at[2].len()]);
    let (fill, grid) = (T::rolled(dice), Grid { dims, ..part.grid });
    let expected = reference::paste(&part, &grid, &at, fill).unwrap();
    let memory = machine.upload(&part.voxels).unwrap();
    let mut volume = machine.zeros(grid.len()).unwrap();
    launch::paste(machine, &memory, &at, fill, dims, &mut volume).unwrap();
    assert_eq!(machine.download(&volume).unwrap(), expected.voxels, "{at:?} of {dims:?}, seed {}", dice.seed);
}

fn occupied_region<M: Machine<Error: Debug>>(machine: &mut M, dice: &mut Dice) {
    let mask = mask(dice);
    let occupancy = dice.of(&[0.0, 0.02, 0.3, 1.0]);
    let memory = machine.upload(&mask.voxels).unwrap();
    let got = launch::occupied_region(machine, &memory, mask.grid.dims, occupancy).unwrap();
    assert_eq!(got, reference::occupied_region(&mask, occupancy), "{occupancy}, seed {}", dice.seed);
}

/// What is done to each value on its own.
fn changed<M: Machine<Error: Debug>>(
    machine: &mut M,
    dice: &mut Dice,
    change: impl Fn(&mut [f32]),
    launch: impl Fn(&mut M, &M::Memory<f32>, &mut M::Memory<f32>) -> Result<(), M::Error>,
) {
    let mut expected = scores::<f32>(dice, 1, 20.0);
    expected[0] = dice.of(&[f32::NAN, f32::INFINITY, -0.0]);
    let memory = machine.upload(&expected).unwrap();
    let mut into = machine.zeros(expected.len()).unwrap();
    change(&mut expected);
    launch(machine, &memory, &mut into).unwrap();
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    let is_same = |(got, expected): (&u32, &u32)| {
        // Of what is no number the sign is nobody's.
        got == expected || (f32::from_bits(*got).is_nan() && f32::from_bits(*expected).is_nan())
    };
    let (got, expected) = (bits(machine.download(&into).unwrap()), bits(expected));
    assert!(got.iter().zip(&expected).all(is_same), "seed {}", dice.seed);
}
