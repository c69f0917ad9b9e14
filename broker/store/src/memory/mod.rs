//! A store in memory whose disk outlives it.
//!
//! Constraints:
//! - The contract, whole: unit tests and the simulation of the broker run on it, so what it forgives, they miss.
//! - Deterministic: no clock, no random state, no order that comes from a hash map. Waiting is tokio's time, so that it can be paused.
//! - What a write changed is seen by nobody before its batch is durable.
//!
//! ```text
//!   MemoryStore ── work ──▶ MemoryDisk { queue ──(sync_delay)──▶ durable state }
//!        │                      │
//!        │ dropped, crashed     │ open() again: what was durable, and of the queue what crash() kept
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | `config` | sizes and delays |
//! | `disk` | what survives: the durable state, and the queue before it |
//! | `store` | the implementation of the trait |
//! | `state` | one write, applied whole or refused |
//! | `log` | events in order, their segments and indexes |
//! | `ids` | the memory of ids |
//! | `rows` | the tables |
//! | `defect` | what can be done wrong on purpose |

mod config;
mod defect;
mod disk;
mod ids;
mod log;
mod rows;
mod state;
mod store;
#[cfg(test)]
mod tests;

pub use config::MemoryConfig;
pub use defect::Defect;
pub use disk::MemoryDisk;
pub use store::MemoryStore;
