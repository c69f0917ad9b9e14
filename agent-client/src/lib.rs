//! The Rust client for agents of a Waypost broker.
//!
//! Constraints: no connection lasts, so nothing in here depends on one; what is confirmed is recorded by the broker;
//! what the agent holds is prolonged by the client, and given back when the agent lets go of it.
//!
//! A whole agent:
//!
//! ```no_run
//! use agent_client::proto::logistics::v1::{PackageRerouted, ShippingDelayed, TruckArrived};
//! use agent_client::proto::v1::Event;
//! use agent_client::{Client, Delivery, HandlerError, Router};
//!
//! #[derive(Clone)]
//! struct Planner { detour: &'static str }
//!
//! /// Done and published in one step, and durable: what it returns is published with the ack.
//! async fn reroute(planner: Planner, delivery: &Delivery<ShippingDelayed>) -> Result<Event, HandlerError> {
//!     let package_id = delivery.data().shipment_id.clone();
//!     let rerouted = PackageRerouted { package_id, new_route: vec![planner.detour.to_owned()], ..Default::default() };
//!     Ok(Event::of("agents/route-planner", &rerouted))
//! }
//!
//! async fn unload(_: Planner, delivery: &Delivery<TruckArrived>) -> Result<(), HandlerError> {
//!     let _dock: u32 = delivery.data().dock.parse().map_err(HandlerError::reject)?;
//!     Ok(())
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let router = Router::new(Planner { detour: "Rotterdam" }).on::<ShippingDelayed, _>(reroute).on::<TruckArrived, _>(unload);
//!     // Until SIGTERM or Ctrl-C; then what runs may finish, and the rest is given back.
//!     Client::connect("http://127.0.0.1:8481")?.subscribe("routing").serve(router).run_until_signal().await?;
//!     Ok(())
//! }
//! ```
//!
//! Without a router, the deliveries of a subscription come one by one, to be settled by hand:
//!
//! ```no_run
//! # use agent_client::Client;
//! # use agent_client::proto::logistics::v1::ShippingDelayed;
//! # async fn take(client: Client) -> Result<(), Box<dyn std::error::Error>> {
//! let mut delays = client.subscribe("routing").of::<ShippingDelayed>().open().await?;
//! while let Some(delivery) = delays.try_next().await? {
//!     println!("{} is late", delivery.data().shipment_id);
//!     delivery.ack().await?;
//! }
//! # Ok(()) }
//! ```
//!
//! # What to rely on
//!
//! - [`Client::subscribe`] reconnects for ever, and resumes its session with what it holds. Deliveries are at least once:
//!   handlers must bear repetition.
//! - A [`Delivery`] is settled once, by consuming it; the future resolves when the broker has recorded it, and a settlement
//!   without an answer is sent again. Everything held is prolonged, also what is still queued in the client.
//! - A [`Router`]'s handlers decide by what they return: outputs are an ack, an error is a nack unless it says otherwise
//!   ([`HandlerError`]), and so is a panic. An [`Agent`] takes as much as it may hold, and leaves in order.
//! - [`Client::publish`] and [`Publisher`] resolve when the event is durable, and never store one twice for a retry.
//! - [`Client::read`] replays the log, [`Client::lineage`] tells what led to what.
//! - An error says whether trying again can help; what can be mended by trying again has been tried.

mod agent;
mod backoff;
mod client;
mod clock;
mod delivery;
mod failure;
mod filter;
mod limits;
mod lineage;
mod link;
mod publish;
mod read;
mod rpc;
mod settle;
mod subscription;
mod tls;

pub use agent::{Agent, Handled, Handler, HandlerError, Outputs, Router, RunError};
pub use client::{Client, ClientBuilder, ConnectError};
pub use delivery::Delivery;
pub use failure::{Failure, FieldViolation};
pub use filter::{Filter, Start};
pub use lineage::{Lineage, LineageError, Story};
pub use publish::{PublishError, Published, Publisher, PublisherBuilder, Receipt};
pub use read::{ReadBuilder, ReadError, Reader};
pub use rpc::InvalidToken;
pub use settle::{AckWithError, Acked, SettleError, Settled};
pub use subscription::{SubscribeBuilder, SubscribeError, Subscription, SubscriptionState};
pub use tls::{Tls, TlsError};

/// The contract: events, payloads, and the words of the broker's answers.
pub use waypost_proto as proto;
