//! Reading an instance back: here, or in a worker process that gets descriptors and the study's key for one job.
use super::SpoolError;
use super::frame::{Extent, SEALED_CHUNK, chunk_nonce, plain_length};
use super::key::Key;
use super::shared::{Shared, read, write};
use super::state::Held;
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use zeroize::Zeroize;

/// Leave to read one instance: the places of its bytes, with their open files.
#[derive(Debug)]
pub struct ReadGrant {
    extents: GrantExtents,
    /// Segment number and file.
    files: Vec<(u32, OwnedFd)>,
}

/// Where an instance's bytes lie in files that travel beside this, and the key that opens them.
///
/// Never log or store one. While the value that [`super::Spool::grant`] made, or a clone of it, lives in this process,
/// the segments under it are not reused; what was read from JSON in another process keeps nothing.
#[derive(Clone, Serialize, Deserialize)]
pub struct GrantExtents {
    key: [u8; 32],
    stream: [u8; 8],
    length: u64,
    parts: Vec<GrantPart>,
    #[serde(skip)]
    #[expect(dead_code, reason = "held, not read: dropping it frees the segments")]
    pins: Option<Arc<Pins>>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct GrantPart {
    /// Index of the file.
    file: usize,
    /// The same among the spool's segments.
    segment: u64,
    offset: u64,
    sealed: u32,
    first_chunk: u32,
}

impl std::fmt::Debug for GrantExtents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GrantExtents({} bytes in {} parts)", self.length, self.parts.len())
    }
}

impl Drop for GrantExtents {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl ReadGrant {
    pub(super) fn new(shared: &Arc<Shared>, held: &Held, pins: Pins) -> Result<Self, SpoolError> {
        let mut files: Vec<(u32, OwnedFd)> = Vec::new();
        let mut parts = Vec::with_capacity(held.extents.len());
        let state = read(&shared.state);
        for extent in &held.extents {
            // A segment's number fits: 2^32 of them would be an exabyte.
            let number = extent.segment as u32;
            let known = files.iter().position(|(segment, _)| *segment == number);
            let file = known.unwrap_or(files.len());
            if known.is_none() {
                let part = state.segments.get(&extent.segment).ok_or(SpoolError::Erased)?;
                let descriptor = part.segment.file.descriptor();
                files.push((number, descriptor.map_err(SpoolError::disk("open a segment for a worker"))?));
            }
            let (segment, offset, sealed, first_chunk) =
                (extent.segment, extent.offset, extent.length, extent.first_chunk);
            parts.push(GrantPart { file, segment, offset, sealed, first_chunk });
        }
        let extents = GrantExtents {
            key: *held.key.bytes,
            stream: held.stream,
            length: held.stored.length,
            parts,
            pins: Some(Arc::new(pins)),
        };
        Ok(Self { extents, files })
    }

    /// The bytes of the instance.
    pub fn read_all(&self) -> Result<Vec<u8>, SpoolError> {
        let files: Vec<BorrowedFd<'_>> = self.files.iter().map(|(_, file)| file.as_fd()).collect();
        self.extents.read(&files)
    }

    /// Takes the grant apart: the extents, with their files counted from those already in `files`. Keep the extents, or
    /// a clone, while the worker reads.
    pub fn into_parts(self, files: &mut Vec<(u32, OwnedFd)>) -> GrantExtents {
        let mut extents = self.extents;
        let moved: Vec<usize> = self
            .files
            .into_iter()
            .map(|(segment, file)| {
                files.iter().position(|(known, _)| *known == segment).unwrap_or_else(|| {
                    files.push((segment, file));
                    files.len() - 1
                })
            })
            .collect();
        for part in &mut extents.parts {
            part.file = moved[part.file];
        }
        extents
    }
}

impl GrantExtents {
    /// Reads the instance from the files, in the order of [`ReadGrant::into_parts`].
    ///
    /// # Errors
    /// [`SpoolError::Damaged`] where the files do not hold the bytes that were stored; the disk's.
    pub fn read(&self, files: &[BorrowedFd<'_>]) -> Result<Vec<u8>, SpoolError> {
        let parts = self.parts.iter().map(|part| Extent {
            segment: part.file as u64,
            offset: part.offset,
            length: part.sealed,
            first_chunk: part.first_chunk,
        });
        let read = |file: u64, offset: u64, buffer: &mut [u8]| {
            let file = files.get(file as usize).ok_or(SpoolError::Damaged { segment: file, offset })?;
            read_exact_at(*file, buffer, offset).map_err(SpoolError::disk("read an instance"))
        };
        decrypt(&Key::new(&self.key)?, self.stream, parts, read)
    }
}

/// Fills the buffer from a descriptor that is not ours to close.
fn read_exact_at(file: BorrowedFd<'_>, mut buffer: &mut [u8], mut offset: u64) -> std::io::Result<()> {
    while !buffer.is_empty() {
        match rustix::io::pread(file, &mut *buffer, offset) {
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => (buffer, offset) = (&mut buffer[read..], offset + read as u64),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Reads and opens the chunks of an instance, in order.
pub(super) fn decrypt(
    key: &Key,
    stream: [u8; 8],
    parts: impl Iterator<Item = Extent> + Clone,
    read: impl Fn(u64, u64, &mut [u8]) -> Result<(), SpoolError>,
) -> Result<Vec<u8>, SpoolError> {
    let length: u64 = parts.clone().map(|part| plain_length(part.length)).sum();
    let sealed: u64 = parts.clone().map(|part| u64::from(part.length)).sum();
    let mut bytes = vec![0; sealed as usize];
    let (mut from, mut to) = (0, 0);
    for part in parts {
        let end = from + part.length as usize;
        read(part.segment, part.offset, &mut bytes[from..end])?;
        let mut number = part.first_chunk;
        while from < end {
            let next = (from + SEALED_CHUNK).min(end);
            let damaged = SpoolError::Damaged { segment: part.segment, offset: part.offset };
            let text = &mut bytes[from..next];
            let plain = key.open(chunk_nonce(stream, number), b"chunk", text).ok_or(damaged)?.len();
            // The tags between the chunks are closed up in place: one buffer, one small move.
            bytes.copy_within(from..from + plain, to);
            (to, from, number) = (to + plain, next, number + 1);
        }
    }
    bytes.truncate(length as usize);
    Ok(bytes)
}

/// Segments that must not be reused yet.
pub(super) struct Pins {
    shared: Arc<Shared>,
    segments: Vec<u64>,
}

impl Pins {
    /// Takes over pins that are already counted.
    pub(super) fn counted(shared: &Arc<Shared>, segments: Vec<u64>) -> Self {
        Self { shared: Arc::clone(shared), segments }
    }

    pub(super) fn push(&mut self, segment: u64) {
        self.segments.push(segment);
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if !self.segments.is_empty() {
            let mut state = write(&self.shared.state);
            for segment in &self.segments {
                state.unpin(*segment);
            }
        }
    }
}
