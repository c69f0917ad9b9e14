//! The task that sends settlements for all subscriptions of a client.
//!
//! Constraints: it owns both lanes; extensions have one of their own, so that they never wait for a disk.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use waypost_proto::v1::SettleResult;
use waypost_proto::v1::settlement::Action;

use super::lane::Lane;
use super::lease::Lease;
use super::outcome::SettleError;
use crate::limits::MAX_SETTLEMENTS;
use crate::rpc::Rpc;

/// What an order is for.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// To settle a delivery; somebody may wait for it.
    Settle(Option<oneshot::Sender<Result<SettleResult, SettleError>>>),
    /// To prolong its lease.
    Extend,
}

/// Something to send. It keeps the token held until it is answered.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) lease: Arc<Lease>,
    pub(crate) action: Action,
    /// Not to be sent any more from then on.
    pub(crate) give_up_at: Option<Instant>,
    pub(crate) purpose: Purpose,
    began: Instant,
}

impl Order {
    pub(crate) fn new(lease: Arc<Lease>, action: Action, give_up_at: Option<Instant>, purpose: Purpose) -> Self {
        Self { lease, action, give_up_at, purpose, began: Instant::now() }
    }

    pub(crate) fn is_settlement(&self) -> bool {
        matches!(self.purpose, Purpose::Settle(_))
    }

    pub(crate) fn answer(self, result: SettleResult) {
        self.lease.settled(&self.action, Ok(result.status()), self.began.elapsed());
        match self.purpose {
            Purpose::Settle(Some(answer)) => {
                let _gone = answer.send(Ok(result));
            }
            Purpose::Settle(None) => {}
            Purpose::Extend => self.lease.extended(Some(&result)),
        }
    }

    pub(crate) fn fail(self, error: SettleError) {
        self.lease.settled(&self.action, Err(&error), self.began.elapsed());
        match self.purpose {
            Purpose::Settle(Some(answer)) => {
                let _gone = answer.send(Err(error));
            }
            Purpose::Settle(None) => tracing::debug!(%error, "a delivery could not be given back; its lease will expire"),
            Purpose::Extend => self.lease.extended(None),
        }
    }
}

/// The way to the task. It ends when the last of these is gone, and with it every lease.
#[derive(Debug, Clone)]
pub(crate) struct Settler {
    orders: mpsc::UnboundedSender<Order>,
}

impl Settler {
    /// Starts the task. Must be called inside a Tokio runtime.
    pub(crate) fn start(client: Rpc) -> Self {
        let (orders, inbox) = mpsc::unbounded_channel();
        tokio::spawn(run(inbox, Lane::new(client.clone()), Lane::new(client)));
        Self { orders }
    }

    /// Sends an order on its way. If the task is gone, whoever waits for the answer learns that.
    ///
    /// Unbounded, because the number of leases bounds it: each settles once, and has one extension underway at most.
    pub(crate) fn send(&self, order: Order) {
        let _gone = self.orders.send(order);
    }
}

async fn run(mut inbox: mpsc::UnboundedReceiver<Order>, mut settle: Lane, mut extend: Lane) {
    let mut orders = Vec::new();
    loop {
        settle.start();
        extend.start();
        tokio::select! {
            biased;
            received = inbox.recv_many(&mut orders, MAX_SETTLEMENTS) => {
                if received == 0 {
                    return;
                }
                for order in orders.drain(..) {
                    if order.is_settlement() { settle.push(order) } else { extend.push(order) }
                }
            }
            () = settle.turn() => {}
            () = extend.turn() => {}
        }
    }
}
