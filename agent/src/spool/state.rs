//! What the log says, in memory: instances and tables. Rebuilt from the log at each start.
use super::Table;
use super::frame::{Operation, Part};
use super::seal::NO_STUDY;
use crate::instance::StoredInstance;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};

/// An instance and where its bytes are.
#[derive(Clone, Debug)]
pub(super) struct KnownInstance {
    pub stored: StoredInstance,
    pub slot: u32,
    pub segment: u32,
    pub parts: Vec<Part>,
}

#[derive(Clone, Debug)]
struct Value {
    bytes: Bytes,
    slot: u32,
    segment: u32,
}

/// Instances and tables.
#[derive(Debug, Default)]
pub(super) struct State {
    instances: BTreeMap<u64, KnownInstance>,
    studies: HashMap<String, Vec<u64>>,
    tables: HashMap<Table, BTreeMap<String, Value>>,
    /// What of each segment is still needed: its file goes when nothing is.
    needed: HashMap<u32, u64>,
}

impl State {
    /// Applies one operation of record `number` in `segment`, which is sealed under `slot`.
    pub(super) fn apply(&mut self, operation: Operation, number: u64, segment: u32, slot: u32, body: Option<Part>) {
        match operation {
            Operation::Instance { arrival, length, parts } => {
                let parts = if parts.is_empty() { body.into_iter().collect() } else { parts };
                self.need(segment);
                for part in &parts {
                    self.need(part.segment);
                }
                self.studies.entry(arrival.study.clone()).or_default().push(number);
                let stored = StoredInstance { id: number, length, arrival };
                self.instances.insert(number, KnownInstance { stored, slot, segment, parts });
            }
            Operation::Put { table, key, value } => {
                self.need(segment);
                let value = Value { bytes: Bytes::from(value.into_bytes()), slot, segment };
                if let Some(old) = self.tables.entry(table).or_default().insert(key, value) {
                    self.release(old.segment);
                }
            }
            Operation::Delete { table, key } => {
                if let Some(old) = self.tables.entry(table).or_default().remove(&key) {
                    self.release(old.segment);
                }
            }
        }
    }

    pub(super) fn instance(&self, id: u64) -> Option<&KnownInstance> {
        self.instances.get(&id)
    }

    pub(super) fn instances_of(&self, study: &str) -> Vec<StoredInstance> {
        let ids = self.studies.get(study).map_or(&[][..], Vec::as_slice);
        ids.iter().filter_map(|id| self.instances.get(id)).map(|known| known.stored.clone()).collect()
    }

    pub(super) fn studies(&self) -> Vec<String> {
        self.studies.keys().cloned().collect()
    }

    pub(super) fn instance_count(&self) -> u64 {
        self.instances.len() as u64
    }

    pub(super) fn get(&self, table: Table, key: &str) -> Option<Bytes> {
        self.tables.get(&table)?.get(key).map(|value| value.bytes.clone())
    }

    pub(super) fn scan(&self, table: Table, prefix: &str) -> Vec<(String, Bytes)> {
        let Some(table) = self.tables.get(&table) else {
            return Vec::new();
        };
        table
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.clone(), value.bytes.clone()))
            .collect()
    }

    /// Forgets what was sealed under a study's key.
    pub(super) fn forget(&mut self, study: &str, slot: u32) -> u64 {
        let ids = self.studies.remove(study).unwrap_or_default();
        let mut segments = Vec::new();
        for id in &ids {
            if let Some(known) = self.instances.remove(id) {
                segments.push(known.segment);
                segments.extend(known.parts.iter().map(|part| part.segment));
            }
        }
        for table in self.tables.values_mut() {
            table.retain(|_, value| {
                let keep = value.slot != slot || slot == NO_STUDY;
                if !keep {
                    segments.push(value.segment);
                }
                keep
            });
        }
        for segment in segments {
            self.release(segment);
        }
        ids.len() as u64
    }

    /// True where nothing in the segment is needed any more.
    pub(super) fn is_spent(&self, segment: u32) -> bool {
        self.needed.get(&segment).is_none_or(|count| *count == 0)
    }

    /// The table values that lie in a segment, to be written again further on; `None` where it holds instances.
    pub(super) fn values_in(&self, segment: u32) -> Option<Vec<(Table, String, Bytes, u32)>> {
        if self.instances.values().any(|k| k.segment == segment || k.parts.iter().any(|p| p.segment == segment)) {
            return None;
        }
        Some(
            self.tables
                .iter()
                .flat_map(|(table, values)| values.iter().map(move |(key, value)| (*table, key, value)))
                .filter(|(_, _, value)| value.segment == segment)
                .map(|(table, key, value)| (table, key.clone(), value.bytes.clone(), value.slot))
                .collect(),
        )
    }

    fn need(&mut self, segment: u32) {
        *self.needed.entry(segment).or_default() += 1;
    }

    fn release(&mut self, segment: u32) {
        if let Some(count) = self.needed.get_mut(&segment) {
            *count = count.saturating_sub(1);
        }
    }
}
