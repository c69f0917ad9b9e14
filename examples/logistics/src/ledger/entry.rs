//! A line of a ledger, as JSON.
//!
//! Constraint: agents in other languages write the same lines, so the names here are fixed.

use std::time::{SystemTime, UNIX_EPOCH};

use agent_client::Delivery;
use serde::{Deserialize, Serialize};

/// One line: who did what, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// The agent, or `simulator`.
    pub(crate) who: String,
    /// Which process of it.
    pub(crate) process: u32,
    /// Microseconds since 1970.
    pub(crate) at: u64,
    #[serde(flatten)]
    pub(crate) fact: Fact,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub(crate) enum Fact {
    /// An agent is about to subscribe.
    Started,
    /// An agent got a delivery.
    Received { event: Seen, attempt: u32 },
    /// An agent did what the event asks for, and is about to publish events of these types with its ack.
    Effect { event: Seen, did: String, publishes: Vec<String> },
    /// The simulator posted a webhook, first at `since`, and got its answer.
    Posted {
        since: u64,
        status: Status,
        event: Seen,
        /// The agent that cannot handle it, whatever it tries.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        poison_for: Option<String>,
    },
    /// The simulator killed a process that had done the event and not acked it.
    Killed { agent: String, victim: u32, event: String },
    /// An event is a dead letter of an agent, after so many attempts.
    SetAside { agent: String, event: String, attempts: u32 },
}

/// What the broker answered to a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    /// It is a new event.
    Accepted,
    /// It is the event that it was before.
    Duplicate,
    /// It is signed, and does not fit its type.
    Quarantined,
    /// It is not signed by whom it says.
    Refused,
}

/// An event, as far as a ledger names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) r#type: String,
    pub(crate) subject: String,
    /// The event that led to it; empty for a webhook's.
    pub(crate) cause: String,
}

impl Seen {
    pub(crate) fn of<T>(delivery: &Delivery<T>) -> Self {
        let event = delivery.event();
        let cause = event.lineage.as_ref().map(|lineage| lineage.causation_id.clone()).unwrap_or_default();
        Self { id: event.id.clone(), r#type: event.r#type.clone(), subject: event.subject.clone(), cause }
    }
}

/// The time, in the unit of ledgers. Processes of one machine compare it.
#[expect(clippy::disallowed_methods, reason = "a ledger tells when, across processes; nothing is decided by it")]
pub(crate) fn micros_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn every_fact_is_a_line_and_comes_back() {
        let event = Seen { id: "1".into(), r#type: "a.v1.B".into(), subject: "s".into(), cause: "0".into() };
        let facts = [
            Fact::Started,
            Fact::Received { event: event.clone(), attempt: 2 },
            Fact::Effect { event: event.clone(), did: "it".into(), publishes: vec!["a.v1.C".into()] },
            Fact::Posted { since: 1, status: Status::Accepted, event: event.clone(), poison_for: None },
            Fact::Posted { since: 1, status: Status::Refused, event, poison_for: Some("inventory".into()) },
            Fact::Killed { agent: "routing".into(), victim: 7, event: "1".into() },
            Fact::SetAside { agent: "inventory".into(), event: "1".into(), attempts: 3 },
        ];
        for fact in facts {
            let entry = Entry { who: "a".into(), process: 9, at: 10, fact };
            let line = serde_json::to_string(&entry).unwrap();
            assert_eq!(serde_json::from_str::<Entry>(&line).unwrap(), entry, "{line}");
        }
    }
}
