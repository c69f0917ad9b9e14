//! The only conversion between the contract and the domain.
//!
//! Constraint: nothing here decides; a value that has no counterpart becomes `None`, and its caller says what is wrong with it.

use std::time::Duration;

use waypost_delivery::{RevokeReason, SessionId, record};
use waypost_proto::{v1, wire};
use waypost_store::{Finding, GapCause, Micros, StoredEvent, Verified};

use crate::envelope;
pub use crate::envelope::timestamp;

/// A span of the contract; `None` if it is negative or malformed.
#[must_use]
pub fn duration(span: prost_types::Duration) -> Option<Duration> {
    span.try_into().ok()
}

/// A span for the contract. One that is too long for it is as long as it can be.
#[must_use]
pub fn proto_duration(span: Duration) -> prost_types::Duration {
    span.try_into().unwrap_or(prost_types::Duration { seconds: i64::MAX, nanos: 0 })
}

/// Microseconds since the Unix epoch; `None` before it.
#[must_use]
pub fn micros(timestamp: prost_types::Timestamp) -> Option<Micros> {
    let seconds = u64::try_from(timestamp.seconds).ok()?.checked_mul(1_000_000)?;
    let nanos = u64::try_from(timestamp.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    seconds.checked_add(nanos / 1_000)
}

/// A time of the machine for the contract.
#[must_use]
pub fn time(time: waypost_delivery::Time) -> prost_types::Timestamp {
    timestamp(time.as_micros())
}

/// A stored event for the contract; its bytes are shared.
#[must_use]
pub fn stored_event(event: &StoredEvent) -> wire::StoredEvent {
    wire::StoredEvent { offset: event.offset, accepted_at: Some(timestamp(event.accepted_at)), event: Some(envelope::event(&event.body)) }
}

/// The same with the event decoded, for the admin API.
#[must_use]
pub fn decoded_event(event: &StoredEvent) -> v1::StoredEvent {
    let decoded = prost::Message::decode(envelope::event(&event.body).0).ok();
    v1::StoredEvent { offset: event.offset, accepted_at: Some(timestamp(event.accepted_at)), event: decoded }
}

/// A session id as clients write it.
#[must_use]
pub fn session_text(session: SessionId) -> String {
    uuid::Uuid::from_u128(session.0).to_string()
}

/// A session id of a client; `None` if it is not a UUID.
#[must_use]
pub fn session_id(text: &str) -> Option<SessionId> {
    uuid::Uuid::try_parse(text).ok().map(|id| SessionId(id.as_u128()))
}

/// An incarnation as clients see it.
#[must_use]
pub fn incarnation(incarnation: u64) -> String {
    format!("{incarnation:016x}")
}

/// Why a lease is gone.
#[must_use]
pub const fn revoked(reason: RevokeReason) -> v1::RevokedReason {
    match reason {
        RevokeReason::Expired => v1::RevokedReason::Expired,
        RevokeReason::SettledElsewhere => v1::RevokedReason::Settled,
        RevokeReason::Sought => v1::RevokedReason::Sought,
        RevokeReason::Gone => v1::RevokedReason::Gap,
    }
}

/// Why events are missing.
#[must_use]
pub const fn gap_reason(cause: GapCause) -> v1::GapReason {
    match cause {
        GapCause::Trimmed => v1::GapReason::StorePolicy,
        GapCause::Damaged => v1::GapReason::Corruption,
    }
}

/// Why an event became a dead letter.
#[must_use]
pub const fn dead_letter_reason(cause: record::DeadLetterCause) -> v1::DeadLetterReason {
    match cause {
        record::DeadLetterCause::Attempts => v1::DeadLetterReason::MaxAttempts,
        record::DeadLetterCause::Losses => v1::DeadLetterReason::MaxLosses,
        record::DeadLetterCause::Rejected => v1::DeadLetterReason::Rejected,
    }
}

/// How an attempt ended.
#[must_use]
pub const fn attempt_outcome(outcome: record::AttemptOutcome) -> v1::AttemptOutcome {
    match outcome {
        record::AttemptOutcome::Nacked => v1::AttemptOutcome::Nacked,
        record::AttemptOutcome::Expired => v1::AttemptOutcome::Expired,
        record::AttemptOutcome::Lost => v1::AttemptOutcome::Lost,
        record::AttemptOutcome::Rejected => v1::AttemptOutcome::Rejected,
    }
}

/// A text, cut to at most so many bytes at the end of a character.
#[must_use]
pub fn cut(mut text: String, max: usize) -> String {
    text.truncate(text.floor_char_boundary(max));
    text
}

/// What a verification found.
#[must_use]
pub fn found(finding: Finding) -> v1::StoreFinding {
    let Finding { is_damage, file, position, what, cost } = finding;
    v1::StoreFinding { damage: is_damage, file, position, what, cost }
}

/// The summary of a verification.
#[must_use]
pub fn verified(verified: Verified) -> v1::StoreVerified {
    let Verified { segments, frames, events, values, bytes, damage, first, next } = verified;
    v1::StoreVerified { segments, frames, events, values, bytes, damage, first_offset: first, next_offset: next }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn times_round_trip_and_nonsense_is_none() {
        for value in [0, 1, 1_500_000, 1_700_000_000_123_456] {
            assert_eq!(micros(timestamp(value)), Some(value));
        }
        for (seconds, nanos) in [(-1, 0), (0, -1), (0, 1_000_000_000), (i64::MAX, 0)] {
            assert_eq!(micros(prost_types::Timestamp { seconds, nanos }), None);
        }
        assert_eq!(duration(prost_types::Duration { seconds: -1, nanos: 0 }), None);
        assert_eq!(duration(proto_duration(Duration::from_millis(1_500))), Some(Duration::from_millis(1_500)));
    }

    #[test]
    fn a_session_is_a_uuid() {
        let id = session_id("0192b2e0-0000-7000-8000-000000000001").unwrap();
        assert_eq!(session_id(&session_text(id)), Some(id));
        assert_eq!(session_id("mine"), None);
    }
}
