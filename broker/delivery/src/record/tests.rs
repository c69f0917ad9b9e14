//! The encoding: what was written is read, in this version and every later one; anything else is an error.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::RetryPolicy;

fn config() -> impl Strategy<Value = Config> {
    let spans = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
    let numbers = (any::<u32>(), any::<u32>(), any::<u32>(), any::<u64>(), any::<u32>());
    (spans, numbers, any::<(bool, bool, u64)>()).prop_map(|(spans, numbers, (ordered, ephemeral, jitter_seed))| Config {
        ack_deadline: Duration::from_micros(spans.0),
        max_lease_total: Duration::from_micros(spans.1),
        retry: RetryPolicy {
            min_backoff: Duration::from_micros(spans.2),
            max_backoff: Duration::from_micros(spans.3),
            max_attempts: numbers.0,
            max_losses: numbers.1,
        },
        max_outstanding: numbers.2,
        max_outstanding_bytes: numbers.3,
        max_unsettled: numbers.4,
        resume_grace: Duration::from_micros(spans.4),
        ordered,
        ephemeral,
        jitter_seed,
    })
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let outcome = prop_oneof![
        Just(AttemptOutcome::Nacked),
        Just(AttemptOutcome::Expired),
        Just(AttemptOutcome::Lost),
        Just(AttemptOutcome::Rejected)
    ];
    (any::<u64>(), outcome, ".{0,20}").prop_map(|(at, outcome, reason)| Attempt { at: Time::from_micros(at), outcome, reason })
}

fn unsettled() -> impl Strategy<Value = UnsettledEvent> {
    (any::<(u64, u32, Option<u64>, u64, u32, u32)>(), vec(attempt(), 0..3), any::<bool>()).prop_map(|(fields, history, redriven)| {
        let (offset, bytes, key, retry_at, attempts, losses) = fields;
        UnsettledEvent { offset, bytes, key, retry_at: Time::from_micros(retry_at), attempts, losses, history, redriven }
    })
}

fn snapshot() -> impl Strategy<Value = Record> {
    let head = (any::<(u64, u32, bool, u32, u64)>(), config(), vec((any::<u64>(), vec(any::<u8>(), 0..9)), 1..4));
    (head, vec(unsettled(), 0..4), vec(any::<(u64, u64)>(), 0..4), vec(any::<u64>(), 0..4)).prop_map(
        |((fields, config, filters), unsettled, settled_ahead, dead_letters)| {
            let (incarnation, seek, paused, first_filter, frontier) = fields;
            let snapshot =
                Snapshot { incarnation, seek, paused, config, filters, first_filter, frontier, unsettled, settled_ahead, dead_letters };
            Record::Snapshot(Box::new(snapshot))
        },
    )
}

fn record() -> impl Strategy<Value = Record> {
    let cause = prop_oneof![Just(DeadLetterCause::Attempts), Just(DeadLetterCause::Losses), Just(DeadLetterCause::Rejected)];
    let event = || any::<(u64, u32, Option<u64>)>();
    prop_oneof![
        (any::<(u64, u64)>(), config(), vec(any::<u8>(), 0..9)).prop_map(|((incarnation, start), config, filter)| Record::Created {
            incarnation,
            start,
            config,
            filter
        }),
        (any::<u64>(), config(), vec(any::<u8>(), 0..9)).prop_map(|(from, config, filter)| Record::Updated { from, config, filter }),
        any::<bool>().prop_map(Record::Paused),
        any::<(u32, u64)>().prop_map(|(seek, to)| Record::Sought { seek, to }),
        (event(), any::<u64>(), attempt()).prop_map(|((offset, bytes, key), at, attempt)| {
            Record::Failed(Failure { offset, bytes, key, retry_at: Time::from_micros(at), attempt })
        }),
        vec(any::<u64>(), 0..9).prop_map(Record::Settled),
        (any::<(u64, u32, u32)>(), cause, vec(attempt(), 0..4)).prop_map(|((offset, attempts, losses), cause, history)| {
            Record::DeadLettered(DeadLetter { offset, cause, attempts, losses, history })
        }),
        vec(event().prop_map(|(offset, bytes, key)| Redriven { offset, bytes, key }), 0..4).prop_map(Record::Redriven),
        vec(any::<u64>(), 0..9).prop_map(Record::Discarded),
        any::<(u64, u64)>().prop_map(|(from, to)| Record::Gap { from, to }),
        snapshot(),
        Just(Record::Deleted),
    ]
}

proptest! {
    #[test]
    fn what_was_written_is_read(record in record()) {
        prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
    }

    #[test]
    fn a_record_that_ends_early_or_goes_on_is_an_error(record in record(), cut: prop::sample::Index) {
        let mut bytes = record.encode();
        prop_assert!(Record::decode(&bytes[..cut.index(bytes.len())]).is_err());
        bytes.push(0);
        prop_assert_eq!(Record::decode(&bytes), Err(RecordError::Malformed("bytes after the end")));
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..200), kind in 0_u8..15) {
        let _ = Record::decode(&bytes);
        let _ = Record::decode(&[&[1, kind], &bytes[..]].concat());
    }

    #[test]
    fn no_damage_panics(record in record(), at: prop::sample::Index, byte: u8) {
        let mut bytes = record.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = Record::decode(&bytes);
    }
}

#[test]
fn a_later_version_is_named() {
    assert_eq!(Record::decode(&[2, 3, 1]), Err(RecordError::Version(2)));
    assert_eq!(Record::decode(&[1, 99]), Err(RecordError::Kind(99)));
}

#[test]
fn a_count_that_lies_allocates_nothing() {
    assert_eq!(Record::decode(&[1, 6, 0xff, 0xff, 0xff, 0xff, 0x0f]), Err(RecordError::Malformed("a length beyond the end")));
}

/// Frozen: a change of any of these bytes loses what is on disk. New fields need a new version.
#[test]
fn golden_bytes_of_every_kind() {
    let config = Config {
        ack_deadline: Duration::from_micros(1),
        max_lease_total: Duration::from_micros(2),
        retry: RetryPolicy { min_backoff: Duration::from_micros(3), max_backoff: Duration::from_micros(4), max_attempts: 5, max_losses: 6 },
        max_outstanding: 7,
        max_outstanding_bytes: 8,
        max_unsettled: 9,
        resume_grace: Duration::from_micros(10),
        ordered: true,
        ephemeral: false,
        jitter_seed: 0x0102,
    };
    let attempt = |outcome| Attempt { at: Time::from_micros(300), outcome, reason: "no".into() };
    let dead = |cause| DeadLetter { offset: 4, cause, attempts: 1, losses: 2, history: vec![attempt(AttemptOutcome::Lost)] };
    let snapshot = Snapshot {
        incarnation: 1,
        seek: 2,
        paused: true,
        config: config.clone(),
        filters: vec![(3, vec![0xaa])],
        first_filter: 4,
        frontier: 5,
        unsettled: vec![UnsettledEvent {
            offset: 6,
            bytes: 7,
            key: None,
            retry_at: Time::from_micros(8),
            attempts: 9,
            losses: 10,
            history: vec![attempt(AttemptOutcome::Expired)],
            redriven: true,
        }],
        settled_ahead: vec![(11, 12)],
        dead_letters: vec![13, 15],
    };
    let golden = [
        (
            Record::Created { incarnation: 1, start: 2, config: config.clone(), filter: vec![0xaa, 0xbb] },
            "010101020102030405060708090a0100020100000000000002aabb",
        ),
        (Record::Updated { from: 3, config, filter: vec![] }, "0102030102030405060708090a0100020100000000000000"),
        (Record::Paused(true), "010301"),
        (Record::Sought { seek: 1, to: 300 }, "010401ac02"),
        (
            Record::Failed(Failure {
                offset: 4,
                bytes: 5,
                key: Some(6),
                retry_at: Time::from_micros(7),
                attempt: attempt(AttemptOutcome::Nacked),
            }),
            "0105040501060000000000000007ac0201026e6f",
        ),
        (Record::Settled(vec![10, 12, 11]), "010603140401"),
        (Record::DeadLettered(dead(DeadLetterCause::Attempts)), "01070401010201ac0203026e6f"),
        (Record::DeadLettered(dead(DeadLetterCause::Losses)), "01070402010201ac0203026e6f"),
        (Record::DeadLettered(dead(DeadLetterCause::Rejected)), "01070403010201ac0203026e6f"),
        (Record::Redriven(vec![Redriven { offset: 4, bytes: 5, key: None }]), "010801040500"),
        (Record::Discarded(vec![1, 200]), "010902028e03"),
        (Record::Gap { from: 1, to: 2 }, "010a0102"),
        (
            Record::Snapshot(Box::new(snapshot)),
            "010b0102010102030405060708090a0100020100000000000004010301aa050106070008090a01ac0202026e6f01010b0c021a04",
        ),
        (Record::Deleted, "010c"),
    ];
    for (record, hex) in golden {
        let encoded: String = record.encode().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(encoded, hex, "{record:?}");
    }
}
