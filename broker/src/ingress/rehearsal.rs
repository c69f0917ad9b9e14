//! What a payload would become: for people who write mappings.
//!
//! Constraints: it goes the way of the edge, so that it cannot say anything else; nothing is verified, stored or sent.

use bytes::Bytes;
use http::{HeaderMap, Request};
use waypost_proto::wire;
use waypost_store::NewEvent;

use super::{
    body,
    decode::{Origin, Selected},
    outcome::Outcome,
    quarantine::Undecodable,
    source::Source,
    understand::{Batch, Meaning, Meaningless, Webhook},
};
use crate::{clock::Clock, entropy::Entropy, envelope};

/// What a request would be.
#[derive(Debug)]
pub enum Rehearsal {
    /// Only a question whether somebody is there.
    Greeting,
    /// Refused, with the reason.
    Refused(String),
    /// What becomes of each of its payloads, usually one.
    Payloads(Vec<Rehearsed>),
}

/// What a payload would become.
#[derive(Debug)]
pub enum Rehearsed {
    /// An event, and where its fields come from; without fields if the payload stays as it was sent.
    Event(Box<wire::Event>, Vec<Origin>),
    /// It does not fit, and would be set aside.
    Aside {
        /// What is wrong, in one word.
        reason: &'static str,
        /// The type that it should become.
        event_type: String,
        /// Where in the payload, as a JSON pointer.
        path: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

impl Source {
    /// Goes through everything that a verified request goes through, short of the store.
    #[must_use]
    pub fn rehearse(&self, headers: HeaderMap, raw: Bytes) -> Rehearsal {
        let kind = match body::kind(&headers, self.taken()) {
            Ok(kind) => kind,
            Err(outcome) => return Rehearsal::Refused(refusal(outcome)),
        };
        let Ok(mut request) = Request::post(&*self.path).body(()) else { return Rehearsal::Refused("its path is none".to_owned()) };
        *request.headers_mut() = headers;
        let (head, ()) = request.into_parts();
        let webhook = Webhook { head: &head, raw, kind, now: Clock::from_wall().now(), arrival: None, replay_of: None };
        match self.understand(&webhook, &Entropy::from_os()) {
            Ok(Meaning::Greeting(_)) => Rehearsal::Greeting,
            Ok(Meaning::Event(made)) => {
                let json = body::json(kind, &webhook.head.headers, &webhook.raw).unwrap_or_default();
                Rehearsal::Payloads(vec![self.rehearsed(&made.event, &json)])
            }
            Ok(Meaning::Batch(Batch { events, aside, .. })) => {
                let events = events.iter().map(|(event, item)| self.rehearsed(event, item));
                Rehearsal::Payloads(events.chain(aside.into_iter().map(|(_, why)| Rehearsed::from(why))).collect())
            }
            Err(Meaningless::Undecodable(why)) => Rehearsal::Payloads(vec![Rehearsed::from(why)]),
            Err(Meaningless::Refused(rejection)) => Rehearsal::Refused(refusal(Outcome::from(rejection))),
        }
    }

    fn rehearsed(&self, event: &NewEvent, json: &Bytes) -> Rehearsed {
        let event = envelope::event(&event.body).decode_event().unwrap_or_default();
        let (json, _) = self.payload(json).unwrap_or_default();
        let text = str::from_utf8(&json).unwrap_or_default();
        let selected = self.selector.select(text).unwrap_or_else(|_| Selected::default());
        let origins = self.typing.origins(&event, text, &selected);
        Rehearsed::Event(Box::new(event), origins)
    }
}

fn refusal(outcome: Outcome) -> String {
    format!("{} ({})", outcome.reason(), outcome.status())
}

impl From<Undecodable> for Rehearsed {
    fn from(why: Undecodable) -> Self {
        let Undecodable { reason, event_type, path, message, .. } = why;
        Self::Aside { reason: Outcome::from(reason).reason(), event_type, path, problem: message }
    }
}
