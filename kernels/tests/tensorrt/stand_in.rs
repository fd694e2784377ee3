//! Libraries that stand in for TensorRT, where there is no GPU to run it and no library of enterprise TensorRT to be had.
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use sund_kernels::tensorrt::{Kind, Version};

/// What a stand-in says and does.
pub struct Source {
    /// What it says that it is.
    pub version: [i32; 3],
    /// Body of the function that creates the builder; none: there is no such function.
    pub builder: Option<&'static str>,
    /// Of the function that creates the runtime.
    pub runtime: Option<&'static str>,
}

impl Source {
    /// As a library of that version on a machine without a GPU: it gives no builder and no runtime.
    pub fn of(version: Version) -> Self {
        let none = Some("return nullptr;");
        Self { version: [version.major, version.minor, version.patch], builder: none, runtime: none }
    }

    fn code(&self) -> String {
        let [major, minor, patch] = self.version;
        let create = |name, body: Option<&str>| {
            body.map(|body| format!("void* createInfer{name}_INTERNAL(void*, int) {{ {body} }}")).unwrap_or_default()
        };
        format!(
            "#include <new>\n#include <stdexcept>\nextern \"C\" {{\n\
             int getInferLibMajorVersion() {{ return {major}; }}\n\
             int getInferLibMinorVersion() {{ return {minor}; }}\n\
             int getInferLibPatchVersion() {{ return {patch}; }}\n\
             {}\n{}\n}}\n",
            create("Builder", self.builder),
            create("Runtime", self.runtime)
        )
    }
}

/// Compiles it, with an ONNX parser beside it.
pub fn stand_in(name: &str, source: &Source) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tensorrt-stand-ins").join(name);
    fs::create_dir_all(&folder).unwrap();
    let parser = "extern \"C\" void* createNvOnnxParser_INTERNAL(void*, void*, int) { return nullptr; }\n";
    compile(&folder, &format!("libnvonnxparser.so.{}", source.version[0]), parser);
    compile(&folder, "libnvinfer.so", &source.code())
}

/// Compiles the one that runs: see running.cpp.
pub fn running(kind: Kind) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tensorrt-running").join(kind.class());
    fs::create_dir_all(&folder).unwrap();
    let headers: Vec<PathBuf> = env::split_paths(match kind {
        Kind::Rtx => env!("SUND_TENSORRT_HEADERS_rtx"),
        Kind::Enterprise => env!("SUND_TENSORRT_HEADERS_enterprise"),
    })
    .collect();
    fs::write(folder.join("stubs.h"), stubs(&headers[0])).unwrap();
    let mut command = compiler();
    command.args(["-std=c++17", "-g"]).arg("-I").arg(&folder);
    for folder in headers {
        command.arg("-isystem").arg(folder);
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tensorrt/running.cpp");
    finish(command, &source, folder.join("library.so"))
}

/// Of each class that a session calls, one that has all its functions, each of which ends the program.
fn stubs(headers: &Path) -> String {
    let header = fs::read_to_string(headers.join("NvInferImpl.h")).unwrap();
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let header = header.lines().filter(is_code).collect::<Vec<_>>().join("\n");
    let stub = |class: &str| {
        // Enterprise TensorRT has no runtime cache.
        let (_, rest) = header.split_once(&format!("class V{class} : public VRoot\n{{\npublic:"))?;
        let (body, _) = rest.split_once("\n};")?;
        let pure = body.split(';').filter_map(|declaration| declaration.trim().strip_suffix("= 0"));
        let functions = pure.map(|declaration| format!("{declaration}override {{ std::abort(); }}\n"));
        let functions = functions.collect::<Vec<_>>().concat();
        Some(format!("struct Stub{class} : apiv::V{class} {{\n{functions}}};\n"))
    };
    let classes = ["Runtime", "RuntimeConfig", "RuntimeCache", "CudaEngine", "ExecutionContext", "HostMemory"];
    let stubs: String = classes.into_iter().filter_map(stub).collect();
    format!("#pragma once\n#include <NvInfer.h>\n#include <cstdlib>\nusing namespace nvinfer1;\n{stubs}")
}

fn compile(folder: &Path, library: &str, code: &str) -> PathBuf {
    let source = folder.join(format!("{library}.cpp"));
    fs::write(&source, code).unwrap();
    finish(compiler(), &source, folder.join(library))
}

fn compiler() -> Command {
    let mut command = Command::new(env::var("CXX").unwrap_or_else(|_| "c++".into()));
    command.args(["-shared", "-fPIC"]);
    command
}

fn finish(mut command: Command, source: &Path, library: PathBuf) -> PathBuf {
    let status = command.arg("-o").arg(&library).arg(source).status();
    assert!(status.expect("a C++ compiler").success(), "{} compiles", source.display());
    library
}
