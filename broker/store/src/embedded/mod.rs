//! The embedded store: a segmented log of our own, and SQLite for the tables.
//!
//! Constraint: every file operation of the log goes through [`disk`].

pub mod disk;
