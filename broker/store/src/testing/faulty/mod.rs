//! Faults around any store: refused, unknown, slow, unavailable, short.
//!
//! Constraints:
//! - Every fault is one that the contract allows; a broker that cannot live with it is wrong. What it does not allow is a
//!   [`Defect`](crate::memory::Defect); damage is [`MemoryDisk::damage`](crate::MemoryDisk::damage).
//! - Which call has which fault comes from a script, or else from a seed and the order of the calls. Delays are tokio's time.
//! - Everything that was injected is counted: a run in which a counter stays at zero proves nothing about it.

mod plan;
mod store;
#[cfg(test)]
mod tests;

pub use plan::{Call, Fault, FaultCounts, Faults, Odds};
pub use store::FaultyStore;
