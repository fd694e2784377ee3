//! The CUDA kernels as one image: machine code for each card that Sund knows, and PTX for newer ones.
use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// Compute capabilities, 75 for 7.5; a card of 8.7 runs what was built for 8.6. Machine code is made from the PTX of the oldest,
/// which is carried along for cards that are newer than all of these.
pub const CAPABILITIES: [u32; 7] = [75, 80, 86, 89, 90, 100, 120];

/// Compiles the image to where the crate includes it from.
#[cfg_attr(
    test,
    allow(dead_code, clippy::print_stdout, reason = "cargo reads it; the tests compile to a place of their own")
)]
pub fn compile() {
    println!("cargo:rerun-if-changed=build/fatbin.rs");
    println!("cargo:rerun-if-changed=cuda");
    println!("cargo:rerun-if-env-changed=SUND_NVCC");
    let Some(folder) = env::var_os("OUT_DIR") else { panic!("cargo names no OUT_DIR") };
    compile_to(&Path::new(&folder).join("kernels.fatbin"));
}

/// Compiles the image with `SUND_NVCC`, or the nvcc on `PATH`, in the crate's folder.
pub fn compile_to(image: &Path) {
    let nvcc = env::var_os("SUND_NVCC").unwrap_or_else(|| OsString::from("nvcc"));
    let machines: Vec<String> = CAPABILITIES.map(|capability| format!("sm_{capability}")).to_vec();
    let oldest = CAPABILITIES[0];
    let built = Command::new(&nvcc)
        // No fused multiply-add: the same bits as the reference. See KERNELS.md.
        .args(["-std=c++20", "-O3", "-fmad=false", "--compress-mode=size", "--threads=0", "-fatbin"])
        .arg(format!("-gencode=arch=compute_{oldest},code=[{},compute_{oldest}]", machines.join(",")))
        .args([Path::new("cuda/kernels.cu"), Path::new("-o"), image])
        .status();
    match built {
        Ok(status) if status.success() => (),
        Ok(status) => panic!("{} did not compile the kernels: {status}", nvcc.display()),
        Err(error) => panic!("{} cannot be run ({error}): set SUND_NVCC to the nvcc of CUDA 13", nvcc.display()),
    }
}
