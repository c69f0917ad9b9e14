//! A session's hold on one delivery.

use std::time::Duration;

use crate::{Config, SessionId, Time, Token};

/// Live in memory only: a restart ends it, unless its holder returns within the grace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) session: SessionId,
    pub(crate) token: Token,
    pub(crate) started: Time,
    pub(crate) deadline: Time,
}

impl Lease {
    pub(crate) fn new(now: Time, session: SessionId, token: Token, config: &Config) -> Self {
        Self { session, token, started: now, deadline: now + config.ack_deadline.min(config.max_lease_total) }
    }

    /// Until when it lasts if it is prolonged now. Never shorter than it was, and never beyond the longest total (P5).
    pub(crate) fn extended(&self, now: Time, by: Option<Duration>, config: &Config) -> Time {
        let wish = now + by.unwrap_or(config.ack_deadline);
        wish.min(self.started + config.max_lease_total).max(self.deadline)
    }
}
