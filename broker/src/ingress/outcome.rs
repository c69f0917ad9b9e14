//! What can become of a request: one list for answers, counters and logs.
//!
//! Constraint: whose fault it is shows in the status: the sender's is 4xx, ours is 503, and a verified webhook is 202.

use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;

use super::{poll::PollCounters, quarantine::Reason, verify::Rejection};
use crate::metrics::Histogram;

macro_rules! outcomes {
    ($($(#[$doc:meta])* $name:ident = $kind:literal, $reason:literal, $status:ident;)*) => {
        /// What became of a request to a source.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Outcome {
            $($(#[$doc])* $name,)*
        }

        impl Outcome {
            /// Every one of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What kind it is, which is also the `status` of an answer: `accepted`, `duplicate`, `handshake`, `quarantined`, `refused`
            /// or `unavailable`.
            #[must_use]
            pub fn kind(self) -> &'static str {
                match self { $(Self::$name => $kind,)* }
            }

            /// Why; empty if there is nothing to explain. An unverified sender is not told.
            #[must_use]
            pub fn reason(self) -> &'static str {
                match self { $(Self::$name => $reason,)* }
            }

            /// Whether its sender could not be verified.
            #[must_use]
            pub fn is_unverified(self) -> bool {
                self.status() == StatusCode::UNAUTHORIZED
            }

            /// The status of the answer.
            #[must_use]
            pub fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }
        }
    };
}

outcomes! {
    /// It became an event.
    Accepted = "accepted", "", ACCEPTED;
    /// It became an event, and its body had come under another delivery id.
    AcceptedReplay = "accepted", "replay", ACCEPTED;
    /// It became an event, and its body does not look like the type that nothing signs.
    AcceptedDoubtful = "accepted", "type_doubt", ACCEPTED;
    /// Its event was there already.
    Duplicate = "duplicate", "", ACCEPTED;
    /// Its event was there already, with another body.
    ChangedDuplicate = "duplicate", "changed_body", ACCEPTED;
    /// It was a handshake, and was answered.
    Handshake = "handshake", "", OK;
    /// It held no event: providers send such to see that somebody is there.
    Empty = "handshake", "empty", ACCEPTED;
    /// The body is not what its content type says.
    QuarantinedMalformedBody = "quarantined", "malformed_body", ACCEPTED;
    /// No event type could be found.
    QuarantinedNoEventType = "quarantined", "no_event_type", ACCEPTED;
    /// A value does not fit its field.
    QuarantinedTypeMismatch = "quarantined", "type_mismatch", ACCEPTED;
    /// A required field is missing.
    QuarantinedRequiredFieldMissing = "quarantined", "required_field_missing", ACCEPTED;
    /// The identity is that of another body.
    QuarantinedIdentityConflict = "quarantined", "identity_conflict", ACCEPTED;
    /// No identity could be made.
    QuarantinedNoIdentity = "quarantined", "no_identity", ACCEPTED;
    /// The event would not be a valid one.
    QuarantinedInvalidEvent = "quarantined", "invalid_event", ACCEPTED;
    /// It was in quarantine already.
    QuarantinedAgain = "quarantined", "again", ACCEPTED;
    /// It could not become an event, and the source refuses such.
    RefusedUndecodable = "refused", "undecodable", BAD_REQUEST;
    /// From an address that may not post to the source.
    RefusedPeer = "refused", "peer", NOT_FOUND;
    /// More verified webhooks than the source takes in a second.
    RefusedRate = "refused", "rate", TOO_MANY_REQUESTS;
    /// Its body had come under another delivery id, and the source refuses such.
    RefusedReplay = "refused", "replay", CONFLICT;
    /// Another method than POST.
    RefusedMethod = "refused", "method", METHOD_NOT_ALLOWED;
    /// A content type that the source does not take.
    RefusedContentType = "refused", "content_type", UNSUPPORTED_MEDIA_TYPE;
    /// A compression that is not known, or several.
    RefusedCoding = "refused", "content_coding", UNSUPPORTED_MEDIA_TYPE;
    /// The body is too large.
    RefusedTooLarge = "refused", "too_large", PAYLOAD_TOO_LARGE;
    /// The body did not come in time.
    RefusedTooSlow = "refused", "too_slow", REQUEST_TIMEOUT;
    /// The body broke off.
    RefusedBroken = "refused", "broken", BAD_REQUEST;
    /// No signature header.
    UnverifiedSignatureMissing = "refused", "signature_missing", UNAUTHORIZED;
    /// Several signature headers.
    UnverifiedSignatureRepeated = "refused", "signature_repeated", UNAUTHORIZED;
    /// An empty signature.
    UnverifiedSignatureEmpty = "refused", "signature_empty", UNAUTHORIZED;
    /// A signature header that is not written as the scheme says.
    UnverifiedSignatureGrammar = "refused", "signature_grammar", UNAUTHORIZED;
    /// A signature that is not encoded as the scheme says.
    UnverifiedSignatureEncoding = "refused", "signature_encoding", UNAUTHORIZED;
    /// A signature of another secret or another body.
    UnverifiedSignatureWrong = "refused", "signature_wrong", UNAUTHORIZED;
    /// A signed header is missing.
    UnverifiedSignedPartMissing = "refused", "signed_part_missing", UNAUTHORIZED;
    /// The body is not the one whose hash was signed.
    UnverifiedBodyHash = "refused", "body_hash_wrong", UNAUTHORIZED;
    /// It was made with a key that the provider does not have, or names one at an address that is not the provider's.
    UnverifiedKeyUnknown = "refused", "key_unknown", UNAUTHORIZED;
    /// It is signed, but not for this source.
    UnverifiedNotAllowed = "refused", "not_allowed", UNAUTHORIZED;
    /// The signed time is not one.
    UnverifiedTimestampMalformed = "refused", "timestamp_malformed", UNAUTHORIZED;
    /// The signed time is too long ago.
    UnverifiedTimestampOld = "refused", "timestamp_old", UNAUTHORIZED;
    /// The signed time is too far ahead.
    UnverifiedTimestampAhead = "refused", "timestamp_ahead", UNAUTHORIZED;
    /// The source has as many requests under way as it may.
    Busy = "unavailable", "busy", SERVICE_UNAVAILABLE;
    /// The provider's keys cannot be had.
    KeysUnavailable = "unavailable", "keys_unavailable", SERVICE_UNAVAILABLE;
    /// A secret that the provider gives cannot be kept.
    SecretNotKept = "unavailable", "secret_not_kept", SERVICE_UNAVAILABLE;
    /// The store is full.
    StoreFull = "unavailable", "store_full", SERVICE_UNAVAILABLE;
    /// The store does not answer.
    StoreUnavailable = "unavailable", "store_unavailable", SERVICE_UNAVAILABLE;
    /// The store may or may not have it: the sender's retry will be recognised.
    OutcomeUnknown = "unavailable", "outcome_unknown", SERVICE_UNAVAILABLE;
}

impl From<Rejection> for Outcome {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::SignatureMissing => Self::UnverifiedSignatureMissing,
            Rejection::SignatureRepeated => Self::UnverifiedSignatureRepeated,
            Rejection::SignatureEmpty => Self::UnverifiedSignatureEmpty,
            Rejection::SignatureGrammar => Self::UnverifiedSignatureGrammar,
            Rejection::SignatureEncoding => Self::UnverifiedSignatureEncoding,
            Rejection::SignatureWrong => Self::UnverifiedSignatureWrong,
            Rejection::SignedPartMissing => Self::UnverifiedSignedPartMissing,
            Rejection::BodyHashWrong => Self::UnverifiedBodyHash,
            Rejection::KeyUnknown => Self::UnverifiedKeyUnknown,
            Rejection::NotAllowed => Self::UnverifiedNotAllowed,
            Rejection::TimestampMalformed => Self::UnverifiedTimestampMalformed,
            Rejection::TimestampOld => Self::UnverifiedTimestampOld,
            Rejection::TimestampAhead => Self::UnverifiedTimestampAhead,
        }
    }
}

impl From<Reason> for Outcome {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::MalformedBody => Self::QuarantinedMalformedBody,
            Reason::NoEventType | Reason::Unspecified => Self::QuarantinedNoEventType,
            Reason::TypeMismatch => Self::QuarantinedTypeMismatch,
            Reason::RequiredFieldMissing => Self::QuarantinedRequiredFieldMissing,
            Reason::IdentityConflict => Self::QuarantinedIdentityConflict,
            Reason::NoIdentity => Self::QuarantinedNoIdentity,
            Reason::InvalidEvent => Self::QuarantinedInvalidEvent,
        }
    }
}

/// How often each outcome came about since the broker started, for one source.
#[derive(Debug)]
pub struct Counters {
    counts: Vec<AtomicU64>,
    last_verified: AtomicU64,
    /// From the head of each request to its answer.
    pub times: Histogram,
    /// What was found at the provider.
    pub polled: PollCounters,
}

impl Default for Counters {
    fn default() -> Self {
        let counts = Outcome::ALL.iter().map(|_| AtomicU64::new(0)).collect();
        Self { counts, last_verified: AtomicU64::new(0), times: Histogram::default(), polled: PollCounters::default() }
    }
}

impl Counters {
    /// Counts one.
    pub fn count(&self, outcome: Outcome) {
        // The list is in the order of the variants.
        self.counts[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that a verified webhook came, at a time in microseconds since the Unix epoch.
    pub fn verified_at(&self, now: u64) {
        self.last_verified.fetch_max(now, Ordering::Relaxed);
    }

    /// How often one came about.
    #[must_use]
    pub fn get(&self, outcome: Outcome) -> u64 {
        self.counts[outcome as usize].load(Ordering::Relaxed)
    }

    /// How often any of a selection came about.
    #[must_use]
    pub fn sum(&self, which: impl Fn(Outcome) -> bool) -> u64 {
        Outcome::ALL.iter().filter(|outcome| which(**outcome)).map(|outcome| self.get(*outcome)).sum()
    }

    /// When the last verified webhook came, in microseconds since the Unix epoch; `None` if none has.
    #[must_use]
    pub fn last_verified(&self) -> Option<u64> {
        Some(self.last_verified.load(Ordering::Relaxed)).filter(|time| *time > 0)
    }
}
