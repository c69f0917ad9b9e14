//! The agent's end of a subscription.
//!
//! Constraints: receiving is cancel safe; dropping it leaves the subscription in order, in the background.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use waypost_proto::DataError;
use waypost_proto::v1::Event;

use super::{SubscribeError, SubscriptionState};
use crate::delivery::Delivery;
use crate::settle::Shared;

pub(super) type Items = Result<Vec<Delivery>, SubscribeError>;

/// Deliveries of one subscription to this process. Also a [`Stream`].
///
/// It reconnects for ever, with the session and the tokens that are held, and ends with an error only when the broker says
/// that trying again is useless.
///
/// Dropping it leaves in the background: what is queued is released, and deliveries in the agent's hands go on being
/// prolonged until they are settled. Before the process ends, [`drain`](Self::drain) waits for that.
pub struct Subscription<T = ()> {
    pub(super) items: mpsc::UnboundedReceiver<Items>,
    pub(super) ready: VecDeque<Delivery>,
    pub(super) decode: fn(&Event) -> Result<T, DataError>,
    pub(super) state: watch::Receiver<SubscriptionState>,
    pub(super) shared: Arc<Shared>,
}

impl<T> Subscription<T> {
    /// The next delivery; `None` after the end, which only an error brings about.
    ///
    /// A delivery that does not carry a `T` never gets here: it is rejected, with the decoder's message as the reason, and
    /// stands as a dead letter until an operator sends it again.
    ///
    /// # Errors
    ///
    /// When the broker ends the subscription for good: see [`SubscribeError`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a delivery that was not returned is the next call's.
    pub async fn try_next(&mut self) -> Result<Option<Delivery<T>>, SubscribeError> {
        poll_fn(|cx| self.poll_item(cx)).await.transpose()
    }

    /// Where the subscription stands, to look at or to wait for.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<SubscriptionState> {
        self.state.clone()
    }

    /// Stops taking deliveries, releases those that are queued, waits until the others are settled and their settlements
    /// answered, and leaves.
    ///
    /// It waits for deliveries that the agent still holds: settle or drop them. While the broker cannot be reached it
    /// waits for it; set a settle deadline, or a timeout around it, where that matters.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: also if it was never polled, leaving goes on in the background, as after a drop.
    pub async fn drain(self) {
        let mut state = self.state.clone();
        drop(self);
        // An error means that the task is gone, and with it all that could be waited for.
        let _closed = state.wait_for(SubscriptionState::is_closed).await;
    }

    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Delivery<T>, SubscribeError>>> {
        loop {
            while let Some(delivery) = self.ready.pop_front() {
                if let Some(delivery) = delivery.hand_out(self.decode) {
                    return Poll::Ready(Some(Ok(delivery)));
                }
            }
            match ready!(self.items.poll_recv(cx)) {
                Some(Ok(deliveries)) => self.ready.extend(deliveries),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl<T> Stream for Subscription<T> {
    type Item = Result<Delivery<T>, SubscribeError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_item(cx)
    }
}

impl<T> Drop for Subscription<T> {
    fn drop(&mut self) {
        self.shared.leave();
    }
}

impl<T> fmt::Debug for Subscription<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("state", &*self.state.borrow()).field("ready", &self.ready.len()).finish_non_exhaustive()
    }
}
