//! Small runnable agents for Waypost, one a file in `src/bin/`, and the little that they share.
//!
//! Constraint: each example is whole in one file of less than 60 lines, and runs as printed in its header.

mod address;

pub use address::{agents, edge};
