//! The spool: one durable log for instances and for the state of every job.
//!
//! One record carries a data set's bytes and its index entry, so that one sync makes both durable, for all associations that
//! wait at that moment. Everything is encrypted; each study under a key of its own, whose destruction erases the study.
//! Tables are rebuilt from the log: no database can disagree with it.
mod error;
mod frame;
mod grant;
mod incoming;
pub mod io;
mod log;
mod recover;
mod seal;
mod state;

pub use error::SpoolError;
pub use grant::{GrantExtents, ReadGrant};
pub use incoming::Incoming;

use crate::instance::StoredInstance;
use crate::limits::spool::{DEFAULT_QUOTA, DEFAULT_RESERVE, DEFAULT_SEGMENT};
use bytes::Bytes;
use frame::{OPERATION, Operation};
use io::{DiskIo, SpoolIo};
use log::{Entry, Log, Place, lock, segment_name, segment_number};
use seal::{Keys, NO_STUDY};
use serde::{Deserialize, Serialize};
use state::State;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// The tables of the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Table {
    /// Studies, by Study Instance UID.
    Studies,
    /// Versions of patient identity, by Study Instance UID and version.
    Identity,
    /// Jobs, by number.
    Jobs,
    /// Results, by job and kind.
    Results,
    /// Deliveries, by destination and result.
    Deliveries,
    /// Which package said what about which study and where it went: never superseded.
    Ledger,
}

/// Where the spool lies and how much it may hold.
#[derive(Clone, Debug)]
pub struct SpoolOptions {
    /// Its directory.
    pub directory: PathBuf,
    /// Length of a segment of the log.
    pub segment_bytes: u64,
    /// Most bytes of all segments.
    pub quota_bytes: u64,
    /// Bytes that instances leave free, so that jobs and deliveries can be recorded while the spool is full.
    pub reserve_bytes: u64,
}

impl SpoolOptions {
    /// The defaults, in a directory.
    pub fn in_directory(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            segment_bytes: DEFAULT_SEGMENT,
            quota_bytes: DEFAULT_QUOTA,
            reserve_bytes: DEFAULT_RESERVE,
        }
    }
}

/// Changes that become durable together or not at all.
#[derive(Debug, Default)]
pub struct Batch {
    operations: Vec<(Option<String>, Operation)>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a value; with a study, it is erased with that study.
    pub fn put<T: Serialize>(
        &mut self,
        table: Table,
        key: &str,
        value: &T,
        study: Option<&str>,
    ) -> Result<(), SpoolError> {
        let value = serde_json::to_string(value).map_err(|error| SpoolError::Value(error.to_string()))?;
        self.operations.push((study.map(str::to_owned), Operation::Put { table, key: key.to_owned(), value }));
        Ok(())
    }

    /// Removes a value. Nothing is removed from the ledger.
    pub fn delete(&mut self, table: Table, key: &str) {
        if table != Table::Ledger {
            self.operations.push((None, Operation::Delete { table, key: key.to_owned() }));
        }
    }
}

/// How full the spool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of all segments.
    pub bytes: u64,
    /// Bytes they may have.
    pub quota: u64,
    /// Instances.
    pub instances: u64,
    /// False while instances are refused.
    pub accepting: bool,
}

/// Proof that a study was erased: its key is gone, and with it everything that was sealed under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErasureRecord {
    /// Instances that can no longer be read.
    pub instances: u64,
    /// Segments of the log that were removed because nothing else was in them.
    pub segments_removed: u64,
}

/// The spool. Clones share it.
#[derive(Clone)]
pub struct Spool(Arc<Inner>);

struct Inner {
    io: Arc<dyn SpoolIo>,
    options: SpoolOptions,
    log: Log,
    state: Arc<Mutex<State>>,
    keys: Mutex<Keys>,
    /// Bytes that instances on their way have announced or brought, beyond what is on disk.
    used: AtomicU64,
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spool").field("directory", &self.0.options.directory).finish_non_exhaustive()
    }
}

impl Spool {
    /// Opens a spool, or makes one, on the disk. Fails where another agent holds it.
    pub fn open(options: SpoolOptions) -> Result<Self, SpoolError> {
        let io = DiskIo::open(&options.directory).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => SpoolError::Held { directory: options.directory.clone() },
            _ => SpoolError::from(error),
        })?;
        Self::open_with(Arc::new(io), options)
    }

    /// Opens a spool on any I/O.
    pub fn open_with(io: Arc<dyn SpoolIo>, options: SpoolOptions) -> Result<Self, SpoolError> {
        let keys = Keys::open(io.as_ref())?;
        let found = recover::recover(io.as_ref(), &keys)?;
        let log = Log::start(Arc::clone(&io), options.segment_bytes, found.segment, found.next)?;
        let spool = Self(Arc::new(Inner {
            io,
            options,
            log,
            state: Arc::new(Mutex::new(found.state)),
            keys: Mutex::new(keys),
            used: AtomicU64::new(0),
        }));
        spool.reclaim()?;
        Ok(spool)
    }

    /// Begins an instance of a study. `SpoolError::Full` while there is no room.
    pub fn begin(&self, study: &str) -> Result<Incoming, SpoolError> {
        if !self.usage().accepting {
            return Err(SpoolError::Full);
        }
        let slot = lock(&self.0.keys).slot(self.0.io.as_ref(), study)?;
        Ok(Incoming::new(self.clone(), slot))
    }

    /// Makes a batch durable. From a task of the runtime use [`Spool::write`].
    pub fn write_blocking(&self, batch: Batch) -> Result<(), SpoolError> {
        let mut operations = Vec::with_capacity(batch.operations.len());
        for (study, operation) in batch.operations {
            let slot = match study {
                Some(study) => lock(&self.0.keys).slot(self.0.io.as_ref(), &study)?,
                None => NO_STUDY,
            };
            operations.push((slot, operation));
        }
        self.commit(operations, Vec::new()).map(|_| ())
    }

    /// Makes a batch durable. The other tasks of this thread are moved elsewhere meanwhile.
    pub async fn write(&self, batch: Batch) -> Result<(), SpoolError> {
        tokio::task::block_in_place(|| self.write_blocking(batch))
    }

    /// A table's value.
    pub fn get<T: for<'de> Deserialize<'de>>(&self, table: Table, key: &str) -> Result<Option<T>, SpoolError> {
        let Some(bytes) = lock(&self.0.state).get(table, key) else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| SpoolError::Value(error.to_string()))
    }

    /// The values of a table whose keys begin with `prefix`, in the order of keys.
    pub fn scan<T: for<'de> Deserialize<'de>>(&self, table: Table, prefix: &str) -> Result<Vec<T>, SpoolError> {
        let values: Vec<(String, Bytes)> = lock(&self.0.state).scan(table, prefix);
        values
            .into_iter()
            .map(|(_, bytes)| serde_json::from_slice(&bytes).map_err(|error| SpoolError::Value(error.to_string())))
            .collect()
    }

    /// The instances of a study, in the order of commits.
    pub fn instances_of(&self, study: &str) -> Vec<StoredInstance> {
        lock(&self.0.state).instances_of(study)
    }

    /// An instance by its number.
    pub fn instance(&self, id: u64) -> Option<StoredInstance> {
        lock(&self.0.state).instance(id).map(|known| known.stored.clone())
    }

    /// Study Instance UIDs of all studies.
    pub fn studies(&self) -> Vec<String> {
        lock(&self.0.state).studies()
    }

    /// The very bytes as they came.
    pub fn read(&self, instance: &StoredInstance) -> Result<Bytes, SpoolError> {
        self.grant(instance)?.read_all().map(Bytes::from)
    }

    /// What another process needs to read an instance: open files, places, the study's key.
    pub fn grant(&self, instance: &StoredInstance) -> Result<ReadGrant, SpoolError> {
        let known = lock(&self.0.state).instance(instance.id).cloned().ok_or(SpoolError::Erased)?;
        let key = lock(&self.0.keys).key(known.slot).map(|key| key.reveal()).ok_or(SpoolError::Erased)?;
        ReadGrant::new(self.0.io.as_ref(), &known.parts, known.stored.length, key)
    }

    /// Erases a study: its key is destroyed first, which decides; then its places are given back.
    pub fn erase_study(&self, study: &str) -> Result<ErasureRecord, SpoolError> {
        let mut keys = lock(&self.0.keys);
        let slot = keys.slot(self.0.io.as_ref(), study)?;
        keys.destroy(self.0.io.as_ref(), study)?;
        drop(keys);
        let instances = lock(&self.0.state).forget(study, slot);
        let segments_removed = self.reclaim()?;
        Ok(ErasureRecord { instances, segments_removed })
    }

    /// How full the spool is.
    pub fn usage(&self) -> Usage {
        let bytes = self.0.used.load(Ordering::Relaxed);
        let quota = self.0.options.quota_bytes;
        let reserve = self.0.options.reserve_bytes;
        let free = self.0.io.free_bytes().unwrap_or(0);
        let accepting = bytes.saturating_add(reserve) < quota && free > reserve;
        Usage { bytes, quota, instances: lock(&self.0.state).instance_count(), accepting }
    }

    /// Removes segments of which nothing is needed; values in a segment without instances are written again first.
    fn reclaim(&self) -> Result<u64, SpoolError> {
        let open = self.0.log.segment();
        let mut bytes = 0;
        let mut removed = 0;
        for name in self.0.io.list()? {
            let Some(number) = segment_number(&name) else { continue };
            if number < open && self.empty(number)? {
                self.0.io.remove(&name)?;
                removed += 1;
            } else {
                bytes += self.0.io.length(&segment_name(number))?;
            }
        }
        if removed > 0 {
            self.0.io.sync_directory()?;
        }
        self.0.used.store(bytes, Ordering::Relaxed);
        Ok(removed)
    }

    /// True once nothing of a segment is needed.
    fn empty(&self, segment: u32) -> Result<bool, SpoolError> {
        let values = lock(&self.0.state).values_in(segment);
        let Some(values) = values else {
            return Ok(false);
        };
        if !values.is_empty() {
            let operations = values
                .into_iter()
                .map(|(table, key, bytes, slot)| {
                    (slot, Operation::Put { table, key, value: String::from_utf8_lossy(&bytes).into_owned() })
                })
                .collect();
            self.commit(operations, Vec::new())?;
        }
        Ok(lock(&self.0.state).is_spent(segment))
    }

    /// Seals operations, commits them with a sealed body, and applies them in the order of the log.
    fn commit(&self, operations: Vec<(u32, Operation)>, body: Vec<u8>) -> Result<Place, SpoolError> {
        let mut sealed = Vec::new();
        for (slot, operation) in &operations {
            let mut part = vec![0; seal::OVERHEAD - 16];
            serde_json::to_writer(&mut part, operation).map_err(|error| SpoolError::Value(error.to_string()))?;
            let key = lock(&self.0.keys).key(*slot).ok_or(SpoolError::Erased)?;
            key.seal(&mut part, OPERATION)?;
            sealed.extend_from_slice(&slot.to_le_bytes());
            sealed.extend_from_slice(&(part.len() as u32).to_le_bytes());
            sealed.extend_from_slice(&part);
        }
        let state = Arc::clone(&self.0.state);
        let (operations_length, body_length) = (sealed.len() as u64, body.len() as u64);
        let applied = Box::new(move |place: Place| {
            let body = (body_length > 0).then_some(frame::Part {
                segment: place.segment,
                offset: place.offset + frame::HEAD as u64 + operations_length,
                length: body_length,
            });
            let mut state = lock(&state);
            for (slot, operation) in operations {
                state.apply(operation, place.number, place.segment, slot, body);
            }
        });
        self.0.used.fetch_add(operations_length + body_length, Ordering::Relaxed);
        self.0.log.commit(Entry { operations: sealed, body, durable: true, applied })
    }
}
