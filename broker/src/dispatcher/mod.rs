//! The shell around the delivery machine: one task for each subscription in use.
//!
//! Constraints:
//! - No rule of delivery is here: what happened goes into the machine, and what comes out of it is done.
//! - Everything that is ready is taken in before the machine is asked what to do, so that one commit and one message serve many.
//! - Nothing here waits for an agent: streams take from their [`Outbox`] at their own pace (P12).
//! - Deterministic over a given store, clock and entropy: every `select!` is biased, every map that is walked is sorted (P13).
//!
//! ```text
//!   commands · streams · store ──▶ drain all ready ──▶ machine.handle … machine.advance ──▶ outputs
//!                                                                                          │
//!        read · commit · fetch (at most one of each under way) ◀───────────────────────────┤
//!        deliveries into the outboxes, answers to who asked       ◀────────────────────────┘
//! ```
//!
//! | file | what it does |
//! |---|---|
//! | `task` | the loop, from start to parking |
//! | `inputs` | what happens, as inputs of the machine |
//! | `turn` | what comes out of the machine, done |
//! | `reader` | candidates for the machine |
//! | `fetches` | events that are read again |
//! | `writer` | its commits, as the store takes them |
//! | `sessions` | streams that open and end |
//! | `requests` | who waits for what |
//! | `sent` | what was handed out, for the metrics |
//! | [`command`] | what can be asked |
//! | [`outbox`] | what waits for a stream |

pub mod command;
mod fetches;
mod inputs;
pub mod outbox;
mod reader;
mod requests;
mod sent;
mod sessions;
mod shared;
mod task;
mod turn;
mod writer;

pub use command::{Change, Command, Connect, Inspection, SessionInfo, SettleItem, Settled};
pub use outbox::{Outbox, Pulse, Signals, SubscribeStream};
pub(crate) use reader::candidate;
pub use shared::Shared;
pub(crate) use task::start;
