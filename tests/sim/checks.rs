//! What must hold at certain moments: after a restart, after a trim, between steps, and at the end.
//!
//! Constraint: as everything of the ledger, they only read.

use waypost_broker::dead_letters::DeadLetterKey;
use waypost_store::{Row, StoredEvent};

use crate::{
    coverage::Seen,
    interest::Interest,
    ledger::{Ledger, Stored},
};

/// How long an event may take to an agent that takes everything, with a healthy store, in microseconds.
const PROMPT_WITHIN: u64 = 1_000_000;

impl Ledger {
    /// A life of the broker begins.
    pub(crate) fn begin_life(&mut self) {
        self.draining_since = None;
        self.calm_since = None;
        self.full_since = None;
        self.retention_begins();
    }

    /// P1, P5: what was durable before the restart is there after it. What was on its way may be there too.
    pub(crate) fn reopened(&mut self, log: Vec<StoredEvent>, dead: &[Row], names: &[Row]) {
        let found: std::collections::BTreeMap<u64, StoredEvent> = log.into_iter().map(|event| (event.offset, event)).collect();
        let kept = |(offset, stored): (&u64, &Stored)| {
            let is_there = found.get(offset).is_some_and(|event| event.body == stored.body && event.head == stored.head);
            (!stored.lost && !is_there).then_some(*offset)
        };
        let missing: Vec<_> = self.events.iter().filter_map(kept).take(5).collect();
        self.hold("P1", missing.is_empty(), || format!("events {missing:?} were durable, and are gone after the restart"));
        for (offset, event) in found {
            if !self.events.contains_key(&offset) {
                self.hit(Seen::AppendFoundAfterCrash);
                self.insert(offset, Stored { head: event.head, body: event.body, accepted_at: event.accepted_at, lost: false });
            }
        }
        let unresolved = |name: &str| self.owners.get(name).is_some_and(|owner| owner.in_flight.is_some());
        let mut broken = Vec::new();
        for interest in self.interests.values().filter(|interest| interest.is_named() && !interest.deleted && !unresolved(&interest.name)) {
            if !names.iter().any(|row| row.key == interest.name.as_bytes()) {
                broken.push(("P4", format!("subscription {} is gone after the restart", interest.name)));
            }
            for &offset in &interest.dead {
                let key = DeadLetterKey { incarnation: interest.incarnation, offset }.bytes();
                if !dead.iter().any(|row| row.key == key) {
                    broken.push(("P5", format!("dead letter {offset} of {} has no row after the restart", interest.name)));
                }
            }
        }
        for (promise, what) in broken {
            self.hold(promise, false, || what);
        }
    }

    /// P11: what somebody still needs is not let go.
    pub(crate) fn trimmed(&mut self, first: u64) {
        let gone: Vec<u64> = self.events.range(..first).filter(|(_, stored)| !stored.lost).map(|(&offset, _)| offset).collect();
        if gone.is_empty() {
            return;
        }
        self.hit(Seen::Trimmed);
        let needs = |offset: &u64| {
            let stored = &self.events[offset];
            // What is redriven has its event with its dead letter.
            let open = |interest: &&Interest| interest.is_open(*offset, &stored.head) && !interest.redriven.contains(offset);
            self.interests.values().filter(|interest| interest.is_named() && !interest.deleted).find(open)
        };
        let needed = gone.iter().find_map(|offset| needs(offset).map(|interest| (*offset, interest.name.clone())));
        self.hold("P11", needed.is_none(), || format!("a trim took {needed:?}, which was not settled"));
        for offset in gone {
            if let Some(stored) = self.events.get_mut(&offset) {
                stored.lost = true;
            }
        }
    }

    /// P12: whoever takes at once gets at once, whatever the others do.
    pub(crate) fn check_prompt(&mut self, incarnation: u64, since: u64, hung: usize) {
        let (now, Some(calm)) = (self.now(), self.calm_since) else { return };
        let Some(interest) = self.interests.get(&incarnation).filter(|interest| !interest.paused) else { return };
        let is_late = |stored: &Stored| stored.accepted_at.max(calm).max(since) + PROMPT_WITHIN < now;
        let mut open = self.events.range(interest.from..).filter(|(offset, stored)| {
            let handed = self.handed.contains_key(&(incarnation, **offset));
            !stored.lost && stored.head.ordering_key().is_empty() && !handed && interest.is_open(**offset, &stored.head) && is_late(stored)
        });
        let late = open.next().map(|(&offset, stored)| (offset, now - stored.accepted_at));
        self.hold("P12", late.is_none(), || {
            format!("event {late:?} (with its age in µs) does not come to an agent that takes everything; {hung} others are slow")
        });
        if hung > 0 {
            self.hit(Seen::PromptBesideHung);
        }
    }

    /// How much is closed: grows as long as the end gets on.
    pub(crate) fn closed(&self) -> usize {
        self.interests.values().map(|interest| interest.fates.len() + interest.gaps.len()).sum()
    }

    /// P2: at the end, with willing agents and a healthy store, nothing is left.
    pub(crate) fn is_finished(&self) -> bool {
        self.interests
            .values()
            .filter(|interest| interest.is_named() && !interest.deleted)
            .all(|interest| self.unmet(interest, u64::MAX).is_empty())
    }

    /// P2: what is still open at the end was lost.
    pub(crate) fn finish(&mut self) {
        let live = self.interests.values().filter(|interest| interest.is_named() && !interest.deleted);
        let unmet = live.map(|interest| (interest.name.clone(), self.unmet(interest, u64::MAX))).find(|(_, unmet)| !unmet.is_empty());
        self.hold("P2", unmet.is_none(), || format!("events were accepted, and were never settled: {unmet:?}"));
    }
}
