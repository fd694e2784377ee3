//! What numpy and scipy say (data/write_scipy.py wrote it down).
use std::collections::HashMap;
use sund_kernels::{
    Grid, Interpolation, Volume, fill_holes, largest_component, quantiles, resample, resize, softmax, z_score,
};

const GRID: Grid =
    Grid { dims: [5, 6, 7], to_patient: [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]] };

fn said() -> HashMap<&'static str, &'static str> {
    include_str!("data/scipy.txt").lines().filter_map(|line| line.split_once(' ')).collect()
}

fn numbers<T: std::str::FromStr<Err: std::fmt::Debug>>(said: &HashMap<&str, &str>, name: &str) -> Vec<T> {
    said[name].split(' ').map(|number| number.parse().unwrap()).collect()
}

fn assert_near(ours: &[f32], theirs: &[f32], tolerance: f32) {
    assert_eq!(ours.len(), theirs.len());
    for (n, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!((a - b).abs() <= tolerance, "at {n}: {a}, they say {b}");
    }
}

#[test]
fn largest_component_and_filled_holes() {
    let said = said();
    let mask = |name: String| Volume {
        grid: Grid { dims: [7, 9, 11], ..GRID },
        voxels: said[name.as_str()].bytes().map(|b| b - b'0').collect::<Vec<u8>>(),
    };
    for n in 0..5 {
        let given = mask(format!("mask{n}"));
        assert_eq!(largest_component(&given), mask(format!("largest{n}")), "mask {n}");
        assert_eq!(fill_holes(&given), mask(format!("filled{n}")), "mask {n}");
    }
}

#[test]
fn quantiles_z_score_and_softmax() {
    let said = said();
    let values: Vec<f32> = numbers(&said, "values");
    let ours = quantiles(&values, &[0.0, 0.005, 0.25, 0.5, 0.995, 1.0]).unwrap();
    assert_near(&ours, &numbers(&said, "quantiles"), 1e-5);
    let mut scores = values.clone();
    z_score(&mut scores);
    assert_near(&scores, &numbers(&said, "z_score"), 1e-6);
    let mut logits = values[..990].to_vec();
    softmax(&mut logits, 5).unwrap();
    assert_near(&logits, &numbers(&said, "softmax"), 1e-6);
}

#[test]
fn resize_and_oblique_resample() {
    let said = said();
    let volume = Volume::new(GRID, numbers(&said, "volume")).unwrap();
    let resized = |how| resize(&volume, [9, 4, 18], how).unwrap().voxels;
    assert_eq!(resized(Interpolation::Nearest), numbers::<f32>(&said, "nearest"));
    assert_near(&resized(Interpolation::Linear), &numbers::<f32>(&said, "linear"), 2e-6);

    let (turn, shift): (Vec<f64>, Vec<f64>) = (numbers(&said, "turn"), numbers(&said, "shift"));
    let to_patient = std::array::from_fn(|r| [turn[3 * r], turn[3 * r + 1], turn[3 * r + 2], shift[r]]);
    let onto = Grid { dims: [8, 7, 9], to_patient };
    let ours = resample(&volume, &onto, Interpolation::Linear, -9.0).unwrap().voxels;
    assert_near(&ours, &numbers::<f32>(&said, "oblique"), 2e-6);
}
