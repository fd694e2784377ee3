//! TensorRT's libraries: opened, and believed only after their version was read.
use super::boundary::{self, Create, CreateParser, Entries, Table};
use super::error::TensorRtError;
use std::ffi::{CStr, CString, c_void};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Which of NVIDIA's two. They share their names and nothing else: a plan of one is nothing to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// TensorRT-RTX: compiles without a GPU, for GeForce and workstation cards; finishes its kernels on the box.
    Rtx,
    /// Enterprise TensorRT: compiles on the GPU that it is to run on, for data-centre cards too.
    Enterprise,
}

impl Kind {
    /// As packages and configuration name the engine class.
    pub fn class(self) -> &'static str {
        match self {
            Kind::Rtx => "tensorrt-rtx",
            Kind::Enterprise => "tensorrt",
        }
    }

    /// The version that this program was built for.
    pub fn built_for(self) -> Version {
        let table = self.table();
        Version { major: table.major, minor: table.minor, patch: table.patch }
    }

    pub(super) fn table(self) -> &'static Table {
        match self {
            Kind::Rtx => boundary::rtx(),
            Kind::Enterprise => boundary::enterprise(),
        }
    }

    /// The ONNX parser lies beside the library; its name carries the same major version.
    fn parser(self) -> String {
        let major = self.built_for().major;
        match self {
            Kind::Rtx => format!("libtensorrt_onnxparser_rtx.so.{major}"),
            Kind::Enterprise => format!("libnvonnxparser.so.{major}"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Rtx => "TensorRT-RTX",
            Kind::Enterprise => "enterprise TensorRT",
        })
    }
}

/// A version of TensorRT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Another one has other classes.
    pub major: i32,
    /// A later one has all that an earlier one has.
    pub minor: i32,
    /// Repairs.
    pub patch: i32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// A library that was opened and is of the expected kind and version. It stays open as long as the process lives.
#[derive(Clone)]
pub struct Library {
    kind: Kind,
    path: PathBuf,
    version: Version,
    entries: Entries,
}

impl Library {
    /// Opens `path`, e.g. `libtensorrt_rtx.so.1` or `libnvinfer.so.11`. Opening runs code of the library: only in a process
    /// that may be lost, and only what the operator named.
    pub fn open(kind: Kind, path: &Path) -> Result<Self, TensorRtError> {
        let handle = Handle::open(kind, path)?;
        let version = handle.version()?;
        let needed = kind.built_for();
        if version.major != needed.major || version < needed {
            return Err(TensorRtError::Version { kind, path: handle.path, needed, found: version });
        }
        let builder = handle.symbol(c"createInferBuilder_INTERNAL")?;
        let runtime = handle.symbol(c"createInferRuntime_INTERNAL")?;
        // SAFETY: a TensorRT of this major version declares both so (NvInfer.h, NvInferRuntime.h).
        let (builder, runtime) = unsafe {
            (std::mem::transmute::<*mut c_void, Create>(builder), std::mem::transmute::<*mut c_void, Create>(runtime))
        };
        let entries = Entries { builder: Some(builder), runtime: Some(runtime), parser: None };
        Ok(Self { kind, path: handle.path, version, entries })
    }

    /// Which TensorRT.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What the library says.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn table(&self) -> &'static Table {
        self.kind.table()
    }

    /// What a session needs.
    pub(super) fn entries(&self) -> Entries {
        self.entries
    }

    /// What the builder needs: opens the ONNX parser beside the library.
    pub(super) fn entries_with_parser(&self) -> Result<Entries, TensorRtError> {
        let path = self.path.with_file_name(self.kind.parser());
        let parser = Handle::open(self.kind, &path)?.symbol(c"createNvOnnxParser_INTERNAL")?;
        // SAFETY: a parser of this major version declares it so (NvOnnxParser.h).
        let parser = unsafe { std::mem::transmute::<*mut c_void, CreateParser>(parser) };
        Ok(Entries { parser: Some(parser), ..self.entries })
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.kind, self.version, self.path.display())
    }
}

/// A library of any kind. Never closed: TensorRT leaves threads and destructors behind.
struct Handle {
    kind: Kind,
    path: PathBuf,
    opened: *mut c_void,
}

impl Handle {
    fn open(kind: Kind, path: &Path) -> Result<Self, TensorRtError> {
        let failed = |why: String| TensorRtError::Open { kind, path: path.to_owned(), why };
        // An absolute path: a name alone would be looked for in the system's folders.
        let path = path.canonicalize().map_err(|error| failed(error.to_string()))?;
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|error| failed(error.to_string()))?;
        // RTLD_LOCAL: both kinds export the same names, and must not meet.
        // SAFETY: `name` is a path that ends with a zero. The library's initialisers run: see `Library::open`.
        let opened = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if opened.is_null() {
            // SAFETY: dlopen failed in this thread, so dlerror gives a text that ends with a zero, or null.
            let why = unsafe {
                let text = libc::dlerror();
                if text.is_null() { c"no reason given" } else { CStr::from_ptr(text) }.to_bytes().to_vec()
            };
            return Err(failed(boundary::line(&why)));
        }
        Ok(Self { kind, path, opened })
    }

    /// What the library says about itself, before anything else of it is called.
    fn version(&self) -> Result<Version, TensorRtError> {
        let number = |name| {
            // SAFETY: the symbol's name says what it is; every TensorRT since 10 and TensorRT-RTX declare it so.
            let number = unsafe { std::mem::transmute::<*mut c_void, extern "C" fn() -> i32>(self.symbol(name)?) };
            Ok(number())
        };
        Ok(Version {
            major: number(c"getInferLibMajorVersion")?,
            minor: number(c"getInferLibMinorVersion")?,
            patch: number(c"getInferLibPatchVersion")?,
        })
    }

    fn symbol(&self, name: &'static CStr) -> Result<*mut c_void, TensorRtError> {
        // SAFETY: the handle is open, the name ends with a zero.
        let address = unsafe { libc::dlsym(self.opened, name.as_ptr()) };
        if address.is_null() {
            let symbol = name.to_str().unwrap_or_default();
            return Err(TensorRtError::NotTensorRt { kind: self.kind, path: self.path.clone(), symbol });
        }
        Ok(address)
    }
}
