//! What goes, and when (P11).
//!
//! Constraint: placeholder of the rules; nothing is let go yet.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{publisher::Publisher, registry::Registry};

/// How long things are kept.
#[derive(Clone, Copy, Debug)]
pub struct RetentionRules {
    /// Settled events.
    pub settled: Duration,
    /// Dead letters.
    pub dead_letters: Duration,
    /// How often it is looked after.
    pub interval: Duration,
}

/// Looks after it until the broker ends.
pub(crate) async fn run(_registry: Arc<Registry>, _publisher: Arc<Publisher>, _rules: RetentionRules, stop: CancellationToken) {
    stop.cancelled().await;
}
