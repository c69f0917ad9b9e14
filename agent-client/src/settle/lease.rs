//! One lease, and the claim of a delivery to settle it.
//!
//! Constraints: whoever holds an `Arc<Lease>` keeps the token held; a claim is used at most once, and one that is never
//! used tells the broker so.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};
use waypost_proto::v1::settlement::Action;
use waypost_proto::v1::{Nack, Reject, Release, RevokedReason, SettleResult, SettlementStatus};

use super::held::Held;
use super::outcome::SettleError;
use super::settler::{Order, Purpose, Settler};
use crate::client::Client;
use crate::clock::BrokerClock;
use crate::observe::{SettleAction, Settlement, Watch};

/// What a session shares with its deliveries.
pub(crate) struct Shared {
    held: Mutex<Held>,
    clock: Mutex<BrokerClock>,
    settler: Settler,
    settle_deadline: Option<Duration>,
    subscription: String,
    watch: Watch,
    leaving: AtomicBool,
    /// Something about the leases changed that the session's task may wait for.
    pub(crate) changed: Notify,
}

impl Shared {
    pub(crate) fn new(subscription: String, client: &Client, ack_deadline: Duration, settle_deadline: Option<Duration>) -> Self {
        Self {
            held: Mutex::new(Held::new(ack_deadline)),
            clock: Mutex::default(),
            settler: client.settler(),
            settle_deadline,
            subscription,
            watch: client.watch(),
            leaving: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    pub(crate) fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn clock(&self) -> MutexGuard<'_, BrokerClock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on what is dropped is given back uncounted: the agent stops, the work did not fail.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Asks for an extension of each.
    pub(crate) fn extend(&self, leases: Vec<Arc<Lease>>) {
        for lease in leases {
            self.settler.send(Order::new(lease, Action::Extend(Default::default()), None, Purpose::Extend));
        }
    }

    /// When a lease ends that the broker says lasts until `at`; one ack deadline from now when that cannot be told.
    pub(crate) fn expiry(&self, at: Option<&prost_types::Timestamp>, now: Instant) -> Instant {
        let told = at.and_then(|at| self.clock().local(at, now));
        told.unwrap_or_else(|| now + self.held().ack_deadline())
    }
}

/// The hold on one delivery.
pub(crate) struct Lease {
    token: Bytes,
    session: Arc<Shared>,
    /// A [`RevokedReason`]; 0 while the lease goes on.
    revoked: AtomicI32,
    told: Notify,
}

impl Lease {
    /// A new lease, held from now on.
    pub(crate) fn hold(session: &Arc<Shared>, token: Bytes, expires: Instant, now: Instant) -> Arc<Self> {
        let lease = Arc::new(Self { token: token.clone(), session: Arc::clone(session), revoked: AtomicI32::new(0), told: Notify::new() });
        session.held().insert(token, expires, now, Arc::downgrade(&lease));
        lease
    }

    pub(crate) fn token(&self) -> &Bytes {
        &self.token
    }

    /// The name of the subscription.
    pub(crate) fn subscription(&self) -> &str {
        &self.session.subscription
    }

    /// The way to the observer.
    pub(crate) fn watch(&self) -> &Watch {
        &self.session.watch
    }

    pub(crate) fn revoke(&self, reason: RevokedReason) {
        let before = self.revoked.swap(reason.into(), Ordering::AcqRel);
        self.told.notify_waiters();
        if before == 0 {
            self.watch().tell(|observer| observer.lease_lost(self.subscription(), reason));
        }
    }

    /// Tells the observer what came of a settlement.
    pub(crate) fn settled(&self, action: &Action, answer: Result<SettlementStatus, &SettleError>, took: Duration) {
        let Some(action) = SettleAction::of(action) else { return };
        let settlement = Settlement { subscription: self.subscription(), action, answer };
        self.watch().tell(|observer| observer.settled(settlement, took));
    }

    pub(crate) fn revoked_now(&self) -> Option<RevokedReason> {
        match self.revoked.load(Ordering::Acquire) {
            0 => None,
            reason => RevokedReason::try_from(reason).ok(),
        }
    }

    /// Resolves when the lease is gone. Cancel safe.
    pub(crate) async fn revoked(&self) -> RevokedReason {
        loop {
            let told = self.told.notified();
            if let Some(reason) = self.revoked_now() {
                return reason;
            }
            told.await;
        }
    }

    /// What came of an extension; `None` when nothing is known.
    pub(crate) fn extended(&self, result: Option<&SettleResult>) {
        let now = Instant::now();
        match result.map(|result| (result.status(), result)) {
            Some((SettlementStatus::Done, result)) => {
                let expires = self.session.expiry(result.lease_expires_at.as_ref(), now);
                self.session.held().extended(&self.token, expires, now);
                self.watch().tell(|observer| observer.lease_extended(self.subscription()));
            }
            // A Revoked says so as well, unless it was lost with a stream.
            Some((SettlementStatus::Stale, _)) => self.lost(RevokedReason::Expired),
            Some((SettlementStatus::AlreadySettled, _)) => self.lost(RevokedReason::Settled),
            Some((SettlementStatus::DeadLettered, _)) => self.lost(RevokedReason::DeadLettered),
            Some((SettlementStatus::UnknownToken, _)) => self.lost(RevokedReason::UnknownToken),
            Some(_) | None => self.session.held().not_extended(&self.token, now),
        }
        self.session.changed.notify_one();
    }

    fn lost(&self, reason: RevokedReason) {
        self.session.held().revoke(&self.token);
        if self.revoked_now().is_none() {
            self.revoke(reason);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.session.held().dropped(&self.token);
        if self.session.leaving.load(Ordering::Relaxed) {
            self.session.changed.notify_one();
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("revoked", &self.revoked_now()).finish_non_exhaustive()
    }
}

/// The right to settle a delivery, once.
#[derive(Debug)]
pub(crate) struct Claim {
    lease: Arc<Lease>,
    used: bool,
}

impl Claim {
    pub(crate) fn new(lease: Arc<Lease>) -> Self {
        Self { lease, used: false }
    }

    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Puts the settlement on its way and awaits the answer.
    ///
    /// Cancel safe in this sense: once polled, the settlement takes place whether or not the answer is awaited.
    pub(crate) async fn settle(&mut self, action: Action) -> Result<SettleResult, SettleError> {
        let give_up_at = self.lease.session.settle_deadline.and_then(|deadline| Instant::now().checked_add(deadline));
        let (answer, answered) = oneshot::channel();
        self.send(action, give_up_at, Some(answer));
        let answer = match give_up_at {
            Some(at) => timeout_at(at, answered).await.map_err(|_| SettleError::TimedOut)?,
            None => answered.await,
        };
        answer.map_err(|_| SettleError::Closed)?
    }

    /// Nothing was settled; the claim may be used again.
    pub(crate) fn restore(&mut self) {
        self.used = false;
    }

    /// Rejects the delivery without anybody waiting for it.
    pub(crate) fn reject(&mut self, reason: String) {
        self.send(Action::Reject(Reject { reason }), None, None);
    }

    fn send(&mut self, action: Action, give_up_at: Option<Instant>, answer: Option<oneshot::Sender<Result<SettleResult, SettleError>>>) {
        self.used = true;
        let lease = Arc::clone(&self.lease);
        self.lease.session.settler.send(Order::new(lease, action, give_up_at, Purpose::Settle(answer)));
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // A lease that is gone cannot be given back.
        if self.used || self.lease.revoked_now().is_some() {
            return;
        }
        let action = if self.lease.session.leaving.load(Ordering::Relaxed) {
            // Also what is still queued: it is only dropped with the subscription.
            Action::Release(Release {})
        } else if std::thread::panicking() {
            Action::Nack(Nack { delay: None, reason: "the handler panicked".to_owned() })
        } else {
            Action::Nack(Nack { delay: None, reason: "dropped by the agent without being settled".to_owned() })
        };
        // After a while it would be STALE: the lease, which nobody prolongs any more, ends by itself.
        let give_up_at = Instant::now() + self.lease.session.held().ack_deadline();
        self.send(action, Some(give_up_at), None);
    }
}
