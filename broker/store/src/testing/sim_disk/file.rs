//! The content of one file: as processes see it, as it is on the disk, and everything in between.
//!
//! Constraint: what is in between is kept version by version, each with the number of the operation that made it, so that a cut can
//! choose among them.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::world::Survival;

/// The number of an operation of the disk.
pub(super) type Step = u64;

#[derive(Clone, Debug, Default)]
pub(super) struct File {
    /// What a read sees.
    live: Vec<u8>,
    /// What is there after a cut at the least.
    durable: Vec<u8>,
    /// The versions of each sector since it was last synced, oldest first.
    sectors: BTreeMap<usize, Vec<(Step, Vec<u8>)>>,
    /// The lengths since the last sync, oldest first.
    lengths: Vec<(Step, usize)>,
}

impl File {
    pub(super) fn new(step: Step, bytes: usize) -> Self {
        Self { live: vec![0; bytes], lengths: vec![(step, bytes)], ..Self::default() }
    }

    /// A file of which all is durable.
    fn settled(content: Vec<u8>) -> Self {
        Self { live: content.clone(), durable: content, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    pub(super) fn live(&self) -> &[u8] {
        &self.live
    }

    pub(super) fn write(&mut self, step: Step, sector_bytes: usize, bytes: &[u8], at: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = at + bytes.len();
        if end > self.live.len() {
            self.live.resize(end, 0);
            self.lengths.push((step, end));
        }
        self.live[at..end].copy_from_slice(bytes);
        self.note(step, sector_bytes, at, end);
    }

    pub(super) fn set_len(&mut self, step: Step, sector_bytes: usize, bytes: usize) {
        let before = self.live.len();
        self.live.resize(bytes, 0);
        self.lengths.push((step, bytes));
        // What was cut off reads as zero if the file grows again.
        self.note(step, sector_bytes, bytes, before);
    }

    /// Records the sectors of a range as they are now.
    fn note(&mut self, step: Step, sector_bytes: usize, from: usize, to: usize) {
        for sector in from / sector_bytes..to.div_ceil(sector_bytes) {
            let begin = (sector * sector_bytes).min(self.live.len());
            let end = (begin + sector_bytes).min(self.live.len());
            let mut content = self.live[begin..end].to_vec();
            content.resize(sector_bytes, 0);
            self.sectors.entry(sector).or_default().push((step, content));
        }
    }

    pub(super) fn sync(&mut self, sector_bytes: usize) {
        for (sector, mut versions) in std::mem::take(&mut self.sectors) {
            if let Some((_, content)) = versions.pop() {
                overlay(&mut self.durable, sector * sector_bytes, &content);
            }
        }
        self.durable.resize(self.live.len(), 0);
        self.lengths.clear();
    }

    /// Some of what was dirty gets to the disk; all of it is taken for clean.
    pub(super) fn fail_sync(&mut self, sector_bytes: usize, rng: &mut Rng) {
        let length = if rng.bool() { self.live.len() } else { self.durable.len() };
        for (sector, mut versions) in std::mem::take(&mut self.sectors) {
            if let Some((_, content)) = versions.pop()
                && rng.bool()
            {
                overlay(&mut self.durable, sector * sector_bytes, &content);
            }
        }
        self.durable.resize(length, 0);
        self.lengths.clear();
    }

    /// One of the contents that may be found after a cut.
    pub(super) fn survivor(&self, sector_bytes: usize, survival: Survival, rng: &mut Rng) -> Self {
        let mut content = self.durable.clone();
        for (sector, versions) in &self.sectors {
            if let Some((_, version)) = versions.iter().rfind(|(step, _)| survival.keeps(*step, rng)) {
                overlay(&mut content, sector * sector_bytes, version);
            }
        }
        let length = self.lengths.iter().rfind(|(step, _)| survival.keeps(*step, rng)).map_or(self.durable.len(), |(_, bytes)| *bytes);
        content.resize(length, 0);
        Self::settled(content)
    }

    /// Changes what is seen and what is on the disk, behind everybody's back. What was not synced is from now on.
    pub(super) fn tamper(&mut self, sector_bytes: usize, change: impl Fn(&mut Vec<u8>)) {
        self.sync(sector_bytes);
        change(&mut self.live);
        change(&mut self.durable);
    }
}

fn overlay(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[at..end].copy_from_slice(bytes);
}
