//! A session from plan to answer, for both TensorRTs, on a library that stands in for them and runs on the machine's own memory.
use super::stand_in::running;
use std::ffi::c_void;
use std::ptr;
use std::sync::OnceLock;
use sund_kernels::tensorrt::{Buffer, DataType, Kind, Library, Range, Session, TensorRtError};

const KINDS: [Kind; 2] = [Kind::Rtx, Kind::Enterprise];
const NO_STREAM: *mut c_void = ptr::null_mut();

fn library(kind: Kind) -> Library {
    static OPENED: [OnceLock<Library>; 2] = [OnceLock::new(), OnceLock::new()];
    let opened = &OPENED[usize::from(kind == Kind::Enterprise)];
    opened.get_or_init(|| Library::open(kind, &running(kind)).expect("the stand-in opens")).clone()
}

fn session(kind: Kind) -> Session {
    Session::open(&library(kind), b"stand-in", &[]).unwrap()
}

fn refused(kind: Kind, plan: &str) -> TensorRtError {
    Session::open(&library(kind), plan.as_bytes(), &[]).map(|session| session.tensors().to_vec()).expect_err(plan)
}

fn buffer(values: &mut [f32]) -> Buffer {
    Buffer { address: values.as_mut_ptr() as u64, bytes: size_of_val(values) }
}

/// What becomes of `rows` rows of 4 under a profile.
fn doubled(session: &mut Session, profile: usize, rows: i64) -> Vec<f32> {
    // SAFETY: the stand-in has no streams.
    unsafe { session.set_profile(profile, NO_STREAM) }.unwrap();
    session.set_shape(0, &[rows, 4]).unwrap();
    assert_eq!(session.shape(1).unwrap(), [rows as usize, 4]);
    let mut x: Vec<f32> = (0..rows * 4).map(|n| n as f32).collect();
    let mut y = vec![0.0; session.bytes(1).unwrap() / 4];
    let buffers = [buffer(&mut x), buffer(&mut y)];
    // SAFETY: the stand-in has no streams and is through when it returns; its memory is the machine's own.
    unsafe { session.enqueue(&buffers, NO_STREAM) }.unwrap();
    y
}

#[test]
fn a_session_tells_its_tensors_and_profiles() {
    for kind in KINDS {
        let session = session(kind);
        let range = |min: i64, opt: i64, max: i64| Range { min: vec![min, 4], opt: vec![opt, 4], max: vec![max, 4] };
        let [x, y] = session.tensors() else { panic!("two tensors") };
        assert_eq!((x.name.as_str(), x.is_input, x.data_type), ("x", true, DataType::Float32));
        assert_eq!((y.name.as_str(), y.is_input, y.shape.as_slice()), ("y", false, [-1, 4].as_slice()));
        assert_eq!(x.ranges, [range(1, 4, 8), range(9, 16, 32)]);
        assert_eq!((session.profiles(), session.device_memory()), (2, 4096));
        let profiles = [1, 8, 9, 32, 0, 33].map(|rows| session.profile_for(&[&[rows, 4]]));
        assert_eq!(profiles, [Some(0), Some(0), Some(1), Some(1), None, None]);
        assert_eq!(session.profile_for(&[&[4, 5]]), None);
        assert_eq!(session.profile_for(&[&[4]]), None);
        assert_eq!(session.profile_for(&[]), None);
    }
}

#[test]
fn every_batch_and_profile_gives_its_answer() {
    for kind in KINDS {
        let mut session = session(kind);
        for (profile, rows) in [(0, 1), (0, 8), (1, 9), (1, 32), (0, 3)] {
            let expected: Vec<f32> = (0..rows * 4).map(|n| 2.0 * n as f32).collect();
            assert_eq!(doubled(&mut session, profile, rows), expected);
        }
    }
}

#[test]
fn kernels_of_tensorrt_rtx_are_kept_and_taken_back() {
    let mut first = session(Kind::Rtx);
    assert_eq!(first.cache().unwrap(), b"");
    doubled(&mut first, 0, 4);
    let kernels = first.cache().unwrap();
    assert_eq!(kernels, b"kernels for 4");
    let again = |cache: &[u8]| Session::open(&library(Kind::Rtx), b"stand-in", cache).unwrap().cache().unwrap();
    assert_eq!(again(&kernels), kernels);
    assert_eq!(again(b"of another GPU"), b"");

    let mut enterprise = session(Kind::Enterprise);
    doubled(&mut enterprise, 0, 4);
    assert_eq!(enterprise.cache().unwrap(), b"");
}

#[test]
fn shapes_and_buffers_that_do_not_fit_are_refused_before_the_run() {
    let is_shape = |result: Result<(), TensorRtError>| matches!(result, Err(TensorRtError::Shape { .. }));
    for kind in KINDS {
        let mut session = session(kind);
        let (mut x, mut y) = (vec![1.0; 16], vec![0.0; 16]);
        let (short, whole) = ([buffer(&mut x[..15]), buffer(&mut y)], [buffer(&mut x), buffer(&mut y)]);
        // SAFETY: the stand-in has no streams and is through when it returns; its memory is the machine's own.
        let enqueue = |session: &mut Session, buffers: &[Buffer]| unsafe { session.enqueue(buffers, NO_STREAM) };
        assert!(is_shape(enqueue(&mut session, &whole)), "no shape was set");
        for (index, shape) in
            [(0, &[4][..]), (0, &[4, 5]), (0, &[0, 4]), (0, &[9, 4]), (0, &[-1, 4]), (1, &[4, 4]), (2, &[4, 4])]
        {
            assert!(is_shape(session.set_shape(index, shape)), "{index} {shape:?}");
        }
        assert!(is_shape(session.set_shape(0, &[1; 9])));
        session.set_shape(0, &[4, 4]).unwrap();
        assert!(is_shape(enqueue(&mut session, &short)));
        assert!(is_shape(enqueue(&mut session, &whole[..1])));
        assert!(is_shape(enqueue(&mut session, &[whole[0], Buffer { address: 0, ..whole[1] }])));
        assert!(y.iter().all(|value| *value == 0.0), "nothing ran");
        // SAFETY: the stand-in has no streams.
        assert!(is_shape(unsafe { session.set_profile(2, NO_STREAM) }));
        assert!(session.shape(2).is_err() && session.bytes(7).is_err());
    }
}

#[test]
fn a_plan_that_cannot_be_served_is_refused() {
    for kind in KINDS {
        for plan in [
            "no plan",
            "stand-in of none",
            "stand-in of endless names",
            "stand-in of 4 bits",
            "stand-in on the host",
            "stand-in of shapes",
            "stand-in without shape",
        ] {
            let error = refused(kind, plan);
            assert!(matches!(error, TensorRtError::Plan { .. }), "{plan}: {error}");
        }
        for plan in ["stand-in of many", "stand-in of many profiles"] {
            let error = refused(kind, plan);
            assert!(matches!(error, TensorRtError::TooLarge { .. }), "{plan}: {error}");
        }
    }
}

#[test]
fn a_full_gpu_and_a_run_that_fails_are_the_machines_fault() {
    for kind in KINDS {
        let error = refused(kind, "stand-in too large");
        assert!(matches!(&error, TensorRtError::Memory { .. }), "{error}");

        let mut session = Session::open(&library(kind), b"stand-in that fails", &[]).unwrap();
        session.set_shape(0, &[4, 4]).unwrap();
        let (mut x, mut y) = (vec![1.0; 16], vec![0.0; 16]);
        let buffers = [buffer(&mut x), buffer(&mut y)];
        // SAFETY: the stand-in has no streams and is through when it returns; its memory is the machine's own.
        let error = unsafe { session.enqueue(&buffers, NO_STREAM) }.unwrap_err();
        let why = "no kernel (cudaError 700: an illegal memory access)".to_owned();
        assert_eq!(error, TensorRtError::Execution { kind, why });
    }
}
