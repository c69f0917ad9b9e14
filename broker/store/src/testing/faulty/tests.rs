//! Each fault does what it says, to the call that it was meant for, in paused time.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use super::{Call, Fault, FaultCounts, Faults, FaultyStore, Odds};
use crate::{
    AppendError, ClaimError, Commit, CommitError, EventHead, EventStore, MemoryConfig, MemoryStore, NewEvent, ReadError, ReadLimits,
    Selection, Table,
};

const ALL: ReadLimits = ReadLimits { events: usize::MAX, bytes: usize::MAX };

struct Bench {
    store: FaultyStore,
    inner: Arc<MemoryStore>,
    faults: Faults,
}

fn bench(faults: Faults) -> Bench {
    let inner = Arc::new(MemoryStore::open(MemoryConfig::default()));
    Bench { store: FaultyStore::new(inner.clone(), faults.clone()), inner, faults }
}

fn event(id: u64) -> NewEvent {
    let head = EventHead::new("test", &id.to_string(), "t", "", "", "").unwrap();
    NewEvent { head, body: Bytes::new(), fingerprint: 0, dedup_window: 1_000 }
}

async fn stored(store: &dyn EventStore) -> usize {
    store.read(1, &Selection::All, ALL).await.unwrap().events.len()
}

#[tokio::test(start_paused = true)]
async fn an_unknown_append_happened_or_not() {
    let bench = bench(Faults::none());
    bench.faults.script(Call::Append, [None, Some(Fault::Lost), Some(Fault::Done), Some(Fault::Unavailable), Some(Fault::Full)]);
    assert!(bench.store.append(1, vec![event(1)]).await.is_ok());
    assert!(matches!(bench.store.append(1, vec![event(2)]).await, Err(AppendError::Unknown(_))));
    assert_eq!(stored(&*bench.inner).await, 1);
    assert!(matches!(bench.store.append(1, vec![event(3)]).await, Err(AppendError::Unknown(_))));
    assert_eq!(stored(&*bench.inner).await, 2);
    assert!(matches!(bench.store.append(1, vec![event(4)]).await, Err(AppendError::Unavailable(_))));
    assert!(matches!(bench.store.append(1, vec![event(5)]).await, Err(AppendError::Full { .. })));
    assert_eq!(stored(&*bench.inner).await, 2);
    assert!(bench.store.append(1, vec![event(6)]).await.is_ok());
    let counts = bench.faults.counts();
    assert_eq!(counts, FaultCounts { calls: 6, full: 1, lost: 1, done: 1, unavailable: 1, slow: 0, short: 0 });
}

#[tokio::test(start_paused = true)]
async fn a_refused_commit_stays_refused_even_if_it_was_to_be_unknown() {
    let bench = bench(Faults::none());
    let old = bench.store.claim("owner").await.unwrap().claim;
    bench.store.claim("owner").await.unwrap();
    bench.faults.script(Call::Commit, [Some(Fault::Done)]);
    let commit = Commit { claim: Some(old), records: vec!["r".into()], ..Commit::default() };
    assert!(matches!(bench.store.commit(1, commit).await, Err(CommitError::Fenced { .. })));
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_claim_fences_all_the_same() {
    let bench = bench(Faults::none());
    let claim = bench.store.claim("owner").await.unwrap().claim;
    bench.faults.script(Call::Claim, [Some(Fault::Done)]);
    assert!(matches!(bench.store.claim("owner").await, Err(ClaimError::Unavailable(_))));
    let commit = Commit { claim: Some(claim), ..Commit::default() };
    assert!(matches!(bench.store.commit(1, commit).await, Err(CommitError::Fenced { .. })));
}

#[tokio::test(start_paused = true)]
async fn slow_calls_wait_in_paused_time() {
    let bench = bench(Faults::none());
    let second = Duration::from_secs(1);
    for call in [Call::Append, Call::Read, Call::Scan, Call::OffsetAt, Call::Trim, Call::Claim, Call::Commit] {
        bench.faults.script(call, [Some(Fault::Slow { before: second, after: second })]);
    }
    let start = Instant::now();
    bench.store.append(1, vec![event(1)]).await.unwrap();
    assert_eq!(start.elapsed(), 2 * second);
    bench.store.read(1, &Selection::All, ALL).await.unwrap();
    bench.store.scan(Table::Timers, b"", 1).await.unwrap();
    bench.store.offset_at(0).await.unwrap();
    bench.store.trim(0).await.unwrap();
    bench.store.claim("owner").await.unwrap();
    bench.store.commit(1, Commit::default()).await.unwrap();
    assert_eq!(start.elapsed(), 14 * second);
    assert_eq!(bench.faults.counts().slow, 7);
}

#[tokio::test(start_paused = true)]
async fn a_short_read_goes_on_where_it_stopped() {
    let bench = bench(Faults::none());
    bench.store.append(1, (0..5).map(event).collect()).await.unwrap();
    bench.faults.script(Call::Read, [Some(Fault::Short(2)), Some(Fault::Unavailable)]);
    let batch = bench.store.read(1, &Selection::All, ALL).await.unwrap();
    assert_eq!((batch.events.len(), batch.next), (2, 3));
    assert!(matches!(bench.store.read(3, &Selection::All, ALL).await, Err(ReadError::Unavailable(_))));
    assert_eq!(bench.store.read(3, &Selection::All, ALL).await.unwrap().events.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_full_store_takes_commits_under_a_claim_alone() {
    let bench = bench(Faults::none());
    let claim = bench.store.claim("owner").await.unwrap().claim;
    bench.faults.set_full(true);
    assert!(bench.store.disk().full);
    assert!(matches!(bench.store.append(1, vec![event(1)]).await, Err(AppendError::Full { .. })));
    let unclaimed = bench.store.commit(1, Commit { events: vec![event(1)], ..Commit::default() }).await;
    assert!(matches!(unclaimed, Err(CommitError::Append(AppendError::Full { .. }))));
    bench.store.commit(1, Commit { claim: Some(claim), records: vec!["r".into()], ..Commit::default() }).await.unwrap();
    bench.faults.set_full(false);
    bench.store.append(1, vec![event(1)]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_answers_nothing() {
    let bench = bench(Faults::none());
    bench.faults.set_down(true);
    assert!(matches!(bench.store.append(1, vec![event(1)]).await, Err(AppendError::Unavailable(_))));
    assert!(matches!(bench.store.scan(Table::Timers, b"", 1).await, Err(ReadError::Unavailable(_))));
    assert!(bench.store.claim("owner").await.is_err());
    bench.faults.set_down(false);
    bench.store.append(1, vec![event(1)]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_brings_an_outage_that_ends() {
    let mut longest = 0;
    for seed in 0..20 {
        let bench = bench(Faults::seeded(seed, Odds { outage: 3, ..Odds::default() }));
        bench.faults.script(Call::Append, [Some(Fault::Lost)]);
        assert!(matches!(bench.store.append(1, vec![event(1)]).await, Err(AppendError::Unknown(_))));
        let mut refused = 0;
        while let Err(error) = bench.store.append(1, vec![event(1)]).await {
            assert!(matches!(error, AppendError::Unavailable(_)));
            assert_eq!(stored(&bench.store).await, 0, "reads go on");
            refused += 1;
        }
        longest = longest.max(refused);
    }
    assert_eq!(longest, 3);
}

/// Runs a few thousand calls and answers what happened to each.
async fn rough_run(seed: u64) -> (Vec<String>, FaultCounts) {
    let bench = bench(Faults::seeded(seed, Odds::rough()));
    let mut answers = Vec::new();
    for id in 0..1_000 {
        answers.push(format!("{:?}", bench.store.append(id, vec![event(id)]).await));
        answers.push(format!("{:?}", bench.store.read(id, &Selection::All, ALL).await.map(|batch| batch.next)));
        answers.push(format!("{:?}", bench.store.claim("owner").await.map(|claimed| claimed.claim.epoch)));
        answers.push(format!("{:?}", bench.store.commit(id, Commit::default()).await));
    }
    (answers, bench.faults.counts())
}

#[tokio::test(start_paused = true)]
async fn one_seed_gives_one_run_with_every_fault_in_it() {
    let (answers, counts) = rough_run(7).await;
    assert_eq!((answers.clone(), counts), rough_run(7).await);
    assert_ne!(answers, rough_run(8).await.0);
    let FaultCounts { calls, full, lost, done, unavailable, slow, short } = counts;
    assert!(calls == 4_000 && [full, lost, done, unavailable, slow, short].into_iter().all(|count| count > 10), "{counts:?}");
}
