//! A GPU as a machine that runs kernels: its memory and one stream, on which everything happens in the order asked for.
use super::code;
use super::error::{CudaError, OLDEST_CARD, OLDEST_DRIVER, said};
use super::machine::{Address, Argument, Call, Machine, Memory, Plain, bytes_of, bytes_of_mut};
use super::pinned::Pinned;
use super::sources;
use cudarc::driver::sys::{self, CUevent_flags, CUresult};
use cudarc::driver::{CudaContext, CudaFunction, CudaModule, CudaSlice, CudaStream, DevicePtr, DriverError, result};
use cudarc::nvrtc::Ptx;
use std::collections::HashMap;
use std::ffi::c_void;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A GPU, the kernels loaded on it, and a stream.
pub struct Cuda {
    /// Which of this process's: memory of another one is refused.
    number: u64,
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    kernels: HashMap<String, CudaFunction>,
    code: Code,
}

/// Where the code of the kernels comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// From the image that was built ahead of time.
    Image,
    /// Compiled here by NVRTC.
    Compiled,
}

/// Values in a GPU's memory.
pub struct CudaMemory<T> {
    pub(super) bytes: CudaSlice<u8>,
    address: Address,
    count: usize,
    kind: PhantomData<T>,
}

// SAFETY: `bytes` is that much memory of the GPU's. It is freed on the stream on which alone it is used, behind all uses.
unsafe impl<T> Memory for CudaMemory<T> {
    fn count(&self) -> usize {
        self.count
    }

    fn address(&self) -> Address {
        self.address
    }
}

#[cfg(feature = "tensorrt")]
impl CudaMemory<u8> {
    /// The same bytes as values of another type, which they are a whole number of.
    pub(crate) fn reinterpreted<T: Plain>(self) -> Result<CudaMemory<T>, CudaError> {
        if !self.count.is_multiple_of(size_of::<T>()) {
            return Err(crate::KernelError::Shape { expected: size_of::<T>(), found: self.count }.into());
        }
        let count = self.count / size_of::<T>();
        Ok(CudaMemory { bytes: self.bytes, address: self.address, count, kind: PhantomData })
    }
}

impl Cuda {
    /// The GPU of this number, counted from 0 among those that the process may see (`CUDA_VISIBLE_DEVICES`; a MIG slice counts).
    pub fn open(ordinal: usize) -> Result<Self, CudaError> {
        static MACHINES: AtomicU64 = AtomicU64::new(0);
        find_driver()?;
        result::init().map_err(no_device)?;
        let found = CudaContext::device_count().map_err(no_device)? as usize;
        if ordinal >= found {
            return Err(CudaError::NoSuchDevice { ordinal, found });
        }
        let context = CudaContext::new(ordinal)?;
        let capability = context.compute_capability()?;
        if capability < OLDEST_CARD {
            return Err(CudaError::CardTooOld { name: context.name()?, capability });
        }
        let (module, code) = load(&context)?;
        let function = |name: String| match module.load_function(&name) {
            Ok(function) => Ok((name, function)),
            Err(DriverError(CUresult::CUDA_ERROR_NOT_FOUND)) => Err(CudaError::NoKernel(name)),
            Err(error) => Err(error.into()),
        };
        let kernels = sources::kernels().into_iter().map(function).collect::<Result<_, _>>()?;
        let stream = context.new_stream()?;
        Ok(Self { number: MACHINES.fetch_add(1, Ordering::Relaxed), context, stream, kernels, code })
    }

    /// As the driver names the card.
    pub fn name(&self) -> Result<String, CudaError> {
        Ok(self.context.name()?)
    }

    /// Compute capability: major and minor.
    pub fn capability(&self) -> Result<(i32, i32), CudaError> {
        Ok(self.context.compute_capability()?)
    }

    /// Bytes of the GPU's memory: free, and all.
    pub fn memory(&self) -> Result<(usize, usize), CudaError> {
        Ok(self.context.mem_get_info()?)
    }

    /// Where the code of the kernels comes from.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The stream, for a network's session that is to run between kernels without a wait.
    pub fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// Waits until all that was asked for is done.
    pub fn wait(&self) -> Result<(), CudaError> {
        Ok(self.stream.synchronize()?)
    }

    /// Page-locked memory on the host, from which and into which copies run while the processor does other things.
    pub fn pinned<T: Plain>(&self, count: usize) -> Result<Pinned<T>, CudaError> {
        Pinned::new(&self.context, count)
    }

    /// Values from page-locked memory into as many on the GPU. Returns at once; `from` waits before it is changed.
    pub fn upload_from<T: Plain>(&mut self, from: &Pinned<T>, to: &mut CudaMemory<T>) -> Result<(), CudaError> {
        self.check(from.count(), to)?;
        Ok(self.stream.memcpy_htod(from.bytes(), &mut to.bytes)?)
    }

    /// Values from the GPU into as many in page-locked memory. Returns at once; `to` waits before it is read.
    pub fn download_into<T: Plain>(&mut self, from: &CudaMemory<T>, to: &mut Pinned<T>) -> Result<(), CudaError> {
        self.check(to.count(), from)?;
        Ok(self.stream.memcpy_dtoh(&from.bytes, to.bytes_mut())?)
    }

    /// Values from one place on the GPU to another. Returns at once.
    pub fn copy<T: Plain>(&mut self, from: &CudaMemory<T>, to: &mut CudaMemory<T>) -> Result<(), CudaError> {
        self.check(from.count, to)?;
        self.check(to.count, from)?;
        Ok(self.stream.memcpy_dtod(&from.bytes, &mut to.bytes)?)
    }

    /// The values of memory of another of this process's, in which nothing is on its way any more. Returns at once: that memory stays
    /// until this one's stream has come so far.
    #[cfg(feature = "tensorrt")]
    pub(crate) fn copied<T: Plain>(&mut self, from: &CudaMemory<T>) -> Result<CudaMemory<T>, CudaError> {
        let mut own = self.room(from.count)?;
        self.stream.memcpy_dtod(&from.bytes, &mut own.bytes)?;
        Ok(own)
    }

    /// The values of several, one behind another.
    pub fn joined<T: Plain>(&mut self, parts: &[CudaMemory<T>]) -> Result<CudaMemory<T>, CudaError> {
        let mut all = self.zeros(parts.iter().map(|part| part.count).sum())?;
        let mut at = 0;
        for part in parts.iter().filter(|part| part.count > 0) {
            self.check(part.count, part)?;
            let end = at + part.bytes.len();
            self.stream.memcpy_dtod(&part.bytes, &mut all.bytes.slice_mut(at..end))?;
            at = end;
        }
        Ok(all)
    }

    /// The bytes of values from one place on the GPU to another, whatever they are there. Returns at once.
    #[cfg(feature = "tensorrt")]
    pub(crate) fn copy_bytes<T, U>(&mut self, from: &CudaMemory<T>, to: &mut CudaMemory<U>) -> Result<(), CudaError> {
        self.check(from.count, from)?;
        self.check(to.count, to)?;
        if from.bytes.len() != to.bytes.len() {
            let (expected, found) = (to.bytes.len(), from.bytes.len());
            return Err(crate::KernelError::Shape { expected, found }.into());
        }
        Ok(self.stream.memcpy_dtod(&from.bytes, &mut to.bytes)?)
    }

    /// As many parts of equal length, each in memory of its own.
    #[cfg(feature = "tensorrt")]
    pub(crate) fn parts<T: Plain>(
        &mut self,
        all: CudaMemory<T>,
        count: usize,
    ) -> Result<Vec<CudaMemory<T>>, CudaError> {
        if count == 1 {
            return Ok(vec![all]);
        }
        self.check(all.count, &all)?;
        if count == 0 || !all.count.is_multiple_of(count) {
            return Err(crate::KernelError::Shape { expected: count, found: all.count }.into());
        }
        let (of_a_part, bytes) = (all.count / count, all.bytes.len() / count);
        let part = |n: usize| {
            let mut part = self.zeros(of_a_part)?;
            if of_a_part > 0 {
                self.stream.memcpy_dtod(&all.bytes.slice(n * bytes..(n + 1) * bytes), &mut part.bytes)?;
            }
            Ok(part)
        };
        (0..count).map(part).collect()
    }

    /// Milliseconds that the GPU spends on what `work` asks for.
    pub fn timed(&mut self, work: impl FnOnce(&mut Self) -> Result<(), CudaError>) -> Result<f32, CudaError> {
        let begin = self.stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT))?;
        work(self)?;
        let end = self.stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT))?;
        Ok(begin.elapsed_ms(&end)?)
    }

    fn check<T>(&self, count: usize, memory: &CudaMemory<T>) -> Result<(), CudaError> {
        if memory.address.machine != self.number {
            return Err(CudaError::ForeignMemory);
        }
        if memory.count != count {
            return Err(crate::KernelError::Shape { expected: memory.count, found: count }.into());
        }
        Ok(())
    }

    /// Memory whose bytes are whatever they were: to be filled by the caller before it is read.
    fn room<T: Plain>(&self, count: usize) -> Result<CudaMemory<T>, CudaError> {
        let bytes = count.checked_mul(size_of::<T>()).ok_or(crate::KernelError::TooLarge)?.max(1);
        // SAFETY: both callers fill all of it next, on the same stream.
        let bytes = unsafe { self.stream.alloc::<u8>(bytes) }.map_err(|error| out_of_memory(error, bytes))?;
        let (place, _) = bytes.device_ptr(&self.stream);
        let address = Address { machine: self.number, place };
        Ok(CudaMemory { bytes, address, count, kind: PhantomData })
    }
}

impl Machine for Cuda {
    type Memory<T: Plain> = CudaMemory<T>;
    type Error = CudaError;

    fn upload<T: Plain>(&mut self, values: &[T]) -> Result<CudaMemory<T>, CudaError> {
        let mut memory = self.room(values.len())?;
        if !values.is_empty() {
            self.stream.memcpy_htod(bytes_of(values), &mut memory.bytes)?;
        }
        Ok(memory)
    }

    fn zeros<T: Plain>(&mut self, count: usize) -> Result<CudaMemory<T>, CudaError> {
        let mut memory = self.room(count)?;
        self.clear(&mut memory)?;
        Ok(memory)
    }

    fn clear<T: Plain>(&mut self, memory: &mut CudaMemory<T>) -> Result<(), CudaError> {
        self.check(memory.count, memory)?;
        Ok(self.stream.memset_zeros(&mut memory.bytes)?)
    }

    fn download<T: Plain>(&mut self, memory: &CudaMemory<T>) -> Result<Vec<T>, CudaError> {
        self.check(memory.count, memory)?;
        let mut values = vec![T::default(); memory.count];
        if memory.count > 0 {
            self.stream.memcpy_dtoh(&memory.bytes, bytes_of_mut(&mut values))?;
        }
        self.wait()?;
        Ok(values)
    }

    fn launch(&mut self, call: &Call<'_>) -> Result<(), CudaError> {
        let [x, y, z] = call.blocks();
        if x == 0 || y == 0 || z == 0 {
            return Ok(());
        }
        let kernel = self.kernels.get(call.kernel()).ok_or_else(|| CudaError::NoKernel(call.kernel().to_owned()))?;
        let mut parameters: Vec<*mut c_void> = Vec::with_capacity(call.arguments().len());
        for argument in call.arguments() {
            parameters.push(match argument {
                Argument::Pointer(address) if address.machine != self.number => return Err(CudaError::ForeignMemory),
                Argument::Pointer(address) => (&raw const address.place).cast_mut().cast(),
                Argument::Value(bytes) => bytes.as_ptr().cast_mut().cast(),
            });
        }
        self.context.bind_to_thread()?;
        let (function, stream) = (kernel.cu_function(), self.stream.cu_stream());
        let threads = (call.threads(), 1, 1);
        // SAFETY: the function is one of the loaded module's, which `kernel` keeps. Only launchers make a call: its arguments
        // are the kernel's, in its order, and the memory is as large as it takes it to be. That memory is this machine's, used
        // on this stream alone, and freed on it. The driver copies the arguments before it returns and changes none.
        unsafe { result::launch_kernel(function, (x, y, z), threads, 0, stream, &mut parameters) }?;
        Ok(())
    }
}

impl fmt::Debug for Cuda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GPU {} ({:?})", self.context.ordinal(), self.code)
    }
}

/// Checks that there is a driver and that it is new enough, before anything else is asked of it.
fn find_driver() -> Result<(), CudaError> {
    // SAFETY: opens libcuda by its name and looks for nothing but its being there.
    if !unsafe { sys::is_culib_present() } {
        return Err(CudaError::NoDriver);
    }
    let mut found = 0;
    // SAFETY: this function is in every driver, needs no initialisation, and writes one integer.
    unsafe { sys::cuDriverGetVersion(&raw mut found) }.result()?;
    if found < OLDEST_DRIVER { Err(CudaError::DriverTooOld { found }) } else { Ok(()) }
}

/// Loads the image that was built ahead of time; where there is none that runs here, what NVRTC compiles.
fn load(context: &Arc<CudaContext>) -> Result<(Arc<CudaModule>, Code), CudaError> {
    let image = match code::image() {
        Some(image) => match context.load_module(Ptx::from_binary(image.to_vec())) {
            Ok(module) => return Ok((module, Code::Image)),
            Err(error) => said(error),
        },
        None => "this build carries no image".into(),
    };
    let compiled = code::compile().and_then(|ptx| Ok(context.load_module(ptx)?));
    match compiled {
        Ok(module) => Ok((module, Code::Compiled)),
        Err(error) => Err(CudaError::NoCode { image, compiler: error.to_string() }),
    }
}

/// The driver is there, its GPU is not.
fn no_device(error: DriverError) -> CudaError {
    CudaError::NoDevice { said: said(error) }
}

pub(super) fn out_of_memory(error: DriverError, bytes: usize) -> CudaError {
    match error.0 {
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => CudaError::OutOfMemory { bytes },
        _ => error.into(),
    }
}
