//! `[sources.NAME.limits]`: who may post to a source, how often, and how many requests at a time.
//!
//! Constraint: what is not set limits nobody but whoever would take everything.

use serde::Deserialize;

use super::Network;
use crate::limits::MAX_CONCURRENT_WEBHOOKS;

/// Who may post to a source, and how much.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdmissionConfig {
    /// The addresses that may post, as blocks. Default: all.
    #[serde(default)]
    pub peers: Vec<Network>,
    /// How many verified webhooks a second are taken; 0, the default, for as many as come.
    #[serde(default)]
    pub max_per_second: u32,
    /// How many requests are worked on at a time, from their heads to their answers.
    #[serde(default = "max_concurrent")]
    pub max_concurrent: u32,
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self { peers: Vec::new(), max_per_second: 0, max_concurrent: max_concurrent() }
    }
}

fn max_concurrent() -> u32 {
    MAX_CONCURRENT_WEBHOOKS
}

impl AdmissionConfig {
    /// What is wrong with it, if something is, with its key.
    pub(super) fn problem(&self) -> Option<(&'static str, &'static str)> {
        (self.max_concurrent == 0).then_some(("limits.max_concurrent", "is 0, so that nothing would be accepted"))
    }
}
