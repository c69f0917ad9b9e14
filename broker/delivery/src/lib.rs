//! The delivery machine: every rule about who gets which event, and when, lives here, once.
//!
//! Constraints:
//! - Pure: no I/O, no clock, no randomness, no tokio, no iteration over hash maps. The same calls give the same outputs (P13), so any
//!   history replays in microseconds.
//! - It sees offsets, sizes and keys of events, never their bytes, and it never matches a filter: it is handed candidates.
//! - It cannot fail because of the outside world: what the disk does comes in as an [`Input`].
//!
//! One [`Subscription`] is one machine. Its shell (the broker's dispatcher) repeats:
//!
//! ```text
//!   for every input that is ready:  subscription.handle(now, input, &mut outputs)
//!   once:                           subscription.advance(now, &mut outputs)      fires timers, hands out events, gathers one commit
//!   do the outputs; sleep until the next input, or subscription.next_timeout()
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`input`], [`output`] | everything that goes in and comes out |
//! | [`config`] | the limits and the retry policy of one subscription |
//! | [`record`] | the durable facts, with their frozen encoding |
//! | [`subscription`] | the machine: see its table for which file decides what |
//! | [`invariants`] | the promises, as checks of the machine's state |
//! | [`defect`] | deliberate defects that the tests must catch |

pub mod config;
pub mod defect;
pub mod input;
pub mod invariants;
mod lease;
pub mod output;
mod ranges;
pub mod record;
mod retry;
mod session;
mod sorted;
mod state;
pub mod subscription;
pub mod time;
pub mod token;
mod unsettled;

pub use config::{Config, RetryPolicy};
pub use defect::Defect;
pub use input::{Action, Candidate, Commit, Held, Input, Refusal, SessionLimits, Settlement};
pub use invariants::Violation;
pub use output::{CloseReason, CommitPlan, Completion, Deliver, NotDone, Output, Outputs, Read, RevokeReason, SettleOutcome};
pub use record::{Record, RecordError};
pub use subscription::{Holding, Progress, RestoreError, Status, Subscription};
pub use time::Time;
pub use token::Token;

/// Position of an event in the log: strictly increasing, not promised dense.
pub type Offset = u64;

/// One agent process's hold on a subscription. Chosen by the client, and kept by it over reconnects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u128);

/// One stream of a session: a session that comes back has a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// Names a call to the shell, which remembers who waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);
