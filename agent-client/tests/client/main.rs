//! The client against a broker that does what each test tells it to.
//!
//! Constraints: everything runs in memory, on one thread and paused time, so each run is the same and none waits.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod agents;
mod extend;
mod fake;
mod publish;
mod read;
mod sessions;
mod settle;
mod shutdown;
