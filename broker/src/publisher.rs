//! From what somebody publishes to a durable event.
//!
//! Constraints:
//! - Everything that can refuse an event is checked before anything is appended, item by item: one bad event refuses itself alone.
//! - Order is kept: what is accepted of one call is stored in its order, and answered in it.
//! - Nothing per event waits: one append, one answer, for as many events as there are.
//! - A named cause makes the lineage (P10), and nobody but the broker speaks for a configured source or for `waypost.` (P7).
//!
//! | file | what it holds |
//! |---|---|
//! | `cause` | the event that led to another |
//! | `prepared` | what was checked and waits to be appended |
//! | `outputs` | what is published with an ack |

mod cause;
mod outputs;
mod prepared;

use std::{collections::BTreeSet, sync::Arc};

use arc_swap::ArcSwap;
use bytes::BytesMut;
use prost::Message;
use waypost_proto::{full_name, v1::ErrorReason, wire};
use waypost_store::{Appended, Duplicate, EventStore, Micros, NewEvent, Offset, ReadLimits, Selection, StoredEvent};

use self::prepared::batches;
pub use self::{
    cause::Cause,
    outputs::{check_output_bytes, output_id},
    prepared::Prepared,
};
use crate::{
    access::{Act, Caller},
    clock::Clock,
    defect::{self, Defect},
    entropy::Entropy,
    envelope::{Identity, seal},
    error::{Fault, Violation},
    metrics::PublishMetrics,
    schema::Schemas,
    system::{Notice, SYSTEM_PREFIX, Topic},
    token::TokenKey,
    trace::{Emission, Incoming, Tracer, ids},
};

/// What publishers may do.
#[derive(Clone, Debug)]
pub struct PublishRules {
    /// The names of configured sources.
    pub reserved_sources: BTreeSet<String>,
    /// How many events may lead to one another (P10).
    pub max_hops: u32,
    /// How long an id is remembered (P7).
    pub dedup_window: Micros,
}

/// An event that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its id.
    pub id: String,
    /// Where it is.
    pub offset: Offset,
    /// It was stored before.
    pub duplicate: bool,
}

/// Checks, seals and appends.
pub struct Publisher {
    store: Arc<dyn EventStore>,
    clock: Clock,
    entropy: Arc<Entropy>,
    tokens: TokenKey,
    schemas: Arc<Schemas>,
    rules: ArcSwap<PublishRules>,
    /// What is counted of it.
    pub metrics: PublishMetrics,
    /// Where spans go.
    pub tracer: Tracer,
}

impl Publisher {
    /// A publisher on a store.
    #[must_use]
    pub fn new(
        store: Arc<dyn EventStore>,
        clock: Clock,
        entropy: Arc<Entropy>,
        tokens: TokenKey,
        schemas: Arc<Schemas>,
        rules: PublishRules,
        tracer: Tracer,
    ) -> Self {
        Self { store, clock, entropy, tokens, schemas, rules: ArcSwap::from_pointee(rules), metrics: PublishMetrics::default(), tracer }
    }

    /// How long an id is remembered, if there is room.
    #[must_use]
    pub fn dedup_window(&self) -> Micros {
        self.rules.load().dedup_window
    }

    /// Sets other rules. Items that are being checked keep the ones that they began with.
    pub fn set_rules(&self, rules: PublishRules) {
        self.rules.store(Arc::new(rules));
    }

    /// Refuses these sources as well from now on.
    pub fn reserve(&self, sources: &BTreeSet<String>) {
        let mut rules = PublishRules::clone(&self.rules.load());
        rules.reserved_sources.extend(sources.iter().cloned());
        self.set_rules(rules);
    }

    /// Publishes items, in the trace of a call if it has one, and answers each when it is durable.
    ///
    /// Cancel safety: what was begun is finished; the outcome is then unknown to the caller.
    ///
    /// # Errors
    /// When the store takes nothing now. Some items may then be stored: publishing the same ids again is safe.
    pub async fn publish(
        &self,
        caller: &Caller,
        call: Option<Incoming>,
        items: Vec<wire::PublishItem>,
    ) -> Result<Vec<Result<Published, Fault>>, Fault> {
        let mut prepared = Prepared::with_room(items.len(), items.iter().map(Message::encoded_len).sum()).in_trace(call);
        for item in items {
            self.prepare(caller, item, &mut prepared).await;
        }
        self.append(prepared).await
    }

    /// Checks and seals one item. Waits only to look up a named cause.
    pub async fn prepare(&self, caller: &Caller, item: wire::PublishItem, prepared: &mut Prepared) {
        let sealed = self.checked(caller, item, prepared).await;
        if let Err(fault) = &sealed
            && fault.reason == ErrorReason::TooManyHops
        {
            let facts = serde_json::json!({ "message": fault.message });
            self.tell(&Notice { topic: Topic::TooManyHops, subject: "".into(), facts }).await;
        }
        prepared.push(sealed);
    }

    async fn checked(&self, caller: &Caller, item: wire::PublishItem, prepared: &mut Prepared) -> Result<NewEvent, Fault> {
        let event = item.event.ok_or_else(|| Fault::invalid("event", "is required"))?;
        may_publish(caller, &event)?;
        caller.spend(self.clock.now(), 1)?;
        let cause = if item.cause_token.is_empty() { None } else { Some(self.cause(&item.cause_token).await?) };
        let Prepared { room, events, call, emissions, .. } = prepared;
        let (sealed, emission) = self.seal_traced(event, call.as_ref(), cause.as_ref(), events.len(), room);
        emissions.extend(emission);
        sealed
    }

    /// The same as [`seal`](Self::seal), with a place in a trace, and a span if that is sampled. `index` is where it will be among the
    /// events that are appended with it.
    pub fn seal_traced(
        &self,
        mut event: wire::Event,
        call: Option<&Incoming>,
        cause: Option<&Cause>,
        index: usize,
        room: &mut BytesMut,
    ) -> (Result<NewEvent, Fault>, Option<Emission>) {
        let span = self.tracer.publishing(&mut event, call, cause.and_then(|cause| cause.trace.as_ref()));
        let sealed = self.seal(event, cause, room);
        let emission = self.tracer.checked(span, sealed.as_ref().map(|sealed| (&sealed.head, index)).map_err(Fault::reason_name));
        (sealed, emission)
    }

    /// Appends what was prepared, in as many writes as it takes, and answers in its order.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn append(&self, prepared: Prepared) -> Result<Vec<Result<Published, Fault>>, Fault> {
        let Prepared { events, bytes, faults, emissions, .. } = prepared;
        let mut ids: Vec<_> = Vec::with_capacity(events.len());
        ids.extend(events.iter().map(|event| event.head.id().to_owned()));
        let mut appended = Vec::with_capacity(events.len());
        let refused = faults.len() - events.len();
        for batch in batches(events, bytes) {
            let now = self.clock.now();
            match self.store.append(now, batch).await {
                Ok(places) => appended.extend(places),
                Err(error) => {
                    self.tracer.appended(emissions, Err("unavailable"));
                    return Err(error.into());
                }
            }
            self.metrics.append.observe(self.clock.now().saturating_sub(now));
        }
        self.metrics.count(&appended, refused);
        self.tracer.appended(emissions, Ok(&appended));
        let mut durable = ids.into_iter().zip(appended);
        let missing = || Fault::new(ErrorReason::DataCorrupted, "the store answered fewer events than it was given");
        Ok(faults
            .into_iter()
            .map(|fault| match fault {
                Some(fault) => Err(fault),
                None => durable.next().ok_or_else(missing).and_then(|(id, place)| accepted(id, &place)),
            })
            .collect())
    }

    /// Checks an event and encodes it, everything but its place, into `room`.
    ///
    /// # Errors
    /// What is wrong with it, with fields as paths from the item.
    pub fn seal(&self, mut event: wire::Event, cause: Option<&Cause>, room: &mut BytesMut) -> Result<NewEvent, Fault> {
        if event.source.starts_with(SYSTEM_PREFIX) || self.rules.load().reserved_sources.contains(&event.source) {
            let text = format!("{:?} is a configured webhook source or the broker's own; publish under a name of your own", event.source);
            return Err(Fault::fields(ErrorReason::SourceReserved, vec![Violation::new("event.source", text)]));
        }
        self.check_data(&event)?;
        self.trace(&mut event, cause)?;
        let window = if defect::is_on(Defect::NoWindow) { 0 } else { self.rules.load().dedup_window };
        let identity = Identity { fingerprint: None, window };
        seal(event, b"", identity, self.clock.now(), &self.entropy, room).map_err(|wrong| {
            // The one thing that is wrong with no single field is the size.
            let reason = if wrong.field.is_empty() { ErrorReason::EventTooLarge } else { ErrorReason::InvalidField };
            Fault::fields(reason, vec![Violation::new(wrong.field, wrong.problem).within("event")])
        })
    }

    fn check_data(&self, event: &wire::Event) -> Result<(), Fault> {
        let Some(data) = &event.data else { return Ok(()) };
        if full_name(&data.type_url).is_empty() {
            return Err(Fault::invalid("event.data.type_url", "is required: type.googleapis.com/ and the full name of the message"));
        }
        let checked = self.schemas.check(&data.type_url, &data.value);
        checked.map(drop).map_err(|wrong| {
            let violation = Violation::new(wrong.path.dotted(), wrong.problem).within("event.data");
            Fault::fields(ErrorReason::DataInvalid, vec![violation])
        })
    }

    /// Gives an event its place in its story.
    fn trace(&self, event: &mut wire::Event, cause: Option<&Cause>) -> Result<(), Fault> {
        if let Some(cause) = cause {
            cause.place(event)?;
        }
        let hops = event.lineage.as_ref().map_or(0, |lineage| lineage.hops);
        let max_hops = self.rules.load().max_hops;
        if hops > max_hops {
            let text = format!(
                "the event is {hops} events away from the first of its story, at most {} are allowed: agents react to each other in a circle",
                max_hops
            );
            return Err(Fault::new(ErrorReason::TooManyHops, text));
        }
        Ok(())
    }

    /// The event of a delivery, as a cause.
    ///
    /// # Errors
    /// `CAUSE_UNKNOWN` if the token is not one of ours or its event is gone.
    pub async fn cause(&self, token: &[u8]) -> Result<Cause, Fault> {
        let unknown = |text: String| Fault::fields(ErrorReason::CauseUnknown, vec![Violation::new("cause_token", text)]);
        let token = self.tokens.open(token).map_err(|error| unknown(error.to_string()))?;
        match self.event_at(token.offset).await? {
            Some(event) => Ok(Cause::of(&event)?.within(ids::delivery(&token))),
            None => Err(unknown(format!("its event, at offset {}, is not kept any more", token.offset))),
        }
    }

    /// The event at an offset, if it is still kept.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn event_at(&self, offset: Offset) -> Result<Option<StoredEvent>, Fault> {
        let batch = self.store.read(offset, &Selection::All, ReadLimits { events: 1, bytes: 1 }).await?;
        Ok(batch.events.into_iter().next().filter(|event| event.offset == offset))
    }

    /// Publishes one of the broker's own events, and answers whether it is durable. What cannot be told is logged: the broker does not fail for it.
    pub async fn tell(&self, notice: &Notice) -> bool {
        let now = self.clock.now();
        let told = match notice.seal(None, now, &self.entropy) {
            Ok(event) => self.store.append(now, vec![event]).await.map(drop).map_err(|error| error.to_string()),
            Err(invalid) => Err(invalid.to_string()),
        };
        let (event_type, subject, facts) = (notice.topic.event_type(), &*notice.subject, &notice.facts);
        match &told {
            Ok(()) => tracing::info!(event_type, subject, %facts, "system event"),
            Err(error) => tracing::warn!(event_type, subject, %facts, error, "a system event could not be published"),
        }
        told.is_ok()
    }

    /// One of the broker's own events, to be stored in a step with what it is about.
    #[must_use]
    pub fn seal_notice(&self, notice: &Notice, about: Option<&StoredEvent>, now: Micros) -> Option<NewEvent> {
        let about = about.and_then(|event| Cause::of(event).ok());
        notice.seal(about.as_ref(), now, &self.entropy).ok()
    }
}

/// Whether a caller may publish an event.
///
/// # Errors
/// `SCOPE_MISSING`.
pub fn may_publish(caller: &Caller, event: &wire::Event) -> Result<(), Fault> {
    let of_data = || event.data.as_ref().map_or("", |data| full_name(&data.type_url));
    let event_type = if event.r#type.is_empty() { of_data() } else { &event.r#type };
    caller.may(&Act::Publish { source: &event.source, event_type })
}

fn accepted(id: String, place: &Appended) -> Result<Published, Fault> {
    if place.duplicate == Some(Duplicate::OtherContent) {
        let text = format!("an event with id {id:?} and this source is stored at offset {}, with other content", place.offset);
        return Err(Fault::fields(ErrorReason::IdConflict, vec![Violation::new("event.id", text)]));
    }
    Ok(Published { id, offset: place.offset, duplicate: place.duplicate.is_some() })
}
