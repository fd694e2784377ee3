//! A GPU as a machine that runs kernels: its memory and one stream, on which everything happens in the order asked for.
use super::code;
use super::error::{CudaError, OLDEST_CARD, OLDEST_DRIVER, said};
use super::machine::{Address, Argument, Call, Machine, Memory, Plain, bytes_of, bytes_of_mut};
use super::pinned::Pinned;
use super::sources;
use cudarc::driver::sys::{self, CUevent_flags, CUresult};
use cudarc::driver::{
    CudaContext, CudaFunction, CudaModule, CudaSlice, CudaStream, DevicePtr, DriverError, HostSlice, result,
};
use cudarc::nvrtc::Ptx;
use std::collections::HashMap;
use std::ffi::c_void;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A GPU, the kernels loaded on it, and a stream.
pub struct Cuda {
    gpu: Arc<Gpu>,
    stream: Arc<CudaStream>,
}

/// What all streams of a GPU share.
struct Gpu {
    /// Which of this process's: memory of another one is refused.
    number: u64,
    context: Arc<CudaContext>,
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
    /// All of the memory of which this may be a part: kept, and freed with the last of its parts.
    whole: Arc<CudaSlice<u8>>,
    address: Address,
    count: usize,
    kind: PhantomData<T>,
}

// SAFETY: `whole` has that much of the GPU's memory from there on. It is freed on the stream on which alone it is used, behind
// all uses; memory that more streams use is a `CudaBuffer`'s, and their lanes keep it until they are through.
unsafe impl<T> Memory for CudaMemory<T> {
    fn count(&self) -> usize {
        self.count
    }

    fn address(&self) -> Address {
        self.address
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
        let number = MACHINES.fetch_add(1, Ordering::Relaxed);
        Ok(Self { gpu: Arc::new(Gpu { number, context, kernels, code }), stream })
    }

    /// Another stream on the same GPU. What one uses of the other's memory is the caller's to keep in order and alive.
    pub(super) fn another_stream(&self) -> Result<Self, CudaError> {
        Ok(Self { gpu: Arc::clone(&self.gpu), stream: self.gpu.context.new_stream()? })
    }

    pub(super) fn context(&self) -> &Arc<CudaContext> {
        &self.gpu.context
    }

    /// Memory whose bytes are whatever they are, for all streams of this GPU: there when this returns.
    pub(super) fn shared(&self, bytes: usize) -> Result<Arc<CudaSlice<u8>>, CudaError> {
        let memory = self.room::<u8>(bytes)?;
        self.wait()?;
        Ok(memory.whole)
    }

    /// Bytes into as many on the GPU; `from` must not change or go until the stream is through.
    pub(super) fn put(&mut self, from: &[u8], to: &mut CudaMemory<u8>) -> Result<(), CudaError> {
        self.check(from.len(), to)?;
        self.gpu.context.bind_to_thread()?;
        // SAFETY: there is room for as many bytes at the address; the lane keeps `from`.
        unsafe { result::memcpy_htod_async(to.address.place, from, self.stream.cu_stream()) }?;
        Ok(())
    }

    /// As many bytes from the GPU; `into` must not be looked at or go until the stream is through.
    pub(super) fn get(&mut self, from: &CudaMemory<u8>, into: &mut [u8]) -> Result<(), CudaError> {
        self.check(into.len(), from)?;
        self.gpu.context.bind_to_thread()?;
        // SAFETY: there are as many bytes at the address; the lane keeps `into`.
        unsafe { result::memcpy_dtoh_async(into, from.address.place, self.stream.cu_stream()) }?;
        Ok(())
    }

    /// Neighbouring values in memory that streams of this GPU share; `None` where they are not within it.
    pub(super) fn part<T: Plain>(
        &self,
        whole: &Arc<CudaSlice<u8>>,
        first: usize,
        bytes: usize,
    ) -> Option<CudaMemory<T>> {
        let size = size_of::<T>();
        let is_within = first.checked_add(bytes).is_some_and(|end| end <= whole.len());
        let (place, _) = whole.device_ptr(&self.stream);
        let address = Address { machine: self.gpu.number, place: place + first as u64 };
        let iswhole = first.is_multiple_of(size) && bytes.is_multiple_of(size);
        (is_within && iswhole).then(|| CudaMemory {
            whole: Arc::clone(whole),
            address,
            count: bytes / size,
            kind: PhantomData,
        })
    }

    /// As the driver names the card.
    pub fn name(&self) -> Result<String, CudaError> {
        Ok(self.gpu.context.name()?)
    }

    /// Compute capability: major and minor.
    pub fn capability(&self) -> Result<(i32, i32), CudaError> {
        Ok(self.gpu.context.compute_capability()?)
    }

    /// Bytes of the GPU's memory: free, and all.
    pub fn memory(&self) -> Result<(usize, usize), CudaError> {
        Ok(self.gpu.context.mem_get_info()?)
    }

    /// Where the code of the kernels comes from.
    pub fn code(&self) -> Code {
        self.gpu.code
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
        Pinned::new(&self.gpu.context, count)
    }

    /// Values from page-locked memory into as many on the GPU. Returns at once; `from` waits before it is changed.
    pub fn upload_from<T: Plain>(&mut self, from: &Pinned<T>, to: &mut CudaMemory<T>) -> Result<(), CudaError> {
        self.check(from.count(), to)?;
        self.gpu.context.bind_to_thread()?;
        let length = to.count * size_of::<T>();
        // SAFETY: used on this stream alone, until the guard goes: it has `from` wait for the copy.
        let (bytes, _guard) = unsafe { from.bytes().stream_synced_slice(&self.stream) };
        // SAFETY: there is room for as many bytes at the address.
        unsafe { result::memcpy_htod_async(to.address.place, &bytes[..length], self.stream.cu_stream()) }?;
        Ok(())
    }

    /// Values from the GPU into as many in page-locked memory. Returns at once; `to` waits before it is read.
    pub fn download_into<T: Plain>(&mut self, from: &CudaMemory<T>, to: &mut Pinned<T>) -> Result<(), CudaError> {
        self.check(to.count(), from)?;
        self.gpu.context.bind_to_thread()?;
        let length = from.count * size_of::<T>();
        // SAFETY: used on this stream alone, until the guard goes: it has `to` wait for the copy.
        let (bytes, _guard) = unsafe { to.bytes_mut().stream_synced_mut_slice(&self.stream) };
        // SAFETY: there are as many bytes at the address.
        unsafe { result::memcpy_dtoh_async(&mut bytes[..length], from.address.place, self.stream.cu_stream()) }?;
        Ok(())
    }

    /// Values from one place on the GPU to another. Returns at once.
    pub fn copy<T: Plain>(&mut self, from: &CudaMemory<T>, to: &mut CudaMemory<T>) -> Result<(), CudaError> {
        self.check(from.count, to)?;
        self.check(to.count, from)?;
        self.gpu.context.bind_to_thread()?;
        let length = from.count * size_of::<T>();
        // SAFETY: both places have as many bytes.
        unsafe { result::memcpy_dtod_async(to.address.place, from.address.place, length, self.stream.cu_stream()) }?;
        Ok(())
    }

    /// Milliseconds that the GPU spends on what `work` asks for.
    pub fn timed(&mut self, work: impl FnOnce(&mut Self) -> Result<(), CudaError>) -> Result<f32, CudaError> {
        let begin = self.stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT))?;
        work(self)?;
        let end = self.stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT))?;
        Ok(begin.elapsed_ms(&end)?)
    }

    fn check<T>(&self, count: usize, memory: &CudaMemory<T>) -> Result<(), CudaError> {
        if memory.address.machine != self.gpu.number {
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
        // SAFETY: bytes are plain, whatever they are; no caller gives them out as read before they are written.
        let bytes = unsafe { self.stream.alloc::<u8>(bytes) }.map_err(|error| out_of_memory(error, bytes))?;
        let (place, _) = bytes.device_ptr(&self.stream);
        let address = Address { machine: self.gpu.number, place };
        Ok(CudaMemory { whole: Arc::new(bytes), address, count, kind: PhantomData })
    }
}

impl Machine for Cuda {
    type Memory<T: Plain> = CudaMemory<T>;
    type Error = CudaError;

    fn upload<T: Plain>(&mut self, values: &[T]) -> Result<CudaMemory<T>, CudaError> {
        let memory = self.room(values.len())?;
        // SAFETY: there is room for as many. The driver has read values that are not page-locked when it returns.
        unsafe { result::memcpy_htod_async(memory.address.place, bytes_of(values), self.stream.cu_stream()) }?;
        Ok(memory)
    }

    fn zeros<T: Plain>(&mut self, count: usize) -> Result<CudaMemory<T>, CudaError> {
        let mut memory = self.room(count)?;
        self.clear(&mut memory)?;
        Ok(memory)
    }

    fn clear<T: Plain>(&mut self, memory: &mut CudaMemory<T>) -> Result<(), CudaError> {
        self.check(memory.count, memory)?;
        self.gpu.context.bind_to_thread()?;
        let length = memory.count * size_of::<T>();
        // SAFETY: there are as many bytes at the address.
        unsafe { result::memset_d8_async(memory.address.place, 0, length, self.stream.cu_stream()) }?;
        Ok(())
    }

    fn download<T: Plain>(&mut self, memory: &CudaMemory<T>) -> Result<Vec<T>, CudaError> {
        self.check(memory.count, memory)?;
        self.gpu.context.bind_to_thread()?;
        let mut values = vec![T::default(); memory.count];
        // SAFETY: there are as many bytes at the address; `values` is there until the wait is over.
        let copied = unsafe {
            result::memcpy_dtoh_async(bytes_of_mut(&mut values), memory.address.place, self.stream.cu_stream())
        };
        self.wait()?;
        copied?;
        Ok(values)
    }

    fn launch(&mut self, call: &Call<'_>) -> Result<(), CudaError> {
        let [x, y, z] = call.blocks();
        if x == 0 || y == 0 || z == 0 {
            return Ok(());
        }
        let kernel =
            self.gpu.kernels.get(call.kernel()).ok_or_else(|| CudaError::NoKernel(call.kernel().to_owned()))?;
        let mut parameters: Vec<*mut c_void> = Vec::with_capacity(call.arguments().len());
        for argument in call.arguments() {
            parameters.push(match argument {
                Argument::Pointer(address) if address.machine != self.gpu.number => {
                    return Err(CudaError::ForeignMemory);
                }
                Argument::Pointer(address) => (&raw const address.place).cast_mut().cast(),
                Argument::Value(bytes) => bytes.as_ptr().cast_mut().cast(),
            });
        }
        self.gpu.context.bind_to_thread()?;
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
        write!(f, "GPU {} ({:?})", self.gpu.context.ordinal(), self.gpu.code)
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
