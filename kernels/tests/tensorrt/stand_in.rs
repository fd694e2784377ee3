//! Libraries that say that they are enterprise TensorRT, of which there is none to be had here.
use std::path::{Path, PathBuf};
use std::process::Command;
use sund_kernels::tensorrt::Version;

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
    std::fs::create_dir_all(&folder).unwrap();
    let parser = "extern \"C\" void* createNvOnnxParser_INTERNAL(void*, void*, int) { return nullptr; }\n";
    compile(&folder, &format!("libnvonnxparser.so.{}", source.version[0]), parser);
    compile(&folder, "libnvinfer.so", &source.code())
}

fn compile(folder: &Path, library: &str, code: &str) -> PathBuf {
    let (source, library) = (folder.join(format!("{library}.cpp")), folder.join(library));
    std::fs::write(&source, code).unwrap();
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let status = Command::new(compiler).args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    assert!(status.expect("a C++ compiler").success(), "{} compiles", source.display());
    library
}
