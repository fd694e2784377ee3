//! Networks on values that are in the device's memory: what is given there is answered there, to the task that asked.
use super::host::{HostDevice, HostPlace, Plan, without_places};
use std::sync::Arc;
use sund_agent::fault::Fault;
use sund_agent::infer::{Engine, Form};
use sund_agent::inference::EngineUsed;
use sund_agent::schedule::{GpuEngine, Opened, Places, start};
use sund_kernels::device::OnDevice;
use sund_kernels::device::place::Kind;

fn engine(places: Arc<Places>) -> GpuEngine {
    let opened = move || {
        let used = EngineUsed { class: "host".into(), precision: "fp32".into(), version: "1".into() };
        let takes = Form::Compiled { architecture: "sm89".into() };
        Ok(Opened { device: HostDevice::new(100, 2).0, used, takes, places })
    };
    start(opened).unwrap()
}

fn with_places() -> Arc<Places> {
    Arc::new(|| Ok(Box::new(HostPlace)))
}

fn plan(factor: u8) -> Plan {
    Plan { factor, bytes: 30, run_bytes: 1, most: 4 }
}

fn run(engine: &mut GpuEngine, plan: Plan, value: f32) -> Result<OnDevice, Fault> {
    let given = OnDevice::new(Kind::Reals, [1, 1, 2], vec![value, value + 0.5]);
    engine.run_held(&format!("n{}", plan.factor), &|| Ok(plan.bytes()), given)
}

#[test]
fn each_task_has_its_own_answer_in_the_devices_memory() {
    let engine = engine(with_places());
    std::thread::scope(|scope| {
        for task in 0..6u8 {
            let mut engine = engine.clone();
            scope.spawn(move || {
                for n in 0..40u8 {
                    let plan = plan(1 + (task + n) % 4);
                    let value = f32::from(task) * 100.0 + f32::from(n);
                    let answer = run(&mut engine, plan, value).unwrap();
                    assert_eq!((answer.kind, answer.dims), (Kind::Scores(1), [1, 1, 2]));
                    assert_eq!(*answer.held::<Vec<f32>>().unwrap(), plan.answer(&[value, value + 0.5]));
                }
            });
        }
    });
}

#[test]
fn an_answer_that_is_not_finite_is_a_failure_before_any_step_reads_it() {
    let fault = run(&mut engine(with_places()), plan(2), f32::INFINITY).unwrap_err();
    assert_eq!(fault.code, "network-not-finite");
}

#[test]
fn a_task_without_a_place_is_told_so_and_a_value_of_another_device_is_refused() {
    let mut without = engine(without_places());
    assert!(without.place().is_none());
    assert_eq!(run(&mut without, plan(2), 1.0).unwrap_err().code, "gpu-failed");
    let foreign = OnDevice::new(Kind::Reals, [1, 1, 2], "not of this device");
    let fault = engine(with_places()).run_held("n", &|| Ok(plan(2).bytes()), foreign).unwrap_err();
    assert!(fault.code == "network-failed" && fault.reason.contains("another device's memory"), "{fault}");
}
