//! The writer of the log: segments, group commit, rotation.
//!
//! Whoever wants a record committed queues it and waits for the writer's lock; the one who gets it writes everything that is
//! queued, syncs once, and answers all. There is no thread to wake in between.
use super::SpoolError;
use super::frame::{HEAD, Head};
use super::io::SpoolIo;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const MAGIC: &[u8; 8] = b"SUNDSEG1";
/// Bytes before the first record of a segment.
pub(super) const SEGMENT_HEAD: u64 = 64;

/// Name of a segment's file.
pub(super) fn segment_name(number: u32) -> String {
    format!("segment-{number:08}")
}

/// Number of a segment by its file's name.
pub(super) fn segment_number(name: &str) -> Option<u32> {
    name.strip_prefix("segment-")?.parse().ok()
}

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub number: u64,
    pub segment: u32,
    /// Of its head.
    pub offset: u64,
}

/// A record to be written, with what is to be done, in the order of the log, once it is durable.
pub(super) struct Entry {
    /// Sealed operations.
    pub operations: Vec<u8>,
    /// Sealed body.
    pub body: Vec<u8>,
    /// False for a part of an instance whose record follows: it need not be durable by itself.
    pub durable: bool,
    /// Called under the writer's lock.
    pub applied: Box<dyn FnOnce(Place) + Send>,
}

type Answer = Arc<Mutex<Option<Result<Place, SpoolError>>>>;

/// The log's end.
pub(super) struct Log {
    queue: Mutex<Vec<(Entry, Answer)>>,
    writer: Mutex<Writer>,
}

struct Writer {
    io: Arc<dyn SpoolIo>,
    segment_bytes: u64,
    /// Number of the open segment, and where its next record goes.
    segment: u32,
    at: u64,
    length: u64,
    next: u64,
    /// A write or sync failed in a way that leaves the disk's state unknown: nothing is acknowledged any more.
    broken: Option<String>,
}

impl Log {
    /// A log that goes on with record `next` in a new segment.
    pub(super) fn start(io: Arc<dyn SpoolIo>, segment_bytes: u64, segment: u32, next: u64) -> Result<Self, SpoolError> {
        let mut writer = Writer { io, segment_bytes, segment, at: 0, length: 0, next, broken: None };
        writer.open_segment(segment, 0)?;
        Ok(Self { queue: Mutex::default(), writer: Mutex::new(writer) })
    }

    /// Number of the segment that is written to.
    pub(super) fn segment(&self) -> u32 {
        lock(&self.writer).segment
    }

    /// Queues a record and waits until it is written, and durable where it asks for that.
    pub(super) fn commit(&self, entry: Entry) -> Result<Place, SpoolError> {
        let answer = Answer::default();
        lock(&self.queue).push((entry, Arc::clone(&answer)));
        let mut writer = lock(&self.writer);
        if let Some(answer) = lock(&answer).take() {
            return answer;
        }
        let group = std::mem::take(&mut *lock(&self.queue));
        writer.write_group(group);
        drop(writer);
        lock(&answer).take().unwrap_or(Err(SpoolError::Lost))
    }
}

impl Writer {
    fn write_group(&mut self, group: Vec<(Entry, Answer)>) {
        let mut rest = group;
        while !rest.is_empty() {
            // As many as fit into the open segment; at least one, for which a larger segment is made if need be.
            let mut count = 0;
            let mut length = 0;
            for (entry, _) in &rest {
                let one = (HEAD + entry.operations.len() + entry.body.len()) as u64;
                if self.at + length + one > self.length {
                    break;
                }
                length += one;
                count += 1;
            }
            if count == 0 {
                let need = (HEAD + rest[0].0.operations.len() + rest[0].0.body.len()) as u64;
                if let Err(error) = self.next_segment(need) {
                    answer_all(rest, &error);
                    return;
                }
                continue;
            }
            let later = rest.split_off(count);
            self.write_run(rest);
            rest = later;
        }
    }

    /// Writes records that fit into the open segment, syncs once, answers.
    fn write_run(&mut self, run: Vec<(Entry, Answer)>) {
        if let Some(reason) = &self.broken {
            return answer_all(run, &SpoolError::Broken(reason.clone()));
        }
        let mut at = self.at;
        let mut places = Vec::with_capacity(run.len());
        let mut heads = Vec::with_capacity(run.len());
        for (n, (entry, _)) in run.iter().enumerate() {
            let number = self.next + n as u64;
            let head = Head { number, operations: entry.operations.len() as u32, body: entry.body.len() as u64 };
            places.push(Place { number, segment: self.segment, offset: at });
            heads.push(head.write());
            at += head.length();
        }
        let parts: Vec<&[u8]> = heads
            .iter()
            .zip(&run)
            .flat_map(|(head, (entry, _))| [head.as_slice(), &entry.operations, &entry.body])
            .collect();
        let name = segment_name(self.segment);
        if let Err(error) = self.io.write_at(&name, self.at, &parts) {
            // Nothing of this run counts: the next one overwrites it.
            return answer_all(run, &SpoolError::from(error));
        }
        if run.iter().any(|(entry, _)| entry.durable)
            && let Err(error) = self.io.sync(&name)
        {
            // After a failed sync the kernel may have dropped the pages: no later sync can be trusted.
            self.broken = Some(error.to_string());
            return answer_all(run, &SpoolError::from(error));
        }
        self.at = at;
        self.next += run.len() as u64;
        for ((entry, answer), place) in run.into_iter().zip(places) {
            (entry.applied)(place);
            *lock(&answer) = Some(Ok(place));
        }
    }

    /// Seals the open segment and opens the next, long enough for a record of `need` bytes.
    fn next_segment(&mut self, need: u64) -> Result<(), SpoolError> {
        let name = segment_name(self.segment);
        self.io.sync(&name)?;
        self.io.truncate(&name, self.at)?;
        self.open_segment(self.segment + 1, need)
    }

    fn open_segment(&mut self, number: u32, need: u64) -> Result<(), SpoolError> {
        let length = self.segment_bytes.max(SEGMENT_HEAD + need);
        let name = segment_name(number);
        let mut head = [0; SEGMENT_HEAD as usize];
        head[..8].copy_from_slice(MAGIC);
        head[8..12].copy_from_slice(&number.to_le_bytes());
        self.io.create(&name, length)?;
        self.io.write_at(&name, 0, &[&head])?;
        self.io.sync(&name)?;
        self.io.sync_directory()?;
        (self.segment, self.at, self.length) = (number, SEGMENT_HEAD, length);
        Ok(())
    }
}

/// True where the head of a segment's file is of this format; an empty file is a segment that was cut while it was made.
pub(super) fn is_segment(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

fn answer_all(run: Vec<(Entry, Answer)>, error: &SpoolError) {
    for (_, answer) in run {
        *lock(&answer) = Some(Err(error.clone()));
    }
}

/// A poisoned lock is taken all the same: what it guards is consistent between statements.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
