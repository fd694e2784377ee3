//! What holds for any volume.
use crate::geometry::oblique;
use proptest::prelude::*;
use sund_kernels::{
    Grid, Interpolation, Orientation, Preparation, Volume, crop, fill_holes, grid_with_spacing, largest_component,
    orient, paste, preprocess, quantiles, resample, rescale, resize, window,
};

fn dims() -> impl Strategy<Value = [usize; 3]> {
    prop::array::uniform3(1..9usize)
}

fn volume<T: std::fmt::Debug + Clone>(value: impl Strategy<Value = T> + Clone) -> impl Strategy<Value = Volume<T>> {
    dims().prop_flat_map(move |dims| {
        prop::collection::vec(value.clone(), dims.iter().product::<usize>())
            .prop_map(move |voxels| Volume { grid: oblique(dims), voxels })
    })
}

fn orientation() -> impl Strategy<Value = Orientation> {
    prop::sample::select(vec!["RAS", "LPS", "SAR", "PIR", "ILA", "ASL"])
        .prop_map(|text| Orientation::parse(text).unwrap())
}

/// The volume turned by some angles about its middle, or only with another spacing.
fn target(grid: &Grid, turn: [f64; 2], mm: f64) -> Grid {
    let mut onto = grid_with_spacing(grid, [mm; 3]);
    let middle = onto.dims.map(|n| (n as f64 - 1.0) / 2.0);
    let before = onto.to_mm(middle);
    for (axes, angle) in [[0, 1], [1, 2]].into_iter().zip(turn) {
        let (sin, cos) = angle.sin_cos();
        for column in 0..3 {
            let [a, b] = axes.map(|axis: usize| onto.to_patient[axis][column]);
            onto.to_patient[axes[0]][column] = cos * a - sin * b;
            onto.to_patient[axes[1]][column] = sin * a + cos * b;
        }
    }
    let after = onto.to_mm(middle);
    (0..3).for_each(|r| onto.to_patient[r][3] += before[r] - after[r]);
    onto
}

proptest! {
    #[test]
    fn orienting_twice_is_orienting_once_and_the_way_back_is_exact(
        volume in volume(any::<i16>()), to in orientation(), back in orientation(),
    ) {
        let turned = orient(&volume, to);
        prop_assert_eq!(&orient(&turned, to), &turned);
        let (there, here) = (orient(&turned, back), orient(&volume, back));
        prop_assert_eq!(there.voxels, here.voxels);
        prop_assert_eq!(there.grid.dims, here.grid.dims);
        let differences = there.grid.to_patient.as_flattened().iter().zip(here.grid.to_patient.as_flattened());
        prop_assert!(differences.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) < 1e-9);
    }

    #[test]
    fn resizing_to_the_same_dimensions_changes_nothing(volume in volume(-1e4..1e4f32)) {
        for how in [Interpolation::Nearest, Interpolation::Linear] {
            prop_assert_eq!(&resize(&volume, volume.grid.dims, how).unwrap(), &volume);
        }
    }

    #[test]
    fn resampled_values_stay_within_the_volume_s(volume in volume(0.0..1.0f32), to in dims(), turn in prop::array::uniform2(-1.0..1.0)) {
        let (low, high) = volume.voxels.iter().fold((1.0f32, 0.0f32), |(l, h), v| (l.min(*v), h.max(*v)));
        let turned = resample(&volume, &target(&volume.grid, turn, 1.0), Interpolation::Linear, low).unwrap();
        let resized = resize(&volume, to, Interpolation::Linear).unwrap();
        prop_assert!(turned.voxels.iter().chain(&resized.voxels).all(|v| (low - 1e-6..=high + 1e-6).contains(v)));
    }

    #[test]
    fn nearest_takes_only_values_that_are_there(volume in volume(0.0..1.0f32), to in dims(), turn in prop::array::uniform2(-1.0..1.0)) {
        let turned = resample(&volume, &target(&volume.grid, turn, 1.0), Interpolation::Nearest, -1.0).unwrap();
        prop_assert!(turned.voxels.iter().all(|v| *v == -1.0 || volume.voxels.contains(v)));
        let resized = resize(&volume, to, Interpolation::Nearest).unwrap();
        prop_assert!(resized.voxels.iter().all(|v| volume.voxels.contains(v)));
    }

    #[test]
    fn a_crop_that_is_pasted_back_is_where_it_was(volume in volume(any::<u8>()), cut in prop::array::uniform6(0.0..1.0f64)) {
        let dims = volume.grid.dims;
        let region = std::array::from_fn(|a| {
            let start = (cut[a] * dims[a] as f64) as usize;
            start..start + 1 + (cut[a + 3] * (dims[a] - start - 1) as f64) as usize
        });
        let part = crop(&volume, &region).unwrap();
        let back = paste(&part, &volume.grid, &region, 7).unwrap();
        for (n, (a, b)) in back.voxels.iter().zip(&volume.voxels).enumerate() {
            let at = [n / (dims[1] * dims[2]), n / dims[2] % dims[1], n % dims[2]];
            prop_assert_eq!(*a, if (0..3).all(|a| region[a].contains(&at[a])) { *b } else { 7 });
        }
        prop_assert_eq!(crop(&back, &region).unwrap(), part);
    }

    /// Straight, reversed and oblique, wider than a register, partly outside.
    #[test]
    fn one_pass_is_rescale_resample_window_and_rounding(
        dims in (1..6usize, 1..12usize, 1..50usize),
        turn in prop::sample::select(vec![[0.0, 0.0], [std::f64::consts::PI, 0.0], [0.3, 0.2], [0.01, -0.7]]),
        mm in prop::sample::select(vec![0.35, 0.5, 0.9, 3.0]),
        (slope, intercept) in prop::sample::select(vec![(1.0f32, -1024.0f32), (0.25, 3.0), (-2.0, 100.0)]),
        (center, width) in prop::sample::select(vec![(40.0f32, 400.0f32), (-600.0, 1500.0), (50.0, 80.0)]),
        seed in any::<u32>(),
    ) {
        let grid = oblique([dims.0, dims.1, dims.2]);
        let samples: Vec<i16> = (0..grid.len() as u32)
            .map(|n| ((n ^ seed).wrapping_mul(2_654_435_761) >> 20) as i16 - 1024)
            .collect();
        let onto = target(&grid, turn, mm);
        let ct = Preparation::ct(slope, intercept, center, width);
        let fused: Vec<half::f16> = preprocess(&samples, &grid, &onto, &ct).unwrap();

        let real = Volume { grid, voxels: rescale(&samples, slope, intercept) };
        let mut composed = resample(&real, &onto, Interpolation::Linear, f32::MIN).unwrap().voxels;
        window(&mut composed, center, width);
        prop_assert_eq!(fused.len(), composed.len());
        for (a, b) in fused.iter().zip(&composed) {
            // Half a unit in the last place of 16 bits below 1, and what 32 bits leave of the sums.
            prop_assert!((a.to_f32() - b).abs() <= 2.5e-4 + 4e-5, "{} {}", a, b);
        }
    }

    #[test]
    fn the_largest_component_is_part_of_the_mask_and_filled_holes_hold(mask in volume(0..2u8)) {
        let largest = largest_component(&mask);
        prop_assert!(largest.voxels.iter().zip(&mask.voxels).all(|(a, b)| a <= b));
        prop_assert_eq!(&largest_component(&largest), &largest);
        let filled = fill_holes(&mask);
        prop_assert!(filled.voxels.iter().zip(&mask.voxels).all(|(a, b)| a >= b));
        prop_assert_eq!(&fill_holes(&filled), &filled);
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_values(mut values in prop::collection::vec(-1e3..1e3f32, 1..60), share in 0.0..=1.0f64) {
        let got = quantiles(&values, &[share]).unwrap()[0];
        values.sort_by(f32::total_cmp);
        let at = share * (values.len() - 1) as f64;
        let (low, high) = (f64::from(values[at as usize]), f64::from(values[(at.ceil()) as usize]));
        prop_assert!((f64::from(got) - (low + (high - low) * at.fract())).abs() < 1e-4);
    }
}
