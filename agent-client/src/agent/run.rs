//! Running an agent: from the first delivery to the last settlement.
//!
//! Constraints: nothing is taken beyond the bound on handlers; a handler counts until its settlement has an answer; what
//! is dropped while leaving is released, so the subscription is always dropped before its handlers.

use std::fmt;
use std::future::pending;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::router::{Router, WhenRevoked};
use super::signals::Signals;
use crate::limits::{DEFAULT_OUTSTANDING, FAREWELL, GRACE};
use crate::subscription::{SubscribeBuilder, SubscribeError, Subscription, SubscriptionState};

/// A subscription with the handlers of its events, about to run. Made by [`SubscribeBuilder::serve`].
#[must_use = "nothing happens until it is run"]
pub struct Agent<S = ()> {
    subscribe: SubscribeBuilder,
    router: Router<S>,
    max_concurrent: Option<usize>,
    grace: Duration,
    when_revoked: WhenRevoked,
}

/// Why an agent has ended by itself, or did not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Every event would be rejected.
    #[error("the router of subscription {subscription:?} has no handler; register one with `on`, or a `fallback`")]
    NoHandler {
        /// The subscription.
        subscription: String,
    },
    /// The broker will not go on with the subscription. Running handlers had their grace.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    /// The signals of the process cannot be listened to.
    #[error("SIGINT and SIGTERM cannot be listened to: {0}")]
    Signals(#[source] io::Error),
}

impl<S: Clone + Send + Sync + 'static> Agent<S> {
    pub(crate) fn new(subscribe: SubscribeBuilder, router: Router<S>) -> Self {
        Self { subscribe, router, max_concurrent: None, grace: GRACE, when_revoked: WhenRevoked::Cancel }
    }

    /// How many handlers run at a time, at least 1; each counts until its settlement is recorded. Default: as many as the
    /// session holds deliveries, its `max_outstanding`.
    ///
    /// What a session holds beyond this waits in the client. Where other sessions could do it meanwhile, lower
    /// [`max_outstanding`](SubscribeBuilder::max_outstanding) instead.
    pub fn max_concurrent(mut self, handlers: usize) -> Self {
        self.max_concurrent = Some(handlers.max(1));
        self
    }

    /// How long running handlers may go on after the shutdown began. Default: 20 s.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Lets a handler go on when its delivery is revoked, instead of dropping its future: its ack still counts, unless the
    /// event is settled by then. Meanwhile another session may be doing the same.
    pub fn finish_revoked(mut self) -> Self {
        self.when_revoked = WhenRevoked::Finish;
        self
    }

    /// Handles deliveries until `shutdown` resolves. Then it takes no more, releases what no handler has begun, lets
    /// running handlers finish within the [grace](Self::grace), and releases (uncounted) what they did not finish. It
    /// returns at most 5 s after the grace; a settlement without an answer until then goes on in the background.
    ///
    /// Before the broker is there it waits for it, and reconnects for ever.
    ///
    /// # Errors
    ///
    /// When the router has no handler, or the broker ends the subscription for good: see [`RunError`].
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropped, the agent leaves without a grace, in the background: handlers are dropped, and what they held is
    /// released, uncounted. Let `shutdown` resolve instead.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
        let mut running = self.start()?;
        let ended = running.take_until(shutdown).await;
        running.leave(pending()).await;
        Ok(ended?)
    }

    /// As [`run_until`](Self::run_until) the process gets a SIGINT (Ctrl-C) or a SIGTERM. A second one ends the grace.
    ///
    /// From now on these signals do not end the process by themselves, also when it has returned, or was dropped.
    ///
    /// # Errors
    ///
    /// As for [`run_until`](Self::run_until), and when the signals cannot be listened to.
    ///
    /// # Cancel safety
    ///
    /// As for [`run_until`](Self::run_until).
    pub async fn run_until_signal(self) -> Result<(), RunError> {
        let mut signals = Signals::listen().map_err(RunError::Signals)?;
        let mut running = self.start()?;
        let ended = running.take_until(signals.next()).await;
        running.leave(signals.next()).await;
        Ok(ended?)
    }

    fn start(self) -> Result<Running<S>, RunError> {
        if self.router.is_empty() {
            return Err(RunError::NoHandler { subscription: self.subscribe.subscription().to_owned() });
        }
        let subscribe = self.subscribe.carrying(self.router.types());
        let max_concurrent = self.max_concurrent.or_else(|| subscribe.outstanding()).unwrap_or(DEFAULT_OUTSTANDING);
        Ok(Running {
            subscription: subscribe.start(),
            handlers: JoinSet::new(),
            router: Arc::new(self.router),
            max_concurrent,
            grace: self.grace,
            when_revoked: self.when_revoked,
        })
    }
}

impl<S> fmt::Debug for Agent<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("subscribe", &self.subscribe).field("router", &self.router).finish_non_exhaustive()
    }
}

/// An agent at work. The subscription stands first, to be dropped first.
struct Running<S> {
    subscription: Subscription,
    handlers: JoinSet<()>,
    router: Arc<Router<S>>,
    max_concurrent: usize,
    grace: Duration,
    when_revoked: WhenRevoked,
}

impl<S: Clone + Send + Sync + 'static> Running<S> {
    async fn take_until(&mut self, shutdown: impl Future<Output = ()>) -> Result<(), SubscribeError> {
        let mut shutdown = pin!(shutdown);
        loop {
            let has_room = self.handlers.len() < self.max_concurrent;
            tokio::select! {
                biased;
                () = &mut shutdown => return Ok(()),
                Some(_ended) = self.handlers.join_next() => {}
                next = self.subscription.try_next(), if has_room => {
                    let Some(delivery) = next? else { return Ok(()) };
                    let (router, when_revoked) = (Arc::clone(&self.router), self.when_revoked);
                    self.handlers.spawn(async move { router.dispatch(delivery, when_revoked).await });
                }
            }
        }
    }

    /// Ends in order; at once when `hurry` resolves.
    async fn leave(self, hurry: impl Future<Output = ()>) {
        let Self { subscription, mut handlers, grace, .. } = self;
        let mut state = subscription.state();
        drop(subscription);
        tokio::select! {
            biased;
            () = async { while handlers.join_next().await.is_some() {} } => {}
            () = hurry => {}
            () = sleep(grace) => {}
        }
        let unfinished = handlers.len();
        if unfinished > 0 {
            tracing::warn!(unfinished, "the grace is over; what is unfinished is released");
        }
        let farewell = timeout(FAREWELL, async {
            handlers.shutdown().await;
            // An error means that the session's task is gone, and with it all that could be waited for.
            let _closed = state.wait_for(SubscriptionState::is_closed).await;
        });
        if farewell.await.is_err() {
            tracing::warn!("the broker has not confirmed everything; what it did not record comes again");
        }
    }
}
