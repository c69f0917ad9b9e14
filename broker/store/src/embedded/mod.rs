//! The embedded store: a segmented log of our own, and SQLite for the tables.
//!
//! Constraints:
//! - One writer thread owns the order of everything; nothing is answered or shown before it is durable.
//! - Every file operation of the log goes through [`disk`], so that power can be cut at each of them.
//! - What is read from the disk is verified. Damage is reported, contained, and never served.
//! - `docs/storage-format.md` draws the bytes.
//!
//! ```text
//!   append, commit, claim                read                      scan, claim            trim
//!           │                             │                            │                   │
//!           ▼ request                     ▼ reader                     ▼ tables            ▼ keeper
//!        writer ── dedup        cache ◀───┴──▶ home (index:      layer over SQLite     seal · fold ·
//!           │                                  memory, sealed)                         spare · trim
//!           ▼ frame ▸ item
//!        segment ──────────▶ view (what is durable) ◀──── recovery (inventory, scan, rebuild) at open
//! ```

pub mod disk;

mod backup;
mod begin;
mod cache;
mod check;
mod dedup;
mod direct;
mod format;
mod frame;
mod glance;
mod home;
mod ids;
mod index;
mod inventory;
mod item;
mod keeper;
mod layer;
mod options;
mod os_disk;
mod paged;
mod reader;
mod rebuild;
mod recovery;
mod repair;
mod request;
mod run;
mod salt;
mod salvage;
mod scan;
mod sealed;
mod sealing;
mod segment;
mod store;
mod succession;
mod table_file;
mod tables;
mod verify;
mod verify_tables;
mod view;
mod wire;
mod writer;

pub use glance::glance;
pub use options::{EmbeddedOptions, JOURNAL_FILE, ObserveSyncs, OpenError};
pub use store::EmbeddedStore;
pub use verify::verify;
#[cfg(test)]
mod tests;
