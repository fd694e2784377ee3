//! TensorRT where there is no GPU: what compiles, and what is refused and how. The library of TensorRT-RTX is named by
//! SUND_TEST_TENSORRT_RTX; see TENSORRT.md.
mod build;
mod gpu;
mod library;
mod onnx;
mod running;
mod session;
mod stand_in;

use onnx::Node;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use sund_kernels::tensorrt::{BuildOptions, Kind, Library, ProfileInput, Severity, build, log_to};

/// What TensorRT logged so far.
static LOGGED: Mutex<Vec<(Severity, String)>> = Mutex::new(Vec::new());

fn path() -> PathBuf {
    let path = std::env::var_os("SUND_TEST_TENSORRT_RTX");
    PathBuf::from(
        path.expect("SUND_TEST_TENSORRT_RTX names libtensorrt_rtx.so.1; PyPI's tensorrt-rtx-cu13-libs has it"),
    )
}

fn rtx() -> Library {
    log_to(|severity, line| {
        LOGGED.lock().unwrap_or_else(PoisonError::into_inner).push((severity, line.to_owned()));
    });
    Library::open(Kind::Rtx, &path()).expect("TensorRT-RTX opens")
}

fn ada() -> BuildOptions {
    BuildOptions { targets: vec![89], ..BuildOptions::default() }
}

fn input(name: &str, min: &[i64], opt: &[i64], max: &[i64]) -> ProfileInput {
    ProfileInput { name: name.into(), min: min.into(), opt: opt.into(), max: max.into() }
}

/// `y = max(x, 0)`, of 4 values.
fn small_plan(library: &Library) -> Vec<u8> {
    build(library, &onnx::network(&[4], &[Node("Relu", &["x"], "y")]), &ada()).expect("a small network compiles")
}
