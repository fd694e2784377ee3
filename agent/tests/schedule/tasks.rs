//! Tasks on threads of their own, and the device's thread beneath them.
use super::host::{HostDevice, Plan, without_places};
use sund_agent::fault::{Blame, Fault};
use sund_agent::infer::{Engine, Form, Made, Tensor};
use sund_agent::inference::EngineUsed;
use sund_agent::schedule::{GpuEngine, Opened, start};
use sund_kernels::device::{Ending, Input, Mask, Samples, Series};
use sund_kernels::{Grid, Preparation};

/// Networks of 30 bytes on a device of 100: two are there at once.
fn plan(factor: u8) -> Plan {
    Plan { factor, bytes: 30, run_bytes: 1, most: 4 }
}

fn engine() -> GpuEngine {
    let opened = || {
        let used = EngineUsed { class: "host".into(), precision: "fp32".into(), version: "1".into() };
        let takes = Form::Compiled { architecture: "sm89".into() };
        Ok(Opened { device: HostDevice::new(100, 2).0, used, takes, places: without_places() })
    };
    start(opened).unwrap()
}

fn run(engine: &mut GpuEngine, name: &str, plan: Plan, value: f32) -> Result<Vec<f32>, Fault> {
    let input = Tensor { shape: vec![1, 2], values: vec![value, value + 0.5] };
    engine.run(name, &|| Ok(plan.bytes()), input).map(|output| output.values)
}

#[test]
fn tasks_side_by_side_each_have_their_own_answer_while_networks_come_and_go() {
    let engine = engine();
    std::thread::scope(|scope| {
        for task in 0..6u8 {
            let mut engine = engine.clone();
            scope.spawn(move || {
                for n in 0..60u8 {
                    let plan = plan(1 + (task + n) % 4);
                    let value = f32::from(task) * 100.0 + f32::from(n);
                    let answer = run(&mut engine, &format!("n{}", plan.factor), plan, value).unwrap();
                    assert_eq!(answer, plan.answer(&[value, value + 0.5]));
                }
            });
        }
    });
}

#[test]
fn another_packages_network_of_the_same_name_is_another_network() {
    let mut engine = engine();
    assert_eq!(run(&mut engine, "n", plan(2), 1.0).unwrap()[..1], [4.0]);
    engine.unload();
    assert_eq!(run(&mut engine, "n", plan(3), 1.0).unwrap()[..1], [6.0]);
}

#[test]
fn a_network_that_is_another_when_it_is_read_again_is_refused() {
    let mut engine = engine();
    for (name, factor) in [("a", 1), ("b", 2), ("c", 3)] {
        run(&mut engine, name, plan(factor), 1.0).unwrap();
    }
    // The third took the first one's place.
    let fault = run(&mut engine, "a", plan(9), 1.0).unwrap_err();
    assert_eq!((fault.code.as_ref(), fault.blame), ("package-altered", Blame::Package));
    assert_eq!(run(&mut engine, "a", plan(1), 1.0).unwrap()[..1], [2.0]);
}

#[test]
fn samples_are_prepared_on_their_way() {
    let mut engine = engine();
    assert!(engine.takes_samples());
    let to_patient = [[0.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]];
    let grid = Grid { dims: [1, 1, 3], to_patient };
    let samples = Samples::I16(std::sync::Arc::new(vec![0, 200, 400]));
    let preparation = Preparation { scale: 2.0, offset: -1.0, ..Preparation::ct(1.0, 0.0, 200.5, 401.0) };
    let series = Series { samples, grid, onto: grid, preparation };
    let prepared: Vec<f32> = series.prepared().unwrap();
    assert_eq!(prepared, [-1.0, 0.0, 1.0]);
    let answer = engine.run_on_samples("n", &|| Ok(plan(5).bytes()), series).unwrap();
    assert_eq!(answer, Tensor { shape: vec![1, 1, 1, 1, 3], values: plan(5).answer(&prepared) });
}

#[test]
fn a_mask_is_made_where_the_answer_is_unless_a_value_of_that_is_not_finite() {
    let mut engine = engine();
    assert!(engine.makes_masks());
    let mut masked = |values: &[f32], dims: [usize; 3]| {
        let input = Input::Values(Tensor { shape: vec![1, 1, 1, 1, values.len()], values: values.to_vec() });
        let ending = Ending { dims, softmax: false, mask: Mask::Above { channel: 0, above: 5.0 } };
        engine.run_to_mask("n", &|| Ok(plan(2).bytes()), input, ending)
    };
    let shape = vec![1, 1, 1, 1, 3];
    let mask = Made::Mask { shape: shape.clone(), voxels: vec![0, 0, 1] };
    assert_eq!(masked(&[0.0, 1.5, 2.0], [1, 1, 3]).unwrap(), mask);
    // An answer on another grid comes back as it is, and is looked at all the same.
    let scores = Made::Scores(Tensor { shape, values: plan(2).answer(&[0.0, 1.5, 2.0]) });
    assert_eq!(masked(&[0.0, 1.5, 2.0], [1, 3, 1]).unwrap(), scores);
    for dims in [[1, 1, 3], [1, 3, 1]] {
        for odd in [f32::NAN, f32::NEG_INFINITY, f32::MAX] {
            let fault = masked(&[0.0, odd, 2.0], dims).unwrap_err();
            assert_eq!((fault.code.as_ref(), fault.blame), ("network-not-finite", Blame::Package));
        }
    }
}

#[test]
fn a_device_that_cannot_be_opened_says_why() {
    let why = || Err(Fault::new("engine-unavailable", Blame::Box, "no driver"));
    let fault = start::<HostDevice>(why).err().unwrap();
    assert_eq!((fault.code.as_ref(), fault.reason.as_str()), ("engine-unavailable", "no driver"));
}
