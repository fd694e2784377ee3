//! An instance on its way into the spool.
use super::frame::{BODY, Operation, Part};
use super::log::{Entry, lock};
use super::seal::OVERHEAD;
use super::{Batch, Spool, SpoolError};
use crate::instance::{Arrival, StoredInstance};
use crate::limits::spool::PART;
use std::sync::atomic::Ordering;

/// An instance of which bytes arrive. Dropped before `commit`, it leaves nothing that is visible.
#[derive(Debug)]
pub struct Incoming {
    spool: Spool,
    slot: u32,
    /// Room for the nonce, then plain bytes that are not written yet.
    buffer: Vec<u8>,
    parts: Vec<Part>,
    length: u64,
}

impl Incoming {
    pub(super) fn new(spool: Spool, slot: u32) -> Self {
        Self { spool, slot, buffer: vec![0; OVERHEAD - 16], parts: Vec::new(), length: 0 }
    }

    /// Takes bytes. Of a large instance no more than one part is held in memory.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), SpoolError> {
        while !bytes.is_empty() {
            let room = (PART + OVERHEAD - 16).saturating_sub(self.buffer.len());
            if room == 0 {
                self.write_part()?;
                continue;
            }
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.buffer.extend_from_slice(now);
            self.length += now.len() as u64;
            bytes = later;
        }
        Ok(())
    }

    /// Makes the instance durable: when this returns, it survives a power cut.
    pub async fn commit(self, arrival: Arrival) -> Result<StoredInstance, SpoolError> {
        tokio::task::block_in_place(|| self.commit_blocking(arrival, Batch::new()))
    }

    /// Makes the instance and a batch durable together, or neither.
    pub fn commit_blocking(mut self, arrival: Arrival, batch: Batch) -> Result<StoredInstance, SpoolError> {
        let mut body = Vec::new();
        if self.parts.is_empty() {
            body = self.sealed()?;
        } else {
            self.write_part()?;
        }
        let length = self.length;
        let instance = Operation::Instance { arrival: arrival.clone(), length, parts: std::mem::take(&mut self.parts) };
        let mut operations = vec![(self.slot, instance)];
        operations.extend(batch.operations.into_iter().map(|(_, operation)| (self.slot, operation)));
        let place = self.spool.commit(operations, body)?;
        Ok(StoredInstance { id: place.number, length, arrival })
    }

    fn sealed(&mut self) -> Result<Vec<u8>, SpoolError> {
        let mut buffer = std::mem::replace(&mut self.buffer, vec![0; OVERHEAD - 16]);
        let key = lock(&self.spool.0.keys).key(self.slot).ok_or(SpoolError::Erased)?;
        key.seal(&mut buffer, BODY)?;
        Ok(buffer)
    }

    /// Writes what is buffered as a part, in a record without an operation. It is durable with the instance's own record.
    fn write_part(&mut self) -> Result<(), SpoolError> {
        let body = self.sealed()?;
        let length = body.len() as u64;
        self.spool.0.used.fetch_add(length, Ordering::Relaxed);
        let entry = Entry { operations: Vec::new(), body, durable: false, applied: Box::new(|_| {}) };
        let place = self.spool.0.log.commit(entry)?;
        let offset = place.offset + super::frame::HEAD as u64;
        self.parts.push(Part { segment: place.segment, offset, length });
        Ok(())
    }
}
