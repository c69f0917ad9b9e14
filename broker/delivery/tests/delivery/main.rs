//! The promises of the machine (DESIGN section 2), each as tests that bear its number; a model against which random histories are
//! checked; and the proof that every deliberate defect would be noticed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

mod admin;
mod defects;
mod failures;
mod histories;
mod holding;
mod model;
mod reading;
mod sessions;
mod settling;
mod world;
