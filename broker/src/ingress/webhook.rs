//! A request to a source, from its first byte to its answer.
//!
//! Constraints:
//! - The order of work is `receive`, top to bottom: nothing is parsed before it is verified, nothing is answered before it is durable.
//! - The sender's fault is 4xx, ours is 503 with Retry-After; a verified webhook is 202 and kept, whatever it holds.
//! - An unverified sender learns that it is, and nothing more.

use std::sync::{Arc, OnceLock};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{Extensions, Method, StatusCode, request::Parts};
use waypost_store::{AppendError, Appended, CommitError, Duplicate, EventHead, EventStore, NewEvent};

use super::{
    admission::Peer,
    answer::{Answer, Text, UNKNOWN_PATH, unavailable},
    body,
    coding::{Coding, coding},
    greeting::Greeting,
    keys::{KeyRing, NoKeys},
    live::LiveSources,
    outcome::Outcome,
    quarantine::{Quarantine, Reason, Undecodable, Unfit},
    replays::{OnReplay, Replays},
    source::Source,
    understand::{Batch, Made, Meaning, Meaningless, Webhook},
    verify::{Incoming, KeySet},
};
use crate::{
    clock::Clock,
    entropy::Entropy,
    journal::{Decided, Journal, Note},
    renewal::Renewals,
    telemetry::Sparse,
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
    /// The keys that providers publish.
    pub keys: KeyRing,
    /// What came under ids that nothing signs.
    pub replays: Arc<Replays>,
    /// Where spans go.
    pub tracer: Tracer,
    /// Where requests are noted.
    pub journal: Journal,
    /// What puts a secret in force that a provider gave.
    pub renewals: Renewals,
}

/// Serves every source that there is at the time, and has an answer for every other path. State and limits are inside: it can be served
/// as it is.
pub fn router(edge: Edge) -> Router {
    let quarantine = Quarantine::new(Arc::clone(&edge.entropy));
    Router::new().fallback(webhook).with_state(Arc::new(Gate { edge, quarantine, offers: Sparse::new(), strangers: Sparse::new() }))
}

/// What all sources share.
struct Gate {
    edge: Edge,
    quarantine: Quarantine,
    /// Secrets that were offered and not taken: anybody can post one.
    offers: Sparse,
    /// Requests of who may not post.
    strangers: Sparse,
}

/// One request's source, which it keeps to its end, and all that it needs.
struct Hook<'a> {
    edge: &'a Edge,
    source: Arc<Source>,
    quarantine: &'a Quarantine,
    offers: &'a Sparse,
    arrival: Option<Arrival>,
    /// What was read of the body, for the journal.
    body: OnceLock<Bytes>,
}

async fn webhook(State(gate): State<Arc<Gate>>, request: Request) -> Response {
    let Gate { edge, quarantine, offers, .. } = &*gate;
    let begun = edge.clock.now();
    let Some(source) = edge.sources.at(request.uri().path()) else {
        gate.note_refused(None, request, begun, Decided::UNKNOWN_PATH);
        return unknown_path();
    };
    if !source.admission.is_open() && !source.admission.admits(peer(request.extensions()), request.headers()) {
        return gate.turn_away(source, request, begun);
    }
    let arrival = edge.tracer.arrival(&source.name, request.headers(), begun);
    let hook = Hook { edge, source, quarantine, offers, arrival, body: OnceLock::new() };
    let (head, stream) = request.into_parts();
    let answer = hook.receive(&head, stream).await;
    hook.source.counters.count(answer.outcome);
    let latency = hook.edge.clock.now().saturating_sub(begun);
    hook.source.counters.times.observe(latency);
    tracing::debug!(source = %hook.source.name, outcome = answer.outcome.kind(), reason = answer.outcome.reason(), id = answer.id, "webhook");
    edge.tracer.answered(hook.arrival.as_ref(), &hook.source, answer.outcome, &answer.id);
    let decided = answer.outcome.into();
    edge.journal.note(decided, || Note {
        at: begun,
        latency,
        peer: hook.source.admission.sender(peer(&head.extensions), &head.headers),
        head,
        body: hook.body.into_inner().unwrap_or_default(),
        decided,
        id: answer.id.clone(),
        detail: answer.text.clone(),
        source: Some(hook.source),
    });
    answer.into_response()
}

/// Whose connection a request came over.
fn peer(connection: &Extensions) -> Option<Peer> {
    connection.get().copied()
}

impl Gate {
    /// The answer to who may not post: that of a path that there is not.
    fn turn_away(&self, source: Arc<Source>, request: Request, begun: u64) -> Response {
        source.counters.count(Outcome::RefusedPeer);
        if self.strangers.is_due() {
            let peer = peer(request.extensions());
            let sender = source.admission.sender(peer, request.headers());
            tracing::info!(source = &*source.name, ?peer, ?sender, "a request from an address that is not among the source's limits.peers");
        }
        self.note_refused(Some(source), request, begun, Outcome::RefusedPeer.into());
        unknown_path()
    }

    /// Tells the journal of a request whose body nobody reads.
    fn note_refused(&self, source: Option<Arc<Source>>, request: Request, begun: u64, decided: Decided) {
        self.edge.journal.note(decided, || {
            let (head, _) = request.into_parts();
            let connection = peer(&head.extensions);
            let peer = match &source {
                Some(source) => source.admission.sender(connection, &head.headers),
                None => connection.map(|Peer(address)| address),
            };
            let latency = self.edge.clock.now().saturating_sub(begun);
            let (id, detail) = (String::new(), String::new());
            Note { at: begun, latency, source, peer, head, body: Bytes::new(), decided, id, detail }
        });
    }
}

fn unknown_path() -> Response {
    let text = Text { status: "refused", message: UNKNOWN_PATH.into(), event_id: "" };
    (StatusCode::NOT_FOUND, axum::Json(text)).into_response()
}

impl Hook<'_> {
    /// The order of work.
    async fn receive(&self, head: &Parts, stream: Body) -> Answer {
        match self.try_receive(head, stream).await {
            Ok(answer) | Err(answer) => answer,
        }
    }

    async fn try_receive(&self, head: &Parts, stream: Body) -> Result<Answer, Answer> {
        let Self { edge, source, .. } = self;
        let _place = source.admission.enter(edge.clock.now())?;
        let at_the_door = source.greetings.at_the_door(incoming(head, b""), source.verifier());
        if let Some(greeting) = at_the_door
            && let Some(answer) = self.welcome(greeting).await?
        {
            return Ok(answer);
        }
        if head.method != Method::POST {
            return Err(Answer::saying(Outcome::RefusedMethod, source.greetings.methods()));
        }
        let (kind, coding) = (body::kind(&head.headers, source.taken())?, coding(&head.headers)?);
        let limit = |outcome| Answer::saying(outcome, source.max_body.to_string());
        let raw = body::read(&head.headers, stream, source.max_body, source.body_timeout).await.map_err(limit)?;
        if edge.journal.is_on() {
            let _ = self.body.set(raw.clone());
        }
        if let Some(greeting) = source.greetings.unverified(incoming(head, &raw), source.verifier()) {
            return self.greet(greeting).await;
        }
        let keys = self.keys(incoming(head, &raw)).await?;
        if let Err(rejection) = source.verify(incoming(head, &raw), keys.as_deref(), edge.clock.wall()) {
            // Looked into last: nothing else is read of what is not verified.
            return match source.greetings.offered(incoming(head, &raw), source.verifier()) {
                Some(greeting) => self.welcome(greeting).await?.ok_or_else(|| Outcome::from(rejection).into()),
                None => Err(Outcome::from(rejection).into()),
            };
        }

        let now = edge.clock.now();
        source.admission.spend(now)?;
        source.counters.verified_at(now);
        let mut webhook = Webhook { head, raw, kind, now, arrival: self.arrival.as_ref(), replay_of: None };
        let mut unpacked;
        if coding != Coding::Identity {
            unpacked = head.clone();
            match coding.unpack(&mut unpacked.headers, &webhook.raw, source.max_body) {
                Ok(plain) => webhook = Webhook { head: &unpacked, raw: plain, ..webhook },
                Err(problem) => return self.set_aside(&webhook, &webhook.raw, source.unreadable(&webhook, problem)).await,
            }
        }
        self.check_replay(&mut webhook)?;
        match source.understand(&webhook, &edge.entropy) {
            Ok(Meaning::Event(made)) => self.append(&webhook, made).await,
            Ok(Meaning::Batch(batch)) => self.append_all(&webhook, batch).await,
            Ok(Meaning::Greeting(greeting)) => self.greet(greeting).await,
            Err(Meaningless::Undecodable(why)) => self.set_aside(&webhook, &webhook.raw, why).await,
            Err(Meaningless::Refused(rejection)) => Err(Outcome::from(rejection).into()),
        }
    }

    /// Notes whose body a webhook has, if another delivery had it before.
    fn check_replay(&self, webhook: &mut Webhook<'_>) -> Result<(), Answer> {
        webhook.replay_of = self.edge.replays.first(&self.source, &webhook.head.headers, &webhook.raw, webhook.now);
        match (&webhook.replay_of, self.source.on_replay) {
            (Some(first), Some(OnReplay::Refuse)) => {
                let text = format!("this body came already, as delivery {first}; the source refuses to take it as another one");
                Err(Answer::saying(Outcome::RefusedReplay, text))
            }
            _ => Ok(()),
        }
    }

    /// The provider's public keys, for schemes that fetch them.
    async fn keys(&self, request: Incoming<'_>) -> Result<Option<Arc<KeySet>>, Answer> {
        let Some(verifier) = self.source.verifier() else { return Ok(None) };
        let Some(at) = verifier.keys_of(request).map_err(Outcome::from)? else { return Ok(None) };
        let keys = self.edge.keys.get(&at, self.edge.clock.now()).await;
        keys.map(Some).map_err(|none| match none {
            NoKeys::Unknown => Outcome::UnverifiedKeyUnknown.into(),
            NoKeys::Unavailable => Outcome::KeysUnavailable.into(),
        })
    }

    /// Answers one that may offer a secret, which is learned first. `None` if it is not: then it is a request like any other.
    async fn welcome(&self, mut greeting: Greeting) -> Result<Option<Answer>, Answer> {
        if let Some(secret) = greeting.offered.take()
            && let Err(why) = self.source.learn(secret, &self.edge.renewals).await
        {
            if self.offers.is_due() {
                tracing::warn!(source = &*self.source.name, "{why}");
            }
            return if why.is_ours() { Err(Outcome::SecretNotKept.into()) } else { Ok(None) };
        }
        self.greet(greeting).await.map(Some)
    }

    /// Answers a request that becomes no event, once what it asks for is done.
    async fn greet(&self, greeting: Greeting) -> Result<Answer, Answer> {
        let source = &*self.source.name;
        if let Some(url) = &greeting.fetch {
            let called = self.edge.keys.fetcher().get(url).await;
            called.map_err(|error| {
                tracing::warn!(source, %error, "what the provider asks to be called does not answer");
                Answer::from(Outcome::KeysUnavailable)
            })?;
            tracing::info!(source, "what the provider asked to be called was called");
        }
        Ok(Answer { reply: Some(Box::new(greeting.answer)), ..Answer::from(Outcome::Handshake) })
    }

    async fn append(&self, webhook: &Webhook<'_>, made: Made) -> Result<Answer, Answer> {
        let Self { edge, source, .. } = self;
        let Made { event, is_doubtful } = made;
        let head = event.head.clone();
        let emission = webhook.arrival.and_then(|arrival| edge.tracer.append(arrival, &head));
        let appended = edge.store.append(webhook.now, vec![event]).await;
        edge.tracer.appended(emission, appended.as_deref().map_err(|_| "unavailable"));
        let appended = appended.map_err(|error| unavailable(&error, source, head.id()))?;
        match self.outcome(webhook, is_doubtful, appended.first()) {
            Some(outcome) => Ok(self.stored(webhook, outcome, head.id().to_owned(), String::new())),
            None => self.set_aside(webhook, &webhook.raw, conflict(&head)).await,
        }
    }

    /// All events of a webhook in one step, and then each item that could not become one.
    async fn append_all(&self, webhook: &Webhook<'_>, batch: Batch) -> Result<Answer, Answer> {
        let Self { edge, source, .. } = self;
        let Batch { events, mut aside, is_doubtful } = batch;
        if let Some((raw, why)) = aside.pop_if(|_| source.refuses_undecodable) {
            return self.set_aside(webhook, &raw, why).await;
        }
        let (events, items): (Vec<NewEvent>, Vec<Bytes>) = events.into_iter().unzip();
        let heads: Vec<EventHead> = events.iter().map(|event| event.head.clone()).collect();
        let first = heads.first().map(|head| head.id().to_owned()).unwrap_or_default();
        // One append is one span, whose name is that of the first event.
        let emission = webhook.arrival.zip(heads.first()).and_then(|(arrival, head)| edge.tracer.append(arrival, head));
        let appended = edge.store.append(webhook.now, events).await;
        edge.tracer.appended(emission, appended.as_deref().map_err(|_| "unavailable"));
        let appended = match appended {
            Err(AppendError::TooLarge { .. }) => {
                let why = Undecodable::new(Reason::InvalidEvent, "its events are larger than what can be stored in one step".to_owned());
                return self.set_aside(webhook, &webhook.raw, why).await;
            }
            appended => appended.map_err(|error| unavailable(&error, source, &first))?,
        };
        let mut outcome = None;
        for ((head, item), appended) in heads.iter().zip(items).zip(&appended) {
            match self.outcome(webhook, is_doubtful, Some(appended)) {
                Some(found) => outcome = Some(outcome.map_or(found, |outcome: Outcome| outcome.min(found))),
                None => aside.push((item, conflict(head))),
            }
        }
        let (count, set_aside) = (appended.len(), aside.len());
        let mut answer = Answer::from(Outcome::Empty);
        for (raw, why) in aside {
            answer = self.set_aside(webhook, &raw, why).await?;
        }
        let Some(outcome) = outcome else { return Ok(answer) };
        let text =
            if set_aside == 0 { format!("{count} events stored") } else { format!("{set_aside} events in quarantine, the others stored") };
        Ok(self.stored(webhook, outcome, first, text))
    }

    /// What became of an event; `None` if its identity says that what is stored must not be.
    fn outcome(&self, webhook: &Webhook<'_>, is_doubtful: bool, appended: Option<&Appended>) -> Option<Outcome> {
        match appended.and_then(|appended| appended.duplicate) {
            None if is_doubtful => Some(Outcome::AcceptedDoubtful),
            None if webhook.replay_of.is_some() => Some(Outcome::AcceptedReplay),
            None => Some(Outcome::Accepted),
            Some(Duplicate::SameContent) => Some(Outcome::Duplicate),
            Some(Duplicate::OtherContent) if self.source.identity.forbids_changes() => None,
            Some(Duplicate::OtherContent) => Some(Outcome::ChangedDuplicate),
        }
    }

    /// The answer to what is stored, in our words or those that the provider wants.
    fn stored(&self, webhook: &Webhook<'_>, outcome: Outcome, id: String, text: String) -> Answer {
        let reply = self.source.reply(incoming(webhook.head, &webhook.raw)).map(Box::new);
        Answer { text, reply, ..Answer::about(outcome, id) }
    }

    /// Quarantine, or a refusal where the source wants that.
    async fn set_aside(&self, webhook: &Webhook<'_>, raw: &Bytes, why: Undecodable) -> Result<Answer, Answer> {
        let Self { edge, source, quarantine, .. } = self;
        let text = if why.path.is_empty() { why.message.clone() } else { format!("{}: {}", why.path, why.message) };
        if source.refuses_undecodable {
            return Err(Answer::saying(Outcome::RefusedUndecodable, text));
        }
        let (reason, path, identity) = (why.reason, why.path.clone(), why.identity.clone());
        let is_part = raw.as_ptr_range() != webhook.raw.as_ptr_range();
        let unfit = Unfit { source, headers: &webhook.head.headers, raw, is_part };
        let kept = quarantine.keep(&*edge.store, webhook.now, unfit, why).await;
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
        Ok(Answer { text, ..Answer::about(outcome, kept.id) })
    }
}

fn incoming<'a>(head: &'a Parts, body: &'a [u8]) -> Incoming<'a> {
    Incoming { method: &head.method, target: &head.uri, headers: &head.headers, body }
}

/// An identity that is stored already, with another body, where that must not be.
pub(super) fn conflict(head: &EventHead) -> Undecodable {
    let (id, event_type) = (head.id().to_owned(), head.event_type().to_owned());
    let message = format!("an event {id} is stored already, of another body; the identity of the source says that this must not be");
    Undecodable { identity: id, event_type, ..Undecodable::new(Reason::IdentityConflict, message) }
}
