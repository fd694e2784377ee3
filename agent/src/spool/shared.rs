//! What every handle of the spool shares, and how much room is left.
use super::SpoolError;
use super::buffer::{BLOCK, Pool};
use super::commit::{Pending, Writer, blocking};
use super::io::{SpoolFile, SpoolIo};
use super::key::MasterKey;
use super::keyring::{Keyring, StudyKey};
use super::spares::Spares;
use super::state::State;
use super::{Lack, SpoolOptions, Usage};
use ring::hmac;
use std::collections::VecDeque;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::watch;

/// Locks are taken in this order: `writer`, the key file, `state`; `queue`, the known keys and the pools within any of them.
pub(super) struct Shared {
    pub(super) options: SpoolOptions,
    pub(super) master: MasterKey,
    pub(super) names: hmac::Key,
    pub(super) keys: Keyring,
    pub(super) state: RwLock<State>,
    pub(super) queue: Mutex<VecDeque<Pending>>,
    pub(super) writer: Mutex<Writer>,
    /// Why nothing more is written: it was closed, or a write failed and nobody knows what is on the disk.
    pub(super) stopped: watch::Sender<Option<SpoolError>>,
    pub(super) spares: Spares,
    pub(super) heads: Arc<Pool>,
    pub(super) payloads: Arc<Pool>,
    /// Chunks of one part of an instance.
    pub(super) part_chunks: usize,
    /// The format of the segments that are begun. Changed with the writer in hand.
    pub(super) format: AtomicU32,
    /// Last, so that the lock on the directory outlives everything that writes.
    pub(super) io: Arc<dyn SpoolIo>,
}

/// A lock whose holder panicked: the data is only changed after the disk has it, so it is as good as the disk.
pub(super) fn exclusive<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Nothing more is written until the spool is opened anew. The first reason stays.
    pub(super) fn stop(&self, why: SpoolError) {
        self.stopped.send_if_modified(|stopped| {
            let is_first = stopped.is_none();
            stopped.get_or_insert(why);
            is_first
        });
    }

    /// Something was not written. Where it was the disk, nobody knows what is on it now; a full one left the files as they
    /// were, as far as they count: the next write goes to the same place.
    pub(super) fn failed(&self, error: &SpoolError) {
        if matches!(error, SpoolError::Disk { .. }) {
            self.stop(error.clone());
        }
    }

    /// The key of a study; a new one, durable on return, where it has none.
    pub(super) fn key_of(&self, study: &str) -> Result<Arc<StudyKey>, SpoolError> {
        match self.keys.of(study) {
            Some(key) => Ok(key),
            None => blocking(|| self.keys.of_or_new(study)).inspect_err(|error| self.failed(error)),
        }
    }

    /// An error once it was stopped.
    pub(super) fn running(&self) -> Result<(), SpoolError> {
        if self.stopped.borrow().is_some() { Err(SpoolError::Stopped) } else { Ok(()) }
    }

    /// Bytes that the spool takes on disk.
    pub(super) fn physical_bytes(&self) -> u64 {
        let segments: u64 = read(&self.state).segments.values().map(|part| part.segment.size).sum();
        segments + self.spares.bytes() + self.keys.length()
    }

    /// True while an instance may come in.
    pub(super) fn accepting(&self) -> bool {
        self.lack().is_none()
    }

    /// Why no instance may come in, where that is so.
    fn lack(&self) -> Option<Lack> {
        if self.running().is_err() {
            return Some(Lack::Stopped);
        }
        let physical = self.physical_bytes();
        let limit = self.options.ingest_limit();
        if self.io.free_bytes().is_ok_and(|free| free < self.options.reserve_bytes) {
            return Some(Lack::Disk);
        }
        let state = read(&self.state);
        let left = state.segments.last_key_value().map_or(0, |(_, part)| part.segment.size - part.written);
        // An instance of common size still goes into what is left of the segment.
        let roomy = left > self.options.segment_bytes / 8;
        let fits = physical <= limit && (roomy || self.spares.any() || physical + self.options.segment_bytes <= limit);
        (!fits).then_some(Lack::Quota)
    }

    /// True while a result may go into the reserve.
    pub(super) fn takes_results(&self) -> bool {
        let limit = self.options.quota_bytes - self.options.reserve_bytes / 2;
        self.physical_bytes() <= limit && self.io.free_bytes().is_ok_and(|free| free >= self.options.reserve_bytes / 2)
    }

    pub(super) fn usage(&self) -> Usage {
        let lack = self.lack();
        let bytes = self.physical_bytes();
        let state = read(&self.state);
        Usage {
            bytes,
            quota: self.options.quota_bytes,
            instances: state.instances.len() as u64,
            lack,
            damaged: state.damaged + self.keys.damaged(),
        }
    }

    /// A file for the next segment, under a name that is none yet. Table entries may go into the reserve, instances not.
    pub(super) fn next_file(&self, ingest: bool, needed: u64) -> Result<(String, Arc<dyn SpoolFile>), SpoolError> {
        if let Some(spare) = self.spares.take() {
            self.ask_for_spare();
            return Ok(spare);
        }
        let limit = if ingest { self.options.ingest_limit() } else { self.options.quota_bytes };
        let room = limit.saturating_sub(self.physical_bytes());
        let least = needed.max(16 * BLOCK as u64).next_multiple_of(BLOCK as u64);
        let sizes: &[u64] = if ingest {
            &[self.options.segment_bytes]
        } else {
            &[self.options.segment_bytes, room.min(self.options.segment_bytes), least]
        };
        for size in sizes {
            let size = size / BLOCK as u64 * BLOCK as u64;
            if size < least || size > room {
                continue;
            }
            match self.io.create(NEXT, size, false) {
                Ok(file) => {
                    self.ask_for_spare();
                    return Ok((NEXT.to_owned(), file));
                }
                Err(error) => {
                    let _ = self.io.remove(NEXT);
                    match SpoolError::disk("create a segment")(error) {
                        SpoolError::Full => {}
                        other => return Err(other),
                    }
                }
            }
        }
        Err(SpoolError::Full)
    }

    /// Gives back what [`Shared::next_file`] gave and nothing was written to.
    pub(super) fn put_back(&self, name: String) {
        if name == NEXT {
            let _ = self.io.remove(NEXT);
        } else {
            self.spares.give(name);
        }
    }

    /// Has another spare made, while there is room for it outside the reserve.
    pub(super) fn ask_for_spare(&self) {
        let after = self.physical_bytes() + 2 * self.options.segment_bytes;
        let free = self.io.free_bytes().unwrap_or(0);
        if after <= self.options.ingest_limit() && free > self.options.reserve_bytes + 2 * self.options.segment_bytes {
            self.spares.ask();
        }
    }
}

/// How the name of a file ends that is not finished.
pub(super) const UNFINISHED: &str = ".new";
/// Name of a file that becomes the next segment.
pub(super) const NEXT: &str = "next.new";
