//! Page-locked memory on the host.
use super::error::CudaError;
use super::gpu::out_of_memory;
use super::machine::Plain;
use crate::KernelError;
use cudarc::driver::{CudaContext, PinnedHostSlice};
use std::marker::PhantomData;
use std::sync::Arc;

/// Values in page-locked memory: a copy to or from a GPU runs at the full speed of the bus, while the processor goes on.
///
/// Reading or changing them waits for the copies that were asked for before, and for nothing else.
pub struct Pinned<T> {
    bytes: PinnedHostSlice<u8>,
    count: usize,
    kind: PhantomData<T>,
}

impl<T: Plain> Pinned<T> {
    pub(super) fn new(context: &Arc<CudaContext>, count: usize) -> Result<Self, CudaError> {
        let length =
            count.checked_mul(size_of::<T>()).filter(|n| *n < isize::MAX as usize).ok_or(KernelError::TooLarge)?;
        // Cached, not write-combined: results are read from it too.
        // SAFETY: all of it is filled with zeros next.
        let bytes = unsafe { context.alloc_pinned_with_flags::<u8>(length.max(1), 0) };
        let mut bytes = bytes.map_err(|error| out_of_memory(error, length))?;
        bytes.as_mut_slice()?.fill(0);
        Ok(Self { bytes, count, kind: PhantomData })
    }

    /// How many values.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The values.
    pub fn values(&self) -> Result<&[T], CudaError> {
        let bytes = self.bytes.as_slice()?;
        // SAFETY: page-locked memory is aligned to pages, and there are `count` values of a plain type in it.
        Ok(unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), self.count) })
    }

    /// The values, to change them.
    pub fn values_mut(&mut self) -> Result<&mut [T], CudaError> {
        let bytes = self.bytes.as_mut_slice()?;
        // SAFETY: as above; of plain types every pattern of bits is a value.
        Ok(unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), self.count) })
    }

    pub(super) fn bytes(&self) -> &PinnedHostSlice<u8> {
        &self.bytes
    }

    pub(super) fn bytes_mut(&mut self) -> &mut PinnedHostSlice<u8> {
        &mut self.bytes
    }
}
