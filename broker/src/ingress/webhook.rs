//! A request to a source, from its first byte to its answer.
//!
//! Constraints:
//! - The order of work is `receive`, top to bottom: nothing is parsed before it is verified, nothing is answered before it is durable.
//! - The sender's fault is 4xx, ours is 503 with Retry-After; a verified webhook is 202 and kept, whatever it holds.
//! - An unverified sender learns that it is, and nothing more.

use std::{borrow::Cow, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::Serialize;
use waypost_proto::wire;
use waypost_store::{AppendError, CommitError, Duplicate, EventStore, NewEvent};
use xxhash_rust::xxh3::xxh3_128;

use super::{
    body::{self, Kind},
    decode::{DecodeError, Selected},
    live::LiveSources,
    outcome::Outcome,
    quarantine::{Quarantine, Reason, Undecodable},
    source::Source,
    template::Absent,
};
use crate::{
    clock::Clock,
    entropy::Entropy,
    envelope::{self, InvalidEvent},
    limits,
    trace::{Arrival, Tracer},
};

/// What the edge works with.
#[derive(Clone)]
pub struct Edge {
    /// Where events and quarantined webhooks go.
    pub store: Arc<dyn EventStore>,
    /// The time.
    pub clock: Clock,
    /// Where ids come from.
    pub entropy: Arc<Entropy>,
    /// Who may post.
    pub sources: LiveSources,
    /// Where spans go.
    pub tracer: Tracer,
}

/// Serves every source that there is at the time, and has an answer for every other path. State and limits are inside: it can be served
/// as it is.
pub fn router(edge: Edge) -> Router {
    let quarantine = Quarantine::new(Arc::clone(&edge.entropy));
    Router::new().fallback(webhook).with_state(Arc::new(Gate { edge, quarantine }))
}

/// What all sources share.
struct Gate {
    edge: Edge,
    quarantine: Quarantine,
}

/// One request's source, which it keeps to its end, and all that it needs.
struct Hook<'a> {
    edge: &'a Edge,
    source: Arc<Source>,
    quarantine: &'a Quarantine,
    arrival: Option<Arrival>,
}

async fn webhook(State(gate): State<Arc<Gate>>, request: Request) -> Response {
    let Gate { edge, quarantine } = &*gate;
    let Some(source) = edge.sources.at(request.uri().path()) else { return unknown_path() };
    let begun = edge.clock.now();
    let arrival = edge.tracer.arrival(&source.name, request.headers(), begun);
    let hook = Hook { edge, source, quarantine, arrival };
    let answer = hook.receive(request).await;
    hook.source.counters.count(answer.outcome);
    hook.source.counters.times.observe(hook.edge.clock.now().saturating_sub(begun));
    tracing::debug!(source = %hook.source.name, outcome = answer.outcome.kind(), reason = answer.outcome.reason(), id = answer.id, "webhook");
    edge.tracer.answered(hook.arrival.as_ref(), &hook.source, answer.outcome, &answer.id);
    answer.into_response()
}

fn unknown_path() -> Response {
    let text = Text { status: "refused", message: "no source has this path; it is configured in [sources]".into(), event_id: "" };
    (StatusCode::NOT_FOUND, axum::Json(text)).into_response()
}

/// A verified request.
struct Webhook<'a> {
    headers: HeaderMap,
    raw: Bytes,
    kind: Kind,
    now: u64,
    arrival: Option<&'a Arrival>,
}

/// What a verified request wants.
enum Meaning {
    /// To be an event.
    Event(NewEvent),
    /// To see that somebody is there.
    Handshake(String),
}

impl Hook<'_> {
    /// The order of work.
    async fn receive(&self, request: Request) -> Answer {
        match self.try_receive(request).await {
            Ok(answer) | Err(answer) => answer,
        }
    }

    async fn try_receive(&self, request: Request) -> Result<Answer, Answer> {
        let Self { edge, source, .. } = self;
        let (head, stream) = request.into_parts();
        if head.method != Method::POST {
            return Err(Outcome::RefusedMethod.into());
        }
        let kind = body::kind(&head.headers, source.form)?;
        let limit = |outcome| Answer { outcome, id: String::new(), text: source.max_body.to_string() };
        let raw = body::read(&head.headers, stream, source.max_body, source.body_timeout).await.map_err(limit)?;
        source.verify(&head.headers, &raw, edge.clock.wall()).map_err(Outcome::from)?;

        let webhook = Webhook { headers: head.headers, raw, kind, now: edge.clock.now(), arrival: self.arrival.as_ref() };
        source.counters.verified_at(webhook.now);
        match source.understand(&webhook, &edge.entropy) {
            Ok(Meaning::Handshake(text)) => Ok(Answer { outcome: Outcome::Handshake, id: String::new(), text }),
            Ok(Meaning::Event(event)) => self.append(&webhook, event).await,
            Err(why) => self.set_aside(&webhook, why).await,
        }
    }

    async fn append(&self, webhook: &Webhook<'_>, event: NewEvent) -> Result<Answer, Answer> {
        let Self { edge, source, .. } = self;
        let head = event.head.clone();
        let emission = webhook.arrival.and_then(|arrival| edge.tracer.append(arrival, &head));
        let appended = edge.store.append(webhook.now, vec![event]).await;
        edge.tracer.appended(emission, appended.as_deref().map_err(|_| "unavailable"));
        let appended = appended.map_err(|error| unavailable(&error, source, head.id()))?;
        let outcome = match appended.first().and_then(|appended| appended.duplicate) {
            None => Outcome::Accepted,
            Some(Duplicate::SameContent) => Outcome::Duplicate,
            Some(Duplicate::OtherContent) if source.identity.forbids_changes() => {
                let id = head.id();
                let message =
                    format!("an event {id} is stored already, of another body; the identity of the source says that this must not be");
                let (identity, event_type) = (id.to_owned(), head.event_type().to_owned());
                let why = Undecodable { identity, event_type, ..Undecodable::new(Reason::IdentityConflict, message) };
                return self.set_aside(webhook, why).await;
            }
            Some(Duplicate::OtherContent) => Outcome::ChangedDuplicate,
        };
        Ok(Answer { outcome, id: head.id().to_owned(), text: String::new() })
    }

    /// Quarantine, or a refusal where the source wants that.
    async fn set_aside(&self, webhook: &Webhook<'_>, why: Undecodable) -> Result<Answer, Answer> {
        let Self { edge, source, quarantine, .. } = self;
        let text = if why.path.is_empty() { why.message.clone() } else { format!("{}: {}", why.path, why.message) };
        if source.refuses_undecodable {
            return Err(Answer { outcome: Outcome::RefusedUndecodable, id: String::new(), text });
        }
        let (reason, path, identity) = (why.reason, why.path.clone(), why.identity.clone());
        let kept = quarantine.keep(&*edge.store, webhook.now, source, &webhook.headers, &webhook.raw, why).await;
        let kept = kept.map_err(|error| match error {
            CommitError::Append(error) => unavailable(&error, source, &identity),
            _ => Outcome::StoreUnavailable.into(),
        })?;
        let (source, reason_name) = (&*source.name, reason.as_str_name());
        tracing::warn!(
            source,
            id = kept.id,
            identity,
            reason = reason_name,
            path,
            again = kept.again,
            "a verified webhook is in quarantine"
        );
        let outcome = if kept.again { Outcome::QuarantinedAgain } else { Outcome::from(reason) };
        Ok(Answer { outcome, id: kept.id, text })
    }
}

impl Source {
    /// Identity, event type and typed data of a verified request.
    fn understand(&self, webhook: &Webhook<'_>, entropy: &Entropy) -> Result<Meaning, Undecodable> {
        let Webhook { headers, raw, kind, now, arrival } = webhook;
        let unreadable = |message| Undecodable {
            identity: self.identity.id(headers, &Selected::default(), raw).unwrap_or_default(),
            ..Undecodable::new(Reason::MalformedBody, message)
        };
        let json = body::json(*kind, raw).map_err(unreadable)?;
        // Checked by `body::json`, which makes nothing else.
        let text = str::from_utf8(&json).unwrap_or_default();
        let selected = self.selector.select(text).map_err(|error| unreadable(error.to_string()))?;
        if let Some(text) = self.handshake.as_ref().and_then(|handshake| handshake.answer(headers, &selected)) {
            return Ok(Meaning::Handshake(text));
        }
        let id = self.identity.id(headers, &selected, raw).map_err(|absent| Undecodable::lacking(Reason::NoIdentity, &absent))?;
        let provider_type = self.typing.provider_type(headers, &selected);
        let provider_type =
            provider_type.map_err(|absent| Undecodable { identity: id.clone(), ..Undecodable::lacking(Reason::NoEventType, &absent) })?;
        let sealed = match self.typing.event(&provider_type, json.clone(), text, headers, &selected) {
            Ok(mut event) => {
                event.id.clone_from(&id);
                if let Some(arrival) = arrival {
                    arrival.stamp(&mut event);
                }
                self.seal(event, raw, *now, entropy).map_err(|invalid| Undecodable::from(&invalid))
            }
            Err(error) => Err(Undecodable::from(&error)),
        };
        let named = |why| Undecodable { identity: id, event_type: self.typing.event_type(&provider_type), ..why };
        sealed.map(Meaning::Event).map_err(named)
    }

    fn seal(&self, event: wire::Event, raw: &Bytes, now: u64, entropy: &Entropy) -> Result<NewEvent, InvalidEvent> {
        let identity = envelope::Identity { fingerprint: Some(xxh3_128(raw)), window: self.identity.window() };
        let kept = self.raw_to_keep(raw, &event);
        // The event is seldom larger than what it was made from.
        let mut room = BytesMut::with_capacity(2 * raw.len() + envelope::ADDED_BYTES);
        envelope::seal(event, kept, identity, now, entropy, &mut room)
    }

    /// The raw body, where it is to be kept: not when the event is the body already, and not when both are too large together.
    fn raw_to_keep<'a>(&self, raw: &'a Bytes, event: &wire::Event) -> &'a [u8] {
        let data = event.data.as_ref().map_or(&b""[..], |data| &data.value);
        let contained = data.ends_with(raw);
        if self.keeps_raw && !contained && data.len() + raw.len() <= limits::MAX_EVENT_BYTES { raw } else { b"" }
    }
}

impl Undecodable {
    fn new(reason: Reason, message: String) -> Self {
        Self { reason, event_type: String::new(), path: String::new(), message, identity: String::new() }
    }

    fn lacking(reason: Reason, absent: &Absent) -> Self {
        let path = match absent {
            Absent::Pointer(pointer) => pointer.to_string(),
            Absent::Header(_) => String::new(),
        };
        Self { path, ..Self::new(reason, absent.to_string()) }
    }
}

impl From<&InvalidEvent> for Undecodable {
    fn from(invalid: &InvalidEvent) -> Self {
        Self::new(Reason::InvalidEvent, invalid.to_string())
    }
}

impl From<&DecodeError> for Undecodable {
    fn from(error: &DecodeError) -> Self {
        let reason = match error {
            DecodeError::Malformed(_) => Reason::MalformedBody,
            DecodeError::Mismatch { .. } => Reason::TypeMismatch,
            DecodeError::Missing { .. } => Reason::RequiredFieldMissing,
        };
        Self { path: error.pointer(), ..Self::new(reason, error.to_string()) }
    }
}

fn unavailable(error: &AppendError, source: &Source, id: &str) -> Answer {
    tracing::warn!(source = &*source.name, id, %error, "a webhook could not be stored");
    match error {
        AppendError::Full { .. } => Outcome::StoreFull,
        AppendError::Unknown(_) => Outcome::OutcomeUnknown,
        AppendError::TooLarge { .. } | AppendError::Unavailable(_) => Outcome::StoreUnavailable,
    }
    .into()
}

/// What a request is answered.
struct Answer {
    outcome: Outcome,
    /// Of the event, or of the quarantined webhook.
    id: String,
    /// The text of a handshake; or what is wrong, where the sender may know.
    text: String,
}

impl From<Outcome> for Answer {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, id: String::new(), text: String::new() }
    }
}

#[derive(Serialize)]
struct Text<'a> {
    status: &'a str,
    message: Cow<'a, str>,
    event_id: &'a str,
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let Self { outcome, id, text } = self;
        if outcome == Outcome::Handshake {
            return (outcome.status(), [(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))], text).into_response();
        }
        let message = match outcome.status() {
            StatusCode::UNAUTHORIZED => "the signature is missing or wrong".into(),
            _ => message(outcome, &text),
        };
        let mut response = (outcome.status(), axum::Json(Text { status: outcome.kind(), message, event_id: &id })).into_response();
        let headers = response.headers_mut();
        match outcome {
            Outcome::RefusedMethod => drop(headers.insert(ALLOW, HeaderValue::from_static("POST"))),
            Outcome::StoreFull => drop(headers.insert(RETRY_AFTER, limits::RETRY_AFTER_FULL.as_secs().into())),
            Outcome::StoreUnavailable | Outcome::OutcomeUnknown => {
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
        Outcome::Accepted => "stored".into(),
        Outcome::Duplicate | Outcome::ChangedDuplicate => "stored before; this is the id of the first".into(),
        Outcome::RefusedMethod => "webhooks are posted".into(),
        Outcome::RefusedContentType => "send application/json, not compressed (or a form, where the provider sends forms)".into(),
        Outcome::RefusedTooLarge => format!("the body is larger than {text} bytes, the most that this source takes").into(),
        Outcome::RefusedTooSlow => "the body did not come in time".into(),
        Outcome::RefusedBroken => "the body broke off".into(),
        Outcome::StoreFull => "the store is full; try again later".into(),
        Outcome::StoreUnavailable => "the store does not answer; try again".into(),
        Outcome::OutcomeUnknown => "the store did not confirm; try again, a copy is recognised".into(),
        _ => format!("{}: {text}", outcome.reason()).into(),
    }
}
