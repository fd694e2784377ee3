//! What is compiled beside Rust, for the features that ask for it. The default build compiles nothing.
#[cfg(feature = "fatbin")]
#[path = "build/fatbin.rs"]
mod fatbin;
#[cfg(feature = "tensorrt")]
#[path = "build/tensorrt.rs"]
mod tensorrt;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "fatbin")]
    fatbin::compile();
    #[cfg(feature = "tensorrt")]
    tensorrt::compile();
}
