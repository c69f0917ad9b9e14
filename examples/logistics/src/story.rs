//! One story, from its webhook through the agents to its outcome, as a tree.
//!
//! Constraint: what led to what is as the broker tells it (GetLineage); who did what with it is as the ledgers tell it.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use agent_client::Lineage;
use agent_client::proto::full_name;
use agent_client::proto::v1::StoredEvent;

use crate::ledger::{Entry, Fact};

/// Draws the story.
pub(crate) fn draw(lineage: &Lineage, mut ledgers: Vec<Entry>) -> String {
    ledgers.sort_by_key(|entry| entry.at);
    let events: Vec<_> = lineage.events.iter().filter_map(|event| event.event.as_ref()).collect();
    let mut story = Story { began: events.first().and_then(|event| accepted(event)), events, ledgers, drawing: String::new() };
    story.branch("", "");
    story.drawing
}

struct Story<'a> {
    began: Option<SystemTime>,
    events: Vec<&'a StoredEvent>,
    ledgers: Vec<Entry>,
    drawing: String,
}

impl Story<'_> {
    /// All that this event led to; the empty one led to the first.
    fn branch(&mut self, cause: &str, indent: &str) {
        let led_to =
            |event: &StoredEvent| event.event.as_ref().and_then(|event| event.lineage.as_ref()).is_some_and(|l| l.causation_id == cause);
        let children: Vec<_> = self.events.iter().copied().filter(|event| led_to(event)).collect();
        let last = children.len().saturating_sub(1);
        for (n, stored) in children.into_iter().enumerate() {
            let (fork, below) = match (cause.is_empty(), n == last) {
                (true, _) => ("", ""),
                (false, true) => ("└─ ", "   "),
                (false, false) => ("├─ ", "│  "),
            };
            let Some(event) = &stored.event else { continue };
            let name = full_name(&event.r#type).rsplit('.').next().unwrap_or_default();
            // Writing to a String does not fail.
            let _ = writeln!(self.drawing, "{indent}{fork}{name} of {}, from {}{}", event.subject, event.source, self.after(stored));
            let indent = format!("{indent}{below}");
            let has_children = self.events.iter().any(|other| {
                other.event.as_ref().and_then(|other| other.lineage.as_ref()).is_some_and(|lineage| lineage.causation_id == event.id)
            });
            for deed in self.deeds(&event.id) {
                let _ = writeln!(self.drawing, "{indent}{}  {deed}", if has_children { "│" } else { " " });
            }
            self.branch(&event.id, &indent);
        }
    }

    /// How long after the webhook.
    fn after(&self, event: &StoredEvent) -> String {
        match self.began.zip(accepted(event)).map(|(began, at)| at.duration_since(began).unwrap_or_default()) {
            Some(Duration::ZERO) | None => String::new(),
            Some(after) => format!(", after {:.0} ms", after.as_secs_f64() * 1000.0),
        }
    }

    /// What the agents did with an event.
    fn deeds(&self, id: &str) -> Vec<String> {
        let mut deeds = Vec::new();
        for entry in &self.ledgers {
            match &entry.fact {
                Fact::Effect { event, did, .. } if event.id == id => deeds.push(format!("{}: {did}", entry.who)),
                Fact::Killed { agent, victim, event } if event == id => {
                    deeds.push(format!("{agent}: process {victim} was killed before its ack"));
                }
                Fact::Received { event, attempt } if event.id == id && *attempt > 1 => {
                    deeds.push(format!("{}: process {} got it again, as attempt {attempt}", entry.who, entry.process));
                }
                _ => {}
            }
        }
        deeds
    }
}

fn accepted(event: &StoredEvent) -> Option<SystemTime> {
    event.accepted_at.and_then(|at| SystemTime::try_from(at).ok())
}

#[cfg(test)]
mod tests {
    use agent_client::proto::v1::{self, Event, LineageEvent};

    use super::*;
    use crate::ledger::Seen;

    fn event(id: &str, cause: &str, name: &str) -> LineageEvent {
        let lineage = Some(v1::Lineage { causation_id: cause.into(), ..Default::default() });
        let event = Event {
            id: id.into(),
            r#type: format!("a.v1.{name}"),
            subject: "s".into(),
            source: "here".into(),
            lineage,
            ..Default::default()
        };
        LineageEvent { event: Some(StoredEvent { event: Some(event), ..Default::default() }), ..Default::default() }
    }

    fn effect(who: &str, id: &str, at: u64) -> Entry {
        let event = Seen { id: id.into(), r#type: String::new(), subject: String::new(), cause: String::new() };
        Entry { who: who.into(), process: 7, at, fact: Fact::Effect { event, did: "did it".into(), publishes: Vec::new() } }
    }

    #[test]
    fn a_story_is_drawn_from_its_webhook_to_its_outcomes() {
        let events = vec![event("1", "", "Late"), event("2", "1", "Rerouted"), event("3", "1", "Ordered"), event("4", "2", "Told")];
        let lineage = Lineage { correlation_id: "1".into(), events, truncated: false };
        let ledgers = vec![effect("routing", "1", 1), effect("mail", "2", 2), effect("outside", "4", 3)];
        let expected = "\
Late of s, from here
│  routing: did it
├─ Rerouted of s, from here
│  │  mail: did it
│  └─ Told of s, from here
│        outside: did it
└─ Ordered of s, from here
";
        assert_eq!(draw(&lineage, ledgers), expected);
    }
}
