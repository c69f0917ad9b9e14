//! What only the store in memory promises: the queue, crashes, shared syncs, damage. The rest is the conformance suite's.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::{future::Future, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;

use super::{MemoryConfig, MemoryDisk, MemoryStore};
use crate::{
    AppendError, Commit, CommitError, EventHead, EventStore, GapCause, NewEvent, Offset, ReadBatch, ReadError, ReadLimits, Row, RowChange,
    Selection, Table, TypeSet,
};

const ALL: ReadLimits = ReadLimits { events: usize::MAX, bytes: usize::MAX };

fn event(id: u64, event_type: &str) -> NewEvent {
    let head = EventHead::new("test", &id.to_string(), event_type, "", "", "story").unwrap();
    NewEvent { head, body: Bytes::from_static(b"body"), fingerprint: 1, dedup_window: 1_000 }
}

async fn append(store: &MemoryStore, id: u64) -> Result<Offset, AppendError> {
    Ok(store.append(1, vec![event(id, "t")]).await?[0].offset)
}

async fn read_all(store: &MemoryStore) -> ReadBatch {
    store.read(1, &Selection::All, ALL).await.unwrap()
}

/// Polls once, so that the write is queued.
async fn begin<F: Future + Unpin>(future: &mut F) {
    std::future::poll_fn(|context| {
        assert!(std::pin::Pin::new(&mut *future).poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_loses_what_was_queued_and_keeps_what_was_answered() {
    for keep in 0..=2 {
        let disk = MemoryDisk::new(MemoryConfig { sync_delay: Duration::from_millis(1), ..MemoryConfig::default() });
        let store = disk.open();
        append(&store, 1).await.unwrap();
        let mut second = Box::pin(append(&store, 2));
        let mut third = Box::pin(append(&store, 3));
        begin(&mut second).await;
        begin(&mut third).await;
        assert_eq!(disk.queued(), 2);
        disk.crash(keep);
        assert_eq!(matches!(second.await, Err(AppendError::Unknown(_))), keep < 1);
        assert_eq!(matches!(third.await, Err(AppendError::Unknown(_))), keep < 2);
        let reopened = disk.open();
        assert_eq!(read_all(&reopened).await.events.len(), 1 + keep);
    }
}

#[tokio::test]
async fn a_store_that_crashed_answers_unavailable() {
    let disk = MemoryDisk::new(MemoryConfig::default());
    let store = disk.open();
    let mut tail = store.tail();
    disk.crash(0);
    assert!(tail.changed().await.is_err(), "who waits for the tail is told");
    assert!(matches!(append(&store, 1).await, Err(AppendError::Unavailable(_))));
    assert!(matches!(store.read(1, &Selection::All, ALL).await, Err(ReadError::Unavailable(_))));
    let reopened = disk.open();
    assert_eq!(append(&reopened, 1).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_visible_before_its_sync() {
    let disk = MemoryDisk::new(MemoryConfig { sync_delay: Duration::from_millis(1), ..MemoryConfig::default() });
    let store = disk.open();
    let mut write = Box::pin(append(&store, 1));
    begin(&mut write).await;
    assert_eq!(*store.tail().borrow(), 1);
    assert!(read_all(&store).await.events.is_empty());
    write.await.unwrap();
    assert_eq!(*store.tail().borrow(), 2);
    assert_eq!(read_all(&store).await.events.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn writes_that_queue_up_share_a_sync() {
    let disk = MemoryDisk::new(MemoryConfig { sync_delay: Duration::from_millis(1), ..MemoryConfig::default() });
    let store = Arc::new(disk.open());
    let mut tail = store.tail();
    let writers: Vec<_> = (0..100)
        .map(|id| {
            let store = store.clone();
            tokio::spawn(async move { append(&store, id).await.unwrap() })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(disk.syncs() <= 2, "100 writes took {} syncs", disk.syncs());
    tail.changed().await.unwrap();
    assert_eq!(*tail.borrow_and_update(), 101);
}

#[tokio::test]
async fn dropping_a_write_does_not_undo_it() {
    let disk = MemoryDisk::new(MemoryConfig::default());
    let store = disk.open();
    let mut write = Box::pin(append(&store, 1));
    begin(&mut write).await;
    drop(write);
    append(&store, 2).await.unwrap();
    assert_eq!(read_all(&store).await.events.len(), 2);
}

#[tokio::test]
async fn p14_damage_is_a_gap_to_every_selection() {
    let disk = MemoryDisk::new(MemoryConfig::default());
    let store = disk.open();
    for id in 1..=5 {
        append(&store, id).await.unwrap();
    }
    assert!(disk.damage(2) && disk.damage(3) && !disk.damage(3));
    let other = Selection::Types(TypeSet { names: vec!["other".into()], prefixes: vec![] });
    for selection in [Selection::All, other] {
        let batch = store.read(1, &selection, ALL).await.unwrap();
        assert_eq!(batch.gaps.len(), 1);
        assert_eq!((batch.gaps[0].from, batch.gaps[0].to, batch.gaps[0].cause), (2, 4, GapCause::Damaged));
    }
    assert_eq!(read_all(&store).await.events.iter().map(|event| event.offset).collect::<Vec<_>>(), [1, 4, 5]);
    assert_eq!(store.disk().damage, 2);
    assert_eq!(disk.open().disk().damage, 2, "what is damaged is found again");
}

#[tokio::test]
async fn a_read_costs_what_it_matches() {
    let disk = MemoryDisk::new(MemoryConfig::default());
    let store = disk.open();
    for id in 0..5_000 {
        let event_type = if id % 1_000 == 0 { "rare" } else { "common" };
        store.append(1, vec![event(id, event_type)]).await.unwrap();
    }
    let rare = Selection::Types(TypeSet { names: vec!["rare".into()], prefixes: vec![] });
    let before = disk.examined();
    assert_eq!(store.read(1, &rare, ALL).await.unwrap().events.len(), 5);
    assert_eq!(disk.examined() - before, 5);
}

#[tokio::test]
async fn bytes_are_counted_as_they_are_held() {
    let disk = MemoryDisk::new(MemoryConfig { cap: 10_000, reserve: 4_000, ..MemoryConfig::default() });
    let store = disk.open();
    let claim = store.claim("owner").await.unwrap().claim;
    let empty = store.disk().used;
    let rows = |rows| Commit { rows, ..Commit::default() };
    let put = |size| RowChange::Put(Table::Timers, Row { key: "k".into(), value: vec![0; size].into() });
    for size in [1_000, 3_000, 2_000, 2_000] {
        store.commit(1, rows(vec![put(size)])).await.unwrap();
    }
    assert!(store.disk().used - empty < 2_100, "replaced rows are not held: {:?}", store.disk());
    for size in [1_000, 3_000, 2_000] {
        let records = vec![vec![0; size].into()];
        store.commit(1, Commit { claim: Some(claim.clone()), records, supersede: true, ..Commit::default() }).await.unwrap();
    }
    assert!(store.disk().used - empty < 4_200, "superseded records are not held: {:?}", store.disk());
    store.commit(1, Commit { claim: Some(claim.clone()), records: vec![vec![0; 3_000].into()], ..Commit::default() }).await.unwrap();

    assert!(store.disk().used > 6_000, "into the reserve");
    let refused = store.commit(1, rows(vec![put(2_001)])).await;
    assert!(matches!(refused, Err(CommitError::Append(AppendError::Full { .. }))), "{refused:?}");
    store.commit(1, rows(vec![put(1_999)])).await.expect("what makes room is not refused");
    store.commit(1, rows(vec![RowChange::Delete(Table::Timers, "k".into())])).await.unwrap();
    store.commit(1, Commit { claim: Some(claim), supersede: true, ..Commit::default() }).await.unwrap();
    assert_eq!(store.disk().used, empty);
}
