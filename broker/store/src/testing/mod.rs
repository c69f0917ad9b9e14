//! What proves a store, and what proves a broker on one. Behind the feature `testing`.
//!
//! Constraint: everything random here comes from a seed that the caller gives, so that any failure replays.
//!
//! | module | what it holds |
//! |---|---|
//! | [`sim_disk`] | a disk whose power can be cut at any operation |

pub mod sim_disk;

pub use sim_disk::{Operation, SimDisk, Trouble};
