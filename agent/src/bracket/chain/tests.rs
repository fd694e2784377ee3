use super::*;
use crate::preprocess::{Value, volume};
use proptest::prelude::*;
use sund_kernels::Volume;

pub(crate) fn steps(text: &str) -> Vec<Step> {
    #[derive(serde::Deserialize)]
    struct Plan {
        steps: Vec<Step>,
    }
    let lines = text.trim().lines().map(|line| format!("[[steps]]\n{}\n", line.trim().replace("; ", "\n")));
    toml::from_str::<Plan>(&lines.collect::<String>()).unwrap().steps
}

fn numbers(text: &str, kept: &[&str]) -> Option<(String, Vec<usize>)> {
    let steps = steps(text);
    let at = steps.iter().rposition(|step| matches!(step, Step::Infer { .. })).unwrap();
    Chain::before(&steps, at, kept).map(|chain| (chain.root.to_owned(), chain.numbers))
}

#[test]
fn the_steps_before_a_network_are_one_pass_as_far_as_it_can_do_them() {
    let whole = "do = 'orient'; from = 'input'; into = 'a'; axes = 'RAS'
        do = 'resample'; from = 'a'; into = 'b'; spacing = [1.0, 1.0, 1.0]; how = 'linear'
        do = 'quantiles'; from = 'input'; into = 'q'; low = 0.1; high = 0.9
        do = 'clip-range'; from = 'b'; into = 'c'; range = 'q'
        do = 'scale-offset'; from = 'c'; into = 'd'; scale = 2.0; offset = -1.0
        do = 'infer'; from = 'd'; into = 'e'; network = 'n'";
    assert_eq!(numbers(whole, &["input"]), Some(("input".into(), vec![0, 1, 3, 4])));
    // Someone else reads the turned volume; a result is drawn on it; the nearest voxel is asked for.
    let read = whole.replace("from = 'input'; into = 'q'", "from = 'a'; into = 'q'");
    assert_eq!(numbers(&read, &["input"]), Some(("a".into(), vec![1, 3, 4])));
    assert_eq!(numbers(whole, &["input", "a"]), Some(("a".into(), vec![1, 3, 4])));
    let nearest = whole.replace("linear", "nearest");
    assert_eq!(numbers(&nearest, &["input"]), Some(("b".into(), vec![3, 4])));
}

#[test]
fn what_comes_in_another_order_or_twice_is_done_step_by_step() {
    let order = "do = 'window'; from = 'input'; into = 'a'; center = 40.0; width = 400.0
        do = 'resize'; from = 'a'; into = 'b'; dims = [2, 2, 2]; how = 'linear'
        do = 'infer'; from = 'b'; into = 'c'; network = 'n'";
    assert_eq!(numbers(order, &["input"]), Some(("a".into(), vec![1])));
    let twice = order.replace(
        "do = 'window'; from = 'input'; into = 'a'; center = 40.0; width = 400.0",
        "do = 'resize'; from = 'input'; into = 'a'; dims = [3, 3, 3]; how = 'linear'",
    );
    assert_eq!(numbers(&twice, &["input"]), Some(("a".into(), vec![1])));
    let none = "do = 'z-score'; from = 'input'; into = 'a'
        do = 'infer'; from = 'a'; into = 'b'; network = 'n'";
    assert_eq!(numbers(none, &["input"]), None);
}

#[test]
fn a_name_that_is_used_again_is_what_it_was_when_it_was_read() {
    let range = "do = 'quantiles'; from = 'input'; into = 'q'; low = 0.1; high = 0.9
        do = 'clip-range'; from = 'input'; into = 'a'; range = 'q'
        do = 'quantiles'; from = 'input'; into = 'q'; low = 0.4; high = 0.5
        do = 'infer'; from = 'a'; into = 'b'; network = 'n'";
    assert_eq!(numbers(range, &["input"]), None);
    let same = "do = 'window'; from = 'input'; into = 'x'; center = 40.0; width = 400.0
        do = 'scale-offset'; from = 'x'; into = 'x'; scale = 2.0; offset = 0.0
        do = 'infer'; from = 'x'; into = 'x'; network = 'n'";
    assert_eq!(numbers(same, &["input"]), Some(("input".into(), vec![0, 1])));
    // The input is drawn at the end: it must be what the step made of it.
    let input = "do = 'window'; from = 'input'; into = 'input'; center = 40.0; width = 400.0
        do = 'infer'; from = 'input'; into = 'b'; network = 'n'";
    assert_eq!(numbers(input, &["input"]), None);
}

fn stored() -> impl Strategy<Value = Stored> {
    let dims = [1usize..7, 1usize..7, 1usize..7];
    let mm = [0.5f64..4.0, 0.3f64..2.0, 0.3f64..2.0];
    let turned = (any::<[bool; 3]>(), 0usize..6);
    (dims, mm, turned, 0.25f32..3.0, -1100f32..100.0, any::<u64>()).prop_map(
        |(dims, mm, turned, slope, intercept, seed)| {
            let (flipped, order) = turned;
            let axes = [[2, 1, 0], [1, 2, 0], [0, 1, 2], [0, 2, 1], [1, 0, 2], [2, 0, 1]][order];
            let mut to_patient = [[0.0, 0.0, 0.0, 11.0], [0.0, 0.0, 0.0, -7.5], [0.0, 0.0, 0.0, 3.25]];
            for a in 0..3 {
                to_patient[axes[a]][a] = if flipped[a] { -mm[a] } else { mm[a] };
            }
            let sample = |n: u64| ((seed.wrapping_add(n).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 50) as i16) - 1024;
            let count = dims.iter().product::<usize>() as u64;
            let samples = device::Samples::I16(Arc::new((0..count).map(sample).collect()));
            Stored { samples, grid: Grid { dims, to_patient }, slope, intercept }
        },
    )
}

fn plan() -> impl Strategy<Value = Vec<Step>> {
    let name = |n: usize| if n == 0 { INPUT.to_owned() } else { format!("v{n}") };
    let axes = prop::sample::select(vec!["RAS", "LPS", "SLA", "PIR", "ASL"]);
    let turn = prop::option::of(axes.prop_map(|axes| format!("do = 'orient'; axes = '{axes}'")));
    let sample = prop::option::of(prop_oneof![
        [1usize..9, 1usize..9, 1usize..9].prop_map(|dims| format!("do = 'resize'; dims = {dims:?}; how = 'linear'")),
        [0.5f64..4.0, 0.5f64..4.0, 0.5f64..4.0]
            .prop_map(|mm| format!("do = 'resample'; spacing = {mm:?}; how = 'linear'")),
    ]);
    let contrast = prop::option::of(prop_oneof![
        (-1000f32..1000.0, 1f32..2000.0)
            .prop_map(|(center, width)| format!("do = 'window'; center = {center:?}; width = {width:?}")),
        Just("do = 'clip-range'; range = 'q'".to_owned()),
    ]);
    let scale = prop::option::of(
        (0.1f32..4.0, -2f32..2.0)
            .prop_map(|(by, and)| format!("do = 'scale-offset'; scale = {by:?}; offset = {and:?}")),
    );
    (turn, sample, contrast, scale).prop_map(move |(turn, sample, contrast, scale)| {
        let parts = [turn, sample, contrast, scale].into_iter().flatten().enumerate();
        let mut text: Vec<String> =
            parts.map(|(n, part)| format!("{part}; from = '{}'; into = '{}'", name(n), name(n + 1))).collect();
        text.push(format!("do = 'infer'; network = 'n'; from = '{}'; into = 'out'", name(text.len())));
        steps(&text.join("\n"))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// Each voxel of the network's input is the same in one pass as step by step, on the same grid.
    #[test]
    fn one_pass_makes_what_the_steps_make(stored in stored(), steps in plan(), low in -1500f32..0.0, high in 1f32..1500.0) {
        let device::Samples::I16(samples) = &stored.samples else { panic!("they are of 16 bits") };
        let voxels = Samples::I16(samples.to_vec()).to_real(stored.slope, stored.intercept);
        let largest = samples.iter().map(|x| f32::from(*x).abs() * stored.slope).fold(stored.intercept.abs(), f32::max);
        let mut values = Values::default();
        values.set(INPUT, Value::Volume(Volume { grid: stored.grid, voxels }));
        values.set("q", Value::Range(low, high));
        let last = steps.len() - 1;
        let chain = Chain::before(&steps, last, &[INPUT]);
        prop_assert_eq!(chain.is_some(), last > 0);
        let Some(chain) = chain else { return Ok(()) };
        prop_assert_eq!(chain.numbers(), (0..last).collect::<Vec<_>>());
        let series = chain.series(&steps, &values, Some(&stored)).unwrap();
        let real = chain.series(&steps, &values, None).unwrap();

        for step in &steps[..last] {
            let made = volume::apply(step, &values).unwrap().unwrap();
            values.set(step.values().1, made);
        }
        let expected = values.volume(steps[last].values().0[0]).unwrap();
        prop_assert_eq!(series.onto, expected.grid);
        let preparation = series.preparation;
        let gain = match preparation.contrast {
            Contrast::Window { width, .. } => 1.0 / (width - 1.0).max(1e-2),
            Contrast::Range { low, high } => 1.0 / (high - low),
            Contrast::Whole => 1.0,
        };
        let reach = (largest * 2.0 + 2500.0) * gain + 1.0;
        let bound = 32.0 * f32::EPSILON * (reach * preparation.scale.abs() + preparation.offset.abs());
        for series in [series, real] {
            let made: Vec<f32> = series.prepared().unwrap();
            for (made, expected) in made.iter().zip(&expected.voxels) {
                prop_assert!((made - expected).abs() <= bound, "{made} is not {expected} within {bound}");
            }
            prop_assert_eq!(made.len(), expected.voxels.len());
        }
    }
}
