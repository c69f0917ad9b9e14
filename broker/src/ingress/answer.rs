//! What a request is answered.
//!
//! Constraint: an unverified sender learns that it is, and nothing more; what providers want to read is said by their scheme.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::{
    HeaderValue, StatusCode,
    header::{ACCEPT_ENCODING, ALLOW, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::Serialize;
use waypost_store::AppendError;

use super::{coding, greeting::Filled, outcome::Outcome, source::Source};
use crate::limits;

/// The answer when the store does not take an event.
pub(super) fn unavailable(error: &AppendError, source: &Source, id: &str) -> Answer {
    tracing::warn!(source = &*source.name, id, %error, "a webhook could not be stored");
    match error {
        AppendError::Full { .. } => Outcome::StoreFull,
        AppendError::Unknown(_) => Outcome::OutcomeUnknown,
        AppendError::TooLarge { .. } | AppendError::Unavailable(_) => Outcome::StoreUnavailable,
    }
    .into()
}

/// What whoever asks for a path that there is not is told, and whoever may not ask for one that there is.
pub(super) const UNKNOWN_PATH: &str = "no source has this path; it is configured in [sources]";

/// What a request is answered.
pub(super) struct Answer {
    pub(super) outcome: Outcome,
    /// Of the event, or of the quarantined webhook.
    pub(super) id: String,
    /// What is wrong, where the sender may know; or what else is to be said.
    pub(super) text: String,
    /// What the scheme says instead of our own words.
    pub(super) reply: Option<Box<Filled>>,
}

impl From<Outcome> for Answer {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, id: String::new(), text: String::new(), reply: None }
    }
}

impl Answer {
    /// With something to say.
    pub(super) fn saying(outcome: Outcome, text: String) -> Self {
        Self { text, ..Self::from(outcome) }
    }

    /// About an event, or a webhook in quarantine.
    pub(super) fn about(outcome: Outcome, id: String) -> Self {
        Self { id, ..Self::from(outcome) }
    }
}

#[derive(Serialize)]
pub(super) struct Text<'a> {
    pub(super) status: &'a str,
    pub(super) message: Cow<'a, str>,
    pub(super) event_id: &'a str,
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let Self { outcome, id, text, reply } = self;
        if let Some(Filled { status, headers, body }) = reply.map(|reply| *reply) {
            return (status, headers, body).into_response();
        }
        let message = match outcome.status() {
            StatusCode::UNAUTHORIZED => "the signature is missing or wrong".into(),
            _ => message(outcome, &text),
        };
        let mut response = (outcome.status(), axum::Json(Text { status: outcome.kind(), message, event_id: &id })).into_response();
        let headers = response.headers_mut();
        match outcome {
            Outcome::RefusedMethod => {
                headers.insert(ALLOW, HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("POST")));
            }
            Outcome::RefusedCoding => drop(headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(coding::TAKEN))),
            Outcome::RefusedRate | Outcome::Busy => drop(headers.insert(RETRY_AFTER, text.parse().unwrap_or(1_u64).into())),
            Outcome::StoreFull => drop(headers.insert(RETRY_AFTER, limits::RETRY_AFTER_FULL.as_secs().into())),
            Outcome::KeysUnavailable => drop(headers.insert(RETRY_AFTER, limits::RETRY_AFTER_KEYS.as_secs().into())),
            Outcome::StoreUnavailable | Outcome::OutcomeUnknown | Outcome::SecretNotKept => {
                headers.insert(RETRY_AFTER, limits::RETRY_AFTER_UNAVAILABLE.as_secs().into());
            }
            _ if outcome.is_unverified() => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Signature"));
            }
            _ => {}
        }
        response
    }
}

fn message(outcome: Outcome, text: &str) -> Cow<'_, str> {
    match outcome {
        Outcome::Accepted | Outcome::AcceptedReplay | Outcome::AcceptedDoubtful if text.is_empty() => "stored".into(),
        Outcome::Accepted | Outcome::AcceptedReplay | Outcome::AcceptedDoubtful => text.into(),
        Outcome::Empty => "there is no event in it".into(),
        Outcome::Duplicate | Outcome::ChangedDuplicate => "stored before; this is the id of the first".into(),
        Outcome::RefusedPeer => UNKNOWN_PATH.into(),
        Outcome::RefusedRate => "more than this source takes in a second; try again later".into(),
        Outcome::Busy => "this source is busy; try again".into(),
        Outcome::RefusedMethod => "webhooks are posted".into(),
        Outcome::RefusedContentType => "send application/json (or a form, where the provider sends forms)".into(),
        Outcome::RefusedCoding => "send the body as it is, or compressed with gzip or deflate, once".into(),
        Outcome::RefusedTooLarge => format!("the body is larger than {text} bytes, the most that this source takes").into(),
        Outcome::RefusedTooSlow => "the body did not come in time".into(),
        Outcome::RefusedBroken => "the body broke off".into(),
        Outcome::KeysUnavailable => "what would verify it cannot be had now; try again".into(),
        Outcome::SecretNotKept => "the secret cannot be kept now; try again".into(),
        Outcome::StoreFull => "the store is full; try again later".into(),
        Outcome::StoreUnavailable => "the store does not answer; try again".into(),
        Outcome::OutcomeUnknown => "the store did not confirm; try again, a copy is recognised".into(),
        _ => format!("{}: {text}", outcome.reason()).into(),
    }
}
