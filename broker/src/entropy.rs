//! The only place that draws random numbers.
//!
//! Constraints: everything but keys comes from one seeded generator, so that a simulated history replays exactly (P13); keys come from the
//! operating system.

use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

/// Where ids and seeds come from.
#[derive(Debug)]
pub struct Entropy {
    rng: Mutex<fastrand::Rng>,
}

impl Entropy {
    /// Seeded by the operating system.
    #[must_use]
    pub fn from_os() -> Self {
        Self { rng: Mutex::new(fastrand::Rng::new()) }
    }

    /// For tests and simulation: the same seed gives the same numbers.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { rng: Mutex::new(fastrand::Rng::with_seed(seed)) }
    }

    /// Any number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).u64(..)
    }

    /// A UUID of version 7 for a time in microseconds since the Unix epoch.
    #[must_use]
    pub fn uuid(&self, now: u64) -> Uuid {
        let mut random = [0; 10];
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).fill(&mut random);
        uuid::Builder::from_unix_timestamp_millis(now / 1_000, &random).into_uuid()
    }
}

/// The operating system has no random numbers.
pub type NoEntropy = getrandom::Error;

/// A fresh secret key.
///
/// # Errors
/// When the operating system has no random numbers.
pub fn key() -> Result<[u8; 32], NoEntropy> {
    let mut key = [0; 32];
    getrandom::fill(&mut key)?;
    Ok(key)
}
