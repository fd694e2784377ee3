//! What can be said of the kernels' code without running it.
use std::collections::HashMap;
use sund_kernels::cuda::{Cuda, CudaError, code, sources};

/// `SUND_TEST_NVRTC` names the library; opened by its path first, it is found by its name then.
#[test]
fn nvrtc_makes_ptx_of_every_kernel_or_is_said_to_be_missing() {
    let library = std::env::var("SUND_TEST_NVRTC").ok();
    if let Some(library) = &library {
        let path = std::ffi::CString::new(library.as_str()).unwrap();
        // SAFETY: a library of NVIDIA's, which stays open.
        let opened = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
        assert!(!opened.is_null(), "{library} does not open");
    }
    let ptx = match code::compile() {
        Ok(ptx) => ptx.to_src(),
        Err(error) => return assert_eq!((error, library), (CudaError::NoCompiler, None)),
    };
    let bodies: HashMap<&str, &str> = ptx.split(".entry ").skip(1).filter_map(|entry| entry.split_once('(')).collect();
    for kernel in sources::kernels() {
        let body = bodies.get(kernel.as_str()).unwrap_or_else(|| panic!("the PTX has no {kernel}"));
        // A fused multiply-add would not be the reference's rounding. The exponential's own are in the library.
        let is_exact = kernel.starts_with("softmax") || !body.contains("fma.");
        assert!(is_exact, "{kernel} multiplies and adds at once");
    }
}

/// On a machine with a GPU this one opens; elsewhere it says in which way there is none, and does not panic.
#[test]
fn a_gpu_opens_or_is_refused_for_a_reason_that_says_what_is_missing() {
    match Cuda::open(0) {
        Ok(gpu) => assert!(gpu.capability().unwrap() >= sund_kernels::cuda::OLDEST_CARD),
        Err(CudaError::NoDriver) => {
            assert_eq!(CudaError::NoDriver.to_string(), "this machine has no NVIDIA driver (libcuda)");
        }
        Err(error) => assert!(!error.is_lost() && error.to_string().contains("NVIDIA driver"), "{error}"),
    }
}

#[test]
fn refusals_name_versions_as_people_do() {
    let old = CudaError::DriverTooOld { found: 12_040 };
    assert_eq!(old.to_string(), "the NVIDIA driver knows CUDA 12.4, and at least 13.0 is needed");
    let card = CudaError::CardTooOld { name: "Tesla V100".into(), capability: (7, 0) };
    assert_eq!(card.to_string(), "Tesla V100 has compute capability 7.0, and at least 7.5 is needed");
}
