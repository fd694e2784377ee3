//! Memory that direct I/O can write from: aligned to a block, kept for the next use.
use std::sync::{Arc, Mutex, PoisonError};

/// Frames begin and end at multiples of this many bytes, so that no write touches a block that is already durable.
pub(super) const BLOCK: usize = 4096;
/// Most idle buffers that are kept: enough for the associations of a busy minute, without holding memory for ever.
const KEPT: usize = 4;

/// `length` rounded up to whole blocks.
pub(super) const fn blocks(length: usize) -> usize {
    length.next_multiple_of(BLOCK)
}

/// Zeroed bytes whose first lies at a block boundary.
pub(super) struct Buffer {
    raw: Vec<u8>,
    start: usize,
    length: usize,
}

impl Buffer {
    pub(super) fn new(length: usize) -> Self {
        let raw = vec![0; length + BLOCK];
        let start = raw.as_ptr().addr().next_multiple_of(BLOCK) - raw.as_ptr().addr();
        Self { raw, start, length }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.raw[self.start..self.start + self.length]
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.raw[self.start..self.start + self.length]
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

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.as_mut().map_or(&mut [], Buffer::bytes_mut)
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let mut idle = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(buffer) = self.buffer.take().filter(|buffer| buffer.length == self.pool.length && idle.len() < KEPT)
        {
            idle.push(buffer);
        }
    }
}
