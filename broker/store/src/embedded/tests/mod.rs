//! The embedded store against the conformance suite, power cuts, damage and trouble.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod conformance;
mod damage;
mod ids;
mod place;
mod power;
mod script;
mod tables;
mod trouble;
mod upkeep;
