//! The only place that reads the time.
//!
//! Constraints: [`Clock::now`] never goes back, whatever happens to the wall clock while the broker runs, and follows tokio's paused time in
//! tests. The raw wall time is for what others date by it: how old a provider's signature is, and when a certificate expires.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use waypost_delivery::Time;

/// Time since the Unix epoch, at start from the wall clock and since then from a monotonic one. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    started_micros: u64,
    follows_wall: bool,
}

impl Clock {
    /// Starts from the wall clock.
    #[must_use]
    pub fn from_wall() -> Self {
        Self { follows_wall: true, ..Self::starting_at(wall_micros()) }
    }

    /// Starts at a chosen time, for tests and simulation.
    #[must_use]
    pub fn starting_at(micros: u64) -> Self {
        Self { started: Instant::now(), started_micros: micros, follows_wall: false }
    }

    /// Microseconds since the Unix epoch; never less than before.
    #[must_use]
    pub fn now(&self) -> u64 {
        let elapsed = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.started_micros.saturating_add(elapsed)
    }

    /// The same, as the delivery machine takes it.
    #[must_use]
    pub fn time(&self) -> Time {
        Time::from_micros(self.now())
    }

    /// The instant at which [`Clock::time`] will be `at`, to sleep until.
    #[must_use]
    pub fn instant(&self, at: Time) -> Instant {
        self.started + std::time::Duration::from_micros(at.as_micros().saturating_sub(self.started_micros))
    }

    /// The wall time in microseconds, which may jump: only for the tolerance of signed timestamps and the end of certificates, since others
    /// go by it too. A clock that was started at a chosen time keeps to that.
    #[must_use]
    pub fn wall(&self) -> u64 {
        if self.follows_wall { wall_micros() } else { self.now() }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
fn wall_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
