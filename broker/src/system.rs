//! The broker's own events: what it tells the agents and operators who subscribe to `waypost.*`.
//!
//! Constraints:
//! - Every type that there is stands in [`Topic`]; docs/operations.md says what its facts are, and a test compares the two.
//! - Facts name things and count them; they hold no payload, no header and no secret.
//! - One that cannot be stored at once waits, in its order, and a bounded number of them: the broker does not fail for it.

use std::{collections::VecDeque, sync::Arc};

use bytes::BytesMut;
use prost::Message;
use serde_json::Value;
use waypost_proto::{v1::JsonPayload, wire};
use waypost_store::{Micros, NewEvent};

use crate::{
    entropy::Entropy,
    envelope::{self, Identity, InvalidEvent},
    publisher::{Cause, Publisher},
};

/// Who speaks in the broker's own events.
pub const SYSTEM_SOURCE: &str = "waypost.broker";

/// What all their types begin with. Nobody else may publish such, and only who asks for it by this prefix gets it.
pub const SYSTEM_PREFIX: &str = "waypost.";

macro_rules! topics {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// What the broker tells of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Topic {
            $($(#[$doc])* $name,)*
        }

        impl Topic {
            /// Every one of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The event type.
            #[must_use]
            pub fn event_type(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

topics! {
    /// An event was refused for its hops (P10).
    TooManyHops = "waypost.event.too_many_hops";
    /// Publishers have used 50, 75 or 90 % of their share of the store (P11).
    StorageLow = "waypost.storage.low";
    /// A policy took events that a subscription had not settled (P11).
    Gap = "waypost.subscription.gap";
    /// A subscription that nobody uses goes soon (P11).
    Expiring = "waypost.subscription.expiring";
    /// A subscription went, since nobody used it (P11).
    Expired = "waypost.subscription.expired";
    /// An event became a dead letter (P5).
    DeadLetterAdded = "waypost.dead_letter.added";
    /// A verified webhook could not become its type.
    QuarantineAdded = "waypost.quarantine.added";
    /// A source that used to speak has fallen quiet.
    SourceSilent = "waypost.source.silent";
    /// It speaks again.
    SourceResumed = "waypost.source.resumed";
    /// Much of what a source sends cannot be verified.
    SourceRejecting = "waypost.source.rejecting";
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// What of.
    pub topic: Topic,
    /// The subscription or source that it is about; empty for the broker itself.
    pub subject: Arc<str>,
    /// What is known, as a JSON object.
    pub facts: Value,
}

impl Notice {
    /// As an event, in the story of the event that it is about, if it is about one.
    ///
    /// # Errors
    /// When a subject is longer than one can be, which the limits of names rule out.
    pub fn seal(&self, about: Option<&Cause>, now: Micros, entropy: &Entropy) -> Result<NewEvent, InvalidEvent> {
        let json = Message::encode_to_vec(&JsonPayload { json: self.facts.to_string().into() });
        let event = wire::Event {
            source: SYSTEM_SOURCE.to_owned(),
            r#type: self.topic.event_type().to_owned(),
            subject: self.subject.to_string(),
            data: Some(wire::Any { type_url: <JsonPayload as prost::Name>::type_url(), value: json.into() }),
            lineage: about.map(Cause::lineage),
            ..wire::Event::default()
        };
        // Each is told once: nothing sends it again, so its id need not be remembered.
        let identity = Identity { fingerprint: None, window: 0 };
        envelope::seal(event, b"", identity, now, entropy, &mut BytesMut::new())
    }
}

/// Notices that the store did not take yet, oldest first.
#[derive(Debug, Default)]
pub struct Untold(VecDeque<Notice>);

/// How many of them wait; beyond it the oldest is only in the log of the process.
const UNTOLD: usize = 256;

impl Untold {
    /// Notes one: it is told once the store takes it.
    pub fn add(&mut self, topic: Topic, subject: &Arc<str>, facts: Value) {
        if self.0.len() >= UNTOLD
            && let Some(Notice { topic, subject, facts }) = self.0.pop_front()
        {
            let event_type = topic.event_type();
            tracing::warn!(event_type, subject = &*subject, %facts, "the store takes nothing: a system event is told here alone");
        }
        self.0.push_back(Notice { topic, subject: Arc::clone(subject), facts });
    }

    /// Tells all of them, as far as the store takes them.
    ///
    /// Cancel safety: the one that is being told may be told once more.
    pub async fn tell(&mut self, publisher: &Publisher) {
        while let Some(notice) = self.0.front() {
            if !publisher.tell(notice).await {
                return;
            }
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_system_event_is_documented() {
        let page = include_str!("../../docs/operations.md");
        let (_, section) = page.split_once("## What the broker tells").unwrap_or_default();
        let section = section.split("\n## ").next().unwrap_or_default();
        let documented: Vec<_> = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        assert_eq!(documented, Topic::ALL.iter().map(|topic| topic.event_type()).collect::<Vec<_>>());
    }

    #[test]
    fn every_type_is_the_brokers_own() {
        assert!(Topic::ALL.iter().all(|topic| topic.event_type().starts_with(SYSTEM_PREFIX)));
    }
}
