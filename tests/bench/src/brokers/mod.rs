//! The brokers behind one face, so that each work is written once.
//!
//! Constraint: what a contender does differently stands here and in its file, never in a work.
//!
//! - [`nats_server`], [`nats`]: nats-server and its driver.
//! - [`waypost_server`], [`waypost`]: `waypost serve` and a raw tonic client; [`lean`]: the messages of that client.
//! - [`agents`]: the same through agent-client.
//! - [`payload`], [`tally`]: what is sent, and what arrived.

pub(crate) mod agents;
mod broker;
pub(crate) mod lean;
mod nats;
mod nats_server;
pub(crate) mod payload;
pub(crate) mod tally;
mod waypost;
mod waypost_server;

pub(crate) use broker::{Broker, Publisher, Subscribers, Tasks, Want, bare_publisher};
pub(crate) use nats_server::install as install_nats;
pub(crate) use waypost::{connect as connect_waypost, open as open_subscription};
pub(crate) use waypost_server::build as build_waypost;
