//! How much is done: bounded in count and in time.
//!
//! Constraint: a load ends at its count or its time, whatever comes first, so that the slow contenders do not make a run
//! last for ever; rates are over what was really done.

use std::time::Duration;

/// The sizes of all loads of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Publishes with one in flight.
    pub(crate) serial: usize,
    /// Events published with many in flight.
    pub(crate) publish: u64,
    /// Events published to eight subscribers.
    pub(crate) fan_out: u64,
    /// Events spread over a thousand subscriptions.
    pub(crate) filtered: u64,
    /// How long a load at full speed may publish.
    pub(crate) full_speed: Duration,
    /// How long a load at a fixed rate lasts.
    pub(crate) paced: Duration,
    /// How long requests are sent to the edge.
    pub(crate) edge: Duration,
    /// Idle subscriptions.
    pub(crate) idle: u32,
    /// Events in the short log of the catch-up.
    pub(crate) short_log: u64,
    /// Events in the store that is opened.
    pub(crate) stored: u64,
}

impl Scale {
    pub(crate) const FULL: Self = Self {
        serial: 5_000,
        publish: 1_000_000,
        fan_out: 200_000,
        filtered: 50_000,
        full_speed: Duration::from_secs(5),
        paced: Duration::from_secs(10),
        edge: Duration::from_secs(5),
        idle: 10_000,
        short_log: 100_000,
        stored: 10_000_000,
    };

    pub(crate) const QUICK: Self = Self {
        serial: 1_000,
        publish: 200_000,
        fan_out: 40_000,
        filtered: 20_000,
        full_speed: Duration::from_secs(2),
        paced: Duration::from_secs(3),
        edge: Duration::from_secs(2),
        idle: 2_000,
        short_log: 20_000,
        stored: 500_000,
    };
}
