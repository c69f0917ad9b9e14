//! From a delivery to its handler, and from what came of it to the settlement.
//!
//! Constraints: every delivery ends in exactly one settlement, or is given back by its drop; an event that nothing handles
//! is kept as a dead letter, never acked.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

use prost::Name;
use tokio::time::Instant;
use tracing::{Instrument, Span};
use waypost_proto::v1::Event;
use waypost_proto::{DataError, full_name};

use super::handler::{Handled, Handler};
use super::outcome::HandlerError;
use crate::delivery::Delivery;
use crate::observe::Outcome;
use crate::settle::{AckWithError, SettleError, Settled};
use crate::trace;

/// Handlers by the message that an event carries, with the state that all of them share.
///
/// The state is cloned for each delivery: an `Arc`, or a struct of handles. [`SubscribeBuilder::serve`] runs the router on
/// a subscription, whose filter follows from what is registered:
///
/// - The types are those of the messages that have a handler, unless the agent's own filter names types.
/// - With a [`fallback`](Self::fallback) the filter is left as wide as it is.
///
/// A durable subscription keeps the filter that it was created with: once a handler is added, opening it fails with
/// [`SpecMismatch`](crate::SubscribeError::SpecMismatch) until its filter is updated.
///
/// [`SubscribeBuilder::serve`]: crate::SubscribeBuilder::serve
#[must_use = "a router does nothing until a subscription is served with it"]
pub struct Router<S = ()> {
    state: S,
    /// In the order of the names, so that the filter is the same in each run.
    routes: BTreeMap<String, Box<dyn Route<S>>>,
    fallback: Option<Box<dyn Route<S>>>,
}

impl<S: Clone + Send + Sync + 'static> Router<S> {
    /// A router without handlers. Use `()` where no state is needed.
    pub fn new(state: S) -> Self {
        Self { state, routes: BTreeMap::new(), fallback: None }
    }

    /// Hands events that carry an `M` to this handler. An earlier one for the same message is replaced.
    ///
    /// What says that it carries an `M` and cannot be decoded is rejected, with the decoder's message as the reason.
    pub fn on<M, H>(mut self, handler: H) -> Self
    where
        M: Name + Default + Send + Sync + 'static,
        H: for<'a> Handler<'a, S, M>,
    {
        self.routes.insert(M::full_name(), Box::new(Typed { decode: Event::data_as::<M>, handler }));
        self
    }

    /// Hands all other events to this handler, undecoded. Without one they are rejected, with a reason that names the type.
    pub fn fallback<H>(mut self, handler: H) -> Self
    where
        H: for<'a> Handler<'a, S, ()>,
    {
        self.fallback = Some(Box::new(Typed { decode: |_| Ok(()), handler }));
        self
    }

    /// The types to subscribe to; none stands for every type.
    pub(super) fn types(&self) -> Vec<String> {
        match self.fallback {
            Some(_) => Vec::new(),
            None => self.routes.keys().cloned().collect(),
        }
    }

    /// Whether nothing at all would be handled.
    pub(super) fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.fallback.is_none()
    }

    /// Has the delivery handled, and settles it. Dropped, it gives the delivery back.
    pub(super) async fn dispatch(&self, delivery: Delivery, when_revoked: WhenRevoked) {
        let span = delivery.span();
        self.route(delivery, when_revoked).instrument(span).await;
    }

    async fn route(&self, delivery: Delivery, when_revoked: WhenRevoked) {
        let carried = delivery.event().data.as_ref().map_or("", |data| full_name(&data.type_url));
        match self.routes.get(carried).or(self.fallback.as_ref()) {
            Some(route) => route.run(self.state.clone(), delivery, when_revoked).await,
            None => {
                let event_type = &delivery.event().r#type;
                let reason = format!("the agent has no handler for {carried:?}, which this event of type {event_type:?} carries");
                settle(delivery, Err(HandlerError::reject(reason))).await;
            }
        }
    }
}

impl<S> fmt::Debug for Router<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let types: Vec<_> = self.routes.keys().collect();
        f.debug_struct("Router").field("types", &types).field("fallback", &self.fallback.is_some()).finish_non_exhaustive()
    }
}

/// What becomes of a handler whose delivery is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhenRevoked {
    /// Its future is dropped.
    Cancel,
    /// It goes on, and its ack comes late.
    Finish,
}

/// A handler whose message is forgotten.
trait Route<S>: Send + Sync {
    fn run(&self, state: S, delivery: Delivery, when_revoked: WhenRevoked) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

struct Typed<T, H> {
    decode: fn(&Event) -> Result<T, DataError>,
    handler: H,
}

impl<S, T, H> Route<S> for Typed<T, H>
where
    S: Send + 'static,
    T: Send + Sync + 'static,
    H: for<'a> Handler<'a, S, T>,
{
    fn run(&self, state: S, delivery: Delivery, when_revoked: WhenRevoked) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let Some(delivery) = delivery.hand_out(self.decode) else { return };
            let mut handling = Handling::begin(&delivery);
            let (how, outcome) = tokio::select! {
                // Work that is done counts, also when the lease went at the same moment.
                biased;
                outcome = caught(self.handler.handle(state, &delivery)) => outcome,
                reason = delivery.revoked(), if when_revoked == WhenRevoked::Cancel => {
                    tracing::debug!(event = delivery.event().id, reason = reason.as_str_name(), "the handler is cancelled");
                    return;
                }
            };
            handling.outcome = how;
            drop(handling);
            settle(delivery, outcome).await;
        })
    }
}

/// A running handler; however it ends, it is told.
struct Handling<'a, T> {
    delivery: &'a Delivery<T>,
    began: Instant,
    span: Span,
    outcome: Outcome,
}

impl<'a, T> Handling<'a, T> {
    fn begin(delivery: &'a Delivery<T>) -> Self {
        Self { delivery, began: Instant::now(), span: Span::current(), outcome: Outcome::Cancelled }
    }
}

impl<T> Drop for Handling<'_, T> {
    fn drop(&mut self) {
        let Self { delivery, began, span, outcome } = self;
        trace::ended(span, *outcome);
        delivery.watch().tell(|observer| observer.handled(delivery.observed(), *outcome, began.elapsed()));
    }
}

/// Runs a handler, and makes an error of its panic.
async fn caught(mut handled: Handled<'_>) -> (Outcome, Result<Vec<Event>, HandlerError>) {
    // What a panic may leave in disorder is the handler's own state, which it shares with nobody but by its own locks.
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| handled.as_mut().poll(cx))) {
        Ok(poll) => poll.map(|outcome| (how(&outcome), outcome)),
        Err(panic) => Poll::Ready((Outcome::Panicked, Err(HandlerError::nack(panicked(&*panic))))),
    })
    .await
}

fn how(outcome: &Result<Vec<Event>, HandlerError>) -> Outcome {
    match outcome {
        Ok(_) => Outcome::Done,
        Err(HandlerError::Nack { .. }) => Outcome::Nacked,
        Err(HandlerError::Reject { .. }) => Outcome::Rejected,
    }
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    match text {
        Some(text) => format!("the handler panicked: {text}"),
        None => "the handler panicked".to_owned(),
    }
}

async fn settle<T>(delivery: Delivery<T>, outcome: Result<Vec<Event>, HandlerError>) {
    let event = delivery.event().id.clone();
    let settled = match outcome {
        Ok(outputs) => ack(delivery, outputs).await,
        Err(error) => give_back(delivery, error).await,
    };
    match settled {
        Ok(settled) => tracing::trace!(event, ?settled, "handled"),
        // Ordinary where another session was faster.
        Err(SettleError::Stale(reason)) => tracing::debug!(event, reason, "handled too late"),
        Err(error) => tracing::warn!(event, %error, "the delivery could not be settled"),
    }
}

async fn ack<T>(delivery: Delivery<T>, outputs: Vec<Event>) -> Result<Settled, SettleError> {
    let error = match delivery.ack_with(outputs).await {
        Ok(acked) => return Ok(acked.settled),
        Err(error) => error,
    };
    let reason = error.to_string();
    match error {
        AckWithError::Settle(error) => Err(error),
        AckWithError::OutputRefused { delivery, failure, .. } => {
            let verdict = match failure.is_transient() {
                true => HandlerError::Nack { delay: failure.retry_after, reason },
                // The same again would be refused again, after the same work.
                false => HandlerError::reject(reason),
            };
            give_back(*delivery, verdict).await
        }
    }
}

async fn give_back<T>(delivery: Delivery<T>, error: HandlerError) -> Result<Settled, SettleError> {
    let (event, attempt) = (&delivery.event().id, delivery.attempt());
    tracing::warn!(event, attempt, %error, "an event was not done");
    match error {
        HandlerError::Nack { delay: None, reason } => delivery.nack(reason).await,
        HandlerError::Nack { delay: Some(delay), reason } => delivery.nack_after(delay, reason).await,
        HandlerError::Reject { reason } => delivery.reject(reason).await,
    }
}
