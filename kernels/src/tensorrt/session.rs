//! A plan that runs on the GPU.
use super::boundary::{self, Blob, Dims, Why};
use super::build::take;
use super::error::TensorRtError;
use super::library::{Kind, Library};
use super::{MAX_CACHE, MAX_PLAN, MAX_PROFILES, MAX_TENSORS};
use std::ffi::c_void;
use std::ptr::NonNull;

/// The type of a tensor's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataType {
    /// 32-bit reals.
    Float32,
    /// 16-bit reals (IEEE 754 binary16).
    Float16,
    /// 16-bit reals with the exponent of 32-bit ones.
    BFloat16,
    /// 8-bit integers.
    Int8,
    /// 8-bit naturals.
    UInt8,
    /// 32-bit integers.
    Int32,
    /// 64-bit integers.
    Int64,
    /// Truth values of a byte each.
    Bool,
}

impl DataType {
    /// Of one value.
    pub fn bytes(self) -> usize {
        match self {
            Self::Int64 => 8,
            Self::Float32 | Self::Int32 => 4,
            Self::Float16 | Self::BFloat16 => 2,
            Self::Int8 | Self::UInt8 | Self::Bool => 1,
        }
    }

    /// NvInferRuntimeBase.h, `enum class DataType`. None for what is packed closer than a byte.
    fn from_number(number: i32) -> Option<Self> {
        Some(match number {
            0 => Self::Float32,
            1 => Self::Float16,
            2 => Self::Int8,
            3 => Self::Int32,
            4 => Self::Bool,
            5 => Self::UInt8,
            7 => Self::BFloat16,
            8 => Self::Int64,
            _ => return None,
        })
    }
}

/// An input or output of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its name in the network.
    pub name: String,
    /// Else an output.
    pub is_input: bool,
    /// Of its values.
    pub data_type: DataType,
    /// Length of each axis; -1 where it is dynamic.
    pub shape: Vec<i64>,
    /// What each profile takes, for an input.
    pub ranges: Vec<Range>,
}

/// The shapes of an input that a profile takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// Shortest in each axis.
    pub min: Vec<i64>,
    /// The one that it is tuned for.
    pub opt: Vec<i64>,
    /// Longest in each axis.
    pub max: Vec<i64>,
}

/// Memory of the GPU for one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Device address, aligned to 256 bytes as every allocation of CUDA is.
    pub address: u64,
    /// Length in bytes.
    pub bytes: usize,
}

/// A plan in the GPU's memory with one context. One run at a time; another session for another stream.
pub struct Session {
    library: Library,
    raw: NonNull<boundary::Session>,
    tensors: Vec<Tensor>,
    profiles: usize,
}

// SAFETY: TensorRT lets any thread use an engine and its context as long as it is one at a time, and `&mut self` sees to that.
unsafe impl Send for Session {}

impl Session {
    /// Loads a plan onto the current CUDA context's GPU. `cache`: what [`Session::cache`] gave on this GPU; may be empty, and
    /// one that does not fit is as none. TensorRT trusts plans and caches: give it only bytes whose digest was checked.
    pub fn open(library: &Library, plan: &[u8], cache: &[u8]) -> Result<Self, TensorRtError> {
        TensorRtError::bounded("the plan's length", plan.len(), MAX_PLAN)?;
        TensorRtError::bounded("the runtime cache's length", cache.len(), MAX_CACHE)?;
        let kind = library.kind();
        let entries = library.entries();
        let (mut session, mut why) = (std::ptr::null_mut(), Why::new());
        // SAFETY: the entries are of a library of the version that the shim was built for; plan and cache are read for their
        // lengths and not kept.
        let status = unsafe {
            (library.table().open)(
                &raw const entries,
                plan.as_ptr(),
                plan.len(),
                cache.as_ptr(),
                cache.len(),
                &raw mut session,
                &raw mut why,
            )
        };
        TensorRtError::check(kind, status, &why)?;
        let Some(raw) = NonNull::new(session) else {
            return Err(TensorRtError::Plan { kind, why: "no session came of it".into() });
        };
        let mut session = Self { library: library.clone(), raw, tensors: Vec::new(), profiles: 0 };
        session.describe()?;
        Ok(session)
    }

    /// Inputs and outputs, in the plan's order.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// Which TensorRT.
    pub fn kind(&self) -> Kind {
        self.library.kind()
    }

    /// How many optimisation profiles there are; at least one.
    pub fn profiles(&self) -> usize {
        self.profiles
    }

    /// Bytes of the GPU's memory that the context takes beside the weights.
    pub fn device_memory(&self) -> u64 {
        // SAFETY: the session lives.
        let bytes = unsafe { (self.library.table().device_memory)(self.raw.as_ptr()) };
        u64::try_from(bytes).unwrap_or(0)
    }

    /// The first profile that takes these shapes of the inputs, in the order of the inputs.
    pub fn profile_for(&self, shapes: &[&[i64]]) -> Option<usize> {
        let inputs: Vec<&Tensor> = self.tensors.iter().filter(|tensor| tensor.is_input).collect();
        let takes = |profile: &usize| {
            let mut each = inputs.iter().zip(shapes);
            each.all(|(input, shape)| input.ranges.get(*profile).is_some_and(|range| range.takes(shape)))
        };
        if inputs.len() == shapes.len() { (0..self.profiles).find(takes) } else { None }
    }

    /// Uses another profile from now on. Shapes must be set again.
    ///
    /// # Safety
    /// `stream` is a stream (`CUstream`) of the session's context.
    pub unsafe fn set_profile(&mut self, profile: usize, stream: *mut c_void) -> Result<(), TensorRtError> {
        if profile >= self.profiles {
            return Err(shape(format!("there are {} profiles, and none is number {profile}", self.profiles)));
        }
        let mut why = Why::new();
        // SAFETY: the session lives; the caller vouches for the stream.
        let status =
            unsafe { (self.library.table().set_profile)(self.raw.as_ptr(), profile as i32, stream, &raw mut why) };
        TensorRtError::check(self.library.kind(), status, &why)
    }

    /// Sets the shape of the input at `index` of [`Session::tensors`], in the profile's bounds.
    pub fn set_shape(&mut self, index: usize, lengths: &[i64]) -> Result<(), TensorRtError> {
        let tensor = self.tensor(index)?;
        if !tensor.is_input {
            return Err(shape(format!("{} is no input", tensor.name)));
        }
        let fits = tensor.shape.len() == lengths.len()
            && tensor.shape.iter().zip(lengths).all(|(own, given)| *given >= 1 && (*own == *given || *own == -1));
        let dims = Dims::from_shape(lengths).filter(|_| fits);
        let dims =
            dims.ok_or_else(|| shape(format!("{} is of shape {:?}, not {lengths:?}", tensor.name, tensor.shape)))?;
        let mut why = Why::new();
        // SAFETY: the session lives; the shim reads `dims` and keeps nothing.
        let status =
            unsafe { (self.library.table().set_shape)(self.raw.as_ptr(), index as i32, &raw const dims, &raw mut why) };
        TensorRtError::check(self.library.kind(), status, &why)
    }

    /// The shape of the tensor at `index`, now that the inputs' shapes are set.
    pub fn shape(&mut self, index: usize) -> Result<Vec<usize>, TensorRtError> {
        let name = self.tensor(index)?.name.clone();
        let (mut dims, mut why) = (Dims::empty(), Why::new());
        // SAFETY: the session lives; the shim writes `dims` and keeps nothing.
        let status =
            unsafe { (self.library.table().shape)(self.raw.as_ptr(), index as i32, &raw mut dims, &raw mut why) };
        TensorRtError::check(self.library.kind(), status, &why)?;
        let lengths = dims.shape().and_then(|shape| shape.iter().map(|l| usize::try_from(*l).ok()).collect());
        lengths.ok_or_else(|| shape(format!("the shape of {name} depends on more than the shapes of the inputs")))
    }

    /// Bytes of the tensor at `index`, now that the inputs' shapes are set.
    pub fn bytes(&mut self, index: usize) -> Result<usize, TensorRtError> {
        let size = self.tensor(index)?.data_type.bytes();
        let lengths = self.shape(index)?;
        let bytes = lengths.iter().try_fold(size, |bytes, length| bytes.checked_mul(*length));
        bytes.ok_or_else(|| shape(format!("a shape of {lengths:?} is beyond memory")))
    }

    /// Puts one run on the stream and returns; `buffers` are those of [`Session::tensors`], in that order.
    ///
    /// # Safety
    /// `stream` is a stream (`CUstream`) of the session's context. Each buffer is the GPU's memory of its length, and is
    /// neither freed nor used by others until the stream is through with the run.
    pub unsafe fn enqueue(&mut self, buffers: &[Buffer], stream: *mut c_void) -> Result<(), TensorRtError> {
        if buffers.len() != self.tensors.len() {
            return Err(shape(format!("{} tensors need {0} buffers, not {}", self.tensors.len(), buffers.len())));
        }
        for (index, buffer) in buffers.iter().enumerate() {
            let needed = self.bytes(index)?;
            if buffer.bytes < needed {
                let name = &self.tensors[index].name;
                return Err(shape(format!("{name} needs {needed} bytes and its buffer has {}", buffer.bytes)));
            }
            let address = buffer.address as *mut c_void;
            let mut why = Why::new();
            // SAFETY: the session lives; the caller vouches for the address, and its length was checked.
            let status =
                unsafe { (self.library.table().set_address)(self.raw.as_ptr(), index as i32, address, &raw mut why) };
            TensorRtError::check(self.library.kind(), status, &why)?;
        }
        let mut why = Why::new();
        // SAFETY: the session lives, every tensor has an address; the caller vouches for stream and memory.
        let status = unsafe { (self.library.table().enqueue)(self.raw.as_ptr(), stream, &raw mut why) };
        TensorRtError::check(self.library.kind(), status, &why)
    }

    /// The kernels that TensorRT-RTX compiled for this GPU so far; empty for enterprise TensorRT, whose plans carry them.
    pub fn cache(&mut self) -> Result<Vec<u8>, TensorRtError> {
        let (mut blob, mut why) = (Blob::empty(), Why::new());
        // SAFETY: the session lives; the shim writes `blob`, which `take` frees.
        let status = unsafe { (self.library.table().cache)(self.raw.as_ptr(), &raw mut blob, &raw mut why) };
        TensorRtError::check(self.library.kind(), status, &why)?;
        take(&self.library, blob, "the runtime cache's length", MAX_CACHE)
    }

    fn tensor(&self, index: usize) -> Result<&Tensor, TensorRtError> {
        self.tensors.get(index).ok_or_else(|| shape(format!("there is no tensor {index}")))
    }

    /// Reads tensors and profiles; refuses what a session cannot serve.
    fn describe(&mut self) -> Result<(), TensorRtError> {
        let kind = self.library.kind();
        let table = self.library.table();
        // SAFETY: the session lives.
        let (tensors, profiles) =
            unsafe { ((table.tensor_count)(self.raw.as_ptr()), (table.profile_count)(self.raw.as_ptr())) };
        let (tensors, profiles) = (usize::try_from(tensors).unwrap_or(0), usize::try_from(profiles).unwrap_or(0));
        TensorRtError::bounded("the number of inputs and outputs", tensors, MAX_TENSORS)?;
        TensorRtError::bounded("the number of profiles", profiles, MAX_PROFILES)?;
        if tensors < 2 || profiles < 1 {
            let why = format!("it has {tensors} inputs and outputs and {profiles} profiles");
            return Err(TensorRtError::Plan { kind, why });
        }
        self.profiles = profiles;
        self.tensors = (0..tensors).map(|index| self.read_tensor(index)).collect::<Result<_, _>>()?;
        Ok(())
    }

    fn read_tensor(&self, index: usize) -> Result<Tensor, TensorRtError> {
        let kind = self.library.kind();
        let mut raw =
            boundary::Tensor { name: [0; boundary::NAME], is_input: 0, kind: 0, on_device: 0, dims: Dims::empty() };
        let mut why = Why::new();
        // SAFETY: the session lives; the shim writes `raw` and keeps nothing.
        let status =
            unsafe { (self.library.table().tensor)(self.raw.as_ptr(), index as i32, &raw mut raw, &raw mut why) };
        TensorRtError::check(kind, status, &why)?;
        let name = raw.name.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = String::from_utf8_lossy(name).into_owned();
        let plan = |why: &str| TensorRtError::Plan { kind, why: format!("{name} {why}") };
        let data_type = DataType::from_number(raw.kind).ok_or_else(|| plan("is of a type that Sund does not know"))?;
        if raw.on_device == 0 {
            return Err(plan("is read by the host: a network whose shapes depend on values is not served"));
        }
        let shape = raw.dims.shape().ok_or_else(|| plan("has no shape"))?;
        let is_input = raw.is_input != 0;
        let profiles = if is_input { self.profiles } else { 0 };
        let ranges = (0..profiles).map(|profile| self.read_range(index, profile)).collect::<Result<_, _>>()?;
        Ok(Tensor { name, is_input, data_type, shape, ranges })
    }

    fn read_range(&self, index: usize, profile: usize) -> Result<Range, TensorRtError> {
        let (kind, none) = (self.library.kind(), Dims::empty());
        let mut raw =
            boundary::Range { input: std::ptr::null(), profile: 0, shortest: none, usual: none, longest: none };
        let mut why = Why::new();
        // SAFETY: the session lives; the shim writes `raw` and keeps nothing.
        let status = unsafe {
            let session = self.raw.as_ptr();
            (self.library.table().range)(session, index as i32, profile as i32, &raw mut raw, &raw mut why)
        };
        TensorRtError::check(kind, status, &why)?;
        let shape = |dims: Dims| {
            dims.shape().ok_or_else(|| TensorRtError::Plan { kind, why: format!("profile {profile} has no shape") })
        };
        Ok(Range { min: shape(raw.shortest)?, opt: shape(raw.usual)?, max: shape(raw.longest)? })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: the session came from this half of the shim and is closed once.
        unsafe { (self.library.table().close)(self.raw.as_ptr()) };
    }
}

impl Range {
    /// Whether a shape lies in it.
    pub fn takes(&self, shape: &[i64]) -> bool {
        let mut axes = self.min.iter().zip(&self.max).zip(shape);
        self.min.len() == shape.len() && axes.all(|((min, max), length)| (min..=max).contains(&length))
    }
}

fn shape(why: String) -> TensorRtError {
    TensorRtError::Shape { why }
}
