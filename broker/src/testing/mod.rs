//! A broker for the tests of agents: the real one, inside of the test, without sockets, files or waiting.
//!
//! Constraints: everything but the network and the disk is what serves in production; nothing here reads the time but by tokio's clock, so
//! that a test that pauses it sees ten minutes pass at once; nothing is random, so that each run is the same.
//!
//! With the feature `testing`, as a dev-dependency beside `agent-client`:
//!
//! ```
//! use std::time::Duration;
//!
//! use agent_client::proto::logistics::v1::ShippingDelayed;
//! use agent_client::proto::v1::Event;
//! use agent_client::{Client, Start};
//! use tokio::time::Instant;
//! use waypost_broker::testing::TestBroker;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // In a test: #[tokio::test(start_paused = true)]
//! let broker = TestBroker::start().await?;
//! let client = Client::over(broker.channel())?;
//! let delayed = ShippingDelayed { shipment_id: "SHIP-1".into(), carrier: "Global Freight".into(), ..Default::default() };
//! client.publish(Event::of("carrier", &delayed)).await?;
//!
//! let subscribe = client.subscribe("routing").of::<ShippingDelayed>().start_at(Start::Earliest);
//! let ten_minutes = Duration::from_secs(600);
//! let mut deliveries = subscribe.backoff(ten_minutes, ten_minutes).open().await?;
//! deliveries.try_next().await?.expect("a delivery").nack("the map is being updated").await?;
//!
//! let nacked = Instant::now();
//! let second = deliveries.try_next().await?.expect("a delivery");
//! // The broker's backoff, give or take its jitter of 20 %; it took milliseconds.
//! assert!(nacked.elapsed() >= ten_minutes * 4 / 5 && second.attempt() == 2);
//! second.ack().await?;
//! broker.settled("routing").await?;
//! # Ok(()) }
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `broker` | the broker, its lives and its troubles |
//! | `network` | listeners that are memory, and can be cut |
//! | `webhook` | signed posts, and their answers |

mod broker;
mod network;
mod webhook;

pub use broker::{StartError, TestBroker, WatchError};
pub use webhook::{Answer, PostError, Webhook};
