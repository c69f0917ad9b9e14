//! The tables: rows in the order of their keys' bytes.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::contract::{Row, RowChange, Table};

/// What a row is counted as beyond its key and value.
const ROW_BYTES: usize = 32;

#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    by_key: BTreeMap<(Table, Bytes), Bytes>,
    bytes: u64,
}

impl Rows {
    /// How many bytes would be held after these changes.
    pub(super) fn bytes_after(&self, changes: &[RowChange]) -> u64 {
        let mut touched: BTreeMap<(Table, &Bytes), u64> = BTreeMap::new();
        for change in changes {
            match change {
                RowChange::Put(table, row) => touched.insert((*table, &row.key), size(&row.key, &row.value)),
                RowChange::Delete(table, key) => touched.insert((*table, key), 0),
            };
        }
        touched.into_iter().fold(self.bytes, |bytes, ((table, key), after)| {
            let before = self.by_key.get(&(table, key.clone())).map_or(0, |value| size(key, value));
            bytes - before + after
        })
    }

    pub(super) fn apply(&mut self, change: RowChange) {
        match change {
            RowChange::Put(table, row) => {
                self.bytes += size(&row.key, &row.value);
                let key = row.key.clone();
                if let Some(old) = self.by_key.insert((table, row.key), row.value) {
                    self.bytes -= size(&key, &old);
                }
            }
            RowChange::Delete(table, key) => {
                let place = (table, key);
                if let Some(old) = self.by_key.remove(&place) {
                    self.bytes -= size(&place.1, &old);
                }
            }
        }
    }

    pub(super) fn scan(&self, table: Table, from: &[u8], limit: usize) -> Vec<Row> {
        self.by_key
            .range((table, Bytes::copy_from_slice(from))..)
            .take_while(|((of, _), _)| *of == table)
            .take(limit)
            .map(|((_, key), value)| Row { key: key.clone(), value: value.clone() })
            .collect()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn size(key: &Bytes, value: &Bytes) -> u64 {
    (key.len() + value.len() + ROW_BYTES) as u64
}
