//! What a session says of plans where there is no GPU.
use super::stand_in::{Source, stand_in};
use super::{rtx, small_plan};
use sund_kernels::tensorrt::{Gpu, Kind, Library, Session, TensorRtError};

fn refused(library: &Library, plan: &[u8]) -> TensorRtError {
    Session::open(library, plan, &[]).map(|session| session.tensors().to_vec()).expect_err("there is no GPU here")
}

#[test]
fn a_plan_needs_a_gpu() {
    let library = rtx();
    let error = refused(&library, &small_plan(&library));
    assert!(matches!(&error, TensorRtError::Device { why, .. } if why.contains("cudaError")), "{error}");
    assert!(error.to_string().starts_with("TensorRT-RTX finds no GPU that it can use: "), "{error}");
}

#[test]
fn a_gpu_needs_a_driver_and_to_be_there() {
    for kind in [Kind::Rtx, Kind::Enterprise] {
        let error = Gpu::open(kind, 0).map(|gpu| format!("{gpu:?}")).expect_err("there is no GPU here");
        assert!(matches!(&error, TensorRtError::Device { why, .. } if why.contains("CUDA driver")), "{error}");
    }
}

#[test]
fn a_truncated_plan_is_refused() {
    let library = rtx();
    let plan = small_plan(&library);
    for length in [0, 1, 16, 64, plan.len() / 2, plan.len() - 1] {
        let error = refused(&library, &plan[..length]);
        assert!(matches!(error, TensorRtError::Plan { .. }), "{length}: {error}");
    }
    let longer = [plan.as_slice(), &[0]].concat();
    assert!(matches!(refused(&library, &longer), TensorRtError::Plan { .. }));
}

#[test]
fn what_is_no_plan_is_refused() {
    let library = rtx();
    let plan = small_plan(&library);
    let random: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let foreign = [b"ptrt".as_slice(), &plan[4..]].concat(); // the mark of enterprise TensorRT's plans
    for plan in [random, foreign, vec![0; 4096], b"ONNX is not a plan".to_vec()] {
        let error = refused(&library, &plan);
        assert!(matches!(error, TensorRtError::Plan { .. }), "{error}");
    }
}

#[test]
fn a_plan_with_any_byte_of_its_head_changed_is_refused() {
    let library = rtx();
    let mut plan = small_plan(&library);
    // The mark, the length, the version (bytes 24 to 26) and the table of parts.
    for at in 0..128 {
        plan[at] ^= 0x55;
        let error = refused(&library, &plan);
        assert!(matches!(error, TensorRtError::Plan { .. } | TensorRtError::Device { .. }), "{at}: {error}");
        plan[at] ^= 0x55;
    }
}

#[test]
fn enterprise_tensorrt_without_a_gpu_gives_no_session() {
    let needed = Kind::Enterprise.built_for();
    let library = Library::open(Kind::Enterprise, &stand_in("no-gpu-to-run", &Source::of(needed))).unwrap();
    assert!(matches!(refused(&library, b"plan"), TensorRtError::Device { kind: Kind::Enterprise, .. }));

    let throws = Source { runtime: Some("throw std::runtime_error(\"a fault\");"), ..Source::of(needed) };
    let library = Library::open(Kind::Enterprise, &stand_in("throws-to-run", &throws)).unwrap();
    assert_eq!(refused(&library, b"plan").to_string(), "enterprise TensorRT threw: a fault");
}
