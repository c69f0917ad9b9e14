//! A delivery: an event, and the duty to settle it.
//!
//! Constraints: a delivery is settled at most once, because settling consumes it; a settlement resolves only when the
//! broker has recorded it; one that is dropped is given back.

use std::time::{Duration, SystemTime};

use prost::{Message, Name};
use tonic::Code;
use waypost_proto::DataError;
use waypost_proto::v1::settlement::Action;
use waypost_proto::v1::{self, Ack, Event, Nack, PublishItem, Reject, Release, RevokedReason, SettlementStatus};

use crate::failure::Failure;
use crate::limits::MAX_SETTLE_BYTES;
use crate::observe::{Observed, Watch};
use crate::settle::{AckWithError, Acked, Claim, SettleError, Settled, interpret, refused_output};
use crate::trace::{self, TRACEPARENT, TRACESTATE};

/// One attempt to have one event done. Settle it with one of the methods that consume it.
///
/// Until then its lease is prolonged by itself, as long as the subscription's `max_lease_total` allows; a long handler
/// needs to do nothing. It should stop when [`revoked`](Self::revoked) resolves.
///
/// Settling twice does not compile:
///
/// ```compile_fail,E0382
/// # async fn handle(delivery: agent_client::Delivery) -> Result<(), agent_client::SettleError> {
/// delivery.ack().await?;
/// delivery.nack("on second thoughts").await?;
/// # Ok(()) }
/// ```
///
/// # Dropping
///
/// A delivery that is dropped after it was handed out counts as **failed**: it is nacked, and comes again after the
/// subscription's backoff, up to its `max_attempts`. So an early return by `?` or a panic in a handler neither loses the
/// event nor starts a hot loop. What was still queued in the client, and anything dropped while the subscription drains,
/// is **released**: given back at once, uncounted.
#[derive(Debug)]
#[must_use = "a delivery that is dropped without being settled is nacked"]
pub struct Delivery<T = ()> {
    claim: Claim,
    envelope: Envelope,
    event: Event,
    data: T,
}

/// What the broker says about a delivery.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    offset: u64,
    accepted_at: Option<SystemTime>,
    attempt: u32,
    losses: u32,
    redriven: bool,
    /// Empty when the broker does not trace it.
    traceparent: String,
}

impl Delivery {
    pub(crate) fn new(claim: Claim, delivery: v1::Delivery) -> Self {
        let accepted_at = delivery.accepted_at.and_then(|at| SystemTime::try_from(at).ok());
        let envelope = Envelope {
            offset: delivery.offset,
            accepted_at,
            attempt: delivery.attempt,
            losses: delivery.losses,
            redriven: delivery.redriven,
            traceparent: delivery.traceparent,
        };
        Self { claim, envelope, event: delivery.event.unwrap_or_default(), data: () }
    }

    /// Hands the delivery to the agent, with its data decoded. What cannot be decoded is rejected: no further attempt
    /// can help, and as a dead letter it is kept and can be sent again once the agent understands it.
    pub(crate) fn hand_out<T>(mut self, decode: fn(&Event) -> Result<T, DataError>) -> Option<Delivery<T>> {
        match decode(&self.event) {
            Ok(data) => Some(Delivery { claim: self.claim, envelope: self.envelope, event: self.event, data }),
            Err(error) => {
                tracing::warn!(event = self.event.id, offset = self.envelope.offset, %error, "rejecting what is not of the subscribed type");
                self.claim.reject(error.to_string());
                None
            }
        }
    }
}

impl<T> Delivery<T> {
    /// The event.
    #[must_use]
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// The data, of a subscription [`of`](crate::SubscribeBuilder::of) one type.
    #[must_use]
    pub fn data(&self) -> &T {
        &self.data
    }

    /// The data as an `M`, whatever the subscription is of.
    ///
    /// # Errors
    ///
    /// When there is none, when it is another message, or when its bytes are not one.
    pub fn data_as<M: Name + Default>(&self) -> Result<M, DataError> {
        self.event.data_as()
    }

    /// The JSON document, exact to the byte, of an event whose type is not registered with the broker.
    #[must_use]
    pub fn json(&self) -> Option<bytes::Bytes> {
        self.event.data_as::<v1::JsonPayload>().ok().map(|payload| payload.json)
    }

    /// The name of the subscription; empty for an ephemeral one.
    #[must_use]
    pub fn subscription(&self) -> &str {
        self.claim.lease().subscription()
    }

    /// The event's offset.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.envelope.offset
    }

    /// When the broker accepted the event, by its clock.
    #[must_use]
    pub fn accepted_at(&self) -> Option<SystemTime> {
        self.envelope.accepted_at
    }

    /// Which attempt this is, from 1: the failures and losses so far, plus one.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.envelope.attempt
    }

    /// How many sessions were lost while they held this event.
    #[must_use]
    pub fn losses(&self) -> u32 {
        self.envelope.losses
    }

    /// Whether the event was a dead letter that an operator sent again.
    #[must_use]
    pub fn is_redriven(&self) -> bool {
        self.envelope.redriven
    }

    /// What the work on the event continues, as a `traceparent` of W3C Trace Context: the broker's span of this delivery; where the
    /// broker does not trace, the span that the event was made in. `None` when nobody traces it. The event's is as its publisher
    /// wrote it, and need not be one.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        let event = || self.event.attributes.get(TRACEPARENT).map(String::as_str);
        Some(&*self.envelope.traceparent).filter(|own| !own.is_empty()).or_else(event)
    }

    /// The `tracestate` that goes with the [`traceparent`](Self::traceparent).
    #[must_use]
    pub fn tracestate(&self) -> Option<&str> {
        self.event.attributes.get(TRACESTATE).map(String::as_str)
    }

    /// A span for the work on this delivery, at level INFO with the target `agent_client::trace`: `process`, with the fields
    /// `subscription`, `event`, `type`, `source`, `offset` and `attempt`. A [`Router`](crate::Router) runs each handler in one, and
    /// records its `outcome`; whoever takes deliveries by hand does it so:
    ///
    /// ```
    /// # use agent_client::{Delivery, SettleError};
    /// use tracing::Instrument;
    ///
    /// # async fn work(delivery: &Delivery) {}
    /// # async fn take(delivery: Delivery) -> Result<(), SettleError> {
    /// let span = delivery.span();
    /// async { work(&delivery).await; delivery.ack().await }.instrument(span).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// With the feature `otel` it continues the event's trace: see [Traces](crate#traces). Each call makes another span; where no
    /// subscriber is interested in it, it costs next to nothing.
    #[must_use]
    pub fn span(&self) -> tracing::Span {
        trace::span(self)
    }

    /// As an observer sees it.
    pub(crate) fn observed(&self) -> Observed<'_> {
        let Envelope { offset, attempt, .. } = self.envelope;
        Observed { subscription: self.subscription(), event: &self.event, offset, attempt }
    }

    /// The way to the observer.
    pub(crate) fn watch(&self) -> &Watch {
        self.claim.lease().watch()
    }

    /// Names this delivery as the cause of `event`, for publishing it: it gets its lineage from it. To settle the delivery
    /// in the same step, use [`ack_with`](Self::ack_with).
    #[must_use]
    pub fn causes(&self, event: Event) -> PublishItem {
        PublishItem { event: Some(event), cause_token: self.claim.lease().token().clone() }
    }

    /// Resolves when the lease is gone, and says why: another session may be doing the same work. An ack is still accepted
    /// while the event is not settled. While the lease goes on, it stays pending.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: made for `select!` beside the work. A lease that is gone stays gone, and each later call resolves at once.
    pub async fn revoked(&self) -> RevokedReason {
        self.claim.lease().revoked().await
    }

    /// Why the lease is gone, if it is.
    #[must_use]
    pub fn is_revoked(&self) -> Option<RevokedReason> {
        self.claim.lease().revoked_now()
    }

    /// Settles the event as done. Resolves when that is durable.
    ///
    /// # Errors
    ///
    /// See [`SettleError`]; [`Stale`](SettleError::Stale) only after a seek, since a late ack counts.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the ack takes place, and is sent again after a broken connection, whether or not it is awaited, up to the
    /// [settle deadline](crate::SubscribeBuilder::settle_deadline) if there is one; only its answer is lost. A future that was never
    /// polled drops the delivery, which is then nacked.
    pub async fn ack(self) -> Result<Settled, SettleError> {
        self.settle(Action::Ack(Ack::default())).await
    }

    /// Settles the event as done and publishes what it led to, in one step: the outputs are published if and only if this
    /// ack is the one that settles the event. Outputs without an id get one that is the same when the call is repeated.
    ///
    /// # Errors
    ///
    /// [`AckWithError::OutputRefused`] gives the delivery back; otherwise as for [`ack`](Self::ack).
    ///
    /// # Cancel safety
    ///
    /// As for [`ack`](Self::ack). If an output is refused and nobody awaits that, nothing is settled: the lease runs out, as a failed
    /// attempt, and the event comes again.
    pub async fn ack_with(mut self, outputs: impl IntoIterator<Item = Event>) -> Result<Acked, AckWithError> {
        let ack = Ack { outputs: outputs.into_iter().map(traced).collect() };
        let bytes = ack.encoded_len();
        if bytes > MAX_SETTLE_BYTES {
            let message =
                format!("the outputs of an ack are {bytes} bytes, and may be {MAX_SETTLE_BYTES} at most; publish some of them before");
            let failure = Failure::local(Code::InvalidArgument, message);
            return Err(AckWithError::OutputRefused { delivery: Box::new(self.untyped()), output: None, failure });
        }
        let result = self.claim.settle(Action::Ack(ack)).await?;
        if result.status() == SettlementStatus::OutputRefused {
            self.claim.restore();
            let (output, failure) = refused_output(result);
            return Err(AckWithError::OutputRefused { delivery: Box::new(self.untyped()), output, failure });
        }
        let settled = self.settled(&result)?;
        Ok(Acked { settled, output_ids: result.output_ids })
    }

    /// Gives the event back as failed: it comes again after the subscription's backoff, or becomes a dead letter after
    /// its last attempt. The reason is for the history that operators see.
    ///
    /// # Errors
    ///
    /// See [`SettleError`]; [`Stale`](SettleError::Stale) when the lease is gone.
    ///
    /// # Cancel safety
    ///
    /// As for [`ack`](Self::ack).
    pub async fn nack(self, reason: impl Into<String>) -> Result<Settled, SettleError> {
        self.settle(Action::Nack(Nack { delay: None, reason: reason.into() })).await
    }

    /// Gives the event back as failed, to come again after exactly this delay, at most 24 h.
    ///
    /// # Errors
    ///
    /// As for [`nack`](Self::nack).
    ///
    /// # Cancel safety
    ///
    /// As for [`ack`](Self::ack).
    pub async fn nack_after(self, delay: Duration, reason: impl Into<String>) -> Result<Settled, SettleError> {
        let delay =
            prost_types::Duration::try_from(delay).map_err(|_| SettleError::Invalid(format!("a delay of {delay:?}; at most 24 h")))?;
        self.settle(Action::Nack(Nack { delay: Some(delay), reason: reason.into() })).await
    }

    /// Settles the event as a dead letter: no attempt can help. The reason is for the operator, and must not be empty.
    ///
    /// # Errors
    ///
    /// As for [`ack`](Self::ack).
    ///
    /// # Cancel safety
    ///
    /// As for [`ack`](Self::ack).
    pub async fn reject(self, reason: impl Into<String>) -> Result<Settled, SettleError> {
        self.settle(Action::Reject(Reject { reason: reason.into() })).await
    }

    /// Gives the event back unused: it comes again at once, maybe to another session, and no attempt is counted.
    ///
    /// # Errors
    ///
    /// As for [`nack`](Self::nack).
    ///
    /// # Cancel safety
    ///
    /// As for [`ack`](Self::ack).
    pub async fn release(self) -> Result<Settled, SettleError> {
        self.settle(Action::Release(Release {})).await
    }

    async fn settle(mut self, action: Action) -> Result<Settled, SettleError> {
        let result = self.claim.settle(action).await?;
        self.settled(&result)
    }

    fn settled(&mut self, result: &v1::SettleResult) -> Result<Settled, SettleError> {
        let settled = interpret(result);
        if matches!(settled, Err(SettleError::Invalid(_))) {
            // It is leased still, and the caller has it no more: dropping it gives it back.
            self.claim.restore();
        }
        settled
    }

    fn untyped(self) -> Delivery {
        Delivery { claim: self.claim, envelope: self.envelope, event: self.event, data: () }
    }
}

/// An output, in the trace of whoever makes it.
#[cfg(feature = "otel")]
fn traced(mut output: Event) -> Event {
    trace::continue_in(&mut output);
    output
}

/// An output, as it is: the broker continues its trace.
#[cfg(not(feature = "otel"))]
fn traced(output: Event) -> Event {
    output
}
