//! Changes of tables and records that are durable in the log and not folded into the tables yet.
//!
//! Constraint: a layer holds the net effect, so that what was superseded before it was folded is never folded.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytes::Bytes;

use super::item::Change;
use crate::contract::{Offset, RowChange, Table};

/// What became of one owner.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnerChange {
    /// Its newest claim, if it was claimed.
    pub(super) epoch: Option<u64>,
    /// Whether what older layers and the tables have of it is void.
    pub(super) supersede: bool,
    pub(super) records: Vec<Bytes>,
}

/// Changes by key. A row that was deleted is `None`.
#[derive(Debug, Default)]
pub(super) struct Layer {
    pub(super) owners: HashMap<Arc<str>, OwnerChange>,
    pub(super) rows: BTreeMap<(Table, Bytes), Option<Bytes>>,
    /// Bytes of all that, roughly.
    pub(super) bytes: usize,
    /// The first frame whose changes are not here.
    pub(super) through: u64,
    /// The offset after that frame's predecessor.
    pub(super) next: Offset,
}

/// What an entry of a map costs beyond its bytes.
const ENTRY_COST: usize = 96;

impl Layer {
    pub(super) fn after(through: u64, next: Offset) -> Self {
        Self { through, next, ..Self::default() }
    }

    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Claimed { owner, epoch } => {
                self.bytes += owner.len() + ENTRY_COST;
                let owner = self.owners.entry(owner).or_default();
                owner.epoch = owner.epoch.max(Some(epoch));
            }
            Change::Records { owner, supersede, records } => {
                let owner = self.owners.entry(owner).or_default();
                if supersede {
                    let superseded: usize = owner.records.drain(..).map(|record| record.len() + ENTRY_COST).sum();
                    self.bytes = self.bytes.saturating_sub(superseded);
                    owner.supersede = true;
                }
                self.bytes += ENTRY_COST + records.iter().map(|record| record.len() + ENTRY_COST).sum::<usize>();
                owner.records.extend(records);
            }
            Change::Row(RowChange::Put(table, row)) => {
                self.bytes += row.key.len() + row.value.len() + ENTRY_COST;
                if let Some(Some(replaced)) = self.rows.insert((table, row.key), Some(row.value)) {
                    self.bytes = self.bytes.saturating_sub(replaced.len());
                }
            }
            Change::Row(RowChange::Delete(table, key)) => {
                self.bytes += key.len() + ENTRY_COST;
                if let Some(Some(replaced)) = self.rows.insert((table, key), None) {
                    self.bytes = self.bytes.saturating_sub(replaced.len());
                }
            }
        }
    }

    /// Lays this layer's rows of a table, from a key on, over those in `rows`.
    pub(super) fn overlay(&self, table: Table, from: &[u8], rows: &mut BTreeMap<Bytes, Option<Bytes>>) {
        let start = (table, Bytes::copy_from_slice(from));
        let range = self.rows.range(start..).take_while(|((found, _), _)| *found == table);
        rows.extend(range.map(|((_, key), value)| (key.clone(), value.clone())));
    }
}
