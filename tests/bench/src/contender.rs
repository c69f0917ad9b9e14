//! Who is measured.

use serde::Serialize;

/// One side of a comparison. Within a work, every contender does the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Contender {
    /// `waypost serve`, driven by a raw tonic client that hands payloads on as bytes, as the NATS driver does.
    Waypost,
    /// `waypost serve`, driven by the `agent-client` crate with typed events, as an agent would.
    WaypostAgents,
    /// nats-server as it comes: it answers before the disk has anything.
    NatsDefault,
    /// nats-server with `sync_interval: always`: as durable as Waypost always is.
    NatsAlways,
    /// The limit of the parts: the same work without a broker.
    Bare,
}

impl Contender {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Waypost => "waypost",
            Self::WaypostAgents => "waypost, agent-client",
            Self::NatsDefault => "nats default",
            Self::NatsAlways => "nats always",
            Self::Bare => "bare",
        }
    }
}
