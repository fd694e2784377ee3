//! The C++ shim of TensorRT, once against each set of headers. See TENSORRT.md for where they come from.
use std::env;
use std::path::{Path, PathBuf};

/// The crate whose source carries both sets of headers; nothing of it is compiled.
const CRATE: &str = "trtx-sys-0.9.1+rtx1.7";

const SOURCES: [&str; 3] = ["report.cpp", "build.cpp", "session.cpp"];

/// One half of the shim.
struct Half {
    name: &'static str,
    /// Folders of its headers: NvInfer.h, NvOnnxParser.h, cuda_runtime_api.h.
    variable: &'static str,
    /// In the crate's source.
    folder: &'static str,
}

const HALVES: [Half; 2] = [
    Half { name: "rtx", variable: "SUND_TENSORRT_RTX_INCLUDE", folder: "TRT-RTX-1.7" },
    Half { name: "enterprise", variable: "SUND_TENSORRT_INCLUDE", folder: "TRT-Enterprise-11.4" },
];

pub fn compile() {
    println!("cargo:rerun-if-changed=build/tensorrt.rs");
    println!("cargo:rerun-if-changed=tensorrt");
    for half in &HALVES {
        println!("cargo:rerun-if-env-changed={}", half.variable);
        let mut build = cc::Build::new();
        build.cpp(true).std("c++17").warnings(true).extra_warnings(true).warnings_into_errors(true);
        build.flag("-fvisibility=hidden");
        let headers = headers(half);
        // For the tests' libraries that stand in for NVIDIA's.
        let joined = env::join_paths(&headers).expect("the folders came from such a list, or hold no colon");
        println!("cargo:rustc-env=SUND_TENSORRT_HEADERS_{}={}", half.name, joined.display());
        for folder in headers {
            // As system headers: warnings in them are NVIDIA's.
            build.flag("-isystem").flag(folder);
        }
        build.define("SUND_HALF", half.name);
        build.define("nvinfer1", format!("nvinfer1_{}", half.name).as_str());
        build.define("nvonnxparser", format!("nvonnxparser_{}", half.name).as_str());
        if half.name == "rtx" {
            build.define("SUND_RTX", None);
        }
        for source in SOURCES {
            build.file(Path::new("tensorrt").join(source));
        }
        build.compile(&format!("sund_tensorrt_{}", half.name));
    }
}

/// From the variable, else from the crate's source where cargo keeps it.
fn headers(half: &Half) -> Vec<PathBuf> {
    if let Some(folders) = env::var_os(half.variable) {
        return env::split_paths(&folders).collect();
    }
    let Some(headers) = fetched() else {
        panic!(
            "the headers of TensorRT are not here: set {} to the folder of NvInfer.h (and, after a colon, that of \
             cuda_runtime_api.h), or run `cargo fetch --manifest-path kernels/tensorrt/headers/Cargo.toml`",
            half.variable
        );
    };
    vec![headers.join(half.folder), headers]
}

fn fetched() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))?;
    let registries = home.join("registry/src").read_dir().ok()?;
    let folders = registries.flatten().map(|registry| registry.path().join(CRATE).join("TensorRT-Headers"));
    folders.into_iter().find(|folder| folder.is_dir())
}
