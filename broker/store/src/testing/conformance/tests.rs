//! The store in memory keeps the contract, and every deliberate defect is found.

#![allow(clippy::expect_used, reason = "a test may panic")]

use super::{CHECKS, memory::MemoryFactory};

use crate::memory::{Defect, MemoryConfig};

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
    let config = MemoryConfig { sync_delay: std::time::Duration::from_millis(10), sparse: true, ..MemoryConfig::default() };
    let factory = MemoryFactory { config };
    for check in CHECKS {
        let result = (check.run)(&factory).await;
        assert!(result.is_ok(), "{}: {result:?}", check.name);
    }
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
