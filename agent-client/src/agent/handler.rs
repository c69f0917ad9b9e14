//! What a handler is.
//!
//! Constraint: a handler borrows its delivery; since settling consumes one, only the router can settle it.

use std::pin::Pin;

use waypost_proto::v1::Event;

use super::outcome::{HandlerError, Outputs};
use crate::delivery::Delivery;

/// A running handler: it resolves to what is to be published with the ack, or to why there is none.
pub type Handled<'a> = Pin<Box<dyn Future<Output = Result<Vec<Event>, HandlerError>> + Send + 'a>>;

/// Handles events that carry a `T`, with a state `S`. Every function of this form does:
///
/// ```
/// # use agent_client::{Delivery, HandlerError};
/// # use agent_client::proto::{logistics::v1::{PackageRerouted, ShippingDelayed}, v1::Event};
/// # #[derive(Clone)] struct State;
/// async fn reroute(state: State, delivery: &Delivery<ShippingDelayed>) -> Result<Event, HandlerError> {
///     let package_id = delivery.data().shipment_id.clone();
///     Ok(Event::of("agents/planner", &PackageRerouted { package_id, ..Default::default() }))
/// }
/// # agent_client::Router::new(State).on::<ShippingDelayed, _>(reroute);
/// ```
///
/// - It returns its [`Outputs`]: `()`, an event, or several. They are published with the ack, in one step.
/// - An error is a [`HandlerError`], or anything that turns into one, as every [`std::error::Error`] does.
/// - A panic is a nack, and nothing else: the agent goes on.
///
/// # Cancel safety
///
/// A handler must be cancel safe: it is dropped at an `.await` when its delivery is revoked (unless the agent
/// [finishes those](super::Agent::finish_revoked)), and when the grace of a shutdown is over. The event comes again where
/// it is still wanted. What must not be torn apart belongs into a task of its own.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle `{T}`",
    note = "a handler is an `async fn(state: {S}, delivery: &Delivery<{T}>) -> Result<Outputs, HandlerError>` whose future is `Send`"
)]
pub trait Handler<'a, S, T>: Send + Sync + 'static {
    /// Begins to handle a delivery.
    fn handle(&'a self, state: S, delivery: &'a Delivery<T>) -> Handled<'a>;
}

impl<'a, S, T, F, Fut, O, E> Handler<'a, S, T> for F
where
    S: Send + 'static,
    T: Sync + 'static,
    F: Fn(S, &'a Delivery<T>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, E>> + Send + 'a,
    O: Outputs,
    E: Into<HandlerError>,
{
    fn handle(&'a self, state: S, delivery: &'a Delivery<T>) -> Handled<'a> {
        // Also the call is inside of the future: a panic in it is the handler's.
        Box::pin(async move { self(state, delivery).await.map(Outputs::into_events).map_err(Into::into) })
    }
}
