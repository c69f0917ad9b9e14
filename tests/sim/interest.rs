//! One creation of a subscription, as its durable facts tell of it.
//!
//! Constraint: a naive model, written from the promises and not from the machine: it keeps every fate for ever.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;
use waypost_delivery::Config;
use waypost_proto::v1;
use waypost_store::{Commit, EventHead};

/// What became of an event for a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Settled,
    Dead,
    Discarded,
}

/// Failures that are durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failures {
    pub(crate) attempts: u32,
    pub(crate) losses: u32,
    pub(crate) nacks: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Interest {
    /// Empty for an ephemeral one.
    pub(crate) name: String,
    pub(crate) incarnation: u64,
    /// Where it began, or was sought to.
    pub(crate) from: u64,
    pub(crate) seek: u32,
    pub(crate) filters: Vec<(u64, v1::Filter)>,
    pub(crate) config: Option<Config>,
    pub(crate) paused: bool,
    pub(crate) deleted: bool,
    pub(crate) fates: BTreeMap<u64, Fate>,
    pub(crate) failures: BTreeMap<u64, Failures>,
    /// Settlements that were answered as done.
    pub(crate) confirmed: BTreeSet<u64>,
    pub(crate) gaps: Vec<(u64, u64)>,
    pub(crate) dead: BTreeSet<u64>,
    /// Dead letters that were thrown away. An answer that says dead letter may be older than that, and the dead letter older than a seek.
    pub(crate) discarded: BTreeSet<u64>,
    /// On their way out of the dead letters.
    pub(crate) redriven: BTreeSet<u64>,
    /// How many administrative facts of each kind are durable.
    pub(crate) steps: BTreeMap<&'static str, u64>,
}

/// The records under one name, as the store must have them.
#[derive(Debug, Default)]
pub(crate) struct Owner {
    pub(crate) incarnation: Option<u64>,
    pub(crate) records: Vec<Bytes>,
    /// A commit that was begun, and not answered.
    pub(crate) in_flight: Option<Commit>,
    pub(crate) epoch: u64,
    /// When the latest claim was made.
    pub(crate) claimed_at: u64,
}

impl Interest {
    pub(crate) fn new(name: &str, incarnation: u64, from: u64, filter: v1::Filter, config: Option<Config>) -> Self {
        Self {
            name: name.to_owned(),
            incarnation,
            from,
            seek: 0,
            filters: vec![(from, filter)],
            config,
            paused: false,
            deleted: false,
            fates: BTreeMap::new(),
            failures: BTreeMap::new(),
            confirmed: BTreeSet::new(),
            gaps: Vec::new(),
            dead: BTreeSet::new(),
            discarded: BTreeSet::new(),
            redriven: BTreeSet::new(),
            steps: BTreeMap::new(),
        }
    }

    pub(crate) fn is_named(&self) -> bool {
        !self.name.is_empty()
    }

    pub(crate) fn steps(&self, kind: &'static str) -> u64 {
        self.steps.get(kind).copied().unwrap_or(0)
    }

    /// Whether the filter in force at an offset wants an event.
    pub(crate) fn wants(&self, offset: u64, head: &EventHead) -> bool {
        let filter = self.filters.iter().rev().find(|(begins, _)| *begins <= offset);
        offset >= self.from && filter.is_some_and(|(_, filter)| wants(filter, head))
    }

    /// Whether it still has to see an event.
    pub(crate) fn is_open(&self, offset: u64, head: &EventHead) -> bool {
        self.wants(offset, head) && !self.fates.contains_key(&offset) && !self.is_gap(offset)
    }

    pub(crate) fn is_gap(&self, offset: u64) -> bool {
        self.gaps.iter().any(|&(from, to)| (from..to).contains(&offset))
    }

    pub(crate) fn filter(&self) -> &v1::Filter {
        static NONE: v1::Filter =
            v1::Filter { types: Vec::new(), sources: Vec::new(), subject_prefix: String::new(), attributes: BTreeMap::new() };
        self.filters.last().map_or(&NONE, |(_, filter)| filter)
    }
}

pub(crate) fn decode_filter(bytes: &[u8]) -> v1::Filter {
    v1::Filter::decode(bytes).expect("a filter as the broker wrote it")
}

/// The contract's words on filters, once more.
pub(crate) fn wants(filter: &v1::Filter, head: &EventHead) -> bool {
    let type_fits = |entry: &String| match entry.strip_suffix('*') {
        Some(prefix) => head.event_type().starts_with(prefix),
        None => head.event_type() == entry,
    };
    let types = if filter.types.is_empty() { !head.event_type().starts_with("waypost.") } else { filter.types.iter().any(type_fits) };
    let source_fits = |entry: &String| match entry.strip_suffix('*') {
        Some(prefix) => head.source().starts_with(prefix),
        None => head.source() == entry,
    };
    let sources = filter.sources.is_empty() || filter.sources.iter().any(source_fits);
    types && sources && head.subject().starts_with(&filter.subject_prefix)
}
