//! What to subscribe to, and how.
//!
//! Constraint: a rule that the agent does not set is not sent, so that it is neither fixed nor compared.

use std::fmt;
use std::time::Duration;

use prost::Name;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;
use waypost_proto::DataError;
use waypost_proto::v1::{self, CreateMode, Event, Gap, SessionLimits, SubscriptionSpec};

use super::session::{Plan, Session};
use super::{SubscribeError, Subscription, SubscriptionState};
use crate::agent::{Agent, Router};
use crate::client::Client;
use crate::filter::{Filter, Start};
use crate::limits::{FOREVER, HEARTBEAT, PATIENCE};

/// A subscription about to be opened. The rules matter when it is created; those that are set must agree with an existing
/// one's.
#[must_use = "nothing happens until it is opened"]
pub struct SubscribeBuilder<T = ()> {
    client: Client,
    plan: Plan,
    filter: Option<Filter>,
    /// The types to filter by, unless the agent's own filter names types.
    carried: Vec<String>,
    decode: fn(&Event) -> Result<T, DataError>,
}

impl SubscribeBuilder {
    pub(crate) fn new(client: Client, subscription: String) -> Self {
        let plan = Plan {
            subscription,
            session_id: Uuid::now_v7().to_string(),
            spec: SubscriptionSpec::default(),
            limits: SessionLimits::default(),
            heartbeat: HEARTBEAT,
            create_mode: CreateMode::CreateIfMissing,
            settle_deadline: None,
            on_gap: None,
        };
        Self { client, plan, filter: None, carried: Vec::new(), decode: |_| Ok(()) }
    }

    /// Subscribes to events that carry an `M`, and hands it out decoded.
    pub fn of<M: Name + Default>(self) -> SubscribeBuilder<M> {
        let carried = vec![M::full_name()];
        SubscribeBuilder { client: self.client, plan: self.plan, filter: self.filter, carried, decode: Event::data_as::<M> }
    }

    /// Has the deliveries handled by a router; the filter follows from its handlers.
    pub fn serve<S: Clone + Send + Sync + 'static>(self, router: Router<S>) -> Agent<S> {
        Agent::new(self, router)
    }

    pub(crate) fn carrying(self, carried: Vec<String>) -> Self {
        Self { carried, ..self }
    }

    pub(crate) fn subscription(&self) -> &str {
        &self.plan.subscription
    }

    pub(crate) fn outstanding(&self) -> Option<usize> {
        self.plan.limits.max_outstanding.and_then(|deliveries| usize::try_from(deliveries).ok())
    }
}

impl<T> SubscribeBuilder<T> {
    /// Which events are wanted. With [`of`](SubscribeBuilder::of), a filter without types is narrowed to that type.
    pub fn filter(mut self, filter: impl Into<Filter>) -> Self {
        self.filter = Some(filter.into());
        self
    }

    /// Where a new subscription begins. Default: [`Start::New`].
    pub fn start_at(mut self, start: Start) -> Self {
        self.plan.spec.start_position = Some(start.into());
        self
    }

    /// How long a delivery is leased before it is prolonged or comes again. Default: 30 s.
    pub fn ack_deadline(mut self, deadline: Duration) -> Self {
        self.plan.spec.ack_deadline = Some(wire(deadline));
        self
    }

    /// How long a delivery may be prolonged in all. Default: 1 h.
    pub fn max_lease_total(mut self, total: Duration) -> Self {
        self.plan.spec.max_lease_total = Some(wire(total));
        self
    }

    /// After how many failed attempts an event becomes a dead letter. Default: 16.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.plan.spec.retry_policy.get_or_insert_default().max_attempts = Some(attempts);
        self
    }

    /// How long to wait between attempts: the first wait, which doubles, and the longest. Default: 1 s, 10 min.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        let policy = self.plan.spec.retry_policy.get_or_insert_default();
        policy.min_backoff = Some(wire(first));
        policy.max_backoff = Some(wire(longest));
        self
    }

    /// All the rules at once, in the contract's words; earlier calls are overwritten.
    pub fn spec(mut self, spec: SubscriptionSpec) -> Self {
        self.filter = spec.filter.clone().map(Filter::from);
        self.plan.spec = spec;
        self
    }

    /// How many deliveries this process holds at a time, queued ones included. Default: 32.
    pub fn max_outstanding(mut self, deliveries: u32) -> Self {
        self.plan.limits.max_outstanding = Some(deliveries);
        self
    }

    /// How many bytes of events this process holds at a time. Default: 16 MiB.
    pub fn max_outstanding_bytes(mut self, bytes: u64) -> Self {
        self.plan.limits.max_outstanding_bytes = Some(bytes);
        self
    }

    /// Never creates the subscription: without it, opening fails.
    pub fn must_exist(mut self) -> Self {
        self.plan.create_mode = CreateMode::MustExist;
        self
    }

    /// How often the broker gives a sign of life; silent for three times that, the stream is opened anew. Default: 15 s.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.plan.heartbeat = interval.min(FOREVER / PATIENCE);
        self
    }

    /// How long a settlement is tried when it has no answer. Default: for ever.
    pub fn settle_deadline(mut self, deadline: Duration) -> Self {
        self.plan.settle_deadline = Some(deadline);
        self
    }

    /// Calls this for events that the subscription will not see. They are logged in any case.
    pub fn on_gap(mut self, tell: impl Fn(Gap) + Send + 'static) -> Self {
        self.plan.on_gap = Some(Box::new(tell));
        self
    }

    /// Starts the subscription and returns at once; [`Subscription::state`] tells how it goes.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub fn start(mut self) -> Subscription<T> {
        let filter = match self.filter {
            filter if self.carried.is_empty() => filter,
            Some(filter) if filter.has_types() => Some(filter),
            filter => Some(self.carried.into_iter().fold(filter.unwrap_or_default(), Filter::event_type)),
        };
        self.plan.spec.filter = filter.map(v1::Filter::from);
        let (items, received) = mpsc::unbounded_channel();
        let (told, state) = watch::channel(SubscriptionState::Connecting { failures: 0, last: None });
        let shared = Session::start(&self.client, self.plan, items, told);
        Subscription { items: received, ready: Default::default(), decode: self.decode, state, shared }
    }

    /// Starts the subscription and waits until it is open: every event accepted from then on is delivered. While the
    /// broker cannot be reached it waits for it.
    ///
    /// # Errors
    ///
    /// When the broker refuses for good: see [`SubscribeError`].
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropped, the session is left, as by dropping a [`Subscription`]. A durable subscription that the broker has
    /// created by then stays, and gathers events.
    pub async fn open(self) -> Result<Subscription<T>, SubscribeError> {
        let subscription = self.start();
        let mut state = subscription.state();
        let open = state.wait_for(|state| state.is_connected() || state.is_closed()).await;
        match open.map(|state| state.clone()) {
            Ok(SubscriptionState::Closed(Some(error))) => Err(error),
            _ => Ok(subscription),
        }
    }
}

impl<T> fmt::Debug for SubscribeBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscribeBuilder").field("subscription", &self.plan.subscription).finish_non_exhaustive()
    }
}

/// Beyond what the contract can say, a duration is as good as the longest.
pub(super) fn wire(duration: Duration) -> prost_types::Duration {
    prost_types::Duration::try_from(duration).unwrap_or(prost_types::Duration { seconds: 315_576_000_000, nanos: 0 })
}
