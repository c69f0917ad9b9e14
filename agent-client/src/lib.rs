//! The Rust client for agents of a Waypost broker.
//!
//! Constraints: no connection lasts, so nothing in here depends on one; what is confirmed is recorded by the broker;
//! what the agent holds is prolonged by the client, and given back when the agent lets go of it.
//!
//! A whole agent:
//!
//! ```no_run
//! use agent_client::Client;
//! use agent_client::proto::logistics::v1::{PackageRerouted, ShippingDelayed};
//! use agent_client::proto::v1::Event;
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let client = Client::connect("http://127.0.0.1:8481")?;
//!     let mut routing = client.subscribe("routing").of::<ShippingDelayed>().open().await?;
//!     loop {
//!         let delivery = tokio::select! {
//!             next = routing.try_next() => match next? { Some(delivery) => delivery, None => break },
//!             _ = tokio::signal::ctrl_c() => break,
//!         };
//!         let shipment_id = delivery.data().shipment_id.clone();
//!         let new_route = vec!["Hamburg".to_owned(), "Rotterdam".to_owned()];
//!         let rerouted = PackageRerouted { package_id: shipment_id, new_route, ..Default::default() };
//!         // Done and published in one step, and durable when it returns.
//!         delivery.ack_with([Event::of("agents/route-planner", &rerouted)]).await?;
//!     }
//!     routing.drain().await;
//!     Ok(())
//! }
//! ```
//!
//! # What to rely on
//!
//! - [`Client::subscribe`] reconnects for ever, and resumes its session with what it holds. Deliveries are at least once:
//!   handlers must bear repetition.
//! - A [`Delivery`] is settled once, by consuming it; the future resolves when the broker has recorded it, and a settlement
//!   without an answer is sent again. Everything held is prolonged, also what is still queued in the client.
//! - [`Client::publish`] and [`Publisher`] resolve when the event is durable, and never store one twice for a retry.
//! - [`Client::read`] replays the log, [`Client::lineage`] tells what led to what.
//! - An error says whether trying again can help; what can be mended by trying again has been tried.

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
mod settle;
mod subscription;

pub use client::{Client, ClientBuilder, ConnectError};
pub use delivery::Delivery;
pub use failure::{Failure, FieldViolation};
pub use filter::{Filter, Start};
pub use lineage::{Lineage, LineageError, Story};
pub use publish::{PublishError, Published, Publisher, PublisherBuilder, Receipt};
pub use read::{ReadBuilder, ReadError, Reader};
pub use settle::{AckWithError, Acked, SettleError, Settled};
pub use subscription::{SubscribeBuilder, SubscribeError, Subscription, SubscriptionState};

/// The contract: events, payloads, and the words of the broker's answers.
pub use waypost_proto as proto;
