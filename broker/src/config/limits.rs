//! Limits that an operator may set. Those that nobody may set stand in [`crate::limits`].

use serde::Deserialize;

use super::Findings;

/// Bounds on what publishers and agents may do.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// How many events may lead to one another (P10).
    pub max_hops: u32,
    /// The most named subscriptions.
    pub max_subscriptions: u32,
    /// The most sessions of one subscription at a time.
    pub max_sessions_per_subscription: u32,
    /// How many events a second the bearers of one token may publish together, if the token does not say; 0 for no limit.
    pub max_events_per_second: u32,
    /// How many streams the bearers of one token may have open together, if the token does not say; 0 for no limit.
    pub max_streams_per_token: u32,
}

impl LimitsConfig {
    pub(super) fn check(&self, findings: &mut Findings) {
        findings.between("max_hops", self.max_hops, 1, 1_000);
        findings.between("max_subscriptions", self.max_subscriptions, 1, 1_000_000);
        findings.between("max_sessions_per_subscription", self.max_sessions_per_subscription, 1, 100_000);
    }
}
