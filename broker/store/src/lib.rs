//! The store remembers and never decides.
//!
//! Constraints:
//! - [`EventStore`] is the whole seam: a broker never reaches around it, and an implementation knows no rule of delivery. Records and
//!   rows are opaque bytes here.
//! - The crate knows neither gRPC nor HTTP, and reads no clock: callers pass the time, so that a simulated history replays exactly.
//! - Every implementation passes one suite, `testing::conformance`.
//!
//! | module | what it holds |
//! |---|---|
//! | [`contract`] | the trait, its promises, and a drawing |
//! | [`event`] | what is stored: [`NewEvent`], [`StoredEvent`], [`EventHead`] |
//! | [`embedded`] | a segmented log of our own, and SQLite for the tables |
//! | [`error`] | what can go wrong, one enum per operation |
//! | [`limits`] | how large a write may be, checked alike by every implementation |
//! | [`memory`] | a store in memory, whose disk outlives it: for tests, simulation and demonstrations |
//! | [`upkeep`] | verifying a store, and copying it while it is in use |
//! | `testing` | feature `testing`: the conformance suite, faulty stores, a disk whose power can be cut |

pub mod contract;
pub mod embedded;
pub mod error;
pub mod event;
pub mod limits;
pub mod memory;
#[cfg(feature = "testing")]
pub mod testing;
pub mod upkeep;

pub use contract::{
    Appended, BoxFuture, Claim, Claimed, Commit, DiskState, Duplicate, EventStore, Gap, GapCause, Micros, Offset, ReadBatch, ReadLimits,
    Row, RowChange, SegmentState, Selection, Table, TypeSet,
};
pub use embedded::{EmbeddedOptions, EmbeddedStore, JOURNAL_FILE, ObserveSyncs, OpenError, glance, verify};
pub use error::{AppendError, ClaimError, CommitError, ReadError};
pub use event::{EventHead, HeadError, NewEvent, StoredEvent};
pub use memory::{MemoryConfig, MemoryDisk, MemoryStore};
pub use upkeep::{Backup, BackupFile, Finding, Glance, Upkeep, UpkeepError, Verified};
