//! The task of one session.
//!
//! Constraints: it alone reads the stream; it reconnects for ever, and names what is held each time; every lease is
//! prolonged at half of its time; it ends only when nothing is held any more, or the broker ends the subscription.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use waypost_proto::v1::subscribe_response::Response;
use waypost_proto::v1::{CreateMode, Gap, Opened, RevokedReason, SessionLimits, SubscribeRequest, SubscribeResponse, SubscriptionSpec};

use super::builder::wire;
use super::stream::Items;
use super::{SubscribeError, SubscriptionState};
use crate::client::Client;
use crate::delivery::Delivery;
use crate::failure::Failure;
use crate::limits::{MAX_OUTSTANDING, PATIENCE};
use crate::link::{Link, Step};
use crate::observe::{Disconnected, Watch};
use crate::settle::{Claim, Lease, Shared};

/// What to assume until the broker tells.
const ACK_DEADLINE: Duration = Duration::from_secs(30);

/// What the agent asked for.
pub(super) struct Plan {
    pub(super) subscription: String,
    pub(super) session_id: String,
    pub(super) spec: SubscriptionSpec,
    pub(super) limits: SessionLimits,
    pub(super) heartbeat: Duration,
    pub(super) create_mode: CreateMode,
    pub(super) settle_deadline: Option<Duration>,
    pub(super) on_gap: Option<Box<dyn Fn(Gap) + Send>>,
}

/// The stream, as an observer is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    /// There was none yet.
    New,
    /// There is one.
    Open,
    /// There was one.
    Gone,
}

pub(super) struct Session {
    client: Client,
    plan: Plan,
    link: Link<SubscribeResponse>,
    shared: Arc<Shared>,
    items: mpsc::UnboundedSender<Items>,
    state: watch::Sender<SubscriptionState>,
    watch: Watch,
    stream: Stream,
    /// Set when the agent has stopped taking: what arrived since. It is held, and released at the very end: given back
    /// while the stream is open, it would come straight back.
    leaving: Option<Vec<Delivery>>,
}

impl Session {
    /// Starts the task.
    pub(super) fn start(
        client: &Client,
        plan: Plan,
        items: mpsc::UnboundedSender<Items>,
        state: watch::Sender<SubscriptionState>,
    ) -> Arc<Shared> {
        let deadline = plan.spec.ack_deadline.and_then(|deadline| Duration::try_from(deadline).ok()).unwrap_or(ACK_DEADLINE);
        let shared = Arc::new(Shared::new(plan.subscription.clone(), client, deadline, plan.settle_deadline));
        let link = Link::new(plan.heartbeat.saturating_mul(PATIENCE));
        let (watch, stream, leaving) = (client.watch(), Stream::New, None);
        let session = Self { client: client.clone(), plan, link, shared: Arc::clone(&shared), items, state, watch, stream, leaving };
        tokio::spawn(session.run());
        shared
    }

    async fn run(mut self) {
        let ended = self.serve().await;
        if let Err(error) = &ended {
            tracing::warn!(subscription = self.plan.subscription, %error, "the subscription has ended");
            self.disconnected(Disconnected::Refused(error));
            for lease in self.shared.held().revoke_all() {
                revoke(&lease, RevokedReason::SessionLost);
            }
            let _gone = self.items.send(Err(error.clone()));
        }
        self.disconnected(Disconnected::Left);
        // The stream first: what is released while it is open comes straight back.
        drop(self.link);
        drop(self.leaving);
        if ended.is_ok() {
            while self.shared.held().alive() > 0 {
                self.shared.changed.notified().await;
            }
        }
        self.state.send_replace(SubscriptionState::Closed(ended.err()));
    }

    /// Until the agent has left with nothing in its hands, or the broker ends it for good.
    async fn serve(&mut self) -> Result<(), SubscribeError> {
        loop {
            let due = self.shared.held().next_due();
            tokio::select! {
                biased;
                () = self.items.closed(), if self.leaving.is_none() => self.leave(),
                () = self.shared.changed.notified() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.extend(),
                step = self.link.next() => self.step(step)?,
            }
            if let Some(unwanted) = &self.leaving
                && self.shared.held().alive() == unwanted.len()
            {
                return Ok(());
            }
        }
    }

    fn step(&mut self, step: Step<SubscribeResponse>) -> Result<(), SubscribeError> {
        match step {
            Step::Dial => {
                let request = self.request();
                let mut rpc = self.client.control();
                self.link.dial(Box::pin(async move { rpc.subscribe(request).await }));
            }
            Step::Message(message) => self.message(message),
            Step::Ended => {
                self.disconnected(Disconnected::Ended);
                self.connecting(None);
            }
            Step::Broken(failure) => {
                if self.stream != Stream::Open {
                    self.watch.tell(|observer| observer.unreachable(&self.plan.subscription, &failure));
                }
                if let Some(error) = SubscribeError::of(&self.plan.subscription, &failure) {
                    return Err(error);
                }
                self.disconnected(Disconnected::Broken(&failure));
                self.connecting(Some(failure));
            }
        }
        Ok(())
    }

    fn request(&self) -> SubscribeRequest {
        let held = self.shared.held();
        let mut limits = self.plan.limits;
        if self.leaving.is_some() {
            // No room for more than what is held.
            limits.max_outstanding = Some(u32::try_from(held.alive()).unwrap_or(u32::MAX).clamp(1, MAX_OUTSTANDING));
        }
        SubscribeRequest {
            subscription: self.plan.subscription.clone(),
            session_id: self.plan.session_id.clone(),
            held_tokens: held.tokens(),
            spec: Some(self.plan.spec.clone()),
            session_limits: Some(limits),
            heartbeat_interval: Some(wire(self.plan.heartbeat)),
            create_mode: self.plan.create_mode.into(),
            client: self.client.agent().to_owned(),
        }
    }

    fn message(&mut self, message: SubscribeResponse) {
        let now = Instant::now();
        match message.response {
            Some(Response::Opened(opened)) => self.opened(&opened, now),
            Some(Response::Deliveries(batch)) => {
                let deliveries = batch.deliveries.into_iter().map(|delivery| self.receive(delivery, now)).collect();
                match &mut self.leaving {
                    Some(unwanted) => unwanted.extend::<Vec<_>>(deliveries),
                    // Without a receiver they are dropped, and so released.
                    None => drop(self.items.send(Ok(deliveries))),
                }
            }
            Some(Response::Revoked(revoked)) => {
                let lease = self.shared.held().revoke(&revoked.token);
                revoke(&lease, revoked.reason());
            }
            Some(Response::Gap(gap)) => self.gap(gap),
            Some(Response::Draining(_)) => self.tell(SubscriptionState::Draining),
            Some(Response::Heartbeat(heartbeat)) => self.shared.clock().sample(heartbeat.server_time.as_ref(), now),
            // Kinds may be added.
            None => {}
        }
    }

    fn opened(&mut self, opened: &Opened, now: Instant) {
        self.shared.clock().reset(opened.server_time.as_ref(), now);
        let deadline = opened.spec.as_ref().and_then(|spec| spec.ack_deadline).and_then(|deadline| Duration::try_from(deadline).ok());
        if let Some(deadline) = deadline {
            self.shared.held().set_ack_deadline(deadline);
        }
        if let Some(interval) = opened.heartbeat_interval.and_then(|interval| Duration::try_from(interval).ok()) {
            self.link.set_patience(interval.saturating_mul(PATIENCE));
        }
        for adopted in &opened.adopted {
            let expires = self.shared.expiry(adopted.lease_expires_at.as_ref(), now);
            self.shared.held().adopted(&adopted.token, expires, now);
        }
        for dropped in &opened.dropped {
            let lease = self.shared.held().revoke(&dropped.token);
            revoke(&lease, dropped.reason());
        }
        tracing::debug!(subscription = self.plan.subscription, adopted = opened.adopted.len(), dropped = opened.dropped.len(), "open");
        self.tell(SubscriptionState::Connected { paused: opened.paused });
        let again = self.stream != Stream::New;
        self.stream = Stream::Open;
        self.watch.tell(|observer| observer.connected(&self.plan.subscription, again));
    }

    /// Tells that a stream is gone, if there was one.
    fn disconnected(&mut self, why: Disconnected<'_>) {
        if self.stream == Stream::Open {
            self.stream = Stream::Gone;
            self.watch.tell(|observer| observer.disconnected(&self.plan.subscription, why));
        }
    }

    fn receive(&self, mut delivery: waypost_proto::v1::Delivery, now: Instant) -> Delivery {
        let expires = self.shared.expiry(delivery.lease_expires_at.as_ref(), now);
        let lease = Lease::hold(&self.shared, std::mem::take(&mut delivery.token), expires, now);
        let delivery = Delivery::new(Claim::new(lease), delivery);
        self.watch.tell(|observer| observer.received(delivery.observed()));
        delivery
    }

    fn gap(&self, gap: Gap) {
        let reason = gap.reason().as_str_name();
        tracing::warn!(subscription = self.plan.subscription, from = gap.from_offset, to = gap.to_offset, reason, "events are missing");
        if let Some(tell) = &self.plan.on_gap {
            tell(gap);
        }
    }

    fn extend(&self) {
        let due = self.shared.held().due(Instant::now());
        self.shared.extend(due);
    }

    /// The agent takes nothing more. With work still in its hands the stream is opened anew without room for more;
    /// without, this is the end.
    fn leave(&mut self) {
        self.leaving = Some(Vec::new());
        self.disconnected(Disconnected::Left);
        self.state.send_replace(SubscriptionState::Leaving);
        self.link.redial();
    }

    fn connecting(&self, last: Option<Failure>) {
        if let Some(failure) = &last {
            let (subscription, failures) = (&self.plan.subscription, self.link.tries());
            tracing::debug!(subscription, failures, %failure, "connecting again");
        }
        self.tell(SubscriptionState::Connecting { failures: self.link.tries(), last });
    }

    fn tell(&self, state: SubscriptionState) {
        if self.leaving.is_none() {
            self.state.send_replace(state);
        }
    }
}

fn revoke(lease: &std::sync::Weak<Lease>, reason: RevokedReason) {
    // Nobody holds it any more, if it cannot be upgraded.
    if let Some(lease) = lease.upgrade() {
        lease.revoke(reason);
    }
}
