//! What was confirmed to clients, and the one judge of deliveries.
//!
//! Constraint: an entry is made after the broker's answer arrived, never before; an answer that did not arrive says nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard},
};

use tokio::sync::watch;

/// One accepted event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accepted {
    pub(crate) offset: u64,
    pub(crate) event_type: &'static str,
}

/// What a subscription confirmed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) incarnation: Option<String>,
    pub(crate) delivered: BTreeSet<String>,
    /// By id, with the life of the broker in which it was confirmed.
    pub(crate) settled: BTreeMap<String, u32>,
    pub(crate) rejected: BTreeMap<String, u32>,
    /// Settled of the original after this copy was made: on a copy of the store it may be settled or not.
    pub(crate) either_way: BTreeSet<String>,
    pub(crate) redelivered: u64,
    pub(crate) adopted: u64,
}

#[derive(Clone, Debug, Default)]
struct Books {
    accepted: BTreeMap<String, Accepted>,
    duplicates: u64,
    subscriptions: BTreeMap<&'static str, Progress>,
}

/// The ledger of a run.
#[derive(Debug)]
pub(crate) struct Ledger {
    books: Mutex<Books>,
    confirmed: watch::Sender<usize>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { books: Mutex::default(), confirmed: watch::channel(0).0 }
    }
}

impl Ledger {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    /// What was confirmed until now, in a ledger of its own.
    pub(crate) fn copy(&self) -> Self {
        Self { books: Mutex::new(self.books().clone()), confirmed: watch::channel(self.confirmed()).0 }
    }

    /// Takes note of what was settled since, by the ledger that this is a copy of: the backup may have it or not.
    pub(crate) fn excuse(&self, later: &Self) {
        for (name, progress) in &mut self.books().subscriptions {
            let now = later.progress(name);
            let since = now.settled.into_keys().chain(now.rejected.into_keys());
            progress.either_way = since.filter(|id| !progress.settled.contains_key(id) && !progress.rejected.contains_key(id)).collect();
        }
    }

    /// An event was answered: new, or a duplicate of one that was. Its offset is for ever.
    pub(crate) fn accepted(&self, id: &str, offset: u64, duplicate: bool, event_type: &'static str) {
        let mut books = self.books();
        books.duplicates += u64::from(duplicate);
        let first = *books.accepted.entry(id.to_owned()).or_insert(Accepted { offset, event_type });
        assert!(offset == 0 || first.offset == 0 || first.offset == offset, "P7: {id} was at {}, and now at {offset}", first.offset);
        drop(books);
        self.confirmed.send_modify(|count| *count += 1);
    }

    /// Ids of events that were accepted, to be sent again.
    pub(crate) fn some_accepted(&self, rng: &mut fastrand::Rng, count: usize) -> Vec<(String, Accepted)> {
        let books = self.books();
        let all: Vec<_> = books.accepted.iter().filter(|(_, accepted)| accepted.offset > 0).collect();
        (0..count.min(all.len())).map(|_| all[rng.usize(..all.len())]).map(|(id, accepted)| (id.clone(), *accepted)).collect()
    }

    pub(crate) fn opened(&self, subscription: &'static str, incarnation: &str, adopted: usize) {
        let mut books = self.books();
        let progress = books.subscriptions.entry(subscription).or_default();
        let known = progress.incarnation.get_or_insert_with(|| incarnation.to_owned());
        assert_eq!(known, incarnation, "P1: subscription {subscription} was lost and made again");
        progress.adopted += adopted as u64;
    }

    /// A delivery arrived in a life of the broker: never of what was confirmed as settled in an earlier one. (In the same life it may
    /// have been on its way to one agent when another settled it late.)
    pub(crate) fn delivered(&self, subscription: &'static str, id: &str, life: u32) {
        let mut books = self.books();
        let progress = books.subscriptions.entry(subscription).or_default();
        let is_older = |confirmed: Option<&u32>| confirmed.is_some_and(|&confirmed| confirmed < life);
        assert!(!is_older(progress.settled.get(id)), "P4: {id} was confirmed as settled by {subscription}, and is delivered again");
        assert!(!is_older(progress.rejected.get(id)), "P5: {id} is a dead letter of {subscription}, and is delivered again");
        if !progress.delivered.insert(id.to_owned()) {
            progress.redelivered += 1;
        }
    }

    /// A settlement was confirmed.
    pub(crate) fn settled(&self, subscription: &'static str, id: &str, rejected: bool, life: u32) {
        let mut books = self.books();
        let progress = books.subscriptions.entry(subscription).or_default();
        if rejected { &mut progress.rejected } else { &mut progress.settled }.entry(id.to_owned()).or_insert(life);
        drop(books);
        self.confirmed.send_modify(|count| *count += 1);
    }

    pub(crate) fn confirmed(&self) -> usize {
        *self.confirmed.borrow()
    }

    /// Waits until so much was confirmed.
    pub(crate) async fn reaches(&self, goal: usize) {
        self.confirmed.subscribe().wait_for(|&count| count >= goal).await.unwrap();
    }

    /// Changes with every confirmation.
    pub(crate) fn confirmations(&self) -> watch::Receiver<usize> {
        self.confirmed.subscribe()
    }

    pub(crate) fn progress(&self, subscription: &'static str) -> Progress {
        self.books().subscriptions.get(subscription).cloned().unwrap_or_default()
    }

    /// The ids of accepted events that a subscription is about.
    pub(crate) fn wanted(&self, types: &[&str]) -> BTreeSet<String> {
        let is_wanted = |event_type: &str| {
            types.iter().any(|&wanted| wanted.strip_suffix('*').map_or(wanted == event_type, |prefix| event_type.starts_with(prefix)))
        };
        self.books().accepted.iter().filter(|(_, accepted)| is_wanted(accepted.event_type)).map(|(id, _)| id.clone()).collect()
    }

    pub(crate) fn duplicates(&self) -> u64 {
        self.books().duplicates
    }

    pub(crate) fn summary(&self) -> String {
        let books = self.books();
        let mut text = format!("accepted {}, duplicates {}", books.accepted.len(), books.duplicates);
        for (name, progress) in &books.subscriptions {
            text += &format!(
                "; {name}: settled {}, rejected {}, redelivered {}, adopted {}",
                progress.settled.len(),
                progress.rejected.len(),
                progress.redelivered,
                progress.adopted
            );
        }
        text
    }
}
