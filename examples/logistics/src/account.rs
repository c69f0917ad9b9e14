//! The account: what the ledgers say, held against what must come of each event.
//!
//! Constraints: pure; entries of different ledgers come in any order; nothing here asks the broker.

use std::collections::{BTreeMap, BTreeSet};

use crate::flow::{AGENTS, Agent, heard_by};
use crate::ledger::{Entry, Fact, Seen, Status};
use crate::verdict::{Latency, Verdict};

/// Everything that was written down since the account was last closed, and what it came to until then.
#[derive(Debug, Default)]
pub(crate) struct Account {
    closed: Verdict,
    closed_latencies: Vec<u64>,
    received: usize,
    duplicates: usize,
    refused: usize,
    quarantined: usize,
    /// Webhooks that became events: when they were first posted, and what they became.
    webhooks: BTreeMap<String, (u64, Seen)>,
    /// Which agent cannot handle which event.
    poison: BTreeMap<String, String>,
    /// (agent, event): the deliveries, as (time, process).
    deliveries: BTreeMap<(String, String), Vec<(u64, u32)>>,
    /// (agent, event): what was done.
    effects: BTreeMap<(String, String), Vec<Effect>>,
    set_aside: BTreeSet<(String, String)>,
    /// (agent, event), and the process that was killed.
    killed: BTreeMap<(String, String), u32>,
}

#[derive(Debug)]
struct Effect {
    event: Seen,
    publishes: Vec<String>,
}

/// What an agent must do: its share of one event, or of those of one type that an effect led to.
type Duty<'a> = (Agent, &'a str, &'a str);

impl Account {
    /// Takes down a line of a ledger.
    pub(crate) fn note(&mut self, entry: &Entry) {
        let key = |event: &str| (entry.who.clone(), event.to_owned());
        match &entry.fact {
            Fact::Started => {}
            Fact::Posted { since, status, event, poison_for } => {
                match status {
                    Status::Accepted => self.received += 1,
                    Status::Duplicate => self.duplicates += 1,
                    Status::Quarantined => self.quarantined += 1,
                    Status::Refused => self.refused += 1,
                }
                // A duplicate was accepted before, also if that answer never came.
                if matches!(status, Status::Accepted | Status::Duplicate) {
                    self.webhooks.entry(event.id.clone()).or_insert_with(|| (*since, event.clone()));
                    self.poison.extend(poison_for.clone().map(|agent| (event.id.clone(), agent)));
                }
            }
            Fact::Received { event, .. } => self.deliveries.entry(key(&event.id)).or_default().push((entry.at, entry.process)),
            Fact::Effect { event, publishes, .. } => {
                let effect = Effect { event: event.clone(), publishes: publishes.clone() };
                self.effects.entry(key(&event.id)).or_default().push(effect);
            }
            Fact::Killed { agent, victim, event } => {
                self.killed.insert((agent.clone(), event.clone()), *victim);
            }
            Fact::SetAside { agent, event, .. } => {
                self.set_aside.insert((agent.clone(), event.clone()));
            }
        }
    }

    /// The events that are poison and not set aside yet, and their agents.
    pub(crate) fn poison_at_large(&self) -> impl Iterator<Item = (&str, &str)> {
        let poison = self.poison.iter().map(|(event, agent)| (event.as_str(), agent.as_str()));
        poison.filter(|(event, agent)| !self.set_aside.contains(&((*agent).to_owned(), (*event).to_owned())))
    }

    /// Puts away what is settled: only what it came to is kept, so that an account does not grow for ever.
    pub(crate) fn close(&mut self) {
        let closed = self.judge();
        let closed_latencies = [std::mem::take(&mut self.closed_latencies), self.latencies()].concat();
        *self = Self { closed, closed_latencies, ..Self::default() };
    }

    /// What it all comes to, with the latency.
    pub(crate) fn conclude(&self) -> Verdict {
        let latencies = [self.closed_latencies.clone(), self.latencies()].concat();
        Verdict { latency: Latency::of(latencies), ..self.judge() }
    }

    /// What it all comes to.
    pub(crate) fn judge(&self) -> Verdict {
        let mut verdict = self.closed.clone();
        verdict.received += self.received;
        verdict.duplicates += self.duplicates;
        verdict.refused += self.refused;
        verdict.quarantined += self.quarantined;
        verdict.delivered += self.deliveries.values().map(Vec::len).sum::<usize>();
        verdict.redelivered += self.deliveries.values().map(|times| times.len() - 1).sum::<usize>();
        verdict.set_aside += self.set_aside.len();
        verdict.not_set_aside.extend(self.poison_at_large().map(|(event, agent)| format!("{event}, poison for {agent}")));
        verdict.killed += self.killed.len();
        verdict.not_taken_over.extend(self.not_taken_over());
        self.compare(&mut verdict);
        verdict
    }

    /// Duties against deeds.
    fn compare(&self, verdict: &mut Verdict) {
        let (duties, deeds) = (self.duties(), self.deeds());
        for (duty @ (agent, cause, what), due) in &duties {
            let done = deeds.get(duty).map_or(0, BTreeSet::len);
            let progress = verdict.progress.entry(agent).or_default();
            progress.due += due;
            progress.done += done.min(*due);
            let name = if what.is_empty() { cause.to_string() } else { format!("the {what} of {cause}") };
            verdict.lost.extend((done..*due).map(|_| format!("{agent} has not done {name}")));
            verdict.duplicated.extend((*due..done).map(|_| format!("{agent} has done {name} once too often")));
        }
        for ((agent, event), times) in self.effects.iter().filter(|(_, times)| times.len() > 1) {
            verdict.duplicated.extend((1..times.len()).map(|_| format!("{agent} has done {event} again")));
        }
        // An effect that nothing asked for. While a run is going on, its reason may just not be read yet.
        for (agent, cause, what) in deeds.keys().filter(|deed| !duties.contains_key(*deed)) {
            let name = if what.is_empty() { cause.to_string() } else { format!("the {what} of {cause}") };
            verdict.unasked.push(format!("{agent} has done {name}, which nothing led to"));
        }
    }

    /// How many events each agent must do: each webhook's, and each that an effect published.
    fn duties(&self) -> BTreeMap<Duty<'_>, usize> {
        let mut duties = BTreeMap::new();
        for (id, (_, event)) in &self.webhooks {
            for agent in heard_by(&event.r#type).iter().filter(|agent| self.poison.get(id).is_none_or(|victim| victim != *agent)) {
                *duties.entry((*agent, id.as_str(), "")).or_default() += 1;
            }
        }
        for ((_, cause), effects) in &self.effects {
            for what in effects.iter().take(1).flat_map(|effect| &effect.publishes) {
                for agent in heard_by(what) {
                    *duties.entry((*agent, cause.as_str(), what.as_str())).or_default() += 1;
                }
            }
        }
        duties
    }

    /// The events that each agent did, by the duty that they answer.
    fn deeds(&self) -> BTreeMap<Duty<'_>, BTreeSet<&str>> {
        let mut deeds: BTreeMap<Duty<'_>, BTreeSet<&str>> = BTreeMap::new();
        for ((who, id), effects) in &self.effects {
            let Some(agent) = AGENTS.iter().find(|agent| *agent == who) else { continue };
            for Effect { event, .. } in effects.iter().take(1) {
                let duty = if event.cause.is_empty() { (*agent, id.as_str(), "") } else { (*agent, &*event.cause, &*event.r#type) };
                deeds.entry(duty).or_default().insert(id);
            }
        }
        deeds
    }

    /// Events whose process was killed, and that no other process got.
    fn not_taken_over(&self) -> Vec<String> {
        let mut lonely = Vec::new();
        for (key @ (agent, event), killed) in &self.killed {
            if !self.deliveries.get(key).is_some_and(|times| times.iter().any(|(_, process)| process != killed)) {
                lonely.push(format!("no other process of {agent} got {event} after process {killed} was killed"));
            }
        }
        lonely
    }

    /// From the post of each webhook to its first delivery to each agent, in microseconds.
    fn latencies(&self) -> Vec<u64> {
        let first = |((_, event), times): (&(String, String), &Vec<(u64, u32)>)| {
            let (posted, _) = self.webhooks.get(event)?;
            times.iter().map(|(at, _)| at.saturating_sub(*posted)).min()
        };
        self.deliveries.iter().filter_map(first).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::verdict::Progress;

    const DELAYED: &str = "logistics.v1.ShippingDelayed";
    const REROUTED: &str = "logistics.v1.PackageRerouted";
    const ORDERED: &str = "logistics.v1.ReplenishmentOrdered";
    const NOTIFIED: &str = "logistics.v1.CustomerNotified";

    fn seen(id: &str, event_type: &str, cause: &str) -> Seen {
        Seen { id: id.into(), r#type: event_type.into(), subject: "shipments/SHIP-1-07".into(), cause: cause.into() }
    }

    fn entry(who: &str, at: u64, fact: Fact) -> Entry {
        Entry { who: who.into(), process: 1, at, fact }
    }

    fn posted(id: &str, status: Status, poison_for: Option<&str>) -> Entry {
        let fact = Fact::Posted { since: 0, status, event: seen(id, DELAYED, ""), poison_for: poison_for.map(Into::into) };
        entry("simulator", 1_000, fact)
    }

    /// An agent gets an event and does it.
    fn work(who: &str, event: Seen, publishes: &[&str]) -> [Entry; 2] {
        let publishes = publishes.iter().map(|name| (*name).to_owned()).collect();
        let received = Fact::Received { event: event.clone(), attempt: 1 };
        [entry(who, 2_000, received), entry(who, 3_000, Fact::Effect { event, did: "something".into(), publishes })]
    }

    /// One delayed shipment, and all that must come of it.
    fn whole() -> Vec<Entry> {
        let works = [
            work("routing", seen("delay", DELAYED, ""), &[REROUTED]),
            work("inventory", seen("delay", DELAYED, ""), &[ORDERED, ORDERED]),
            work("fulfilment", seen("reroute", REROUTED, "delay"), &[]),
            work("notification", seen("reroute", REROUTED, "delay"), &[NOTIFIED]),
            work("outside", seen("mail", NOTIFIED, "reroute"), &[]),
            work("outside", seen("spare-a", ORDERED, "delay"), &[]),
            work("outside", seen("spare-b", ORDERED, "delay"), &[]),
        ];
        [posted("delay", Status::Accepted, None)].into_iter().chain(works.into_iter().flatten()).collect()
    }

    fn judge(entries: &[Entry]) -> Verdict {
        let mut account = Account::default();
        entries.iter().for_each(|entry| account.note(entry));
        account.conclude()
    }

    fn is_effect_of(entry: &Entry, agent: &str, id: &str) -> bool {
        entry.who == agent && matches!(&entry.fact, Fact::Effect { event, .. } if event.id == id)
    }

    #[test]
    fn a_whole_story_is_as_it_must_be_in_any_order() {
        let mut entries = whole();
        assert_eq!(judge(&entries).complaints(false), Vec::<String>::new());
        entries.reverse();
        let verdict = judge(&entries);
        assert_eq!(verdict.complaints(false), Vec::<String>::new());
        assert_eq!((verdict.received, verdict.delivered, verdict.redelivered), (1, 7, 0));
        assert_eq!(verdict.progress["outside"], Progress { done: 3, due: 3 });
        assert_eq!(verdict.latency.unwrap().p99.as_micros(), 2_000);
    }

    #[test]
    fn an_event_that_an_agent_did_not_do_is_lost() {
        for (agent, id) in [("routing", "delay"), ("inventory", "delay"), ("fulfilment", "reroute"), ("outside", "spare-b")] {
            let entries: Vec<_> = whole().into_iter().filter(|entry| !is_effect_of(entry, agent, id)).collect();
            let verdict = judge(&entries);
            assert!(verdict.lost.iter().any(|lost| lost.starts_with(agent)), "{agent} {id}: {:?}", verdict.lost);
            assert!(!verdict.is_settled() && !verdict.complaints(false).is_empty());
        }
    }

    #[test]
    fn an_effect_twice_in_a_ledger_is_a_duplicate() {
        let mut entries = whole();
        let again = entries.iter().find(|entry| is_effect_of(entry, "notification", "reroute")).unwrap().clone();
        entries.push(again);
        let verdict = judge(&entries);
        assert_eq!(verdict.duplicated, ["notification has done reroute again"]);
        assert_eq!(verdict.lost, Vec::<String>::new());
        assert!(!verdict.complaints(false).is_empty());
    }

    #[test]
    fn an_output_that_was_published_twice_is_a_duplicate() {
        let mut entries = whole();
        entries.extend(work("outside", seen("mail-again", NOTIFIED, "reroute"), &[]));
        assert_eq!(judge(&entries).duplicated, [format!("outside has done the {NOTIFIED} of reroute once too often")]);
    }

    #[test]
    fn a_delivery_again_is_counted_and_does_no_harm() {
        let mut entries = whole();
        entries.push(entry("routing", 9_000, Fact::Received { event: seen("delay", DELAYED, ""), attempt: 2 }));
        let verdict = judge(&entries);
        assert_eq!((verdict.delivered, verdict.redelivered), (8, 1));
        assert_eq!(verdict.complaints(false), Vec::<String>::new());
    }

    #[test]
    fn poison_must_be_set_aside_and_never_done() {
        let poisoned = [posted("delay", Status::Accepted, Some("inventory"))];
        let is_inventory = |entry: &Entry| is_effect_of(entry, "inventory", "delay") || is_effect_of(entry, "outside", "spare-a");
        let rest = whole().into_iter().skip(1).filter(|entry| !is_inventory(entry) && !is_effect_of(entry, "outside", "spare-b"));
        let mut entries: Vec<_> = poisoned.into_iter().chain(rest).collect();
        assert_eq!(judge(&entries).complaints(false), ["delay, poison for inventory"]);
        entries.push(entry("simulator", 9_000, Fact::SetAside { agent: "inventory".into(), event: "delay".into(), attempts: 3 }));
        assert_eq!(judge(&entries).complaints(false), Vec::<String>::new());
        entries.extend(work("inventory", seen("delay", DELAYED, ""), &[]));
        assert!(!judge(&entries).unasked.is_empty());
    }

    #[test]
    fn what_a_killed_process_held_must_be_taken_over_by_another() {
        let mut entries = whole();
        let killed = Fact::Killed { agent: "routing".into(), victim: 1, event: "delay".into() };
        entries.push(entry("simulator", 4_000, killed));
        assert!(!judge(&entries).is_settled(), "only the killed process has had it");
        let taken = Fact::Received { event: seen("delay", DELAYED, ""), attempt: 2 };
        entries.push(Entry { process: 2, ..entry("routing", 5_000, taken) });
        assert!(judge(&entries).is_settled());
    }

    #[test]
    fn a_whole_run_must_have_seen_everything_go_wrong() {
        let complaints = judge(&whole()).complaints(true);
        let missing = ["no webhook came twice", "no forged webhook was refused", "no unfit webhook was quarantined"];
        assert!(missing.iter().all(|one| complaints.iter().any(|complaint| complaint == one)), "{complaints:?}");
        assert!(complaints.contains(&"no agent was killed".to_owned()));
    }

    #[test]
    fn a_closed_account_keeps_what_it_came_to_and_notices_a_repetition() {
        let mut account = Account::default();
        whole().iter().for_each(|entry| account.note(entry));
        let before = account.conclude();
        account.close();
        assert_eq!(format!("{:?}", account.conclude()), format!("{before:?}"));
        work("notification", seen("reroute", REROUTED, "delay"), &[]).iter().for_each(|entry| account.note(entry));
        assert!(!account.judge().complaints(false).is_empty());
    }
}
