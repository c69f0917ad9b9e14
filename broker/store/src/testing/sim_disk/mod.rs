//! A disk whose power can be cut at any operation, whose syncs fail, and whose bits flip.
//!
//! Constraints:
//! - It promises what [`Disk`](crate::embedded::disk::Disk) promises and nothing more: of what was not synced, any part may survive a
//!   cut. Each sector of a file is, independently, as it was at any write since the last sync of the file, or at that sync. So is its
//!   length. Each change of a name survives or not, independently; a rename is one change.
//! - A write that was cut is torn between sectors, never inside one.
//! - Which part survives comes from the seed of the cut alone. One disk can be cut with many seeds: each gives one of the disks that may
//!   be found afterwards.
//! - After a failed sync, Linux takes what it could not write for written: a later sync of the file succeeds, and the data is not there.
//!   Reads still see it, until the power goes.
//!
//! How to enumerate cuts: run a script once and ask [`SimDisk::operations`]; then run it again on a new disk for each number up to
//! that, with [`SimDisk::cut_at`], until an operation fails; then open what [`SimDisk::power_cut`] gives.

mod disk;
mod file;
#[cfg(test)]
mod tests;
mod world;

pub use disk::SimDisk;
pub use world::{Operation, Trouble};
