//! From what somebody publishes to a durable event.
//!
//! Constraints:
//! - Everything that can refuse an event is checked before anything is appended, item by item: one bad event refuses itself alone.
//! - Order is kept: what is accepted of one call is stored in its order, and answered in it.
//! - Nothing per event waits: one append, one answer, for as many events as there are.
//! - A named cause makes the lineage (P10), and nobody but the broker speaks for a configured source or for `waypost.` (P7).

use std::{collections::BTreeSet, sync::Arc};

use arc_swap::ArcSwap;
use bytes::BytesMut;
use prost::Message;
use waypost_proto::{
    full_name,
    v1::{ErrorReason, Lineage},
    wire,
};
use waypost_store::{
    Appended, Duplicate, EventStore, Micros, NewEvent, Offset, ReadLimits, Selection, StoredEvent,
    limits::{MAX_BYTES_PER_WRITE, MAX_ITEMS_PER_WRITE},
};

use crate::{
    access::{Act, Caller},
    clock::Clock,
    defect::{self, Defect},
    entropy::Entropy,
    envelope::{self, Identity, seal},
    error::{Fault, Violation},
    limits,
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

/// The event that led to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    id: String,
    correlation_id: String,
    hops: u32,
    trace: Option<Incoming>,
}

impl Cause {
    /// From an event as it is stored.
    ///
    /// # Errors
    /// When its bytes are not an event, which the checksums of the store rule out.
    pub fn of(event: &StoredEvent) -> Result<Self, Fault> {
        let decoded = envelope::event(&event.body).decode_event();
        let decoded = decoded.map_err(|error| Fault::new(ErrorReason::DataCorrupted, format!("event {}: {error}", event.offset)))?;
        let lineage = decoded.lineage.unwrap_or_default();
        let trace = Incoming::of_attributes(&decoded.attributes);
        Ok(Self { id: decoded.id, correlation_id: lineage.correlation_id, hops: lineage.hops, trace })
    }

    /// What it led to comes from this span of its trace.
    #[must_use]
    pub fn within(self, span: u64) -> Self {
        Self { trace: self.trace.map(|trace| trace.with_span(span)), ..self }
    }

    /// The place in the story of what it led to.
    #[must_use]
    pub fn lineage(&self) -> Lineage {
        let hops = self.hops.saturating_add(u32::from(!defect::is_on(Defect::HopsNotCounted)));
        Lineage { correlation_id: self.correlation_id.clone(), causation_id: self.id.clone(), hops }
    }

    /// The id of the event.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
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

/// Events that were checked and wait to be appended, and the faults of those that were not accepted, in their order.
#[derive(Debug, Default)]
pub struct Prepared {
    /// What the events are cut from.
    room: BytesMut,
    events: Vec<NewEvent>,
    bytes: usize,
    /// One for each item; `None` for one that is in `events`.
    faults: Vec<Option<Fault>>,
    /// The trace of the call.
    call: Option<Incoming>,
    /// Of the events whose trace is sampled.
    emissions: Vec<Emission>,
}

impl Prepared {
    /// With room for so many items, which have so many bytes together.
    #[must_use]
    pub fn with_room(items: usize, bytes: usize) -> Self {
        let room = BytesMut::with_capacity(bytes + items * envelope::ADDED_BYTES);
        Self { room, events: Vec::with_capacity(items), faults: Vec::with_capacity(items), ..Self::default() }
    }

    /// Within the trace of a call, if it has one.
    #[must_use]
    pub fn in_trace(self, call: Option<Incoming>) -> Self {
        Self { call, ..self }
    }

    /// How many items there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.faults.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// Whether one append takes so many more items and bytes as well.
    #[must_use]
    pub fn has_room(&self, items: usize, bytes: usize) -> bool {
        self.len() + items <= MAX_ITEMS_PER_WRITE && self.bytes + bytes <= MAX_BYTES_PER_WRITE
    }

    fn push(&mut self, sealed: Result<NewEvent, Fault>) {
        self.faults.push(match sealed {
            Ok(event) => {
                self.bytes += event.head.encoded().len() + event.body.len();
                self.events.push(event);
                None
            }
            Err(fault) => Some(fault),
        });
    }
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
            let given = event.lineage.take().unwrap_or_default();
            for (field, given, expected) in [
                ("event.lineage.correlation_id", &given.correlation_id, &cause.correlation_id),
                ("event.lineage.causation_id", &given.causation_id, &cause.id),
            ] {
                if !given.is_empty() && given != expected {
                    return Err(Fault::invalid(field, format!("is {given:?}, but the named cause makes it {expected:?}; leave it empty")));
                }
            }
            event.lineage = Some(cause.lineage());
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

/// Splits events into writes that the store takes. Almost always there is one.
fn batches(events: Vec<NewEvent>, bytes: usize) -> Vec<Vec<NewEvent>> {
    if events.len() <= MAX_ITEMS_PER_WRITE && bytes <= MAX_BYTES_PER_WRITE {
        return vec![events];
    }
    let (mut all, mut batch, mut room) = (Vec::new(), Vec::new(), MAX_BYTES_PER_WRITE);
    for event in events {
        let size = event.head.encoded().len() + event.body.len();
        if size > room || batch.len() == MAX_ITEMS_PER_WRITE {
            all.push(std::mem::take(&mut batch));
            room = MAX_BYTES_PER_WRITE;
        }
        room = room.saturating_sub(size);
        batch.push(event);
    }
    all.push(batch);
    all
}

/// The id of an output that came without one: the same for the same completion, made however often (P9).
#[must_use]
pub fn output_id(incarnation: u64, input: Offset, position: usize) -> String {
    let mut name = [0; 24];
    name[..8].copy_from_slice(&incarnation.to_be_bytes());
    name[8..16].copy_from_slice(&input.to_be_bytes());
    name[16..].copy_from_slice(&(position as u64).to_be_bytes());
    uuid::Builder::from_custom_bytes(xxhash_rust::xxh3::xxh3_128(&name).to_be_bytes()).into_uuid().to_string()
}

/// The most bytes of the outputs of one ack, as they would be stored.
///
/// # Errors
/// When there are more than one commit can hold.
pub fn check_output_bytes(outputs: &[NewEvent]) -> Result<u64, Fault> {
    let bytes: usize = outputs.iter().map(|event| event.head.encoded().len() + event.body.len()).sum();
    if bytes > limits::MAX_OUTPUT_BYTES_PER_ACK {
        let max = limits::MAX_OUTPUT_BYTES_PER_ACK;
        let text = format!("the outputs have {bytes} bytes together, at most {max} fit into one step; publish large ones before");
        return Err(Fault::fields(ErrorReason::EventTooLarge, vec![Violation::new("outputs", text)]));
    }
    Ok(bytes as u64)
}
