//! One instance on its way in: sealed chunk by chunk while it arrives, durable when `commit` returns.
use super::commit::Frame;
use super::frame::{CHUNK, Entry, Extent, SEALED_CHUNK, chunk_nonce};
use super::grant::Pins;
use super::key::{TAG, random};
use super::keyring::StudyKey;
use super::shared::{Shared, read};
use super::{Batch, SpoolError, Table};
use crate::instance::{Arrival, StoredInstance};
use crate::limits::spool::MAX_INSTANCE;
use std::collections::HashSet;
use std::sync::Arc;

/// An instance that is not stored yet. Dropped, it never was.
pub struct Incoming {
    shared: Arc<Shared>,
    key: Arc<StudyKey>,
    stream: [u8; 8],
    buffer: super::buffer::Pooled,
    /// Sealed bytes at the front of the buffer.
    sealed: usize,
    /// Plain bytes behind them, less than a chunk.
    open: usize,
    /// Number of the next chunk, and of the first one in the buffer.
    chunk: u32,
    first_chunk: u32,
    length: u64,
    parts: Vec<Extent>,
    pins: Pins,
    /// True where it came from a sender, and stays out of the reserve.
    ingest: bool,
}

impl Incoming {
    pub(super) fn new(shared: &Arc<Shared>, key: Arc<StudyKey>, ingest: bool) -> Result<Self, SpoolError> {
        Ok(Self {
            ingest,
            key,
            stream: random()?,
            buffer: shared.payloads.take(0),
            sealed: 0,
            open: 0,
            chunk: 0,
            first_chunk: 0,
            length: 0,
            parts: Vec::new(),
            pins: Pins::counted(shared, Vec::new()),
            shared: Arc::clone(shared),
        })
    }

    /// Takes the next bytes. Full chunks are sealed at once; of a large instance full parts go to the disk, so that
    /// memory stays bounded.
    ///
    /// # Errors
    /// [`SpoolError::TooLarge`], [`SpoolError::Full`], [`SpoolError::Erased`], or the disk's.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), SpoolError> {
        self.length += bytes.len() as u64;
        if self.length > MAX_INSTANCE {
            return Err(SpoolError::TooLarge { what: "an instance", length: self.length, limit: MAX_INSTANCE });
        }
        while !bytes.is_empty() {
            // Only when more comes: the last part belongs to the index frame.
            if self.sealed == self.shared.part_chunks * SEALED_CHUNK {
                self.write_part()?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK - self.open));
            let at = self.sealed + self.open;
            self.buffer.bytes_mut(at + now.len())[at..].copy_from_slice(now);
            self.open += now.len();
            bytes = later;
            if self.open == CHUNK {
                self.seal()?;
            }
        }
        Ok(())
    }

    /// Stores the instance; durable on return.
    ///
    /// # Errors
    /// [`SpoolError::Full`], [`SpoolError::Erased`], [`SpoolError::Stopped`], or the disk's: then nothing is visible, and
    /// the sender must send again.
    pub async fn commit(self, arrival: Arrival) -> Result<StoredInstance, SpoolError> {
        self.commit_with(arrival, Batch::new()).await
    }

    /// Stores the instance and the batch in one record: both or neither.
    pub async fn commit_with(self, arrival: Arrival, batch: Batch) -> Result<StoredInstance, SpoolError> {
        let shared = Arc::clone(&self.shared);
        let (frame, stored, _pins) = self.frame(arrival, batch)?;
        let committed = shared.submit(frame).await?;
        Ok(StoredInstance { id: committed.sequence, ..stored })
    }

    /// The same, for threads that may block.
    pub fn commit_blocking(self, arrival: Arrival, batch: Batch) -> Result<StoredInstance, SpoolError> {
        let shared = Arc::clone(&self.shared);
        let (frame, stored, _pins) = self.frame(arrival, batch)?;
        let committed = shared.submit_blocking(frame)?;
        Ok(StoredInstance { id: committed.sequence, ..stored })
    }

    /// The index frame; the pins hold the parts' segments until the instance itself does.
    fn frame(mut self, arrival: Arrival, batch: Batch) -> Result<(Frame, StoredInstance, Pins), SpoolError> {
        if self.open > 0 {
            self.seal()?;
        }
        let batch = self.shared.entries(batch)?;
        let stored = StoredInstance { id: 0, length: self.length, arrival: arrival.clone() };
        let mut entries = vec![Entry::Instance {
            key: Arc::clone(&self.key),
            stream: self.stream,
            parts: std::mem::take(&mut self.parts),
            first_chunk: self.first_chunk,
            arrival,
        }];
        entries.extend(batch);
        let mut frame = Frame::new(&self.shared, entries, Some((self.buffer, self.sealed)))?;
        frame.ingest = self.ingest;
        Ok((frame, stored, self.pins))
    }

    fn seal(&mut self) -> Result<(), SpoolError> {
        let text = &mut self.buffer.bytes_mut(self.sealed + self.open + TAG)[self.sealed..];
        let nonce = chunk_nonce(self.stream, self.chunk);
        let tag = self.key.key.seal(nonce, b"chunk", &mut text[..self.open])?;
        text[self.open..self.open + TAG].copy_from_slice(&tag);
        self.sealed += self.open + TAG;
        self.open = 0;
        self.chunk += 1;
        Ok(())
    }

    /// Makes a full buffer durable as a part that the index frame will refer to.
    fn write_part(&mut self) -> Result<(), SpoolError> {
        let full = std::mem::replace(&mut self.buffer, self.shared.payloads.take(0));
        let (key, stream, first_chunk) = (Arc::clone(&self.key), self.stream, self.first_chunk);
        let part = Entry::Part { key, stream, first_chunk };
        let mut frame = Frame::new(&self.shared, vec![part], Some((full, self.sealed)))?;
        frame.ingest = self.ingest;
        let extent = self.shared.submit_blocking(frame)?.payload;
        self.pins.push(extent.segment);
        self.parts.push(Extent { first_chunk, ..extent });
        (self.sealed, self.first_chunk) = (0, self.chunk);
        Ok(())
    }
}

impl Shared {
    /// A batch as the entries of a frame; makes the keys that it needs.
    pub(super) fn entries(&self, batch: Batch) -> Result<Vec<Entry>, SpoolError> {
        for study in batch.studies() {
            self.key_of(study)?;
        }
        let mut entries = batch.entries(&self.keys, &self.names)?;
        // Work that is resumed says again what it has said: the ledger keeps the first.
        let state = read(&self.state);
        let mut said = HashSet::new();
        entries.retain(|entry| match entry {
            Entry::Put { table: Table::Ledger, key, .. } => {
                !state.tables[Table::Ledger as usize].contains_key(key) && said.insert(key.clone())
            }
            _ => true,
        });
        Ok(entries)
    }
}
