//! Memory that direct I/O can write from: aligned to a block, kept for the next use.
use std::sync::{Arc, Mutex, PoisonError};

/// Frames begin and end at multiples of this many bytes, so that no write touches a block that is already durable.
pub(super) const BLOCK: usize = 4096;
/// Most bytes of idle buffers that are kept, as far as they were ever used: enough for the associations of a busy minute,
/// without holding memory for ever.
const KEPT: usize = 16 * 1024 * 1024;

/// `length` rounded up to whole blocks.
pub(super) const fn blocks(length: usize) -> usize {
    length.next_multiple_of(BLOCK)
}

/// Bytes whose first lies at a block boundary. Memory is touched only as far as it is used: a pool of long buffers for
/// short instances costs what the instances do.
pub(super) struct Buffer {
    /// Full to the end of what was used so far; its capacity holds the whole.
    raw: Vec<u8>,
    start: usize,
    length: usize,
}

impl Buffer {
    pub(super) fn new(length: usize) -> Self {
        let raw: Vec<u8> = Vec::with_capacity(length + BLOCK);
        let start = raw.as_ptr().addr().next_multiple_of(BLOCK) - raw.as_ptr().addr();
        Self { raw, start, length }
    }

    /// What was used so far.
    pub(super) fn bytes(&self) -> &[u8] {
        self.raw.get(self.start..).unwrap_or(&[])
    }

    /// The first bytes, for use; zeroes where they are used for the first time.
    ///
    /// # Panics
    /// Past the buffer's length.
    pub(super) fn bytes_mut(&mut self, length: usize) -> &mut [u8] {
        assert!(length <= self.length, "a buffer does not grow: it would move off its block boundary");
        if self.raw.len() < self.start + length {
            self.raw.resize(self.start + length, 0);
        }
        &mut self.raw[self.start..self.start + length]
    }
}

/// Buffers of one length.
pub(super) struct Pool {
    length: usize,
    idle: Mutex<Vec<Buffer>>,
}

impl Pool {
    pub(super) fn new(length: usize) -> Arc<Self> {
        Arc::new(Self { length, idle: Mutex::default() })
    }

    /// A buffer of the pool's length, or longer where that is not enough.
    pub(super) fn take(self: &Arc<Self>, length: usize) -> Pooled {
        let kept = (length <= self.length).then(|| self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop());
        let buffer = kept.flatten().unwrap_or_else(|| Buffer::new(length.max(self.length)));
        Pooled { buffer: Some(buffer), pool: Arc::clone(self) }
    }
}

/// A buffer on loan. Its content is what the last user left.
pub(super) struct Pooled {
    buffer: Option<Buffer>,
    pool: Arc<Pool>,
}

impl Pooled {
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], Buffer::bytes)
    }

    pub(super) fn bytes_mut(&mut self, length: usize) -> &mut [u8] {
        self.buffer.as_mut().map_or(&mut [], |buffer| buffer.bytes_mut(length))
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let mut idle = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: usize = idle.iter().map(|buffer| buffer.raw.len()).sum();
        let is_kept = |buffer: &Buffer| buffer.length == self.pool.length && kept + buffer.raw.len() <= KEPT;
        if let Some(buffer) = self.buffer.take().filter(is_kept) {
            idle.push(buffer);
        }
    }
}
