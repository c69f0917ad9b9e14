//! The broker's core, driven through its real services over a store in memory, with paused time.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, reason = "a test may panic")]

mod admin;
mod delivery;
mod faults;
mod following;
mod looking;
mod publishing;
mod retention;
mod telling;
mod world;
