//! What the log says, in memory: rebuilt from the segments alone on every open.
use super::Table;
use super::frame::{Entry, Extent, plain_length};
use super::keyring::{KeyId, StudyKey};
use super::segment::Segment;
use crate::instance::StoredInstance;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// An instance and where it lies.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) stored: StoredInstance,
    pub(super) key: Arc<StudyKey>,
    pub(super) stream: [u8; 8],
    pub(super) extents: Vec<Extent>,
    /// Segment of its index entry.
    segment: u64,
}

/// A value of a table.
#[derive(Clone)]
pub(super) struct Value {
    pub(super) bytes: Bytes,
    pub(super) study: Option<Arc<StudyKey>>,
    pub(super) name: [u8; 16],
    pub(super) segment: u64,
    /// Oldest segment that may still hold an earlier value of this key.
    oldest: u64,
}

/// What keeps a removed key removed while older values of it are still in the log.
#[derive(Clone, Copy)]
pub(super) struct Tombstone {
    pub(super) name: [u8; 16],
    pub(super) segment: u64,
    oldest: u64,
    newest: u64,
}

/// A segment with what is alive in it.
pub(super) struct Part {
    pub(super) segment: Segment,
    /// Bytes up to the end of the last frame.
    pub(super) written: u64,
    /// Index entries and extents of instances.
    pub(super) instances: usize,
    /// Readers outside, and parts of instances that are not complete yet.
    pub(super) pins: usize,
    /// Bytes of live table entries, about.
    pub(super) table_bytes: u64,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) instances: BTreeMap<u64, Held>,
    pub(super) by_study: HashMap<String, BTreeSet<u64>>,
    pub(super) tables: [BTreeMap<String, Value>; Table::ALL.len()],
    pub(super) tombstones: HashMap<(Table, String), Tombstone>,
    pub(super) segments: BTreeMap<u64, Part>,
    /// Frames that did not read back, skipped over on open.
    pub(super) damaged: u64,
    /// While the log is read: plain keys by their keyed names.
    rebuilding: Option<HashMap<(Table, [u8; 16]), String>>,
}

/// Bytes that an entry takes beside key and value, about.
const ENTRY: u64 = 64;

impl State {
    pub(super) fn rebuild() -> Self {
        Self { rebuilding: Some(HashMap::new()), ..Self::default() }
    }

    pub(super) fn rebuilt(&mut self) {
        self.rebuilding = None;
    }

    pub(super) fn add_segment(&mut self, segment: Segment) {
        let written = super::buffer::BLOCK as u64;
        let part = Part { segment, written, instances: 0, pins: 0, table_bytes: 0 };
        self.segments.insert(part.segment.number, part);
    }

    /// Takes in one frame that is durable.
    pub(super) fn apply(&mut self, sequence: u64, payload: Extent, entries: Vec<Entry>) {
        let segment = payload.segment;
        for entry in entries {
            match entry {
                Entry::Instance { key, stream, mut parts, first_chunk, arrival } => {
                    if payload.length > 0 {
                        parts.push(Extent { first_chunk, ..payload });
                    }
                    let length = parts.iter().map(|part| plain_length(part.length)).sum();
                    let stored = StoredInstance { id: sequence, length, arrival };
                    self.by_study.entry(key.study.clone()).or_default().insert(sequence);
                    let held = Held { stored, key, stream, extents: parts, segment };
                    self.count(&held, true);
                    self.instances.insert(sequence, held);
                }
                Entry::Part { .. } => {
                    if self.rebuilding.is_none() {
                        self.pin(segment);
                    }
                }
                Entry::Put { table, key, value, study, name } => self.put(segment, table, key, value, study, name),
                Entry::Delete { table, key, name } => self.delete(segment, table, key, name),
                Entry::Removed { table, name } => {
                    let key = self.rebuilding.as_ref().and_then(|names| names.get(&(table, name)).cloned());
                    if let Some(key) = key {
                        self.delete(segment, table, key, name);
                    }
                }
                Entry::Footer | Entry::DeadInstance => {}
            }
        }
    }

    fn put(
        &mut self,
        segment: u64,
        table: Table,
        key: String,
        bytes: Bytes,
        study: Option<Arc<StudyKey>>,
        name: [u8; 16],
    ) {
        let size = ENTRY + (key.len() + bytes.len()) as u64;
        if let Some(names) = &mut self.rebuilding {
            names.insert((table, name), key.clone());
        }
        let mut oldest = segment;
        if let Some(tombstone) = self.tombstones.remove(&(table, key.clone())) {
            self.release(tombstone.segment, ENTRY + key.len() as u64);
            oldest = tombstone.oldest.min(oldest);
        }
        let values = &mut self.tables[table as usize];
        if let Some(old) = values.get(&key) {
            oldest = old.oldest.min(oldest);
            let (from, size) = (old.segment, ENTRY + (key.len() + old.bytes.len()) as u64);
            self.release(from, size);
        }
        self.tables[table as usize].insert(key, Value { bytes, study, name, segment, oldest });
        if let Some(part) = self.segments.get_mut(&segment) {
            part.table_bytes += size;
        }
    }

    fn delete(&mut self, segment: u64, table: Table, key: String, name: [u8; 16]) {
        let size = ENTRY + key.len() as u64;
        let tombstone = if let Some(old) = self.tables[table as usize].remove(&key) {
            self.release(old.segment, size + old.bytes.len() as u64);
            Tombstone { name, segment, oldest: old.oldest, newest: old.segment }
        } else if let Some(old) = self.tombstones.get(&(table, key.clone())).copied() {
            // Repeated, or copied forward.
            self.release(old.segment, size);
            Tombstone { segment, ..old }
        } else {
            return;
        };
        self.tombstones.insert((table, key), tombstone);
        if let Some(part) = self.segments.get_mut(&segment) {
            part.table_bytes += size;
        }
    }

    fn release(&mut self, segment: u64, bytes: u64) {
        if let Some(part) = self.segments.get_mut(&segment) {
            part.table_bytes = part.table_bytes.saturating_sub(bytes);
        }
    }

    fn count(&mut self, held: &Held, alive: bool) {
        for segment in held.extents.iter().map(|extent| extent.segment).chain([held.segment]) {
            if let Some(part) = self.segments.get_mut(&segment) {
                part.instances = if alive { part.instances + 1 } else { part.instances.saturating_sub(1) };
            }
        }
    }

    pub(super) fn pin(&mut self, segment: u64) {
        if let Some(part) = self.segments.get_mut(&segment) {
            part.pins += 1;
        }
    }

    pub(super) fn unpin(&mut self, segment: u64) {
        if let Some(part) = self.segments.get_mut(&segment) {
            part.pins = part.pins.saturating_sub(1);
        }
    }

    /// Forgets what was sealed with a destroyed key: instances, their bytes, values.
    pub(super) fn erase(&mut self, study: &str, id: &KeyId) -> (u64, u64, u64) {
        let (mut instances, mut bytes, mut values) = (0, 0, 0);
        for number in self.by_study.remove(study).unwrap_or_default() {
            if let Some(held) = self.instances.remove(&number) {
                self.count(&held, false);
                instances += 1;
                bytes += held.stored.length;
            }
        }
        for table in Table::ALL {
            let dead = |value: &Value| value.study.as_ref().is_some_and(|key| key.id == *id);
            let keys: Vec<(String, u64, [u8; 16])> = self.tables[table as usize]
                .iter()
                .filter(|(_, value)| dead(value))
                .map(|(key, value)| (key.clone(), value.segment, value.name))
                .collect();
            for (key, segment, name) in keys {
                // The sealed value stays in the log and stands for its own removal.
                self.delete(segment, table, key, name);
                values += 1;
            }
        }
        (instances, bytes, values)
    }

    /// True while an older value of the key is in a segment other than the one that goes.
    pub(super) fn needs(&self, tombstone: &Tombstone, without: u64) -> bool {
        self.segments.range(tombstone.oldest..=tombstone.newest).any(|(number, _)| *number != without)
    }

    pub(super) fn remove_segment(&mut self, number: u64) {
        self.segments.remove(&number);
        let mut tombstones = std::mem::take(&mut self.tombstones);
        tombstones.retain(|_, tombstone| self.needs(tombstone, u64::MAX));
        self.tombstones = tombstones;
    }
}
