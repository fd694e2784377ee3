//! Reading instances back: here, or in a worker process that gets descriptors and the study's key for one job.
use super::SpoolError;
use super::frame::{Extent, SEALED_CHUNK, chunk_nonce, plain_length};
use super::key::{Key, KeyBytes};
use super::keyring::KeyId;
use super::shared::{Shared, write};
use super::state::{Held, State};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, RwLockWriteGuard};
use zeroize::Zeroizing;

/// Leave to read instances: where their bytes lie in files that travel beside this, and the keys that open them.
///
/// Never log or store one. While the value that [`super::Spool::grant`] made, or a clone of it, lives in this process,
/// the segments under it are not reused; what was read from JSON in another process keeps nothing.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct ReadGrant {
    /// One for each study: as a rule one.
    keys: Vec<GrantKey>,
    instances: Vec<GrantedInstance>,
    #[serde(skip)]
    #[expect(dead_code, reason = "held, not read: dropping it frees the segments")]
    pins: Option<Arc<Pins>>,
}

/// One instance of a grant.
#[derive(Clone, Serialize, Deserialize)]
pub struct GrantedInstance {
    /// SOP Class UID.
    pub sop_class: String,
    /// SOP Instance UID.
    pub sop_instance: String,
    /// Transfer Syntax UID.
    pub transfer_syntax: String,
    /// Index of its key.
    key: usize,
    stream: u64,
    parts: Vec<GrantPart>,
}

/// A part of an instance's bytes; travels as four numbers.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(from = "(usize, u64, u32, u32)", into = "(usize, u64, u32, u32)")]
struct GrantPart {
    /// Index of the file.
    file: usize,
    offset: u64,
    sealed: u32,
    first_chunk: u32,
}

/// The key of a study; travels as Base64.
#[derive(Clone)]
struct GrantKey(KeyBytes);

impl ReadGrant {
    /// The grant, and the files that it names, each once.
    pub(super) fn new(shared: &Arc<Shared>, ids: &[u64]) -> Result<(Self, Vec<OwnedFd>), SpoolError> {
        let mut state = write(&shared.state);
        let mut segments: Vec<u64> = Vec::new();
        for id in ids {
            for extent in &held(&state, *id)?.extents {
                // Neighbours lie in one segment, most often the last that was met.
                if !segments.iter().rev().any(|known| *known == extent.segment) {
                    segments.push(extent.segment);
                }
            }
        }
        for segment in &segments {
            state.pin(*segment);
        }
        let pins = Pins::counted(shared, segments);
        // What is pinned stays while others read.
        let state = RwLockWriteGuard::downgrade(state);
        let granted = granted(&state, ids, &pins.segments);
        let files: Option<Vec<_>> = pins
            .segments
            .iter()
            .map(|number| state.segments.get(number).map(|part| Arc::clone(&part.segment.file)))
            .collect();
        drop(state);
        let (keys, instances) = granted?;
        let descriptors =
            files.ok_or(SpoolError::Erased)?.iter().map(|file| file.descriptor()).collect::<Result<_, _>>();
        let descriptors = descriptors.map_err(SpoolError::disk("open a segment for a worker"))?;
        Ok((Self { keys, instances, pins: Some(Arc::new(pins)) }, descriptors))
    }

    /// The instances, in the order in which they were asked for.
    pub fn instances(&self) -> &[GrantedInstance] {
        &self.instances
    }

    /// Reads one of its instances from the files, in the order in which [`super::Spool::grant`] gave them.
    ///
    /// # Errors
    /// [`SpoolError::Damaged`] where the files do not hold the bytes that were stored; the disk's.
    pub fn read(&self, instance: &GrantedInstance, files: &[BorrowedFd<'_>]) -> Result<Vec<u8>, SpoolError> {
        let GrantKey(key) = self.keys.get(instance.key).ok_or(SpoolError::Crypto)?;
        let parts = instance.parts.iter().map(|part| Extent {
            segment: part.file as u64,
            offset: part.offset,
            length: part.sealed,
            first_chunk: part.first_chunk,
        });
        let read = |file: u64, offset: u64, buffer: &mut [u8]| {
            let file = files.get(file as usize).ok_or(SpoolError::Damaged { segment: file, offset })?;
            read_exact_at(*file, buffer, offset).map_err(SpoolError::disk("read an instance"))
        };
        decrypt(&Key::new(key)?, instance.stream.to_be_bytes(), parts, read)
    }
}

fn held(state: &State, id: u64) -> Result<&Held, SpoolError> {
    state.instances.get(&id).ok_or(SpoolError::Erased)
}

/// The instances, their parts counted from the first of `segments`, and their keys.
fn granted(state: &State, ids: &[u64], segments: &[u64]) -> Result<(Vec<GrantKey>, Vec<GrantedInstance>), SpoolError> {
    let mut keys: Vec<(KeyId, GrantKey)> = Vec::new();
    let mut instances = Vec::with_capacity(ids.len());
    for id in ids {
        let held = held(state, *id)?;
        let key = keys.iter().position(|(known, _)| *known == held.key.id).unwrap_or_else(|| {
            keys.push((held.key.id, GrantKey(held.key.bytes.clone())));
            keys.len() - 1
        });
        let part = |extent: &Extent| {
            let file = segments.iter().position(|known| *known == extent.segment).ok_or(SpoolError::Erased)?;
            let (offset, sealed, first_chunk) = (extent.offset, extent.length, extent.first_chunk);
            Ok(GrantPart { file, offset, sealed, first_chunk })
        };
        let arrival = &held.stored.arrival;
        instances.push(GrantedInstance {
            sop_class: arrival.sop_class.clone(),
            sop_instance: arrival.sop_instance.clone(),
            transfer_syntax: arrival.transfer_syntax.clone(),
            key,
            stream: u64::from_be_bytes(held.stream),
            parts: held.extents.iter().map(part).collect::<Result<_, SpoolError>>()?,
        });
    }
    Ok((keys.into_iter().map(|(_, key)| key).collect(), instances))
}

impl std::fmt::Debug for ReadGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReadGrant({} instances)", self.instances.len())
    }
}

impl std::fmt::Debug for GrantedInstance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let length: u64 = self.parts.iter().map(|part| plain_length(part.sealed)).sum();
        write!(f, "GrantedInstance({length} bytes in {} parts)", self.parts.len())
    }
}

impl From<(usize, u64, u32, u32)> for GrantPart {
    fn from((file, offset, sealed, first_chunk): (usize, u64, u32, u32)) -> Self {
        Self { file, offset, sealed, first_chunk }
    }
}

impl From<GrantPart> for (usize, u64, u32, u32) {
    fn from(part: GrantPart) -> Self {
        (part.file, part.offset, part.sealed, part.first_chunk)
    }
}

impl Serialize for GrantKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(STANDARD.encode(*self.0)))
    }
}

impl<'de> Deserialize<'de> for GrantKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let bytes = Zeroizing::new(STANDARD.decode(&*text).map_err(|_| D::Error::custom("the key is not Base64"))?);
        let key = bytes.as_slice().try_into().map_err(|_| D::Error::custom("the key has not 256 bits"))?;
        Ok(Self(Zeroizing::new(key)))
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
