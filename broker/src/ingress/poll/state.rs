//! How far a source is with its provider's list: kept with each page, so that a restart repeats a page at most.
//!
//! Constraint: field numbers are on disk and frozen.

use bytes::Bytes;
use prost::Message;
use waypost_store::{Commit, EventStore, Micros, Row, RowChange, Table};

use super::PollPlan;

/// How far a source is.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct State {
    /// Everything that happened before was seen.
    #[prost(uint64, tag = "1")]
    pub(super) since: Micros,
    /// The newest that was seen.
    #[prost(uint64, tag = "2")]
    pub(super) newest: Micros,
    /// The next page of the pass under way; empty when none is.
    #[prost(string, tag = "3")]
    pub(super) next: String,
    /// From when on the pass under way takes items.
    #[prost(uint64, tag = "4")]
    pub(super) from: Micros,
    /// Deliveries that are to be made again.
    #[prost(message, repeated, tag = "5")]
    pub(super) asked: Vec<Asked>,
}

/// A delivery that the provider was asked to make again.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(super) struct Asked {
    /// What its webhook is known by.
    #[prost(string, tag = "1")]
    pub(super) id: String,
    /// When it was asked for first.
    #[prost(uint64, tag = "2")]
    pub(super) first: Micros,
    /// When last.
    #[prost(uint64, tag = "3")]
    pub(super) last: Micros,
    /// How often.
    #[prost(uint32, tag = "4")]
    pub(super) tries: u32,
}

impl State {
    /// Of a source that was never asked: what happened before is not asked for.
    pub(super) fn starting_at(since: Micros) -> Self {
        Self { since, ..Self::default() }
    }

    /// Begins a pass through the list; but for the first one a little before its end the last time, since providers list some things late.
    pub(super) fn begin(&mut self, plan: &PollPlan) {
        let overlap = if self.newest == 0 { 0 } else { plan.rule.overlap.micros() };
        self.from = self.since.saturating_sub(overlap);
        self.newest = self.newest.max(self.since);
        self.next = plan.first(self.from);
    }

    /// Leaves a page behind, for the next one or for the end of the pass.
    pub(super) fn go_on(&mut self, next: Option<String>) {
        match next {
            Some(next) => self.next = next,
            None => (self.since, self.next) = (self.newest, String::new()),
        }
    }

    fn key(source: &str) -> Bytes {
        Bytes::from(format!("poll/{source}"))
    }

    /// As it was kept; `None` if the source was never asked.
    pub(super) async fn load(store: &dyn EventStore, source: &str) -> Result<Option<Self>, String> {
        let key = Self::key(source);
        let rows = store.scan(Table::Broker, &key, 1).await.map_err(|error| error.to_string())?;
        let row = rows.into_iter().find(|row| row.key == key);
        row.map(|row| Self::decode(row.value)).transpose().map_err(|error| error.to_string())
    }

    /// Keeps it.
    pub(super) async fn keep(&self, store: &dyn EventStore, source: &str, now: Micros) -> Result<(), String> {
        let row = Row { key: Self::key(source), value: self.encode_to_vec().into() };
        let commit = Commit { rows: vec![RowChange::Put(Table::Broker, row)], ..Commit::default() };
        store.commit(now, commit).await.map(drop).map_err(|error| error.to_string())
    }
}
