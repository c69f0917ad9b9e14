//! The broker as its users meet it: the real program, real HTTP, real gRPC.
//!
//! Constraint: no test knows the inside of the broker; each starts one of its own, in a folder of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

mod access;
mod admission;
mod bad_calls;
mod bad_requests;
mod bearer;
mod browsers;
mod commands;
mod edge_tls;
mod hostile;
mod journal;
mod limits;
mod logistics;
mod logs;
mod metrics;
mod octokit;
mod operated;
mod path;
mod poll;
mod raw;
mod reload;
mod rotation;
mod secrets;
mod stand;
mod store;
mod stripe;
mod sweep;
mod system_events;
mod tls;
mod tokens;
mod traces;
