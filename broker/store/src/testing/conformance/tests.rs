//! The store in memory keeps the contract, and every deliberate defect is found.

#![allow(clippy::expect_used, reason = "a test may panic")]

use std::{sync::Arc, time::Duration};

use super::{Broken, CHECKS, Place, Sizes, StoreFactory, memory::MemoryFactory};
use crate::{
    contract::{BoxFuture, EventStore, Offset},
    memory::{Defect, MemoryConfig},
    testing::{Faults, FaultyStore, Odds},
};

mod dense {
    use super::*;
    crate::conformance_tests!(MemoryFactory::default());
}

mod sparse {
    use super::*;
    crate::conformance_tests!(MemoryFactory { config: MemoryConfig { sparse: true, ..MemoryConfig::default() } });
}

#[tokio::test(start_paused = true)]
async fn slow_syncs_change_nothing() {
    let config = MemoryConfig { sync_delay: Duration::from_millis(10), sparse: true, ..MemoryConfig::default() };
    let factory = MemoryFactory { config };
    for check in CHECKS {
        let result = (check.run)(&factory).await;
        assert!(result.is_ok(), "{}: {result:?}", check.name);
    }
}

/// Stores in memory with faults around them.
struct FaultyFactory {
    memory: MemoryFactory,
    faults: Faults,
}

struct FaultyPlace {
    memory: Box<dyn Place>,
    faults: Faults,
}

impl StoreFactory for FaultyFactory {
    fn fresh(&self, sizes: Sizes) -> Box<dyn Place> {
        Box::new(FaultyPlace { memory: self.memory.fresh(sizes), faults: self.faults.clone() })
    }
}

impl Place for FaultyPlace {
    fn open(&mut self) -> BoxFuture<'_, Result<Arc<dyn EventStore>, Broken>> {
        Box::pin(async {
            let inner = self.memory.open().await?;
            Ok(Arc::new(FaultyStore::new(inner, self.faults.clone())) as Arc<dyn EventStore>)
        })
    }

    fn close(&mut self, store: Arc<dyn EventStore>) -> BoxFuture<'_, Result<(), Broken>> {
        self.memory.close(store)
    }

    fn crash(&mut self, store: Arc<dyn EventStore>) -> BoxFuture<'_, Result<(), Broken>> {
        self.memory.crash(store)
    }

    fn damage(&mut self, offset: Offset) -> BoxFuture<'_, bool> {
        self.memory.damage(offset)
    }
}

#[tokio::test(start_paused = true)]
async fn slow_calls_and_short_reads_are_within_the_contract() {
    let odds = Odds { slow: 200, short: 300, delay: Duration::from_millis(50), ..Odds::default() };
    let factory = FaultyFactory { memory: MemoryFactory::default(), faults: Faults::seeded(1, odds) };
    for check in CHECKS {
        let result = (check.run)(&factory).await;
        assert!(result.is_ok(), "{}: {result:?}", check.name);
    }
    let counts = factory.faults.counts();
    assert!(counts.slow > 1_000 && counts.short > 1_000, "{counts:?}");
}

/// The names of the checks that fail on a store with this defect.
async fn finders(defect: Defect) -> Vec<&'static str> {
    let factory = MemoryFactory { config: MemoryConfig { defect: Some(defect), ..MemoryConfig::default() } };
    let mut finders = Vec::new();
    for check in CHECKS {
        if (check.run)(&factory).await.is_err() {
            finders.push(check.name);
        }
    }
    finders
}

#[tokio::test]
async fn every_defect_is_found_by_a_check_and_by_the_model() {
    for defect in Defect::ALL {
        let finders = finders(defect).await;
        let checks = finders.iter().filter(|name| !name.starts_with("random::")).count();
        assert!(checks > 0, "no check finds {defect:?}");
        // The model never fills the store.
        let by_model = checks < finders.len();
        assert!(by_model || defect == Defect::ReserveForAll, "the model does not find {defect:?}; these do: {finders:?}");
    }
}

#[tokio::test]
async fn one_seed_gives_one_history() {
    let factory = MemoryFactory::default();
    for seed in [1, 2] {
        let one = super::random::random_history(&factory, seed, 200).await.expect("agrees with the model");
        let two = super::random::random_history(&factory, seed, 200).await.expect("agrees with the model");
        assert_eq!(one, two);
    }
}
