//! The spool: one durable log for instances and for the state of every job.
//!
//! Segments are preallocated files; one frame carries an instance's bytes and its index entry, or a batch of table
//! changes, so that one flush makes it durable. Everything is encrypted (AES-256-GCM) with a key for each study;
//! destroying that key erases the study. The state in memory is rebuilt from the log alone.
//!
//! The spool knows nothing of DICOM: it keeps bytes as they came, and never looks into them.
mod batch;
mod buffer;
mod commit;
mod disk;
mod error;
mod format;
mod frame;
mod grant;
mod incoming;
mod io;
mod key;
mod keyring;
mod reclaim;
mod recover;
mod segment;
mod shared;
mod spares;
mod state;

pub use batch::{Batch, Table};
pub use disk::DiskIo;
pub use error::SpoolError;
pub use grant::{GrantedInstance, ReadGrant};
pub use incoming::Incoming;
pub use io::{SpoolFile, SpoolIo};

use crate::instance::{Origin, StoredInstance};
use crate::limits::spool::{DEFAULT_QUOTA, DEFAULT_RESERVE, DEFAULT_SEGMENT};
use bytes::Bytes;
use grant::Pins;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shared::{Shared, read, write};
use std::collections::BTreeSet;
use std::ops::Bound;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

/// How a spool is laid out and how much it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolOptions {
    /// Where its files lie; made (0700) where absent.
    pub directory: PathBuf,
    /// Length of a segment, at least 512 KiB, whole blocks of 4096.
    pub segment_bytes: u64,
    /// Most bytes that the spool takes on disk.
    pub quota_bytes: u64,
    /// Bytes of quota and of the file system that are kept for table entries when instances are refused.
    pub reserve_bytes: u64,
    /// Segments that are made ahead of use.
    pub spares: usize,
    /// File with the master key; by default `master.key` in the directory, made where absent.
    pub key_file: Option<PathBuf>,
}

impl Default for SpoolOptions {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("spool"),
            segment_bytes: DEFAULT_SEGMENT,
            quota_bytes: DEFAULT_QUOTA,
            reserve_bytes: DEFAULT_RESERVE,
            spares: 2,
            key_file: None,
        }
    }
}

impl SpoolOptions {
    /// The defaults, in a directory.
    pub fn in_directory(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), ..Self::default() }
    }

    fn check(&self) -> Result<(), SpoolError> {
        if self.segment_bytes < 512 << 10 || !self.segment_bytes.is_multiple_of(buffer::BLOCK as u64) {
            return Err(SpoolError::Options("a segment has at least 512 KiB, in whole blocks of 4096 bytes"));
        }
        if self.quota_bytes.saturating_sub(self.reserve_bytes) < self.segment_bytes + (64 << 10) {
            return Err(SpoolError::Options("quota less reserve must hold one segment and the keys"));
        }
        Ok(())
    }

    /// Most bytes on disk with which instances are still taken.
    fn ingest_limit(&self) -> u64 {
        self.quota_bytes - self.reserve_bytes
    }
}

/// Why no instance is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lack {
    /// The quota is used up, but for the reserve.
    Quota,
    /// The disk is full, but for the reserve.
    Disk,
    /// It was closed, or a write failed.
    Stopped,
}

/// What the spool takes and holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes on disk, preallocated ones among them.
    pub bytes: u64,
    /// Most bytes that it may take.
    pub quota: u64,
    /// Instances that can be read.
    pub instances: u64,
    /// Why C-STORE is answered A700, while it is.
    pub lack: Option<Lack>,
    /// Places in the log, and keys of studies, that did not read back when it was opened.
    pub damaged: u64,
}

/// The evidence of an erasure, for the audit trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureRecord {
    /// When the key was destroyed.
    pub at: SystemTime,
    /// Name of the destroyed key, hex; `None` where the study had none.
    pub key: Option<String>,
    /// Instances that went.
    pub instances: u64,
    /// Bytes of their data sets.
    pub bytes: u64,
    /// Table values that went.
    pub values: u64,
    /// Segments that were given back because nothing else was alive in them.
    pub segments_removed: u64,
}

/// A handle on the spool; clones share it.
#[derive(Clone)]
pub struct Spool(Arc<Shared>);

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spool").field("directory", &self.0.options.directory).finish_non_exhaustive()
    }
}

impl Spool {
    /// Opens the spool in `options.directory`, or makes it; takes the directory for this process.
    ///
    /// # Errors
    /// [`SpoolError::Held`], [`SpoolError::UnknownFormat`], [`SpoolError::NoMasterKey`],
    /// [`SpoolError::WrongMasterKey`], all of which leave the files as they are; or the disk's.
    pub fn open(options: SpoolOptions) -> Result<Self, SpoolError> {
        Self::open_telling(options, &mut || {})
    }

    /// The same; `gets_on` is called before each head of the log that is read, of which a full spool on a slow disk has enough for minutes.
    pub fn open_telling(options: SpoolOptions, gets_on: &mut dyn FnMut()) -> Result<Self, SpoolError> {
        let io = DiskIo::new(&options.directory).map_err(SpoolError::disk("open the spool directory"))?;
        let maker = options.spares > 0;
        Ok(Self(Arc::new(recover::open(Arc::new(io), options, maker, gets_on)?)))
    }

    /// Opens a spool on other I/O; spare segments are kept, but none are made ahead.
    pub fn open_with(io: Arc<dyn SpoolIo>, options: SpoolOptions) -> Result<Self, SpoolError> {
        Self::open_with_telling(io, options, &mut || {})
    }

    /// The same, as [`Spool::open_telling`].
    pub fn open_with_telling(
        io: Arc<dyn SpoolIo>,
        options: SpoolOptions,
        gets_on: &mut dyn FnMut(),
    ) -> Result<Self, SpoolError> {
        Ok(Self(Arc::new(recover::open(io, options, false, gets_on)?)))
    }

    /// Begins an instance of a study; makes the study's key where it has none.
    ///
    /// # Errors
    /// [`SpoolError::Full`] while C-STORE is to be answered A700, [`SpoolError::Stopped`] after a write has failed.
    pub fn begin(&self, study: &str) -> Result<Incoming, SpoolError> {
        self.0.running()?;
        if !self.0.accepting() {
            return Err(SpoolError::Full);
        }
        self.incoming(study, true)
    }

    /// Begins an instance that is made here. It may go into half of the reserve, the other half is the tables': a disk
    /// that is full for senders stops no job that was taken on.
    ///
    /// # Errors
    /// [`SpoolError::Full`] where that is used up as well.
    pub fn begin_result(&self, study: &str) -> Result<Incoming, SpoolError> {
        self.0.running()?;
        if !self.0.takes_results() {
            return Err(SpoolError::Full);
        }
        self.incoming(study, false)
    }

    fn incoming(&self, study: &str, ingest: bool) -> Result<Incoming, SpoolError> {
        Incoming::new(&self.0, self.0.key_of(study)?, ingest)
    }

    /// Makes a batch durable and visible, all of it or nothing.
    pub async fn write(&self, batch: Batch) -> Result<(), SpoolError> {
        let entries = self.0.entries(batch)?;
        if entries.is_empty() {
            return Ok(());
        }
        let frame = commit::Frame::new(&self.0, entries, None)?;
        self.0.submit(frame).await.map(|_| ())
    }

    /// The same, for threads that may block.
    pub fn write_blocking(&self, batch: Batch) -> Result<(), SpoolError> {
        let entries = self.0.entries(batch)?;
        if entries.is_empty() {
            return Ok(());
        }
        let frame = commit::Frame::new(&self.0, entries, None)?;
        self.0.submit_blocking(frame).map(|_| ())
    }

    /// A value of a table, from JSON.
    pub fn get<T: DeserializeOwned>(&self, table: Table, key: &str) -> Result<Option<T>, SpoolError> {
        let value = self.get_bytes(table, key);
        value.map(|value| serde_json::from_slice(&value).map_err(|error| SpoolError::value(&error))).transpose()
    }

    /// The values whose keys begin with `prefix`, from JSON, in the order of the keys.
    pub fn scan<T: DeserializeOwned>(&self, table: Table, prefix: &str) -> Result<Vec<T>, SpoolError> {
        let parse = |(_, value): (String, Bytes)| serde_json::from_slice(&value);
        let values = self.scan_bytes(table, prefix).into_iter().map(parse).collect::<Result<_, _>>();
        values.map_err(|error| SpoolError::value(&error))
    }

    /// A value of a table, as it is.
    pub fn get_bytes(&self, table: Table, key: &str) -> Option<Bytes> {
        read(&self.0.state).tables[table as usize].get(key).map(|value| value.bytes.clone())
    }

    /// Keys that begin with `prefix` and their values, in the order of the keys.
    pub fn scan_bytes(&self, table: Table, prefix: &str) -> Vec<(String, Bytes)> {
        read(&self.0.state).tables[table as usize]
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.clone(), value.bytes.clone()))
            .collect()
    }

    /// All instances of a study, in the order of their commits.
    pub fn instances_of(&self, study: &str) -> Vec<StoredInstance> {
        let state = read(&self.0.state);
        let numbers = state.by_study.get(study).into_iter().flatten();
        numbers.filter_map(|number| state.instances.get(number)).map(|held| held.stored.clone()).collect()
    }

    /// One instance by its number.
    pub fn instance(&self, id: u64) -> Option<StoredInstance> {
        read(&self.0.state).instances.get(&id).map(|held| held.stored.clone())
    }

    /// Studies with at least one instance.
    pub fn studies(&self) -> Vec<String> {
        let mut studies: Vec<String> = read(&self.0.state).by_study.keys().cloned().collect();
        studies.sort_unstable();
        studies
    }

    /// How many instances of each study were received, not made here, behind the number that `considered` says of it; studies without are
    /// left out.
    pub fn received_behind(&self, considered: impl Fn(&str) -> u64) -> Vec<(String, u64)> {
        let state = read(&self.0.state);
        let is_received = |number: &&u64| {
            let held = state.instances.get(number);
            held.is_some_and(|held| matches!(held.stored.arrival.origin, Origin::Received { .. }))
        };
        let count = |(study, numbers): (&String, &BTreeSet<u64>)| {
            let behind = (Bound::Excluded(considered(study)), Bound::Unbounded);
            let received = numbers.range(behind).filter(is_received).count() as u64;
            (received > 0).then(|| (study.clone(), received))
        };
        state.by_study.iter().filter_map(count).collect()
    }

    /// The very bytes of an instance, as they came.
    ///
    /// # Errors
    /// [`SpoolError::Erased`] once its study is erased, [`SpoolError::Damaged`] where the disk returns other bytes.
    pub fn read(&self, instance: &StoredInstance) -> Result<Bytes, SpoolError> {
        let (held, _pins) = self.pinned(instance)?;
        let read_at = |number: u64, offset: u64, buffer: &mut [u8]| {
            let file = read(&self.0.state).segments.get(&number).map(|part| Arc::clone(&part.segment.file));
            file.ok_or(SpoolError::Erased)?.read_at(offset, buffer).map_err(SpoolError::disk("read an instance"))
        };
        grant::decrypt(&held.key.key, held.stream, held.extents.iter().copied(), read_at).map(Bytes::from)
    }

    /// Leave for another process to read these instances, and the files that it reads; keep the grant while it does.
    ///
    /// # Errors
    /// [`SpoolError::Erased`] where one of them is not, or no longer, there; the disk's.
    pub fn grant(&self, ids: &[u64]) -> Result<(ReadGrant, Vec<OwnedFd>), SpoolError> {
        ReadGrant::new(&self.0, ids)
    }

    fn pinned(&self, instance: &StoredInstance) -> Result<(state::Held, Pins), SpoolError> {
        let mut state = write(&self.0.state);
        let held = state.instances.get(&instance.id).cloned().ok_or(SpoolError::Erased)?;
        let segments: Vec<u64> = held.extents.iter().map(|extent| extent.segment).collect();
        for segment in &segments {
            state.pin(*segment);
        }
        Ok((held, Pins::counted(&self.0, segments)))
    }

    /// Erases a study: destroys its key on disk, forgets what it sealed, gives back what that frees. Durable on return.
    pub fn erase_study(&self, study: &str) -> Result<ErasureRecord, SpoolError> {
        let mut writer = self.0.turn();
        // What is queued was sealed with the key that goes: it is answered before, or refused after.
        self.0.drain(&mut writer);
        let destroyed = self.0.keys.destroy(study).inspect_err(|error| self.0.failed(error))?;
        let at = SystemTime::now();
        let (mut instances, mut bytes, mut values, mut segments_removed) = (0, 0, 0, 0);
        if let Some(key) = &destroyed {
            (instances, bytes, values) = write(&self.0.state).erase(study, &key.id);
            segments_removed = self.0.reclaim(&mut writer);
        }
        let key = destroyed.map(|key| format!("{:032x}", u128::from_be_bytes(key.id)));
        Ok(ErasureRecord { at, key, instances, bytes, values, segments_removed })
    }

    /// What it takes and holds.
    pub fn usage(&self) -> Usage {
        self.0.usage()
    }

    /// The format that is written, and the newest one that could be.
    pub fn format(&self) -> (u32, u32) {
        (self.0.format.load(Ordering::Relaxed), *format::READS.end())
    }

    /// The system that runs stays: from the next segment on the newest format is written, which an older agent may not read. Durable
    /// on return; true where that is new.
    pub fn commit_format(&self) -> Result<bool, SpoolError> {
        self.0.running()?;
        let _writer = self.0.turn();
        let (written, newest) = self.format();
        if written < newest {
            format::write(&*self.0.io, newest).inspect_err(|error| self.0.failed(error))?;
            self.0.format.store(newest, Ordering::Relaxed);
        }
        Ok(written < newest)
    }

    /// Writes what is queued and takes no more; the directory is free when the last handle is dropped.
    pub fn close(self) {
        let mut writer = self.0.turn();
        self.0.drain(&mut writer);
        self.0.close_log(&mut writer);
        self.0.stop(SpoolError::Stopped);
    }

    /// Waits until a write has failed, after which the spool takes no more; the reason.
    pub async fn broken(&self) -> SpoolError {
        let mut stopped = self.0.stopped.subscribe();
        loop {
            match &*stopped.borrow_and_update() {
                Some(SpoolError::Stopped) | None => {}
                Some(why) => return why.clone(),
            }
            if stopped.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
