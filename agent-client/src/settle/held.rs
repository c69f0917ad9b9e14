//! Which tokens a session holds, and when their leases must be prolonged.
//!
//! Constraints: pure, time is handed in; no [`Lease`] is ever dropped in here, since its drop comes back for this map.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Lease;

/// Leases that fall due within this part of the ack deadline of each other are prolonged in one call.
const TOGETHER: u32 = 8;
/// The shortest wait after a failed extension.
const RETRY: Duration = Duration::from_millis(100);
/// What the broker's rounding of times may make of an unchanged expiry.
const SAME: Duration = Duration::from_millis(1);

#[derive(Debug)]
struct Entry {
    lease: Weak<Lease>,
    expires: Instant,
    /// `None`: an extension is underway, or no further one can help.
    extend_at: Option<Instant>,
}

/// The leases of one session.
#[derive(Debug)]
pub(crate) struct Held {
    entries: HashMap<Bytes, Entry>,
    ack_deadline: Duration,
    /// No entry is due before it. It may be too early, never too late.
    next_due: Option<Instant>,
    /// Leases that live, revoked ones included.
    alive: usize,
}

impl Held {
    pub(crate) fn new(ack_deadline: Duration) -> Self {
        Self { entries: HashMap::new(), ack_deadline, next_due: None, alive: 0 }
    }

    /// The ack deadline in force.
    pub(crate) fn set_ack_deadline(&mut self, ack_deadline: Duration) {
        self.ack_deadline = ack_deadline;
    }

    pub(crate) fn ack_deadline(&self) -> Duration {
        self.ack_deadline
    }

    pub(crate) fn insert(&mut self, token: Bytes, expires: Instant, now: Instant, lease: Weak<Lease>) {
        let extend_at = Some(half_way(now, expires));
        self.entries.insert(token, Entry { lease, expires, extend_at });
        self.alive += 1;
        self.due_by(extend_at);
    }

    /// The lease has gone out of scope: its delivery is settled, or given up.
    pub(crate) fn dropped(&mut self, token: &Bytes) {
        self.entries.remove(token);
        self.alive = self.alive.saturating_sub(1);
    }

    /// Leases that live: deliveries in the agent's hands, queued ones, and those whose settlement has no answer yet.
    pub(crate) fn alive(&self) -> usize {
        self.alive
    }

    /// The broker took the lease away. It is prolonged no more, and not named when the stream is opened again.
    pub(crate) fn revoke(&mut self, token: &Bytes) -> Weak<Lease> {
        self.entries.remove(token).map(|entry| entry.lease).unwrap_or_default()
    }

    pub(crate) fn revoke_all(&mut self) -> Vec<Weak<Lease>> {
        self.entries.drain().map(|(_, entry)| entry.lease).collect()
    }

    pub(crate) fn tokens(&self) -> Vec<Bytes> {
        self.entries.keys().cloned().collect()
    }

    /// The broker keeps the lease until `expires`, as it said on opening the stream.
    pub(crate) fn adopted(&mut self, token: &Bytes, expires: Instant, now: Instant) {
        if let Some(entry) = self.entries.get_mut(token) {
            entry.expires = expires;
            entry.extend_at = Some(half_way(now, expires));
            let due = entry.extend_at;
            self.due_by(due);
        }
    }

    /// An extension was answered. An expiry that does not move has reached the subscription's total, and is let be.
    pub(crate) fn extended(&mut self, token: &Bytes, expires: Instant, now: Instant) {
        let moved = self.entries.get(token).is_some_and(|entry| expires > entry.expires + SAME);
        if moved {
            self.adopted(token, expires, now);
        }
    }

    /// An extension had no answer. Again at half of the time that is left, while there is any.
    pub(crate) fn not_extended(&mut self, token: &Bytes, now: Instant) {
        if let Some(entry) = self.entries.get_mut(token) {
            let again = half_way(now, entry.expires).max(now + RETRY);
            entry.extend_at = (again < entry.expires).then_some(again);
            let due = entry.extend_at;
            self.due_by(due);
        }
    }

    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.next_due
    }

    /// The leases to prolong now. Each comes once, until its extension is answered.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Arc<Lease>> {
        if self.next_due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        let horizon = now + self.ack_deadline / TOGETHER;
        let mut due = Vec::new();
        for entry in self.entries.values_mut() {
            if entry.extend_at.is_some_and(|at| at <= horizon) {
                entry.extend_at = None;
                due.extend(entry.lease.upgrade());
            }
        }
        self.next_due = self.entries.values().filter_map(|entry| entry.extend_at).min();
        due
    }

    fn due_by(&mut self, at: Option<Instant>) {
        self.next_due = [self.next_due, at].into_iter().flatten().min();
    }
}

fn half_way(now: Instant, expires: Instant) -> Instant {
    now + expires.saturating_duration_since(now) / 2
}
