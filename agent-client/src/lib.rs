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
//! - A future that is dropped does what its "Cancel safety" says, and no more.
//!
//! Everything in here runs on Tokio, with time enabled (and I/O, unless the [channel](Client::over) is the caller's).
//!
//! # Testing your agent
//!
//! `waypost_broker::testing`, with the feature `testing` of `waypost-broker` as a dev-dependency, is the whole broker inside of a test: the
//! real dispatcher on a store in memory, reached through a pipe. There are no sockets, so the time can be paused: backoffs of minutes and
//! leases of an hour are over in milliseconds, and nothing is ever a matter of luck.
//!
//! ```
//! use std::time::Duration;
//!
//! use agent_client::proto::tasks::v1::TaskFailed;
//! use agent_client::proto::v1::Event;
//! use agent_client::{Client, Delivery, HandlerError, Router, Start};
//! use tokio::time::Instant;
//! use waypost_broker::testing::TestBroker;
//!
//! async fn call_back(_: (), delivery: &Delivery<TaskFailed>) -> Result<(), HandlerError> {
//!     match (delivery.data().task_id.as_str(), delivery.attempt()) {
//!         ("", _) => Err(HandlerError::reject("which task?")),
//!         (_, 1) => Err(HandlerError::nack("nobody picks up")),
//!         _ => Ok(()),
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // #[tokio::test(start_paused = true)]
//! let broker = TestBroker::start().await?;
//! let client = Client::over(broker.channel())?;
//! let failed = TaskFailed { task_id: "T-1".into(), agent_id: "planner".into(), reason: "no way through".into() };
//! client.publish(Event::of("tasks", &failed)).await?;
//!
//! let ten_minutes = Duration::from_secs(600);
//! let subscribe = client.subscribe("support").start_at(Start::Earliest).backoff(ten_minutes, ten_minutes);
//! let agent = subscribe.serve(Router::new(()).on::<TaskFailed, _>(call_back));
//! let began = Instant::now();
//! agent.run_until(async { broker.settled("support").await.expect("a broker") }).await?;
//! // The backoff of ten minutes, less its jitter, has passed; the test took milliseconds.
//! assert!(began.elapsed() >= ten_minutes * 4 / 5);
//! assert!(broker.dead_letters("support").await?.is_empty());
//! # Ok(()) }
//! ```
//!
//! It takes an operator's configuration, posts signed webhooks, can be cut off, crashed and restarted, and shows dead letters. The agents
//! of `examples/logistics` are tested so.
//!
//! # Traces
//!
//! Each handler runs in a [`tracing`] span of its own, [`Delivery::span`]: its log lines say which event they are about.
//!
//! With the feature `otel`, and a layer of `tracing-opentelemetry` in the agent's subscriber, that span continues the trace of its
//! delivery ([`Delivery::traceparent`]): the broker's span of it, or the one that the event names in its attributes. So a webhook, the
//! handler of its event and what came of that are one trace. What is published in such a span, by itself or with an ack, names it in
//! turn, unless the event names another. Without the feature nothing is added to events: the broker, if it traces, continues the trace of
//! an ack's outputs and of what names its cause.
//!
//! # Metrics
//!
//! An [`Observer`] is told what happens, to count and time it; no library of metrics is forced on anybody.

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
mod observe;
mod publish;
mod read;
mod rpc;
mod settle;
mod subscription;
mod tls;
mod trace;

pub use agent::{Agent, Handled, Handler, HandlerError, Outputs, Router, RunError};
pub use client::{Client, ClientBuilder, ConnectError};
pub use delivery::Delivery;
pub use failure::{Failure, FieldViolation};
pub use filter::{Filter, Start};
pub use lineage::{Lineage, LineageError, Story};
pub use observe::{Disconnected, Observed, Observer, Outcome, SettleAction, Settlement};
pub use publish::{PublishError, Published, Publisher, PublisherBuilder, Receipt};
pub use read::{ReadBuilder, ReadError, Reader};
pub use rpc::InvalidToken;
pub use settle::{AckWithError, Acked, SettleError, Settled};
pub use subscription::{SubscribeBuilder, SubscribeError, Subscription, SubscriptionState};
pub use tls::{Tls, TlsError};

/// The contract: events, payloads, and the words of the broker's answers.
pub use waypost_proto as proto;
