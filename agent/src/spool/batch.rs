//! Tables beside the instances, and changes to them that happen together or not at all.
use super::SpoolError;
use super::frame::Entry;
use super::keyring::Keyring;
use crate::limits::spool::{MAX_KEY, MAX_VALUE};
use bytes::Bytes;
use ring::hmac;
use serde::{Deserialize, Serialize};

/// The tables of the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Table {
    /// Study Instance UID → record of the study.
    Studies = 0,
    /// Versions of patient identity.
    Identity = 1,
    /// Jobs, until they end.
    Jobs = 2,
    /// Results.
    Results = 3,
    /// Deliveries to destinations.
    Deliveries = 4,
    /// What was made and who has it: a key's first value stays, none is removed but with its study.
    Ledger = 5,
    /// Counters and settings.
    Meta = 6,
}

impl Table {
    /// All tables.
    pub const ALL: [Table; 7] =
        [Self::Studies, Self::Identity, Self::Jobs, Self::Results, Self::Deliveries, Self::Ledger, Self::Meta];

    pub(super) fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

#[derive(Clone, Debug)]
enum Change {
    Put { table: Table, key: String, value: Bytes, study: Option<String> },
    Delete { table: Table, key: String },
}

/// Changes that become durable and visible in one step.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    changes: Vec<Change>,
}

impl Batch {
    /// No changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a value, kept as JSON. With `study`, key and value are sealed with that study's key and go when it is
    /// erased. In [`Table::Ledger`] the first value of a key stays: a repeat changes
    /// nothing.
    pub fn put<T: Serialize>(
        &mut self,
        table: Table,
        key: &str,
        value: &T,
        study: Option<&str>,
    ) -> Result<(), SpoolError> {
        let value = serde_json::to_vec(value).map_err(|error| SpoolError::value(&error))?;
        self.put_bytes(table, key, value, study);
        Ok(())
    }

    /// Sets a value as it is.
    pub fn put_bytes(&mut self, table: Table, key: &str, value: impl Into<Bytes>, study: Option<&str>) {
        let (key, study) = (key.to_owned(), study.map(str::to_owned));
        self.changes.push(Change::Put { table, key, value: value.into(), study });
    }

    /// Removes a value, where there is one. In [`Table::Ledger`] the batch is refused.
    pub fn delete(&mut self, table: Table, key: &str) {
        self.changes.push(Change::Delete { table, key: key.to_owned() });
    }

    /// True where nothing changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Studies whose keys the batch needs.
    pub(super) fn studies(&self) -> impl Iterator<Item = &str> {
        self.changes.iter().filter_map(|change| match change {
            Change::Put { study, .. } => study.as_deref(),
            Change::Delete { .. } => None,
        })
    }

    /// The entries of its frame, sealed with keys that are there by now.
    pub(super) fn entries(self, keys: &Keyring, names: &hmac::Key) -> Result<Vec<Entry>, SpoolError> {
        let limit = |what, length: usize, limit: usize| {
            let too_large = || SpoolError::TooLarge { what, length: length as u64, limit: limit as u64 };
            (length <= limit).then_some(()).ok_or_else(too_large)
        };
        self.changes
            .into_iter()
            .map(|change| match change {
                Change::Delete { table: Table::Ledger, .. } => Err(SpoolError::LedgerIsAppendOnly),
                Change::Put { table, key, value, study } => {
                    limit("a key", key.len(), MAX_KEY)?;
                    limit("a value", value.len(), MAX_VALUE)?;
                    let study = match study {
                        Some(study) => Some(keys.of(&study).ok_or(SpoolError::Erased)?),
                        None => None,
                    };
                    let name = name_of(names, table, &key);
                    Ok(Entry::Put { table, key, value, study, name })
                }
                Change::Delete { table, key } => {
                    limit("a key", key.len(), MAX_KEY)?;
                    let name = name_of(names, table, &key);
                    Ok(Entry::Delete { table, key, name })
                }
            })
            .collect()
    }
}

/// What a key is called where its plain name must not outlive its study: a keyed hash.
pub(super) fn name_of(names: &hmac::Key, table: Table, key: &str) -> [u8; 16] {
    let mut context = hmac::Context::with_key(names);
    context.update(&[table as u8]);
    context.update(key.as_bytes());
    let mut name = [0; 16];
    name.copy_from_slice(&context.sign().as_ref()[..16]);
    name
}
