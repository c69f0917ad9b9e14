//! The works, one file each: what is done, and what is counted.
//!
//! Constraint: every measurement starts a new server on an empty store and ends it, so that none inherits another's state,
//! and the server's peak memory is that of this work alone.

mod catch_up;
mod edge;
mod fan_out;
mod filtered;
mod growth;
mod hostile;
mod latency;
mod open;
mod publish;
mod webhook_to_agent;

use serde::Serialize;

use crate::{
    Bench, Error,
    contender::Contender,
    measure::{Figures, Record},
};

/// Something that is measured for several contenders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Work {
    Publish1,
    Publish256,
    FanOut,
    Latency,
    Webhook,
    Edge,
    Hostile,
    Filtered1000,
    Filtered8,
    Growth,
    CatchUp,
    Open,
}

impl Work {
    pub(crate) const ALL: [Self; 12] = [
        Self::Publish1,
        Self::Publish256,
        Self::FanOut,
        Self::Latency,
        Self::Webhook,
        Self::Edge,
        Self::Hostile,
        Self::Filtered1000,
        Self::Filtered8,
        Self::Growth,
        Self::CatchUp,
        Self::Open,
    ];

    /// The name for `--only`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Publish1 => "publish-1",
            Self::Publish256 => "publish-256",
            Self::FanOut => "fan-out",
            Self::Latency => "latency",
            Self::Webhook => "webhook",
            Self::Edge => "edge",
            Self::Hostile => "hostile",
            Self::Filtered1000 => "filtered-1000",
            Self::Filtered8 => "filtered-8",
            Self::Growth => "growth",
            Self::CatchUp => "catch-up",
            Self::Open => "open",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Publish1 => "durable publish, 1 KiB, 1 in flight",
            Self::Publish256 => "durable publish, 1 KiB, 256 in flight",
            Self::FanOut => "fan-out to 8 durable subscribers, 1 KiB, each event acked, publisher at full speed: deliveries",
            Self::Latency => "publish → deliver, 1 KiB, at 1,000/s",
            Self::Webhook => "webhook → agent (verified, typed, durable) at 1,000/s; nats always: publish → deliver",
            Self::Edge => "edge, 64 keep-alive connections: webhooks verified, typed and durable; bare: axum and HMAC only",
            Self::Hostile => "a sender's webhooks, one after the other, alone and beside 800 malformed requests a second",
            Self::Filtered1000 => "1,000 subscriptions, each its own type, over 1,000 connections: deliveries",
            Self::Filtered8 => "1,000 subscriptions, each its own type, over 8 connections: deliveries",
            Self::Growth => "publish, 256 in flight, beside idle subscriptions",
            Self::CatchUp => "a new subscription to 100 rare events, in a short log and in one ten times as long",
            Self::Open => "open a store after kill -9",
        }
    }

    /// Who is measured, in this order in every round.
    pub(crate) fn contenders(self) -> &'static [Contender] {
        use Contender::{Bare, NatsAlways, NatsDefault, Waypost, WaypostAgents};
        match self {
            Self::Publish1 | Self::Publish256 => &[Waypost, NatsDefault, NatsAlways, Bare],
            Self::Latency => &[Waypost, NatsDefault, NatsAlways],
            // Bare streaming takes its batch size from what Waypost did in the same round.
            Self::FanOut => &[Waypost, NatsDefault, NatsAlways, Bare, WaypostAgents],
            Self::Webhook => &[Waypost, NatsAlways, WaypostAgents],
            Self::Edge => &[Waypost, Bare],
            Self::Filtered1000 | Self::Filtered8 => &[Waypost, NatsDefault, NatsAlways],
            Self::Hostile | Self::Growth | Self::CatchUp | Self::Open => &[Waypost],
        }
    }

    /// Measures once.
    ///
    /// # Errors
    ///
    /// When a server does not do its work: a figure is only given for work that was done whole.
    pub(crate) async fn measure(self, contender: Contender, bench: &Bench, so_far: &Record) -> Result<Figures, Error> {
        match self {
            Self::Publish1 => publish::one_in_flight(contender, bench).await,
            Self::Publish256 => publish::many_in_flight(contender, bench).await,
            Self::FanOut => fan_out::measure(contender, bench, so_far).await,
            Self::Latency => latency::measure(contender, bench).await,
            Self::Webhook => webhook_to_agent::measure(contender, bench).await,
            Self::Edge => edge::measure(contender, bench).await,
            Self::Hostile => hostile::measure(bench).await,
            Self::Filtered1000 => filtered::measure(contender, bench, 1_000).await,
            Self::Filtered8 => filtered::measure(contender, bench, 8).await,
            Self::Growth => growth::measure(bench).await,
            Self::CatchUp => catch_up::measure(bench).await,
            Self::Open => open::measure(bench).await,
        }
    }
}
