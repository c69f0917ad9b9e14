//! Ids over many segments: opening costs a few runs, and finds every duplicate.

use std::sync::Arc;

use tempfile::TempDir;

use super::{
    place::options,
    script::{T0, event},
};
use crate::{
    EmbeddedStore,
    contract::EventStore,
    embedded::{disk::Disk, segment::id_in},
    testing::{SimDisk, conformance::Sizes},
};

const SIZES: Sizes = Sizes { cap: 64 << 20, reserve: 1 << 20, segment_bytes: 64 << 10, dedup_ids: 100_000 };

fn open(disk: &SimDisk, dir: &TempDir) -> EmbeddedStore {
    EmbeddedStore::open_on(Arc::new(disk.clone()), options(dir.path(), SIZES)).unwrap()
}

/// Fills many segments. Answers how many segments had no index at most, the one being written aside.
async fn fill(store: &EmbeddedStore, disk: &SimDisk) -> usize {
    let mut most = 0;
    for number in 0..240 {
        store.append(T0, vec![event(&format!("e{number}"), 16_000)]).await.unwrap();
        let names = disk.names().unwrap();
        let count = |extension| names.iter().filter(|name| id_in(name, extension).is_some()).count();
        most = most.max(count("log").saturating_sub(count("idx") + 1));
    }
    most
}

async fn all_are_duplicates(store: &EmbeddedStore) {
    for number in 0..240 {
        let answers = store.append(T0 + 1, vec![event(&format!("e{number}"), 16_000)]).await.unwrap();
        assert!(answers[0].duplicate.is_some(), "e{number} was forgotten");
    }
}

#[tokio::test]
async fn p7_many_segments_have_few_runs_and_every_id_is_found_after_opening() {
    let (disk, dir) = (SimDisk::new(1), TempDir::new().unwrap());
    fill(&open(&disk, &dir), &disk).await;
    let store = open(&disk, &dir);
    let (segments, runs) = (store.disk().segments.len(), store.shared.runs.all().len());
    assert!(segments > 70 && runs < 10, "{segments} segments, {runs} runs");
    all_are_duplicates(&store).await;
}

/// What opening has to scan is bounded, however fast the writer is.
#[tokio::test]
async fn few_segments_are_without_an_index_at_any_time() {
    let (disk, dir) = (SimDisk::new(1), TempDir::new().unwrap());
    let most = fill(&open(&disk, &dir), &disk).await;
    assert!(most <= 2, "{most} segments had to be scanned at once");
}

#[tokio::test]
async fn p14_a_damaged_run_costs_no_id() {
    let (disk, dir) = (SimDisk::new(1), TempDir::new().unwrap());
    fill(&open(&disk, &dir), &disk).await;
    let disk = disk.power_cut(1);
    for name in disk.names().unwrap().iter().filter(|name| id_in(name, "idx").is_some()) {
        // The run is the end of the file.
        disk.flip_bit(name, disk.open(name).unwrap().len().unwrap() - 1, 3).unwrap();
    }
    let store = open(&disk, &dir);
    assert!(store.disk().damage > 0, "damaged runs are reported");
    all_are_duplicates(&store).await;
}
