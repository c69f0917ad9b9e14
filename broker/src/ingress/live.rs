//! The sources as they are now: replaced as a whole when the configuration is read again.
//!
//! Constraint: a request keeps the source that it began with; the next one gets the one that there is then.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{Source, Sources};

/// The sources that a running broker has. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct LiveSources(Arc<ArcSwap<Sources>>);

impl LiveSources {
    /// Begins with these.
    #[must_use]
    pub fn new(sources: Sources) -> Self {
        sources.iter().for_each(|source| source.announce());
        Self(Arc::new(ArcSwap::from_pointee(sources)))
    }

    /// As they are now.
    #[must_use]
    pub fn current(&self) -> Arc<Sources> {
        self.0.load_full()
    }

    /// The source that posts to a path.
    #[must_use]
    pub fn at(&self, path: &str) -> Option<Arc<Source>> {
        self.0.load().at(path).cloned()
    }

    /// Replaces some, of the same names and paths; they go on counting. Nobody else may replace any meanwhile.
    pub(crate) fn renew(&self, renewed: impl ExactSizeIterator<Item = Source>) {
        if renewed.len() > 0 {
            self.0.store(Arc::new(self.current().with(renewed)));
        }
    }

    /// Replaces all of them at once. A source keeps what was counted under its name.
    pub fn replace(&self, mut sources: Sources) {
        sources.inherit(&self.current());
        sources.iter().for_each(|source| source.announce());
        self.0.store(Arc::new(sources));
    }
}
