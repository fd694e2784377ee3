//! Values of a table, decoded once: whoever looks at all of them often pays for those that changed.
use crate::spool::{Spool, Table};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A table as it was decoded when somebody last looked.
pub(super) struct Decoded<T> {
    table: Table,
    /// By key: the bytes, which stay here so that no other value can lie where they do, and what they say.
    values: Mutex<BTreeMap<String, (Bytes, Arc<T>)>>,
}

impl<T: DeserializeOwned> Decoded<T> {
    pub(super) fn of(table: Table) -> Self {
        Self { table, values: Mutex::default() }
    }

    /// All values, in the order of their keys. What does not decode is left out: it was written by another version, and its
    /// owner says so when it is worked on.
    pub(super) fn all(&self, spool: &Spool) -> Vec<Arc<T>> {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = std::mem::take(&mut *values);
        for (key, bytes) in spool.scan_bytes(self.table, "") {
            let same = known.remove(&key).filter(|(old, _)| old.as_ptr() == bytes.as_ptr() && old.len() == bytes.len());
            let value = match same {
                Some((_, value)) => value,
                None => match serde_json::from_slice(&bytes) {
                    Ok(value) => Arc::new(value),
                    Err(_) => continue,
                },
            };
            values.insert(key, (bytes, value));
        }
        values.values().map(|(_, value)| Arc::clone(value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::{Batch, SpoolOptions};

    #[test]
    fn what_has_not_changed_is_not_decoded_again() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(SpoolOptions::in_directory(folder.path().join("spool"))).unwrap();
        let put = |key: &str, value: u32| {
            let mut batch = Batch::new();
            batch.put(Table::Jobs, key, &value, None).unwrap();
            spool.write_blocking(batch).unwrap();
        };
        let decoded = Decoded::<u32>::of(Table::Jobs);
        put("a", 1);
        put("b", 2);
        let first = decoded.all(&spool);
        put("b", 3);
        let second = decoded.all(&spool);
        assert_eq!(second.iter().map(|value| **value).collect::<Vec<_>>(), [1, 3]);
        assert!(Arc::ptr_eq(&first[0], &second[0]));
    }
}
