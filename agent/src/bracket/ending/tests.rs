use super::*;
use crate::infer::Tensor;
use crate::preprocess::volume;
use proptest::prelude::*;
use sund_kernels::device::Output;
use sund_kernels::{crop, resized};

fn steps(text: &str) -> Vec<Step> {
    super::super::chain::tests::steps(text)
}

fn end(text: &str, kept: &[&str]) -> Option<End> {
    End::behind(&steps(text), 0, kept)
}

const ABOVE: &str = "do = 'infer'; from = 'x'; into = 'a'; network = 'n'
    do = 'softmax'; from = 'a'; into = 'b'
    do = 'channel'; from = 'b'; into = 'c'; channel = 1
    do = 'threshold'; from = 'c'; into = 'd'; above = 0.5";

const MOVED: &str = "do = 'infer'; from = 'x'; into = 'a'; network = 'n'
    do = 'channel'; from = 'a'; into = 'c'; channel = 1
    do = 'onto'; from = 'c'; into = 'd'; grid = 'x'; how = 'nearest'
    do = 'paste'; from = 'd'; into = 'e'; region = 'r'; onto = 'input'
    do = 'threshold'; from = 'e'; into = 'f'; above = 0.5
    do = 'fill-holes'; from = 'f'; into = 'g'";

#[test]
fn scores_that_only_a_mask_is_made_of_stay_where_they_are() {
    let mask = Mask::Above { channel: 1, above: 0.5 };
    let expected = End { hidden: vec![1, 2], shown: 3, passed: None, softmax: true, mask };
    assert_eq!(end(ABOVE, &["d"]), Some(expected));
    let label = "do = 'infer'; from = 'x'; into = 'a'; network = 'n'
        do = 'argmax'; from = 'a'; into = 'b'; label = 2";
    let expected = End { hidden: vec![], shown: 1, passed: None, softmax: false, mask: Mask::Label(2) };
    assert_eq!(end(label, &["b"]), Some(expected));
    let expected = End { hidden: vec![], shown: 1, passed: Some(4), softmax: false, mask };
    assert_eq!(end(MOVED, &["g"]), Some(expected));
}

#[test]
fn scores_that_anything_else_reads_come_back() {
    for kept in ["a", "b", "c"] {
        assert_eq!(end(ABOVE, &[kept, "d"]), None, "{kept} is a result");
    }
    for other in ["channel'; from = 'a'; into = 'z'; channel = 0", "channel'; from = 'b'; into = 'z'; channel = 0"] {
        assert_eq!(end(&format!("{ABOVE}\ndo = '{other}"), &["d"]), None);
    }
    let again = format!("{ABOVE}\ndo = 'threshold'; from = 'c'; into = 'z'; above = 0.9");
    assert_eq!(end(&again, &["d"]), None);
    for kept in ["a", "c", "d", "e"] {
        assert_eq!(end(MOVED, &[kept, "g"]), None, "{kept} is a result");
    }
    let grid = format!("{MOVED}\ndo = 'onto'; from = 'g'; into = 'h'; grid = 'd'; how = 'nearest'");
    assert_eq!(end(&grid, &["h"]), None, "someone asks where the moved scores lie");
}

#[test]
fn a_threshold_comes_before_nothing_that_changes_values_and_fills_in_nothing_above_it() {
    assert_eq!(end(&MOVED.replace("nearest", "linear"), &["g"]), None);
    assert_eq!(end(&MOVED.replace("above = 0.5", "above = -0.5"), &["g"]), None);
    assert_eq!(end(&MOVED.replace("above = 0.5", "above = nan"), &["g"]), None);
    assert!(end(&ABOVE.replace("above = 0.5", "above = -0.5"), &["d"]).is_some());
    let scaled = "do = 'infer'; from = 'x'; into = 'a'; network = 'n'
        do = 'channel'; from = 'a'; into = 'c'; channel = 1
        do = 'scale-offset'; from = 'c'; into = 'd'; scale = 2.0; offset = 0.0
        do = 'threshold'; from = 'd'; into = 'e'; above = 0.5";
    assert_eq!(end(scaled, &["e"]), None);
    let twice = ABOVE
        .replace("do = 'channel'; from = 'b'", "do = 'softmax'; from = 'b'; into = 'b2'\ndo = 'channel'; from = 'b2'");
    assert_eq!(end(&twice, &["d"]), None);
}

#[test]
fn a_name_that_is_used_again_is_what_it_was() {
    let same = "do = 'infer'; from = 'x'; into = 'x'; network = 'n'
        do = 'channel'; from = 'x'; into = 'x'; channel = 1
        do = 'threshold'; from = 'x'; into = 'x'; above = 0.5";
    let mask = Mask::Above { channel: 1, above: 0.5 };
    let expected = End { hidden: vec![1], shown: 2, passed: None, softmax: false, mask };
    assert_eq!(end(same, &["x"]), Some(expected));
    // The threshold reads what another step has made meanwhile.
    let other = "do = 'infer'; from = 'x'; into = 'a'; network = 'n'
        do = 'channel'; from = 'a'; into = 'c'; channel = 1
        do = 'window'; from = 'x'; into = 'c'; center = 40.0; width = 400.0
        do = 'threshold'; from = 'c'; into = 'd'; above = 0.5";
    assert_eq!(end(other, &["d"]), None);
}

/// An answer for a part of a volume, and what becomes of it.
#[derive(Debug)]
struct Case {
    values: Values,
    answer: Tensor,
    grid: Grid,
    steps: Vec<Step>,
}

fn case() -> impl Strategy<Value = Case> {
    let dims = [2usize..7, 2usize..7, 2usize..7];
    let own = [1usize..9, 1usize..9, 1usize..9];
    let moves = (any::<[bool; 3]>(), prop::sample::select(vec!["RAS", "LPS", "SLA", "PIR"]));
    let last = (0usize..3, any::<bool>(), prop::sample::select(vec![0.5f32, 0.0, 0.25]));
    (dims, own, 1usize..4, moves, last, any::<u64>()).prop_map(|(dims, own, channels, moves, last, seed)| {
        let to_patient = [[0.0, 0.0, 0.7, 1.0], [0.0, -0.9, 0.0, 2.0], [2.5, 0.0, 0.0, -3.0]];
        let whole = Volume { grid: Grid { dims, to_patient }, voxels: vec![0.0f32; dims.iter().product()] };
        let region = dims.map(|n| usize::from(seed % 2 == 0).min(n - 1)..n);
        let part = crop(&whole, &region).unwrap();
        let grid = resized(&part.grid, own);
        let mix =
            |n: u64| (seed ^ n).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        // Multiples of 1/8: some are equal, and some are the threshold.
        let value = |n: usize| ((mix(n as u64) >> 59) as f32 - 16.0) / 8.0;
        let answer_shape = [&[1, channels][..], &grid.dims].concat();
        let count = answer_shape.iter().product();
        let answer = Tensor { shape: answer_shape, values: (0..count).map(value).collect() };
        let ([goes_onto, turns, is_softmax], axes) = moves;
        let (channel, is_label, above) = last;
        let mut text = vec!["do = 'infer'; network = 'n'; from = 'part'; into = 'v0'".to_owned()];
        let mut add = |step: String| {
            let n = text.len();
            text.push(format!("{step}; from = 'v{}'; into = 'v{n}'", n - 1));
        };
        if is_softmax {
            add("do = 'softmax'".into());
        }
        if is_label {
            add(format!("do = 'argmax'; label = {}", channel % channels));
        } else {
            add(format!("do = 'channel'; channel = {}", channel % channels));
            if goes_onto {
                add("do = 'onto'; grid = 'part'; how = 'nearest'".into());
                add("do = 'paste'; region = 'region'; onto = 'whole'".into());
            }
            if turns {
                add(format!("do = 'orient'; axes = '{axes}'"));
            }
            add(format!("do = 'threshold'; above = {above:?}"));
        }
        let steps = steps(&text.join("\n"));
        let mut values = Values::default();
        values.set("whole", Value::Volume(whole));
        values.set("region", Value::Region(region));
        values.set("part", Value::Volume(part));
        Case { values, answer, grid, steps }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// A mask that the device makes becomes what the scores become, to the bit.
    #[test]
    fn the_mask_is_that_of_the_steps_one_by_one(case in case()) {
        let Case { mut values, answer, grid, steps } = case;
        let last = format!("v{}", steps.len() - 1);
        let end = End::behind(&steps, 0, &[&last]).expect("the steps end the answer");
        let Output::Mask { voxels, .. } = end.on(&grid).of(answer.clone()) else { panic!("a mask was expected") };
        let mut done = Done::default();
        done.take(end, Volume { grid, voxels });
        let mut is_seen = 0;
        for (n, step) in steps.iter().enumerate().skip(1) {
            if !done.step(n, step, &mut values).unwrap() {
                let made = volume::apply(step, &values).unwrap().unwrap();
                values.set(step.values().1, made);
                is_seen += 1;
            }
        }
        let made = values.mask(&last).unwrap().clone();
        prop_assert!(is_seen <= 3, "moves alone are done here");
        prop_assert!(values.get("v0").is_err());

        values.set("v0", Value::Answer { tensor: answer, grid: Some(grid), source: None });
        for step in &steps[1..] {
            let made = volume::apply(step, &values).unwrap().unwrap();
            values.set(step.values().1, made);
        }
        prop_assert_eq!(&made, values.mask(&last).unwrap());
    }
}
