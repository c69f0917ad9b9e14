//! Sizes and delays of a store in memory.

use std::time::Duration;

use super::defect::Defect;

/// How a [`MemoryDisk`](super::MemoryDisk) behaves.
#[derive(Clone, Debug)]
pub struct MemoryConfig {
    /// Bytes that may be held: see [`DiskState::cap`](crate::DiskState::cap).
    pub cap: u64,
    /// Bytes of `cap` for commits under a claim alone.
    pub reserve: u64,
    /// A segment is closed before it would pass this size.
    pub segment_bytes: u64,
    /// The most ids remembered. Beyond, the oldest are forgotten before their window ends.
    pub dedup_ids: usize,
    /// How long a batch takes to become durable, in tokio's time. Zero: as long as it takes the runtime to come round.
    pub sync_delay: Duration,
    /// Whether offsets are left out now and then, as the contract allows.
    pub sparse: bool,
    /// Something to do wrong on purpose: a suite that does not notice is not a suite.
    #[cfg(feature = "testing")]
    pub defect: Option<Defect>,
}

impl Default for MemoryConfig {
    /// 1 GiB, of which 64 MiB are the reserve; segments of 1 MiB; ten million ids; no delay; dense.
    fn default() -> Self {
        Self {
            cap: 1 << 30,
            reserve: 64 << 20,
            segment_bytes: 1 << 20,
            dedup_ids: 10_000_000,
            sync_delay: Duration::ZERO,
            sparse: false,
            #[cfg(feature = "testing")]
            defect: None,
        }
    }
}

impl MemoryConfig {
    #[cfg(feature = "testing")]
    pub(super) fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    #[cfg(not(feature = "testing"))]
    pub(super) fn has(&self, _: Defect) -> bool {
        false
    }
}
