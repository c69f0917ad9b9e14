//! How deliveries go, for all subscriptions alike. What differs from one to another is in its spec.

use std::time::Duration;

use serde::Deserialize;

use super::{Findings, Span};
use crate::spec::DeliverySettings;

/// How deliveries go.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliveryConfig {
    /// How long the leases of a broken stream, or of before a restart, wait for their session (P6).
    pub resume_grace: Span,
    /// The most events of one subscription that are examined and not settled (P12).
    pub max_unsettled: u32,
}

impl DeliveryConfig {
    pub(super) fn check(&self, findings: &mut Findings) {
        findings.between("resume_grace", self.resume_grace, Span::from_millis(0), Span::from_millis(600_000));
        findings.between("max_unsettled", self.max_unsettled, 1, waypost_delivery::config::MAX_UNSETTLED);
    }

    /// As the dispatchers take it.
    #[must_use]
    pub fn settings(&self) -> DeliverySettings {
        let resume_grace: Duration = self.resume_grace.get();
        DeliverySettings { resume_grace, max_unsettled: self.max_unsettled }
    }
}
