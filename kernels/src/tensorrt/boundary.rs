//! What Rust and C++ say to each other: tensorrt/boundary.h, line by line.
use std::ffi::{c_char, c_int, c_void};

pub(super) const RANK: usize = 8;
pub(super) const NAME: usize = 256;
const WHY: usize = 1024;

pub(super) const OK: i32 = 0;
pub(super) const NETWORK: i32 = 1;
pub(super) const OPTIONS: i32 = 2;
pub(super) const BUILD: i32 = 3;
pub(super) const DEVICE: i32 = 4;
pub(super) const PLAN: i32 = 5;
pub(super) const SHAPE: i32 = 6;
pub(super) const EXECUTION: i32 = 7;
pub(super) const MEMORY: i32 = 8;

/// Creates the builder, the runtime.
pub(super) type Create = unsafe extern "C" fn(logger: *mut c_void, version: i32) -> *mut c_void;
/// Creates the parser of a network.
pub(super) type CreateParser =
    unsafe extern "C" fn(network: *mut c_void, logger: *mut c_void, version: c_int) -> *mut c_void;
/// Takes a line of the log.
pub(super) type Log = unsafe extern "C" fn(severity: i32, line: *const c_char, length: usize);

#[repr(C)]
pub(super) struct Why {
    length: usize,
    text: [u8; WHY],
}

impl Why {
    pub(super) fn new() -> Self {
        Self { length: 0, text: [0; WHY] }
    }

    /// In one line.
    pub(super) fn line(&self) -> String {
        line(&self.text[..self.length.min(WHY)])
    }
}

/// Text of TensorRT in one line, without control characters.
pub(super) fn line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[repr(C)]
pub(super) struct Blob {
    pub(super) owner: *mut c_void,
    pub(super) data: *const u8,
    pub(super) size: usize,
}

impl Blob {
    pub(super) fn empty() -> Self {
        Self { owner: std::ptr::null_mut(), data: std::ptr::null(), size: 0 }
    }
}

#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Entries {
    pub(super) builder: Option<Create>,
    pub(super) runtime: Option<Create>,
    pub(super) parser: Option<CreateParser>,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Dims {
    pub(super) rank: i32,
    pub(super) length: [i64; RANK],
}

impl Dims {
    pub(super) fn empty() -> Self {
        Self { rank: 0, length: [0; RANK] }
    }

    /// None if there are more axes than TensorRT has.
    pub(super) fn from_shape(shape: &[i64]) -> Option<Self> {
        let mut dims = Self::empty();
        dims.length.get_mut(..shape.len())?.copy_from_slice(shape);
        dims.rank = shape.len() as i32;
        Some(dims)
    }

    /// None where TensorRT says that there is no shape, or one of more axes than it has.
    pub(super) fn shape(&self) -> Option<Vec<i64>> {
        let rank = usize::try_from(self.rank).ok()?;
        self.length.get(..rank).map(<[i64]>::to_vec)
    }
}

#[repr(C)]
pub(super) struct Range {
    pub(super) input: *const c_char,
    pub(super) profile: i32,
    pub(super) shortest: Dims,
    pub(super) usual: Dims,
    pub(super) longest: Dims,
}

#[repr(C)]
pub(super) struct Build {
    pub(super) onnx: *const u8,
    pub(super) onnx_size: usize,
    pub(super) targets: *const i32,
    pub(super) target_count: usize,
    pub(super) ranges: *const Range,
    pub(super) range_count: usize,
    pub(super) workspace: u64,
    pub(super) threads: i32,
}

#[repr(C)]
pub(super) struct Tensor {
    pub(super) name: [u8; NAME],
    pub(super) is_input: i32,
    pub(super) kind: i32,
    pub(super) on_device: i32,
    pub(super) dims: Dims,
}

/// A session of the shim; its content is C++'s.
#[repr(C)]
pub(super) struct Session {
    _opaque: [u8; 0],
}

#[repr(C)]
pub(super) struct Table {
    pub(super) major: i32,
    pub(super) minor: i32,
    pub(super) patch: i32,
    pub(super) log_to: unsafe extern "C" fn(Log),
    pub(super) free_blob: unsafe extern "C" fn(*mut c_void),
    pub(super) build: unsafe extern "C" fn(*const Entries, *const Build, *mut Blob, *mut Why) -> i32,
    pub(super) open:
        unsafe extern "C" fn(*const Entries, *const u8, usize, *const u8, usize, *mut *mut Session, *mut Why) -> i32,
    pub(super) close: unsafe extern "C" fn(*mut Session),
    pub(super) tensor_count: unsafe extern "C" fn(*const Session) -> i32,
    pub(super) tensor: unsafe extern "C" fn(*const Session, i32, *mut Tensor, *mut Why) -> i32,
    pub(super) profile_count: unsafe extern "C" fn(*const Session) -> i32,
    pub(super) range: unsafe extern "C" fn(*const Session, i32, i32, *mut Range, *mut Why) -> i32,
    pub(super) device_memory: unsafe extern "C" fn(*const Session) -> i64,
    pub(super) set_profile: unsafe extern "C" fn(*mut Session, i32, *mut c_void, *mut Why) -> i32,
    pub(super) set_shape: unsafe extern "C" fn(*mut Session, i32, *const Dims, *mut Why) -> i32,
    pub(super) shape: unsafe extern "C" fn(*mut Session, i32, *mut Dims, *mut Why) -> i32,
    pub(super) set_address: unsafe extern "C" fn(*mut Session, i32, *mut c_void, *mut Why) -> i32,
    pub(super) enqueue: unsafe extern "C" fn(*mut Session, *mut c_void, *mut Why) -> i32,
    pub(super) cache: unsafe extern "C" fn(*mut Session, *mut Blob, *mut Why) -> i32,
}

unsafe extern "C" {
    fn sund_tensorrt_rtx() -> *const Table;
    fn sund_tensorrt_enterprise() -> *const Table;
}

pub(super) fn rtx() -> &'static Table {
    // SAFETY: gives the address of a constant of the shim, which is linked in and lives as long as the process.
    unsafe { &*sund_tensorrt_rtx() }
}

pub(super) fn enterprise() -> &'static Table {
    // SAFETY: as for `rtx`.
    unsafe { &*sund_tensorrt_enterprise() }
}
