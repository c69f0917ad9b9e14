//! The contract, said naively: a store as a few lists, searched from end to end.
//!
//! Constraint: it is handed what an engine answered and says what is wrong with it. Only what the contract leaves open (which offsets,
//! which epochs, how much a trim takes) is taken from the answer.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{
    Broken,
    sample::{matches, stored},
    stand::{ensure, ensure_eq},
};
use crate::{
    contract::{Appended, Claim, Claimed, Commit, Duplicate, Gap, GapCause, Micros, Offset, Row, RowChange, Selection, Table},
    error::CommitError,
    event::{NewEvent, StoredEvent},
};

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    /// Every event there ever was, also those that were trimmed.
    events: Vec<(NewEvent, StoredEvent)>,
    pub(super) first: Offset,
    owners: BTreeMap<String, (u64, Vec<Bytes>)>,
    rows: BTreeMap<(Table, Bytes), Bytes>,
}

/// What a write should be answered.
pub(super) enum Expected {
    /// Per event: the place of the first one and how it compares, or that it is new (where, the engine says).
    Answers(Vec<Option<Appended>>),
    Error(CommitError),
}

impl Model {
    pub(super) fn new() -> Self {
        Self { first: 1, ..Self::default() }
    }

    pub(super) fn tail(&self) -> Offset {
        self.events.last().map_or(1, |(_, last)| last.offset + 1)
    }

    fn accepted(&self, now: Micros) -> Micros {
        self.events.last().map_or(now, |(_, last)| last.accepted_at.max(now))
    }

    pub(super) fn expect(&self, now: Micros, commit: &Commit, refuse_conflicts: bool) -> Expected {
        if let Some(claim) = &commit.claim
            && self.owners.get(&*claim.owner).is_none_or(|(epoch, _)| *epoch != claim.epoch)
        {
            return Expected::Error(CommitError::Fenced { owner: claim.owner.to_string(), epoch: claim.epoch });
        }
        let mut answers: Vec<Option<Appended>> = Vec::new();
        for (index, event) in commit.events.iter().enumerate() {
            let earlier = commit.events[..index].iter().zip(&answers).rposition(|(earlier, answer)| {
                answer.is_none() && same_id(earlier, event) && event.dedup_window > 0 && earlier.dedup_window > 0
            });
            let there = self.first_of(now, event);
            let (place, fingerprint) = match (earlier, there) {
                // Where it is, only the answer can tell.
                (Some(earlier), _) => (Appended { offset: 0, accepted_at: 0, duplicate: None }, commit.events[earlier].fingerprint),
                (None, Some((new, first))) => {
                    (Appended { offset: first.offset, accepted_at: first.accepted_at, duplicate: None }, new.fingerprint)
                }
                (None, None) => {
                    answers.push(None);
                    continue;
                }
            };
            let same = fingerprint == event.fingerprint;
            if !same && refuse_conflicts {
                return Expected::Error(CommitError::Conflict { index, first: place.offset });
            }
            let duplicate = Some(if same { Duplicate::SameContent } else { Duplicate::OtherContent });
            answers.push(Some(Appended { duplicate, ..place }));
        }
        Expected::Answers(answers)
    }

    fn first_of(&self, now: Micros, event: &NewEvent) -> Option<&(NewEvent, StoredEvent)> {
        let now = self.accepted(now);
        let newest = self.events.iter().rfind(|(new, _)| same_id(new, event) && new.dedup_window > 0)?;
        (event.dedup_window > 0 && now - newest.1.accepted_at <= event.dedup_window).then_some(newest)
    }

    /// Takes over a write that was answered, if the answer is right.
    pub(super) fn answered(&mut self, now: Micros, commit: &Commit, refuse_conflicts: bool, answers: &[Appended]) -> Result<(), Broken> {
        let Expected::Answers(expected) = self.expect(now, commit, refuse_conflicts) else {
            return Err(Broken(format!("a write was answered that should have been refused: {commit:?}")));
        };
        ensure_eq!(answers.len(), expected.len(), "answers to {commit:?}");
        let now = self.accepted(now);
        for (index, ((event, answer), expected)) in commit.events.iter().zip(answers).zip(expected).enumerate() {
            match expected {
                None => {
                    ensure_eq!((answer.accepted_at, answer.duplicate), (now, None), "the answer to new event {index}");
                    ensure!(answer.offset >= self.tail(), "offset {} was given after {}", answer.offset, self.tail());
                    self.events.push((event.clone(), stored(event, *answer)));
                }
                Some(expected) if expected.offset == 0 => {
                    let first = self.events.iter().rfind(|(new, _)| same_id(new, event)).map(|(_, first)| first.offset);
                    ensure_eq!((Some(answer.offset), answer.duplicate), (first, expected.duplicate), "duplicate {index} of one call");
                }
                Some(expected) => ensure_eq!(*answer, expected, "the answer to duplicate {index}"),
            }
        }
        self.apply_rest(commit);
        Ok(())
    }

    fn apply_rest(&mut self, commit: &Commit) {
        if let Some((_, records)) = commit.claim.as_ref().and_then(|claim| self.owners.get_mut(&*claim.owner)) {
            if commit.supersede {
                records.clear();
            }
            records.extend(commit.records.iter().cloned());
        }
        for change in &commit.rows {
            match change {
                RowChange::Put(table, row) => self.rows.insert((*table, row.key.clone()), row.value.clone()),
                RowChange::Delete(table, key) => self.rows.remove(&(*table, key.clone())),
            };
        }
    }

    pub(super) fn claimed(&mut self, claimed: &Claimed) -> Result<Claim, Broken> {
        let owner = self.owners.entry(claimed.claim.owner.to_string()).or_default();
        ensure!(claimed.claim.epoch > owner.0, "epoch {} came after {}", claimed.claim.epoch, owner.0);
        owner.0 = claimed.claim.epoch;
        ensure_eq!(claimed.records, owner.1, "the records of {}", claimed.claim.owner);
        Ok(claimed.claim.clone())
    }

    pub(super) fn read(&self, from: Offset, selection: &Selection) -> (Vec<StoredEvent>, Vec<Gap>) {
        let all = self.events.iter().map(|(_, event)| event);
        let events = all.filter(|event| event.offset >= from.max(self.first) && matches(selection, &event.head)).cloned().collect();
        let gap = Gap { from: from.max(1), to: self.first, cause: GapCause::Trimmed };
        (events, if gap.from < gap.to { vec![gap] } else { vec![] })
    }

    pub(super) fn offset_at(&self, time: Micros) -> Offset {
        let mut left = self.events.iter().map(|(_, event)| event).filter(|event| event.offset >= self.first);
        left.find(|event| event.accepted_at >= time).map_or(self.tail(), |event| event.offset)
    }

    pub(super) fn scan(&self, table: Table, from: &[u8], limit: usize) -> Vec<Row> {
        let of_table = self.rows.iter().filter(|((of, key), _)| *of == table && key[..] >= *from);
        of_table.take(limit).map(|((_, key), value)| Row { key: key.clone(), value: value.clone() }).collect()
    }

    pub(super) fn trimmed(&mut self, before: Offset, first: Offset) -> Result<(), Broken> {
        ensure!(first >= self.first && first <= before.max(self.first), "a trim before {before} went from {} to {first}", self.first);
        self.first = first;
        Ok(())
    }
}

fn same_id(one: &NewEvent, other: &NewEvent) -> bool {
    one.head.source() == other.head.source() && one.head.id() == other.head.id()
}
