//! Looking at all of tables that are too large to do so at opening.
//!
//! Constraints:
//! - A slice at a time, each no longer than any other read: nobody waits for the whole, and SQLite's own log can be moved in between.
//! - It reads what any reader would, and so verifies what any reader would be served: values, their places, and the order of the rows.

use std::sync::Arc;

use bytes::Bytes;

use super::{tables::explain, view::Shared};
use crate::contract::Table;

/// Rows of a slice.
const ROWS: usize = 128;

/// What is left to look at.
pub(super) struct Check {
    tables: Vec<Table>,
    /// Where the next slice of the last table starts.
    from: Bytes,
    owners: Vec<Arc<str>>,
}

impl Check {
    /// All of the tables; opening looked at who the owners are.
    pub(super) fn new(owners: impl Iterator<Item = Arc<str>>) -> Self {
        Self { tables: Table::ALL.to_vec(), from: Bytes::new(), owners: owners.collect() }
    }
}

impl Shared {
    /// Looks at the next slice. Damage is repaired. Whether there may be more.
    pub(super) fn check_slice(&self, check: &mut Check) -> bool {
        let looked = match check.tables.last() {
            Some(table) => {
                self.with_tables(|tables| tables.scan(*table, &check.from, ROWS)).map(|rows| {
                    // Again from the last one on: it shows that nothing between two slices is out of order.
                    match rows.last().filter(|_| rows.len() == ROWS) {
                        Some(last) => check.from = last.key.clone(),
                        None => (_, check.from) = (check.tables.pop(), Bytes::new()),
                    }
                })
            }
            None => {
                let Some(owner) = check.owners.pop() else { return false };
                self.with_tables(|tables| tables.records(&owner)).map(drop)
            }
        };
        if let Err(error) = &looked {
            tracing::error!(error = explain(error), "the tables could not be checked");
        }
        looked.is_ok()
    }
}
