//! Memory that direct I/O can write from: aligned to a block, kept for the next use.
use memmap2::{Advice, MmapMut};
use std::sync::{Arc, Mutex, PoisonError};

/// Frames begin and end at multiples of this many bytes, so that no write touches a block that is already durable.
pub(super) const BLOCK: usize = 4096;
/// Most bytes of idle buffers that are kept, as far as they were ever used: enough for the associations of a busy minute,
/// without holding memory for ever.
const KEPT: usize = 16 * 1024 * 1024;
/// A huge page of x86-64 and of arm64 with pages of 4 KiB. A disk of a virtual machine takes a write from one in a single
/// piece, and from small pages in one piece for each: with a sync, a quarter less time for 512 KiB.
const HUGE_PAGE: usize = 2 * 1024 * 1024;

/// `length` rounded up to whole blocks.
pub(super) const fn blocks(length: usize) -> usize {
    length.next_multiple_of(BLOCK)
}

/// Bytes whose first lies at a block boundary. Memory is touched only as far as it is used: a pool of long buffers for
/// short instances costs what the instances do, a huge page at least.
pub(super) struct Buffer {
    memory: Memory,
    used: usize,
    length: usize,
}

enum Memory {
    /// Full to the end of what was used so far, its capacity holds the whole; and where its first block begins.
    Heap(Vec<u8>, usize),
    /// Huge pages, as far as the system has them.
    Pages(MmapMut),
}

impl Buffer {
    pub(super) fn new(length: usize) -> Self {
        let pages = (length >= HUGE_PAGE).then(|| MmapMut::map_anon(length.next_multiple_of(HUGE_PAGE)).ok()).flatten();
        let memory = match pages {
            Some(pages) => {
                // A system without huge pages gives small ones: slower, and as good.
                let _ = pages.advise(Advice::HugePage);
                Memory::Pages(pages)
            }
            None => {
                let raw: Vec<u8> = Vec::with_capacity(length + BLOCK);
                let start = raw.as_ptr().addr().next_multiple_of(BLOCK) - raw.as_ptr().addr();
                Memory::Heap(raw, start)
            }
        };
        Self { memory, used: 0, length }
    }

    /// What was used so far.
    pub(super) fn bytes(&self) -> &[u8] {
        match &self.memory {
            Memory::Heap(raw, start) => raw.get(*start..).unwrap_or(&[]),
            Memory::Pages(pages) => &pages[..self.used],
        }
    }

    /// The first bytes, for use; zeroes where they are used for the first time.
    ///
    /// # Panics
    /// Past the buffer's length.
    pub(super) fn bytes_mut(&mut self, length: usize) -> &mut [u8] {
        assert!(length <= self.length, "a buffer does not grow: it would move off its block boundary");
        self.used = self.used.max(length);
        match &mut self.memory {
            Memory::Heap(raw, start) => {
                if raw.len() < *start + length {
                    raw.resize(*start + length, 0);
                }
                &mut raw[*start..*start + length]
            }
            Memory::Pages(pages) => &mut pages[..length],
        }
    }

    /// Bytes of memory that were touched.
    fn touched(&self) -> usize {
        match &self.memory {
            Memory::Heap(raw, _) => raw.len(),
            Memory::Pages(_) => self.used.next_multiple_of(HUGE_PAGE),
        }
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
        let kept: usize = idle.iter().map(Buffer::touched).sum();
        let is_kept = |buffer: &Buffer| buffer.length == self.pool.length && kept + buffer.touched() <= KEPT;
        if let Some(buffer) = self.buffer.take().filter(is_kept) {
            idle.push(buffer);
        }
    }
}
