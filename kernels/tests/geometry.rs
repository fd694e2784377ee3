//! An asymmetric phantom (oblique, reversed, anisotropic) goes through orient, resize, crop and back: nothing flips or shifts.
use sund_kernels::{
    Grid, Interpolation, Orientation, Volume, crop, grid_with_spacing, orient, pad, paste, resample, resize,
};

/// Oblique, anisotropic, slices towards the feet.
pub fn oblique(dims: [usize; 3]) -> Grid {
    let (s, c) = (0.2f64.sin(), 0.2f64.cos());
    Grid { dims, to_patient: [[0.2, -0.8 * s, 0.5 * c, 10.0], [0.0, 0.8 * c, 0.5 * s, -20.0], [-3.0, 0.0, 0.1, 30.0]] }
}

/// Every voxel different.
fn numbered() -> Volume<f32> {
    Volume::new(oblique([3, 4, 5]), (0..60).map(|n| n as f32).collect()).unwrap()
}

/// A value that tells its place in the patient: linear interpolation must give it back anywhere inside.
fn ramp(grid: Grid) -> Volume<f32> {
    Volume { grid, voxels: indices(grid.dims).map(|at| told(grid.to_mm(at.map(|n| n as f64)))).collect() }
}

fn told([x, y, z]: [f64; 3]) -> f32 {
    (3.0 * x - 7.0 * y + 11.0 * z) as f32
}

fn indices(dims: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    (0..dims.iter().product()).map(move |n: usize| [n / (dims[1] * dims[2]), n / dims[2] % dims[1], n % dims[2]])
}

fn place(volume: &Volume<f32>, value: f32) -> [f64; 3] {
    let n = volume.voxels.iter().position(|v| *v == value).unwrap();
    volume.grid.to_mm(indices(volume.grid.dims).nth(n).unwrap().map(|n| n as f64))
}

fn assert_near(a: [f64; 3], b: [f64; 3], context: &str) {
    assert!((0..3).all(|r| (a[r] - b[r]).abs() < 1e-9), "{context}: {a:?} {b:?}");
}

#[test]
fn orienting_moves_no_voxel_in_the_patient() {
    let volume = numbered();
    for to in ["RAS", "LPS", "SAR", "PIR", "ILA"] {
        let turned = orient(&volume, Orientation::parse(to).unwrap());
        (0..60).for_each(|n| assert_near(place(&volume, n as f32), place(&turned, n as f32), to));
    }
    let m = orient(&volume, Orientation::parse("RAS").unwrap()).grid.to_patient;
    assert!(m[2][0] > 0.0 && m[1][1] < 0.0 && m[0][2] < 0.0, "slices go up, rows to the front, columns to the right");
}

#[test]
fn the_own_grid_and_the_way_back_change_nothing() {
    let volume = numbered();
    for how in [Interpolation::Nearest, Interpolation::Linear] {
        assert_eq!(resample(&volume, &volume.grid, how, -1.0).unwrap(), volume);
        for to in ["SAR", "LPI"] {
            let turned = orient(&volume, Orientation::parse(to).unwrap());
            assert_eq!(
                orient(&turned, Orientation::parse("LPI").unwrap()),
                orient(&volume, Orientation::parse("LPI").unwrap())
            );
            let back = resample(&turned, &volume.grid, how, -1.0).unwrap();
            assert!(back.voxels.iter().zip(&volume.voxels).all(|(a, b)| (a - b).abs() < 1e-4), "{to} {how:?}");
        }
    }
}

#[test]
fn every_grid_sees_the_same_patient() {
    let volume = ramp(oblique([24, 30, 36]));
    let turned = orient(&volume, Orientation::parse("RAS").unwrap());
    let fine = resize(&turned, [40, 33, 50], Interpolation::Linear).unwrap();
    let isotropic =
        resample(&fine, &grid_with_spacing(&volume.grid, [1.0; 3]), Interpolation::Linear, f32::NAN).unwrap();
    let back = resample(&isotropic, &volume.grid, Interpolation::Linear, f32::NAN).unwrap();
    // At the rim the edge voxel's value holds; four voxels in, only the ramp is seen.
    let mut seen = 0;
    for (at, (value, true_value)) in indices(volume.grid.dims).zip(back.voxels.iter().zip(&volume.voxels)) {
        if (0..3).all(|a| (4..volume.grid.dims[a] - 4).contains(&at[a])) {
            assert!((value - true_value).abs() < 0.02, "{at:?}: {value} for {true_value}");
            seen += 1;
        }
    }
    assert_eq!(seen, 16 * 22 * 28);
}

#[test]
fn a_volume_ends_half_a_voxel_beyond_its_outermost_centres() {
    let line = |dims, start: f64, step: f64| Grid {
        dims,
        to_patient: [[0.0, 0.0, step, start], [0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]],
    };
    let volume = Volume::new(line([1, 1, 4], 0.0, 1.0), vec![0.0, 1.0, 2.0, 3.0]).unwrap();
    let at = |x: f64, how| resample(&volume, &line([1, 1, 1], x, 1.0), how, -9.0).unwrap().voxels[0];
    assert_eq!((at(1.25, Interpolation::Linear), at(1.25, Interpolation::Nearest)), (1.25, 1.0));
    assert_eq!((at(3.4, Interpolation::Linear), at(3.6, Interpolation::Linear)), (3.0, -9.0));
    assert_eq!((at(-0.5, Interpolation::Linear), at(-0.6, Interpolation::Nearest)), (0.0, -9.0));
    assert_eq!(at(1.5, Interpolation::Nearest), 2.0, "midway the upper voxel is taken");
    // The other way round, and partly outside.
    let turned = resample(&volume, &line([1, 1, 6], 4.0, -1.0), Interpolation::Linear, -9.0).unwrap();
    assert_eq!(turned.voxels, [-9.0, 3.0, 2.0, 1.0, 0.0, -9.0]);
}

#[test]
fn resize_keeps_the_extent_and_takes_the_worked_values() {
    let grid = Grid { dims: [1, 1, 4], to_patient: [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]] };
    let line = Volume { grid, voxels: vec![0.0, 1.0, 2.0, 3.0] };
    assert_eq!(resize(&line, [1, 1, 2], Interpolation::Nearest).unwrap().voxels, [1.0, 3.0]);
    let half = resize(&line, [1, 1, 2], Interpolation::Linear).unwrap();
    assert_eq!(half.voxels, [0.5, 2.5]);
    assert_eq!(half.grid.to_patient[2], [0.0, 0.0, 2.0, 0.5]);
    let by_resample = resample(&line, &half.grid, Interpolation::Linear, 0.0).unwrap();
    assert_eq!(by_resample.voxels, half.voxels, "both know the same half-voxel convention");
}

#[test]
fn crop_paste_and_pad_keep_every_voxel_in_its_place() {
    let volume = numbered();
    let region = [1..3, 0..2, 2..5];
    let part = crop(&volume, &region).unwrap();
    assert_near(place(&part, 22.0), place(&volume, 22.0), "crop");
    let back = paste(&part, &volume.grid, &region, -1.0).unwrap();
    assert_eq!(back.voxels.iter().filter(|v| **v >= 0.0).count(), 12);
    assert_near(place(&back, 47.0), place(&volume, 47.0), "paste");
    let padded = pad(&part, [1, 0, 2], [0, 1, 0], -1.0).unwrap();
    assert_near(place(&padded, 22.0), place(&volume, 22.0), "pad");
}
