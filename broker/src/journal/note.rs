//! A request and what became of it, as the edge hands it over.
//!
//! Constraint: made on the way of a webhook: nothing is copied, searched or formatted here.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::request::Parts;
use waypost_proto::v1::{WebhookOutcome, WebhookStep};
use waypost_store::Micros;

use crate::ingress::{Outcome, Source};

/// A request and what became of it.
#[derive(Debug)]
pub struct Note {
    /// When its head was there, in microseconds since the Unix epoch.
    pub at: Micros,
    /// From then to its answer.
    pub latency: Micros,
    /// Whose path it was for.
    pub source: Option<Arc<Source>>,
    /// Who sent it.
    pub peer: Option<IpAddr>,
    /// Method, target and headers.
    pub head: Parts,
    /// The body, as far as it was read.
    pub body: Bytes,
    /// What became of it.
    pub decided: Decided,
    /// The id that it was answered with.
    pub id: String,
    /// What is wrong with it, for people.
    pub detail: String,
}

/// What became of a request, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// What.
    pub outcome: WebhookOutcome,
    /// Why.
    pub reason: &'static str,
    /// Where.
    pub step: WebhookStep,
    /// The status of the answer.
    pub status: u16,
}

impl Decided {
    /// No source has the path.
    pub const UNKNOWN_PATH: Self = Self { outcome: WebhookOutcome::Refused, reason: "unknown_path", step: WebhookStep::Path, status: 404 };
}

impl From<Outcome> for Decided {
    fn from(outcome: Outcome) -> Self {
        let kind = match outcome.kind() {
            "accepted" => WebhookOutcome::Accepted,
            "duplicate" => WebhookOutcome::Duplicate,
            "handshake" => WebhookOutcome::Handshake,
            "quarantined" => WebhookOutcome::Quarantined,
            "unavailable" => WebhookOutcome::Unavailable,
            _ => WebhookOutcome::Refused,
        };
        Self { outcome: kind, reason: outcome.reason(), step: step(outcome), status: outcome.status().as_u16() }
    }
}

fn step(outcome: Outcome) -> WebhookStep {
    match outcome {
        Outcome::RefusedPeer | Outcome::RefusedRate | Outcome::Busy => WebhookStep::Admission,
        Outcome::Handshake | Outcome::SecretNotKept => WebhookStep::Handshake,
        Outcome::RefusedMethod => WebhookStep::Method,
        Outcome::RefusedContentType | Outcome::RefusedCoding => WebhookStep::Content,
        Outcome::RefusedTooLarge | Outcome::RefusedTooSlow | Outcome::RefusedBroken => WebhookStep::Body,
        Outcome::KeysUnavailable | Outcome::UnverifiedKeyUnknown => WebhookStep::Keys,
        Outcome::UnverifiedSignatureMissing
        | Outcome::UnverifiedSignatureRepeated
        | Outcome::UnverifiedSignatureEmpty
        | Outcome::UnverifiedSignatureGrammar
        | Outcome::UnverifiedSignatureEncoding
        | Outcome::UnverifiedSignatureWrong
        | Outcome::UnverifiedSignedPartMissing
        | Outcome::UnverifiedBodyHash => WebhookStep::Signature,
        Outcome::UnverifiedNotAllowed => WebhookStep::Allow,
        Outcome::UnverifiedTimestampMalformed | Outcome::UnverifiedTimestampOld | Outcome::UnverifiedTimestampAhead => {
            WebhookStep::Timestamp
        }
        Outcome::Empty
        | Outcome::QuarantinedMalformedBody
        | Outcome::QuarantinedNoEventType
        | Outcome::QuarantinedTypeMismatch
        | Outcome::QuarantinedRequiredFieldMissing
        | Outcome::QuarantinedNoIdentity
        | Outcome::QuarantinedInvalidEvent
        | Outcome::QuarantinedAgain
        | Outcome::RefusedReplay
        | Outcome::RefusedUndecodable => WebhookStep::Decode,
        Outcome::Accepted
        | Outcome::AcceptedReplay
        | Outcome::AcceptedDoubtful
        | Outcome::Duplicate
        | Outcome::ChangedDuplicate
        | Outcome::QuarantinedIdentityConflict
        | Outcome::StoreFull
        | Outcome::StoreUnavailable
        | Outcome::OutcomeUnknown => WebhookStep::Store,
    }
}
