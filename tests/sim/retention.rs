//! What retention may take, and whom it must tell (P11).
//!
//! Constraint: judged by the policies that [`specs`] gives, and by what the witness saw; a crash may keep the broker from telling.

use prost::Message;
use waypost_broker::envelope;
use waypost_proto::{v1::JsonPayload, wire};
use waypost_store::{AppendError, Commit, CommitError, NewEvent};

use crate::{
    coverage::Seen,
    interest::Interest,
    ledger::Ledger,
    specs::{backlog_age, expires_after},
};

/// The most bytes that a call of a publisher of the simulation takes.
const MOST_OF_ONE_CALL: u64 = 16 * 1024;

/// What is known about retention in this life of the broker.
#[derive(Debug, Default)]
pub(crate) struct Let {
    /// Spans that went by a policy: of which subscription, and where they end.
    gone: Vec<(String, u64)>,
    /// Spans of which a system event told.
    told: Vec<(String, u64)>,
    /// Incarnations that ended for their absence, and those of which a system event told.
    expired: Vec<u64>,
    told_expired: Vec<u64>,
}

impl Ledger {
    /// The broker starts: what it did not tell before, it does not know any more.
    pub(crate) fn retention_begins(&mut self) {
        self.let_go = Let::default();
    }

    /// An open event that is there goes from a subscription only by its policy.
    pub(crate) fn gap_by_policy(&mut self, interest: &Interest, from: u64, to: u64) {
        let now = self.now();
        let mut there = self.events.range(from..to).filter(|(offset, stored)| !stored.lost && interest.is_open(**offset, &stored.head));
        let Some(youngest) = there.next_back().map(|(&offset, stored)| (offset, stored.accepted_at)) else { return };
        let age = backlog_age(&interest.name);
        let may_go = age.is_some_and(|age| youngest.1 + age <= now);
        let promise = if age.is_some() { "P11" } else { "P14" };
        self.hold(promise, may_go, || {
            format!("{} is told that {from}..{to} is lost, but event {} is there, and the policy is {age:?}", interest.name, youngest.0)
        });
        self.hit(Seen::GapByPolicy);
        self.let_go.gone.push((interest.name.clone(), to));
    }

    /// A subscription that nobody was told to delete.
    pub(crate) fn expired(&mut self, interest: &Interest) {
        if self.ordered_deletions.contains(&interest.incarnation) {
            return;
        }
        let now = self.now();
        let present = self.present.get(&interest.incarnation).copied().unwrap_or(0);
        let is_due = expires_after(&interest.name).is_some_and(|after| present + after <= now);
        self.hold("P11", is_due, || format!("{} had a session at {present}, and is expired at {now}", interest.name));
        self.hit(Seen::Expired);
        self.let_go.expired.push(interest.incarnation);
    }

    /// Publishers are refused for want of space, and are no longer when there is some.
    pub(crate) fn appended(&mut self, answer: Result<usize, &AppendError>) {
        match answer {
            Err(AppendError::Full { used, cap, reserve }) => {
                self.hold("P11", *used + MOST_OF_ONE_CALL > cap - reserve, || {
                    format!("publishing is refused with {used} bytes in use, of {cap} less {reserve}")
                });
                self.hit(Seen::ReallyFull);
                let now = self.now();
                self.full_since.get_or_insert(now);
            }
            Ok(1..) if self.full_since.take().is_some() => self.hit(Seen::ResumedAfterFull),
            _ => {}
        }
    }

    /// A full store still settles.
    pub(crate) fn reserved(&mut self, commit: &Commit, refused: Option<&CommitError>) {
        let is_settling = commit.claim.is_some();
        let is_full = matches!(refused, Some(CommitError::Append(AppendError::Full { .. })));
        self.hold("P11", !(is_settling && is_full), || format!("the reserve does not serve {:?}: {refused:?}", commit.claim));
        if is_settling && refused.is_none() && self.full_since.is_some() {
            self.hit(Seen::SettledWhileFull);
        }
    }

    /// One of the broker's own events is durable.
    pub(crate) fn system_event(&mut self, event: &NewEvent) {
        let Ok(decoded) = wire::Event::decode(envelope::event(&event.body).0) else { return };
        let json = decoded.data.and_then(|data| JsonPayload::decode(data.value).ok()).unwrap_or_default().json;
        let facts: serde_json::Value = serde_json::from_slice(&json).unwrap_or_default();
        let subject = decoded.subject;
        match decoded.r#type.as_str() {
            "waypost.storage.low" => {
                self.hit(Seen::PressureTold);
                let pinning = facts["pinned_by"].as_str();
                let exists = pinning.is_none_or(|name| self.interests.values().any(|interest| interest.name == name));
                self.hold("P11", exists, || format!("{pinning:?} is said to pin the store"));
            }
            "waypost.subscription.gap" => {
                self.hit(Seen::GapTold);
                let to = facts["to_offset"].as_u64();
                self.hold("P11", to.is_some(), || format!("a gap of {subject} is told without its end: {facts}"));
                self.let_go.told.extend(to.map(|to| (subject, to)));
            }
            "waypost.subscription.expiring" => self.hit(Seen::Expiring),
            "waypost.subscription.expired" => {
                let incarnation = facts["incarnation"].as_str().and_then(|text| u64::from_str_radix(text, 16).ok());
                self.let_go.told_expired.extend(incarnation);
            }
            _ => {}
        }
    }

    /// What went, and was not told of, though there was time and a healthy store.
    pub(crate) fn untold(&self) -> Option<String> {
        let Let { gone, told, expired, told_expired } = &self.let_go;
        let gap = gone.iter().find(|gap| !told.contains(gap)).map(|(name, to)| format!("events of {name} up to {to} went by its policy"));
        gap.or_else(|| expired.iter().find(|one| !told_expired.contains(one)).map(|one| format!("subscription {one:x} expired")))
    }
}
