//! Dead letters as rows: the event, its history, and what became of it since.
//!
//! Constraints: a row holds all that is needed to redrive it when the log has let the event go; its key sorts by incarnation and offset, so
//! that those of one subscription stand together. Field numbers are on disk and frozen.

use bytes::Bytes;
use prost::Message;
use waypost_delivery::record;
use waypost_store::{EventHead, EventStore, Micros, Offset, ReadError, Row, StoredEvent, Table};

/// A dead letter as it is stored.
#[derive(Clone, PartialEq, Message)]
pub struct DeadLetterRow {
    /// The name of its subscription.
    #[prost(string, tag = "1")]
    pub subscription: String,
    /// The incarnation of its subscription.
    #[prost(fixed64, tag = "2")]
    pub incarnation: u64,
    /// The event's offset.
    #[prost(uint64, tag = "3")]
    pub offset: Offset,
    /// When the event was accepted.
    #[prost(uint64, tag = "4")]
    pub accepted_at: Micros,
    /// The event's head, encoded; empty if the event was lost before it could be copied.
    #[prost(bytes = "bytes", tag = "5")]
    pub head: Bytes,
    /// The event as the store has it.
    #[prost(bytes = "bytes", tag = "6")]
    pub body: Bytes,
    /// Why: the number of the contract's reason.
    #[prost(int32, tag = "7")]
    pub reason: i32,
    /// How many attempts were made.
    #[prost(uint32, tag = "8")]
    pub attempts: u32,
    /// How many of its sessions were lost.
    #[prost(uint32, tag = "9")]
    pub losses: u32,
    /// What was tried, oldest first.
    #[prost(message, repeated, tag = "10")]
    pub history: Vec<AttemptRow>,
    /// When it became one.
    #[prost(uint64, tag = "11")]
    pub dead_lettered_at: Micros,
    /// When an agent acked it late.
    #[prost(uint64, optional, tag = "12")]
    pub acked_late_at: Option<Micros>,
    /// How often it was redriven before.
    #[prost(uint32, tag = "13")]
    pub redrives: u32,
    /// It was redriven and is not settled yet.
    #[prost(bool, tag = "14")]
    pub redriving: bool,
}

/// One line of its history.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct AttemptRow {
    /// When it ended.
    #[prost(uint64, tag = "1")]
    pub at: Micros,
    /// How: the number of the contract's outcome.
    #[prost(int32, tag = "2")]
    pub outcome: i32,
    /// What the agent said.
    #[prost(string, tag = "3")]
    pub reason: String,
}

/// Names a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeadLetterKey {
    /// The incarnation of its subscription.
    pub incarnation: u64,
    /// The event's offset.
    pub offset: Offset,
}

impl DeadLetterKey {
    /// The key of its row.
    #[must_use]
    pub fn bytes(self) -> Bytes {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&self.incarnation.to_be_bytes());
        key[8..].copy_from_slice(&self.offset.to_be_bytes());
        Bytes::copy_from_slice(&key)
    }

    /// Its id for operators.
    #[must_use]
    pub fn id(self) -> String {
        format!("{:016x}-{:x}", self.incarnation, self.offset)
    }

    /// From its id.
    #[must_use]
    pub fn parse(id: &str) -> Option<Self> {
        let (incarnation, offset) = id.split_once('-').filter(|(incarnation, _)| incarnation.len() == 16)?;
        Some(Self { incarnation: u64::from_str_radix(incarnation, 16).ok()?, offset: u64::from_str_radix(offset, 16).ok()? })
    }
}

impl DeadLetterRow {
    /// From what the machine decided, with the event if it could be read.
    #[must_use]
    pub fn new(subscription: &str, incarnation: u64, dead: &record::DeadLetter, event: Option<&StoredEvent>, now: Micros) -> Self {
        let attempt = |attempt: &record::Attempt| AttemptRow {
            at: attempt.at.as_micros(),
            outcome: crate::grpc::convert::attempt_outcome(attempt.outcome).into(),
            reason: attempt.reason.clone(),
        };
        Self {
            subscription: subscription.to_owned(),
            incarnation,
            offset: dead.offset,
            accepted_at: event.map_or(0, |event| event.accepted_at),
            head: event.map_or_else(Bytes::new, |event| event.head.encoded().clone()),
            body: event.map_or_else(Bytes::new, |event| event.body.clone()),
            reason: crate::grpc::convert::dead_letter_reason(dead.cause).into(),
            attempts: dead.attempts,
            losses: dead.losses,
            history: dead.history.iter().map(attempt).collect(),
            dead_lettered_at: now,
            acked_late_at: None,
            redrives: 0,
            redriving: false,
        }
    }

    /// Its name.
    #[must_use]
    pub fn key(&self) -> DeadLetterKey {
        DeadLetterKey { incarnation: self.incarnation, offset: self.offset }
    }

    /// The event, if it was kept.
    #[must_use]
    pub fn event(&self) -> Option<StoredEvent> {
        let head = EventHead::decode(self.head.clone()).ok()?;
        Some(StoredEvent { offset: self.offset, accepted_at: self.accepted_at, head, body: self.body.clone() })
    }

    /// As a row.
    #[must_use]
    pub fn row(&self) -> Row {
        Row { key: self.key().bytes(), value: self.encode_to_vec().into() }
    }
}

/// Finds a dead letter.
///
/// # Errors
/// When the store does not answer.
pub async fn find(store: &dyn EventStore, key: DeadLetterKey) -> Result<Option<DeadLetterRow>, ReadError> {
    let bytes = key.bytes();
    let rows = store.scan(Table::DeadLetters, &bytes, 1).await?;
    Ok(rows.into_iter().next().filter(|row| row.key == bytes).and_then(|row| DeadLetterRow::decode(row.value).ok()))
}

/// How many rows are held at a time while they are looked through: each may carry an event.
const SCAN: usize = 16;

/// Looks at every dead letter in the order of the keys, a few at a time.
///
/// # Errors
/// When the store does not answer.
pub async fn for_each(store: &dyn EventStore, mut visit: impl FnMut(DeadLetterRow)) -> Result<(), ReadError> {
    let mut from = Bytes::new();
    loop {
        let rows = store.scan(Table::DeadLetters, &from, SCAN).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        // The first key after it.
        from = [&last.key[..], &[0]].concat().into();
        let is_last = rows.len() < SCAN;
        rows.into_iter().filter_map(|row| DeadLetterRow::decode(row.value).ok()).for_each(&mut visit);
        if is_last {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_its_row() {
        let key = DeadLetterKey { incarnation: 7, offset: 300 };
        assert_eq!(DeadLetterKey::parse(&key.id()), Some(key));
        for wrong in ["", "-", "7-1", "000000000000000g-1", "0000000000000007"] {
            assert_eq!(DeadLetterKey::parse(wrong), None, "{wrong}");
        }
    }
}
