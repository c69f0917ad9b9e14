//! What waits to be sent.
//!
//! Constraints: pure, time is handed in; no batch exceeds what a Settle call may hold; order is kept, except for an item
//! that the broker put off.

use std::collections::VecDeque;
use std::time::Duration;

use prost::Message;
use tokio::time::Instant;
use waypost_proto::v1::Settlement;

use super::settler::Order;
use crate::backoff::Backoff;
use crate::limits::{MAX_SETTLE_BYTES, MAX_SETTLEMENTS};

/// An order with its encoded form.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) order: Order,
    pub(crate) settlement: Settlement,
    bytes: usize,
    backoff: Backoff,
}

impl Queued {
    fn is_too_late(&self, now: Instant) -> bool {
        self.order.give_up_at.is_some_and(|at| at <= now)
    }
}

/// What comes out of the outbox.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// To be sent now.
    pub(crate) ready: Vec<Queued>,
    /// Whose time is over: not to be sent any more.
    pub(crate) late: Vec<Queued>,
}

/// A queue of orders.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Queued>,
    put_off: Vec<(Instant, Queued)>,
}

impl Outbox {
    pub(crate) fn push(&mut self, order: Order) {
        let settlement = Settlement { token: order.lease.token().clone(), action: Some(order.action.clone()) };
        let bytes = settlement.encoded_len() + 8;
        self.queue.push_back(Queued { order, settlement, bytes, backoff: Backoff::without_immediate() });
    }

    /// As many as one call may hold.
    pub(crate) fn take(&mut self, now: Instant) -> Batch {
        for index in (0..self.put_off.len()).rev() {
            if self.put_off[index].0 <= now {
                let (_, queued) = self.put_off.swap_remove(index);
                self.queue.push_front(queued);
            }
        }
        let mut batch = Batch::default();
        let mut bytes = 0;
        while batch.ready.len() < MAX_SETTLEMENTS {
            let Some(next) = self.queue.pop_front() else { break };
            if next.is_too_late(now) {
                batch.late.push(next);
            } else if !batch.ready.is_empty() && bytes + next.bytes > MAX_SETTLE_BYTES {
                self.queue.push_front(next);
                break;
            } else {
                bytes += next.bytes;
                batch.ready.push(next);
            }
        }
        batch
    }

    /// The call failed: all of it again, in its order, before everything else.
    pub(crate) fn put_back(&mut self, batch: Vec<Queued>) {
        for queued in batch.into_iter().rev() {
            self.queue.push_front(queued);
        }
    }

    /// The broker asks for this one again later; the others do not wait for it.
    pub(crate) fn put_off(&mut self, mut queued: Queued, asked: Option<Duration>, now: Instant) {
        let wait = queued.backoff.next(asked);
        self.put_off.push((now + wait, queued));
    }

    /// When there is something to take. `None`: nothing waits.
    pub(crate) fn next_due(&self, now: Instant) -> Option<Instant> {
        match self.queue.is_empty() {
            false => Some(now),
            true => self.put_off.iter().map(|(at, _)| *at).min(),
        }
    }
}
