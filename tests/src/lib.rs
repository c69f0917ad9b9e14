//! What the whole-system suites share: a broker as a process of its own, and webhooks for it.
//!
//! Constraint: black box. Nothing here knows more of the broker than a user does: its program, its configuration, its two front doors.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

pub mod authority;
pub mod collector;
pub mod process;
pub mod webhook;
