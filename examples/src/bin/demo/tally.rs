//! What went in, and what came of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::webhooks::Answer;

/// What an agent did.
#[derive(Clone, Debug)]
pub(crate) struct Fact {
    /// Which agent.
    pub(crate) agent: &'static str,
    /// The id of the event.
    pub(crate) event: String,
    /// Which attempt it was.
    pub(crate) attempt: u32,
    /// The broker confirmed that it is settled; otherwise it was only delivered.
    pub(crate) settled: bool,
}

/// Counts of both sides.
pub(crate) struct Tally {
    accepted: usize,
    duplicates: usize,
    refused: usize,
    quarantined: usize,
    agents: BTreeMap<&'static str, Work>,
}

#[derive(Default)]
struct Work {
    delivered: usize,
    redelivered: usize,
    settled: BTreeSet<String>,
}

impl Tally {
    pub(crate) fn new(agents: impl IntoIterator<Item = &'static str>) -> Self {
        let agents = agents.into_iter().map(|agent| (agent, Work::default())).collect();
        Self { accepted: 0, duplicates: 0, refused: 0, quarantined: 0, agents }
    }

    /// Counts the broker's answer to a webhook.
    pub(crate) fn answered(&mut self, answer: Answer) {
        match &*answer.status {
            "accepted" => self.accepted += 1,
            "duplicate" => self.duplicates += 1,
            "quarantined" => self.quarantined += 1,
            _ => self.refused += 1,
        }
    }

    /// Counts what an agent did.
    pub(crate) fn note(&mut self, fact: Fact) {
        let work = self.agents.entry(fact.agent).or_default();
        if fact.settled {
            work.settled.insert(fact.event);
        } else {
            work.delivered += 1;
            work.redelivered += usize::from(fact.attempt > 1);
        }
    }

    /// Whether every agent settled so many events.
    pub(crate) fn is_complete(&self, events: usize) -> bool {
        self.agents.values().all(|work| work.settled.len() == events)
    }

    /// Accepted, and not settled by some agent.
    pub(crate) fn lost(&self) -> usize {
        self.agents.values().map(|work| self.accepted.saturating_sub(work.settled.len())).sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, duplicates, refused, quarantined, .. } = self;
        writeln!(f, "received   {accepted} events, {duplicates} duplicates recognised, {refused} refused, {quarantined} in quarantine")?;
        for (agent, work) in &self.agents {
            let Work { delivered, redelivered, settled } = work;
            writeln!(
                f,
                "{agent:<10} {delivered} delivered ({redelivered} again, after a failure or a lost session), {} settled",
                settled.len()
            )?;
        }
        write!(f, "lost       {}", self.lost())
    }
}
