//! What proves a store, and what proves a broker on one. Behind the feature `testing`.
//!
//! Constraint: everything random here comes from a seed that the caller gives, so that any failure replays.
//!
//! | module | what it holds |
//! |---|---|
//! | [`conformance`] | one suite for every engine |
//! | [`faulty`] | faults around any store, scripted or by a seed |
//! | [`sim_disk`] | a disk whose power can be cut at any operation |

pub mod conformance;
pub mod faulty;
pub mod sim_disk;

pub use crate::memory::Defect;
pub use faulty::{Call, Fault, FaultCounts, Faults, FaultyStore, Odds};
pub use sim_disk::{Operation, SimDisk, Trouble};
