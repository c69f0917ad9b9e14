//! A verified request understood: a greeting, an event, or several.
//!
//! Constraints: nothing here is asked of the store; what does not fit is told with the part that does not, and takes no other event with it.

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use waypost_proto::wire;
use waypost_store::{NewEvent, limits::MAX_ITEMS_PER_WRITE};
use xxhash_rust::xxh3::xxh3_128;

use super::{
    body::{self, Kind},
    cloudevents,
    decode::{DecodeError, Selected},
    greeting::Greeting,
    quarantine::{Reason, Undecodable},
    replays::REPLAY_OF,
    shapes::{Shape, TYPE_DOUBT},
    source::Source,
    template::Absent,
    verify::{BatchRule, Incoming, Rejection},
};
use crate::{
    entropy::Entropy,
    envelope::{self, InvalidEvent},
    limits,
    trace::Arrival,
};

/// A verified request.
pub(super) struct Webhook<'a> {
    pub(super) head: &'a Parts,
    pub(super) raw: Bytes,
    pub(super) kind: Kind,
    pub(super) now: u64,
    /// The trace that it is in.
    pub(super) arrival: Option<&'a Arrival>,
    /// The delivery that had its body before.
    pub(super) replay_of: Option<String>,
}

/// What a verified request wants.
pub(super) enum Meaning {
    /// To be an event.
    Event(Made),
    /// To be several.
    Batch(Batch),
    /// To see that somebody is there.
    Greeting(Greeting),
}

/// The event of a payload.
pub(super) struct Made {
    pub(super) event: NewEvent,
    /// Whether the payload does not look like its type, as far as that is known.
    pub(super) is_doubtful: bool,
}

/// The events of one webhook.
#[derive(Default)]
pub(super) struct Batch {
    /// Each with the item that it was made from.
    pub(super) events: Vec<(NewEvent, Bytes)>,
    /// Items that could not become one, as they were sent.
    pub(super) aside: Vec<(Bytes, Undecodable)>,
    /// Whether one of the events does not look like its type.
    pub(super) is_doubtful: bool,
}

/// Why a verified request has no meaning.
pub(super) enum Meaningless {
    /// It could not become an event.
    Undecodable(Undecodable),
    /// It asks for something that is not its provider's to ask.
    Refused(Rejection),
}

impl From<Undecodable> for Meaningless {
    fn from(why: Undecodable) -> Self {
        Self::Undecodable(why)
    }
}

impl Source {
    /// Greeting, identity, event type and typed data of a verified request.
    pub(super) fn understand(&self, webhook: &Webhook<'_>, entropy: &Entropy) -> Result<Meaning, Meaningless> {
        let Webhook { head, raw, kind, .. } = webhook;
        let unreadable = |message| self.unreadable(webhook, message);
        let json = body::json(*kind, &head.headers, raw).map_err(unreadable)?;
        // Checked by `body::json`, which makes nothing else.
        let text = str::from_utf8(&json).unwrap_or_default();
        let request = Incoming { method: &head.method, target: &head.uri, headers: &head.headers, body: raw };
        if let Some(greeting) = self.greetings.verified(request, self.verifier(), text).map_err(Meaningless::Refused)? {
            return Ok(Meaning::Greeting(greeting));
        }
        match &self.batch {
            None => self.event_of(webhook, &json, raw, None, entropy).map(Meaning::Event).map_err(Meaningless::from),
            Some(rule) => self.events_of(rule, webhook, &json, entropy).map(Meaning::Batch).map_err(Meaningless::from),
        }
    }

    /// That nothing can be read of a webhook, but what is in its head.
    pub(super) fn unreadable(&self, webhook: &Webhook<'_>, message: String) -> Undecodable {
        let identity = self.identity.id(&webhook.head.headers, &Selected::default(), &webhook.raw).unwrap_or_default();
        Undecodable { identity, ..Undecodable::new(Reason::MalformedBody, message) }
    }

    fn events_of(&self, rule: &BatchRule, webhook: &Webhook<'_>, json: &Bytes, entropy: &Entropy) -> Result<Batch, Undecodable> {
        let Webhook { head, raw, .. } = webhook;
        let text = str::from_utf8(json).unwrap_or_default();
        let items = rule.items(text).map_err(|error| self.unreadable(webhook, error.to_string()))?;
        if items.len() > MAX_ITEMS_PER_WRITE {
            let message = format!("holds {} events; at most {MAX_ITEMS_PER_WRITE} can be stored in one step", items.len());
            return Err(Undecodable::new(Reason::InvalidEvent, message));
        }
        let mut batch = Batch::default();
        // An identity that does not look into the item is that of the whole webhook.
        let whole = if self.identity.looks_inside() { None } else { self.identity.id(&head.headers, &Selected::default(), raw).ok() };
        for (index, item) in items.iter().enumerate() {
            let bytes = json.slice_ref(item.as_bytes());
            let id = whole.as_ref().filter(|id| !id.is_empty()).map(|id| format!("{id}#{index}"));
            match self.event_of(webhook, &bytes, &bytes, id, entropy) {
                Ok(Made { event, is_doubtful }) => {
                    batch.is_doubtful |= is_doubtful;
                    batch.events.push((event, bytes));
                }
                Err(why) => batch.aside.push((bytes, why)),
            }
        }
        if batch.aside.len() > limits::MAX_ITEMS_SET_ASIDE {
            let (count, first) = (batch.aside.len(), batch.aside.swap_remove(0).1);
            let message = format!("{count} of {} events do not fit; of the first: {}", items.len(), first.message);
            batch.aside = vec![(raw.clone(), Undecodable { message, ..first })];
        }
        Ok(batch)
    }

    /// The event of one payload. `id` is its identity where that does not follow from the payload.
    pub(super) fn event_of(
        &self,
        webhook: &Webhook<'_>,
        json: &Bytes,
        raw: &Bytes,
        id: Option<String>,
        entropy: &Entropy,
    ) -> Result<Made, Undecodable> {
        let headers = &webhook.head.headers;
        let (json, payload) = self.payload(json).map_err(|problem| self.unreadable(webhook, problem))?;
        let text = str::from_utf8(&json).unwrap_or_default();
        let shape = self.shapes.as_ref().and_then(|shapes| shapes.of(headers));
        let selector = shape.map_or(&self.selector, Shape::selector);
        let selected = selector.select(text).map_err(|error| self.unreadable(webhook, error.to_string()))?;
        let doubt = shape.and_then(|shape| shape.doubt(&selected));
        let is_doubtful = doubt.is_some();
        let id = match id {
            Some(id) => id,
            None => self.identity.id(headers, &selected, raw).map_err(|absent| Undecodable::lacking(Reason::NoIdentity, &absent))?,
        };
        let provider_type = self.typing.provider_type(headers, &selected);
        let provider_type =
            provider_type.map_err(|absent| Undecodable { identity: id.clone(), ..Undecodable::lacking(Reason::NoEventType, &absent) })?;
        let sealed = match self.typing.event(&provider_type, payload, text, headers, &selected) {
            Ok(mut event) => {
                event.id.clone_from(&id);
                if self.cloudevents {
                    cloudevents::complete(&mut event, text)
                        .map_err(|invalid| Undecodable { identity: id.clone(), ..Undecodable::from(&invalid) })?;
                }
                event.attributes.extend(doubt.map(|doubt| (TYPE_DOUBT.to_owned(), doubt)));
                event.attributes.extend(webhook.replay_of.clone().map(|first| (REPLAY_OF.to_owned(), first)));
                if let Some(arrival) = webhook.arrival {
                    arrival.stamp(&mut event);
                }
                self.seal(event, raw, webhook.now, entropy).map_err(|invalid| Undecodable::from(&invalid))
            }
            Err(error) => Err(Undecodable::from(&error)),
        };
        let made = sealed.map(|event| Made { event, is_doubtful });
        made.map_err(|why| Undecodable { identity: id, event_type: self.typing.event_type(&provider_type), ..why })
    }

    /// What the rules look at, and what of it becomes the event where it has no type.
    pub(super) fn payload(&self, json: &Bytes) -> Result<(Bytes, Bytes), String> {
        if !self.cloudevents {
            return Ok((json.clone(), json.clone()));
        }
        let json = cloudevents::with_plain_data(json)?;
        let data = cloudevents::data_of(&json).unwrap_or_else(|| Bytes::from_static(b"null"));
        Ok((json, data))
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
    pub(super) fn new(reason: Reason, message: String) -> Self {
        Self { reason, event_type: String::new(), path: String::new(), message, identity: String::new() }
    }

    pub(super) fn lacking(reason: Reason, absent: &Absent) -> Self {
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
