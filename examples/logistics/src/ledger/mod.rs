//! Ledgers: what the simulator and the agents did, in append-only files that are fsynced line by line.
//!
//! Constraints: a line is written before what it tells is confirmed to anybody; the effect of an event stands in the ledger of its
//! agent at most once, however many processes of that agent try; nothing is ever changed or removed.
//!
//! A real agent would have a table with a unique key, or a service that takes idempotency keys. This is the smallest thing that
//! does the same.

mod book;
mod entry;
mod reader;

pub(crate) use book::Ledger;
pub(crate) use entry::{Entry, Fact, Seen, Status, micros_now};
pub(crate) use reader::{LedgerReader, Ledgers};
