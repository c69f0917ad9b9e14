//! A disk that fails, and one that is full: a clear answer, nothing lost, and recovery without reopening.

use std::sync::Arc;

use tempfile::TempDir;

use super::{
    place::options,
    script::{Acked, T0, check, event},
};
use crate::{
    AppendError, Commit, EmbeddedOptions, EmbeddedStore, Row, RowChange, Table,
    contract::{EventStore, ReadLimits, Selection},
    testing::{Operation, SimDisk, Trouble, conformance::Sizes},
};

const SIZES: Sizes = Sizes { cap: 64 << 20, reserve: 1 << 20, segment_bytes: 64 << 10, dedup_ids: 100_000 };
const ALL: ReadLimits = ReadLimits { events: 10_000, bytes: 64 << 20 };

fn open(disk: &SimDisk, dir: &TempDir) -> EmbeddedStore {
    EmbeddedStore::open_on(Arc::new(disk.clone()), options(dir.path(), SIZES)).unwrap()
}

/// Appends until it is accepted; says how often it was not.
async fn append(store: &EmbeddedStore, id: &str, acked: &mut Acked) -> Vec<AppendError> {
    let mut errors = Vec::new();
    loop {
        match store.append(T0, vec![event(id, 3_000)]).await {
            Ok(answers) => {
                acked.events.insert(id.to_owned(), answers[0].offset);
                return errors;
            }
            Err(error) => errors.push(error),
        }
        assert!(errors.len() < 1_000, "the store does not recover: {:?}", errors.last());
        tokio::task::yield_now().await;
    }
}

async fn fails_and_recovers(operation: Operation) {
    for well in 0..12 {
        let (disk, dir, mut acked) = (SimDisk::new(well), TempDir::new().unwrap(), Acked::default());
        let store = open(&disk, &dir);
        let claim = store.claim("one").await.unwrap().claim;
        disk.fail(operation, well, Trouble::Broken);
        let mut unknown = 0;
        for number in 0..40 {
            let errors = append(&store, &format!("e{number}"), &mut acked).await;
            unknown += errors.iter().filter(|error| matches!(error, AppendError::Unknown(_))).count();
            assert!(errors.iter().all(|error| !matches!(error, AppendError::Full { .. })), "{errors:?}");
        }
        if disk.injected() == 0 {
            assert!(well >= 2, "{operation:?} after {well} never failed");
            return;
        }
        assert!(unknown <= 1, "one failure, {unknown} unknown outcomes");
        // A claim holds over the recovery.
        store.commit(T0, Commit { claim: Some(claim), ..Commit::default() }).await.unwrap();
        check(&store, &acked).await.unwrap_or_else(|broken| panic!("{operation:?} after {well}: {broken}"));
        // What a failed sync dropped shows when the power goes.
        let survivor = disk.power_cut(well);
        let tables = TempDir::new().unwrap();
        super::place::copy_tables(dir.path(), tables.path());
        check(&open(&survivor, &tables), &acked).await.unwrap_or_else(|broken| panic!("{operation:?} after {well}, power cut: {broken}"));
    }
}

#[tokio::test]
async fn p1_a_failed_sync_is_unknown_and_the_log_goes_on() {
    fails_and_recovers(Operation::Sync).await;
}

#[tokio::test]
async fn p1_a_failed_write_is_unknown_and_the_log_goes_on() {
    fails_and_recovers(Operation::Write).await;
}

#[tokio::test]
async fn p1_failed_changes_of_names_lose_nothing() {
    fails_and_recovers(Operation::SyncNames).await;
}

#[tokio::test]
async fn p11_a_full_disk_refuses_and_recovers_by_itself() {
    let (disk, dir, mut acked) = (SimDisk::new(1), TempDir::new().unwrap(), Acked::default());
    let store = open(&disk, &dir);
    disk.set_capacity(400 << 10);
    let mut number = 0;
    let error = loop {
        match store.append(T0, vec![event(&format!("e{number}"), 3_000)]).await {
            Ok(answers) => acked.events.insert(format!("e{number}"), answers[0].offset),
            Err(error) => break error,
        };
        number += 1;
        assert!(number < 1_000, "400 KiB never fill");
    };
    assert!(matches!(error, AppendError::Full { .. }), "{error}");
    assert!(store.disk().full);
    let read = store.read(1, &Selection::All, ALL).await.unwrap();
    assert_eq!(read.events.len(), acked.events.len(), "reading goes on");
    disk.set_capacity(u64::MAX);
    assert_eq!(append(&store, "later", &mut acked).await, []);
    check(&store, &acked).await.unwrap();
    assert!(!store.disk().full);
}

/// After a failed sync the frame may be in no more than the system's memory. A process that dies then, and one that opens what it left,
/// must not serve what a power cut takes back.
#[tokio::test]
async fn p1_what_is_served_after_opening_is_durable() {
    let mut served = 0;
    for seed in 0..20 {
        let (disk, dir, mut acked) = (SimDisk::new(seed), TempDir::new().unwrap(), Acked::default());
        // Without spares: making one would meet the failure that is meant for the append.
        let store = open_without_spares(&disk, &dir);
        append(&store, "first", &mut acked).await;
        disk.fail(Operation::Sync, 0, Trouble::Broken);
        // Recovery within the process fails, too.
        disk.fail(Operation::Rename, 0, Trouble::Broken);
        let lost = store.append(T0, vec![event("second", 3_000)]).await;
        assert!(matches!(lost, Err(AppendError::Unknown(_))), "{lost:?}");
        drop(store);
        let again = open(&disk, &dir);
        for found in again.read(1, &Selection::All, ALL).await.unwrap().events {
            served += u64::from(found.head.id() == "second");
            acked.events.insert(found.head.id().to_owned(), found.offset);
        }
        drop(again);
        check(&open(&disk.power_cut(seed), &dir), &acked).await.unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
    }
    assert!(served > 0, "the frame never survived in memory");
}

fn without_spares(dir: &TempDir) -> EmbeddedOptions {
    EmbeddedOptions { spare_segments: 0, ..options(dir.path(), SIZES) }
}

fn open_without_spares(disk: &SimDisk, dir: &TempDir) -> EmbeddedStore {
    EmbeddedStore::open_on(Arc::new(disk.clone()), without_spares(dir)).unwrap()
}

#[tokio::test]
async fn p11_a_store_on_a_full_disk_is_opened_and_goes_on_by_itself() {
    let (disk, dir, mut acked) = (SimDisk::new(1), TempDir::new().unwrap(), Acked::default());
    {
        let store = open_without_spares(&disk, &dir);
        let claim = Some(store.claim("other").await.unwrap().claim);
        for number in 0..60 {
            append(&store, &format!("e{number}"), &mut acked).await;
        }
        store.commit(T0, Commit { claim, records: vec!["settled".into()], ..Commit::default() }).await.unwrap();
        append(&store, "last", &mut acked).await;
        assert!(store.disk().segments.len() > 2);
    }
    disk.set_capacity(0);
    let store = open_without_spares(&disk, &dir);
    assert!(store.disk().full);
    for number in 0..2 {
        let refused = store.append(T0, vec![event(&format!("r{number}"), 10)]).await;
        assert!(matches!(refused, Err(AppendError::Full { .. })), "{refused:?}");
    }
    let error = store.claim("other").await.unwrap_err().to_string();
    assert!(error.contains("no segment could be begun") || error.contains("the log cannot go on"), "{error}");
    let read = store.read(1, &Selection::All, ALL).await.unwrap();
    assert_eq!(
        (read.events.len(), read.gaps.len()),
        (acked.events.len() - 1, 0),
        "all is served but the last frame, which may not be durable"
    );
    assert_eq!(store.offset_at(T0 + 1).await.unwrap(), store.disk().next);

    // Nobody asks for anything: the last event comes by itself.
    let mut tail = store.tail();
    disk.set_capacity(u64::MAX);
    tail.wait_for(|next| *next > acked.events["last"]).await.unwrap();
    assert!(!store.disk().full);
    append(&store, "later", &mut acked).await;
    assert_eq!(store.claim("other").await.unwrap().records, ["settled"]);
    check(&store, &acked).await.unwrap();
    drop(store);
    let survivor = disk.power_cut(1);
    check(&open_without_spares(&survivor, &dir), &acked).await.unwrap();
    assert_eq!(open_without_spares(&survivor, &dir).disk().damage, 0);
}

/// The last frame may never have been synced. What it changes in the tables must not outlive it.
#[tokio::test]
async fn p1_a_store_that_was_opened_on_a_full_disk_keeps_no_half_of_a_commit() {
    let (mut kept, mut lost) = (0, 0);
    for seed in 0..20 {
        let (disk, dir) = (SimDisk::new(seed), TempDir::new().unwrap());
        let store = open_without_spares(&disk, &dir);
        append(&store, "first", &mut Acked::default()).await;
        disk.fail(Operation::Sync, 0, Trouble::Broken);
        disk.fail(Operation::Rename, 0, Trouble::Broken);
        let row = RowChange::Put(Table::Broker, Row { key: "key".into(), value: "value".into() });
        let commit = Commit { rows: vec![row], events: vec![event("second", 10)], ..Commit::default() };
        store.commit(T0, commit).await.unwrap_err();
        drop(store);
        disk.set_capacity(0);
        drop(open_without_spares(&disk, &dir));
        let survivor = disk.power_cut(seed);
        survivor.set_capacity(u64::MAX);
        let store = open_without_spares(&survivor, &dir);
        let rows = store.scan(Table::Broker, &[], 10).await.unwrap().len();
        let events = store.read(1, &Selection::All, ALL).await.unwrap().events.len();
        assert_eq!(rows + 1, events, "seed {seed}: a row without its event, or the other way round");
        (kept, lost) = (kept + rows, lost + 1 - rows);
    }
    assert!(kept > 0 && lost > 0, "{kept} kept, {lost} lost");
}
