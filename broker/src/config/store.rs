//! What the broker remembers, where, and for how long.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Findings, Share, Size, Span};

/// Which store holds the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// The log and the tables in the data directory.
    Embedded,
    /// Nothing outlives the process: for trying things out.
    Memory,
}

/// The store.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// Which one.
    pub engine: Engine,
    /// Where the embedded one keeps everything.
    pub data_dir: PathBuf,
    /// The most bytes of the whole data directory.
    pub max_size: Size,
    /// The same as a share of the file system; the smaller of the two holds.
    pub max_disk_share: Share,
    /// The part of it that only settling may use, at least 64 MiB.
    pub reserve: Share,
    /// The unit in which disk is taken and given back.
    pub segment_size: Size,
    /// How long `(source, id)` of an event is remembered.
    pub dedup_window: Span,
    /// How many of them are remembered at the most.
    pub dedup_ids: u32,
}

/// How long things are kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionConfig {
    /// Events that nobody still has to settle.
    pub settled: Span,
    /// Dead letters.
    pub dead_letters: Span,
    /// Webhooks in quarantine.
    pub quarantine: Span,
    /// How often it is looked after.
    pub interval: Span,
}

/// The least that is held back for settling.
const MIN_RESERVE: u64 = 64 << 20;

impl StoreConfig {
    pub(super) fn check(&self, findings: &mut Findings) {
        let mib = |mib: u64| Size::from_bytes(mib << 20);
        findings.between("segment_size", self.segment_size, Size::from_bytes(64 << 10), mib(1 << 10));
        findings.between("max_disk_share", self.max_disk_share.of(100), 1, 100);
        findings.between("reserve", self.reserve.of(100), 1, 50);
        findings.between("dedup_window", self.dedup_window, Span::from_millis(0), Span::from_millis(365 * 86_400_000));
        if self.max_size.bytes() / 4 < self.segment_size.bytes() {
            let text = format!(
                "{} does not hold four segments of {}; make it larger, or store.segment_size smaller",
                self.max_size, self.segment_size
            );
            findings.wrong("max_size", text);
        }
    }

    /// The most bytes of the data directory on a file system of `disk` bytes.
    #[must_use]
    pub fn cap(&self, disk: u64) -> u64 {
        self.max_size.bytes().min(self.max_disk_share.of(disk))
    }

    /// How much of a cap is held back for settling.
    #[must_use]
    pub fn reserve_of(&self, cap: u64) -> u64 {
        self.reserve.of(cap).max(MIN_RESERVE).min(cap / 2)
    }
}

impl RetentionConfig {
    pub(super) fn check(&self, findings: &mut Findings) {
        let years = Span::from_millis(10 * 366 * 86_400_000);
        findings.between("settled", self.settled, Span::from_millis(0), years);
        findings.between("dead_letters", self.dead_letters, Span::from_millis(60_000), years);
        findings.between("quarantine", self.quarantine, Span::from_millis(60_000), years);
        findings.between("interval", self.interval, Span::from_millis(10), Span::from_millis(86_400_000));
    }
}
