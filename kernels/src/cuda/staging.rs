//! Page-locked memory that is given away while the GPU uses it, and so needs to wait for nothing.
use super::error::CudaError;
use super::gpu::out_of_memory;
use crate::KernelError;
use cudarc::driver::{CudaContext, result};
use std::ptr::NonNull;
use std::sync::Arc;

/// Bytes of the host's memory from which and into which a GPU copies by itself. Its owner is whoever may touch them: a lane that
/// has been given it keeps it until the GPU is through.
pub struct CudaStaging {
    bytes: NonNull<u8>,
    length: usize,
    context: Arc<CudaContext>,
}

// SAFETY: it owns its memory, which any thread may use, and free once the context is bound.
unsafe impl Send for CudaStaging {}

impl CudaStaging {
    /// So many zeros.
    pub(super) fn new(context: &Arc<CudaContext>, length: usize) -> Result<Self, CudaError> {
        context.bind_to_thread()?;
        let room = length.max(1);
        if isize::try_from(room).is_err() {
            return Err(KernelError::TooLarge.into());
        }
        // SAFETY: flags 0 ask for plain page-locked memory; it is freed once, in `drop`.
        let bytes = unsafe { result::malloc_host(room, 0) }.map_err(|error| out_of_memory(error, room))?;
        let Some(bytes) = NonNull::new(bytes.cast::<u8>()) else {
            return Err(CudaError::OutOfMemory { bytes: room });
        };
        // SAFETY: these are the bytes that were just allocated.
        unsafe { bytes.write_bytes(0, room) };
        Ok(Self { bytes, length, context: Arc::clone(context) })
    }
}

impl AsRef<[u8]> for CudaStaging {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: as many bytes are there, were set to zeros at first, and nobody changes them while they are lent.
        unsafe { std::slice::from_raw_parts(self.bytes.as_ptr(), self.length) }
    }
}

impl AsMut<[u8]> for CudaStaging {
    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.bytes.as_ptr(), self.length) }
    }
}

impl Drop for CudaStaging {
    fn drop(&mut self) {
        // A context that cannot be bound is gone with all that was allocated in it.
        if self.context.bind_to_thread().is_ok() {
            // SAFETY: allocated in `new`, freed only here; whoever gave it to the GPU kept it until that was through.
            let _ = unsafe { result::free_host(self.bytes.as_ptr().cast()) };
        }
    }
}
