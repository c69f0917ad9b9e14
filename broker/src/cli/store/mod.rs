//! `waypost store`: how the store is, whether it is sound, and a copy of it.
//!
//! Constraint: a copy has its name only once it is whole, on the disk, and verified.
//!
//! | module | what it holds |
//! |---|---|
//! | [`command`] | what can be said, and who does it |
//! | [`stat`], [`verify`], [`backup`] | the commands |

pub mod backup;
pub mod command;
pub mod stat;
pub mod verify;
