//! Who may be handed what (P2, P3, P5, P8), and what a session that comes back goes on with (P6).

use std::collections::BTreeMap;

use waypost_delivery::{Action, Deliver, SessionId, Time, Token};

use super::{Lease, Model};

impl Model {
    pub(super) fn check_delivery(&mut self, now: Time, deliver: &Deliver) {
        let (token, truth) = (deliver.token, &self.truths[&deliver.token.offset]);
        let offset = token.offset;
        promise!("P2", truth.is_open(), "event {offset} is delivered and was settled");
        promise!("P3", !self.leases.contains_key(&offset), "event {offset} is delivered and {:?} holds it", self.leases[&offset]);
        promise!("P4", self.given.insert(token) && token.seek == self.seek, "{token:?} is not new");
        promise!("P5", now >= truth.not_before, "event {offset} is delivered at {now:?}, and was to wait until {:?}", truth.not_before);
        promise!("P5", deliver.attempt == 1 + truth.attempts + truth.losses, "{deliver:?}, after {truth:?}");
        promise!("P5", deliver.losses == truth.losses && deliver.redriven == truth.redriven, "{deliver:?}, after {truth:?}");
        promise!(
            "P6",
            offset >= self.restart.0 || now >= self.restart.1 || self.known_since.contains(&offset),
            "event {offset} does not wait for its holder of before the restart"
        );
        promise!(
            "P6",
            !self.expired.contains(&offset) && !self.lost.contains(&offset),
            "event {offset} is delivered before its failure is durable"
        );
        promise!("P11", !self.paused, "event {offset} is delivered in a pause");
        let Some(session) = self.sessions.get(&deliver.session) else { panic!("P6: {deliver:?} to nobody") };
        promise!("P6", session.stream.is_some() && session.writable && !session.draining, "{deliver:?} to a session that takes nothing");
        promise!(
            "P4",
            !self.asks.values().any(|(asked, action)| asked.offset == offset
                && asked.seek == self.seek
                && matches!(action, Action::Ack { .. })
                && self.given.contains(asked)),
            "event {offset} is delivered while its ack is decided"
        );
        let lease = Lease { session: deliver.session, token, started: now, deadline: deliver.deadline };
        self.leases.insert(offset, lease);
        if let Some(key) = self.events[&offset].1.filter(|_| self.config.ordered) {
            let same_key = self.leases.keys().filter(|offset| self.events[offset].1 == Some(key));
            promise!("P8", same_key.count() == 1, "two events of key {key} are outstanding");
            let earlier = self
                .truths
                .range(..offset)
                .filter(|(earlier, truth)| self.events[earlier].1 == Some(key) && truth.is_open() && !self.gaps.contains(*earlier));
            promise!("P8", truth.redriven || earlier.count() == 0, "event {offset} overtakes another of its key");
        }
        let mine: Vec<_> =
            self.leases.iter().filter(|(_, lease)| lease.session == deliver.session).map(|(offset, _)| self.events[offset].0).collect();
        let bytes: u64 = mine.iter().map(|bytes| u64::from(*bytes)).sum();
        promise!("P3", mine.len() <= session.limits.max_outstanding as usize, "{:?} holds {} events", deliver.session, mine.len());
        promise!("P3", mine.len() == 1 || bytes <= session.limits.max_outstanding_bytes, "{:?} holds {bytes} bytes", deliver.session);
        promise!("P3", self.leases.len() <= self.config.max_outstanding as usize, "{} events are outstanding", self.leases.len());
    }

    pub(super) fn check_opened(&mut self, now: Time, session: SessionId, adopted: &[(Token, Time)], dropped: &[Token]) {
        for token in dropped {
            let kept = self.leases.get(&token.offset).is_some_and(|lease| lease.token == *token && lease.session == session);
            promise!("P6", !kept, "{session:?} came back for {token:?} and did not get it");
        }
        let before = std::mem::take(&mut self.leases);
        let (mine, others): (BTreeMap<_, _>, _) = before.into_iter().partition(|(_, lease)| lease.session == session);
        self.leases = others;
        for (token, deadline) in adopted {
            let truth = &self.truths[&token.offset];
            promise!("P6", truth.is_open() && token.seek == self.seek, "{token:?} goes on, and is settled");
            let lease = match mine.get(&token.offset).filter(|lease| lease.token == *token) {
                Some(lease) => *lease,
                None => {
                    promise!("P6", now < self.restart.1 && token.offset < self.restart.0, "{token:?} goes on, and its lease was over");
                    Lease { session, token: *token, started: now, deadline: now + self.config.ack_deadline }
                }
            };
            promise!("P6", lease.deadline == *deadline, "{token:?} goes on until {:?}, and {deadline:?} was told", lease.deadline);
            promise!("P3", self.leases.insert(token.offset, lease).is_none(), "{token:?} goes on and is another's");
        }
        let (load, limits) = (self.leases.values().filter(|lease| lease.session == session).count(), self.sessions[&session].limits);
        promise!("P6", self.replaced.is_none(), "{:?} was replaced and goes on", self.replaced);
        promise!("P3", load <= limits.max_outstanding as usize, "{session:?} holds {load} events");
    }
}
