//! Execution on a card, where there is one that TensorRT-RTX serves. Elsewhere its refusal, and a line that says that nothing ran:
//!
//!     cargo test --release -p sund-kernels --features tensorrt --test main tensorrt::gpu -- --nocapture
use super::onnx::{Node, network};
use super::{input, rtx};
use sund_kernels::tensorrt::{BuildOptions, Gpu, Kind, Library, RTX_TARGETS, Runner, TensorRtError, Values, build};

const UNPROVEN: &str = "TensorRT execution: unproven";

/// `y = max(x, 0)` of [n, 4] for n from 1 to 8 and from 9 to 32.
fn plan(library: &Library, capability: u32) -> Result<Vec<u8>, TensorRtError> {
    let profiles = vec![vec![input("x", &[1, 4], &[4, 4], &[8, 4])], vec![input("x", &[9, 4], &[16, 4], &[32, 4])]];
    let options = BuildOptions { targets: vec![capability], profiles, ..BuildOptions::default() };
    build(library, &network(&[0, 4], &[Node("Relu", &["x"], "y")]), &options)
}

fn check(runner: &mut Runner, rows: usize) {
    let values =
        |of: fn(f32) -> f32| -> Vec<u8> { (0..rows * 4).flat_map(|n| of(n as f32 - 10.0).to_ne_bytes()).collect() };
    let shape = vec![rows as i64, 4];
    let outputs = runner.run(&[Values { shape: shape.clone(), bytes: values(|x| x) }]).unwrap();
    assert_eq!(outputs, [Values { shape, bytes: values(|x| x.max(0.0)) }], "{rows} rows");
}

#[test]
fn a_card_that_tensorrt_rtx_serves_runs_what_was_compiled_for_it() {
    let library = rtx();
    let gpu = match Gpu::open(Kind::Rtx, 0) {
        Ok(gpu) => gpu,
        Err(error) => {
            assert!(matches!(error, TensorRtError::Device { .. }), "{error}");
            return eprintln!("{UNPROVEN}: {error}");
        }
    };
    let (name, capability) = (gpu.name(Kind::Rtx).unwrap(), gpu.capability(Kind::Rtx).unwrap());
    if !RTX_TARGETS.contains(&capability) {
        let error = plan(&library, capability).unwrap_err();
        assert!(matches!(error, TensorRtError::Target { .. }), "{error}");
        return eprintln!("{UNPROVEN} on {name}: {error}");
    }
    let plan = plan(&library, capability).unwrap();
    let mut runner = Runner::open(&library, &gpu, &plan, &[]).unwrap();
    runner.warm_up().unwrap();
    for rows in [1, 8, 9, 32, 3] {
        check(&mut runner, rows);
    }
    let kernels = runner.cache().unwrap();
    assert!(!kernels.is_empty());
    // With its kernels kept, and with what are none.
    for cache in [kernels.as_slice(), b"no kernels"] {
        check(&mut Runner::open(&library, &gpu, &plan, cache).unwrap(), 4);
    }
    let error = runner.run(&[Values { shape: vec![33, 4], bytes: vec![0; 33 * 16] }]).unwrap_err();
    assert!(matches!(error, TensorRtError::Shape { .. }), "{error}");
    let error = runner.run(&[Values { shape: vec![4, 4], bytes: vec![0; 63] }]).unwrap_err();
    assert!(matches!(error, TensorRtError::Shape { .. }), "{error}");
    let half = Runner::open(&library, &gpu, &plan[..plan.len() / 2], &[]).map(|_| ()).unwrap_err();
    assert!(matches!(half, TensorRtError::Plan { .. }), "{half}");
    eprintln!("TensorRT execution: TensorRT-RTX {} on {name}", library.version());
}
