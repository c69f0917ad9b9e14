//! What an engine gives the suite, and what the suite gives back.

use std::{fmt, sync::Arc};

use crate::contract::{BoxFuture, EventStore, Offset};

/// A promise that an engine does not keep, in words.
pub struct Broken(pub String);

impl<E: std::error::Error> From<E> for Broken {
    fn from(error: E) -> Self {
        Self(format!("an operation that should have succeeded answered: {error}"))
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The limits that a store is to be opened with.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// [`DiskState::cap`](crate::DiskState::cap).
    pub cap: u64,
    /// [`DiskState::reserve`](crate::DiskState::reserve).
    pub reserve: u64,
    /// About how large a segment is to be. An engine may need larger ones for a large write.
    pub segment_bytes: u64,
    /// The most ids to remember.
    pub dedup_ids: usize,
}

impl Default for Sizes {
    /// Room for everything but the tests of the full store, in segments small enough to roll.
    fn default() -> Self {
        Self { cap: 256 << 20, reserve: 16 << 20, segment_bytes: 64 << 10, dedup_ids: 100_000 }
    }
}

/// Makes empty places for stores.
pub trait StoreFactory: Send + Sync {
    /// A new place with nothing in it, for stores of these sizes.
    fn fresh(&self, sizes: Sizes) -> Box<dyn Place>;
}

/// A place that outlives the stores which are opened on it, one at a time.
pub trait Place: Send + Sync {
    /// Opens the store that is there.
    fn open(&mut self) -> BoxFuture<'_, Result<Arc<dyn EventStore>, Broken>>;

    /// Closes a store in good order; what was answered or was still under way is there afterwards. The suite holds no other handle.
    fn close(&mut self, store: Arc<dyn EventStore>) -> BoxFuture<'_, Result<(), Broken>>;

    /// Ends a store as a power cut does. Writes may be under way, and others may hold handles to it.
    fn crash(&mut self, store: Arc<dyn EventStore>) -> BoxFuture<'_, Result<(), Broken>>;

    /// Damages the bytes of a stored event, while no store is open. Whether this place can do so.
    fn damage(&mut self, offset: Offset) -> BoxFuture<'_, bool> {
        let _ = offset;
        Box::pin(async { false })
    }
}
