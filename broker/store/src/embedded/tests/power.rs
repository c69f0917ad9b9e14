//! Power cut at every operation of a scripted run: what was answered is there, nothing is there by half.

use std::{collections::BTreeMap, sync::Arc};

use tempfile::TempDir;

use super::{
    place::{copy_tables, options},
    script::{Acked, check, run},
};
use crate::{
    EmbeddedStore,
    testing::{SimDisk, conformance::Sizes},
};

const SIZES: Sizes = Sizes { cap: 64 << 20, reserve: 1 << 20, segment_bytes: 64 << 10, dedup_ids: 100_000 };

fn open(disk: &SimDisk, dir: &TempDir) -> Option<EmbeddedStore> {
    EmbeddedStore::open_on(Arc::new(disk.clone()), options(dir.path(), SIZES)).ok()
}

/// Runs the script on a disk whose power goes in operation `cut`, and gives what was answered, and the tables as they are then.
async fn until(cut: u64, seed: u64) -> (SimDisk, TempDir, Acked) {
    let (disk, dir) = (SimDisk::new(seed), TempDir::new().unwrap());
    disk.cut_at(cut);
    let mut acked = Acked::default();
    if let Some(store) = open(&disk, &dir) {
        run(&store, &mut acked).await;
    }
    let after = TempDir::new().unwrap();
    if dir.path().join("tables.db").exists() {
        copy_tables(dir.path(), after.path());
    }
    (disk, after, acked)
}

/// How many operations the script takes. Threads share the disk, so it varies a little from run to run.
async fn operations() -> u64 {
    let (disk, _, acked) = until(u64::MAX, 1).await;
    assert_eq!(acked.refused, 0, "without a cut everything is answered");
    assert!(acked.rolls >= 2 && acked.trims >= 2 && acked.duplicates > 0, "the script covers too little: {acked:?}");
    disk.operations()
}

#[tokio::test]
async fn p1_power_cut_at_every_operation_loses_nothing_that_was_answered() {
    let operations = operations().await;
    let mut covered: BTreeMap<&str, u64> = BTreeMap::new();
    for cut in 1..=operations {
        let (disk, dir, acked) = until(cut, cut).await;
        *covered.entry(if acked.events.is_empty() { "before anything" } else { "under way" }).or_default() += 1;
        for seed in 0..4 {
            let survivor = disk.power_cut(cut * 31 + seed);
            let tables = TempDir::new().unwrap();
            if dir.path().join("tables.db").exists() {
                copy_tables(dir.path(), tables.path());
            }
            let store = EmbeddedStore::open_on(Arc::new(survivor.clone()), options(tables.path(), SIZES))
                .unwrap_or_else(|error| panic!("cut {cut}, seed {seed}: {error}"));
            check(&store, &acked).await.unwrap_or_else(|broken| panic!("cut {cut}, seed {seed}: {broken}"));
            drop(store);
            if seed == 0 {
                // And once more, from what recovery left.
                let again = EmbeddedStore::open_on(Arc::new(survivor.power_cut(cut)), options(tables.path(), SIZES)).unwrap();
                check(&again, &acked).await.unwrap_or_else(|broken| panic!("cut {cut}, opened twice: {broken}"));
            }
        }
    }
    assert!(covered.values().all(|times| *times > 0) && covered.len() == 2, "{covered:?}");
}

#[tokio::test]
async fn p1_power_cut_during_recovery_loses_nothing() {
    let operations = operations().await;
    for first in [operations / 3, operations / 2, operations - 5] {
        let (disk, dir, acked) = until(first, first).await;
        for second in 1.. {
            let survivor = disk.power_cut(first);
            survivor.cut_at(second);
            let tables = TempDir::new().unwrap();
            copy_tables(dir.path(), tables.path());
            let opened = open(&survivor, &tables);
            let is_over = opened.is_some() && !survivor.is_off();
            drop(opened);
            let again = EmbeddedStore::open_on(Arc::new(survivor.power_cut(second)), options(tables.path(), SIZES))
                .unwrap_or_else(|error| panic!("cut {first}, then {second}: {error}"));
            check(&again, &acked).await.unwrap_or_else(|broken| panic!("cut {first}, then {second}: {broken}"));
            if is_over {
                break;
            }
        }
    }
}
