//! The suite's view of the store in memory.

use std::sync::Arc;

use super::{Broken, Place, Sizes, StoreFactory};
use crate::{
    contract::{BoxFuture, EventStore, Offset},
    memory::{MemoryConfig, MemoryDisk},
};

/// Makes [`MemoryStore`](crate::MemoryStore)s. Of the configuration, the suite sets the sizes.
#[derive(Clone, Debug, Default)]
pub struct MemoryFactory {
    /// Everything else: delays, sparseness, a defect.
    pub config: MemoryConfig,
}

struct MemoryPlace {
    disk: MemoryDisk,
    crashes: usize,
}

impl StoreFactory for MemoryFactory {
    fn fresh(&self, sizes: Sizes) -> Box<dyn Place> {
        let config = MemoryConfig {
            cap: sizes.cap,
            reserve: sizes.reserve,
            segment_bytes: sizes.segment_bytes,
            dedup_ids: sizes.dedup_ids,
            ..self.config.clone()
        };
        Box::new(MemoryPlace { disk: MemoryDisk::new(config), crashes: 0 })
    }
}

impl Place for MemoryPlace {
    fn open(&mut self) -> BoxFuture<'_, Result<Arc<dyn EventStore>, Broken>> {
        Box::pin(async { Ok(Arc::new(self.disk.open()) as Arc<dyn EventStore>) })
    }

    fn close(&mut self, store: Arc<dyn EventStore>) -> BoxFuture<'_, Result<(), Broken>> {
        Box::pin(async move {
            drop(store);
            while self.disk.queued() > 0 {
                tokio::task::yield_now().await;
            }
            Ok(())
        })
    }

    fn crash(&mut self, _store: Arc<dyn EventStore>) -> BoxFuture<'_, Result<(), Broken>> {
        self.crashes += 1;
        Box::pin(async {
            self.disk.crash(self.crashes % 3);
            Ok(())
        })
    }

    fn damage(&mut self, offset: Offset) -> BoxFuture<'_, bool> {
        Box::pin(async move { self.disk.damage(offset) })
    }
}
