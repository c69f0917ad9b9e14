//! A full store, and writes that are too large.

use bytes::Bytes;

use super::{
    Broken, Sizes, StoreFactory,
    sample::{Sample, T0, build_all},
    stand::{End, Stand, ensure, ensure_eq},
};
use crate::{
    contract::{Commit, Row, RowChange, Selection, Table},
    error::{AppendError, CommitError},
    limits::{MAX_BYTES_PER_WRITE, MAX_EVENT_BYTES, MAX_ITEMS_PER_WRITE, MAX_ROW_KEY_BYTES, MAX_ROW_VALUE_BYTES},
};

const SMALL: Sizes = Sizes { cap: 16 << 20, reserve: 4 << 20, segment_bytes: 256 << 10, dedup_ids: 10_000 };
const EVENT: usize = 100_000;

/// Appends until the store says that it is full. Answers how many events fitted.
///
/// An engine may make room by itself a moment after it has refused: it is full once it refuses an append and then a commit.
async fn fill(stand: &Stand, name: &str) -> Result<usize, Broken> {
    let mut fitted = 0;
    for _ in 0..1_000 {
        let event = Sample::new(format!("{name} {fitted}")).body_bytes(EVENT).build()?;
        match stand.store().append(T0, vec![event.clone()]).await {
            Ok(_) => {
                let disk = stand.store().disk();
                ensure!(disk.used <= disk.cap - disk.reserve, "an append took the store to {disk:?}, into the reserve");
                fitted += 1;
                continue;
            }
            Err(AppendError::Full { used, cap, reserve }) => {
                let disk = stand.store().disk();
                ensure_eq!((cap, reserve), (disk.cap, disk.reserve), "cap and reserve as the refusal says them");
                ensure!(used <= cap, "the refusal says that {used} of {cap} bytes are in use");
            }
            Err(other) => return Err(other.into()),
        }
        match stand.store().commit(T0, Commit { events: vec![event], ..Commit::default() }).await {
            Ok(_) => fitted += 1,
            Err(CommitError::Append(AppendError::Full { .. })) if stand.store().disk().full => return Ok(fitted),
            Err(CommitError::Append(AppendError::Full { .. })) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Err(Broken(format!("after 1,000 tries the store is not full: {:?}", stand.store().disk())))
}

/// A full store refuses appends, and commits without a claim, and writes nothing of them; reads, duplicates and commits under a claim go on; after a trim it
/// accepts again, by itself.
pub async fn a_full_store_drains_and_resumes(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let mut stand = Stand::with(factory, SMALL).await?;
    let claim = stand.store().claim("owner").await?.claim;
    ensure!(!stand.store().disk().full, "an empty store is full: {:?}", stand.store().disk());
    let fitted = fill(&stand, "first").await?;
    ensure!(fitted >= 40, "only {fitted} events of 100 KB fitted in 12 MB");
    ensure_eq!(stand.events().await?.len(), fitted, "events: those that were answered");

    let big = Sample::new("big").body_bytes(EVENT).build()?;
    let duplicate = stand.append_one(T0, Sample::new("first 0").body_bytes(EVENT)).await?;
    ensure!(duplicate.duplicate.is_some(), "a duplicate in a full store");
    ensure_eq!(stand.store().append(T0, vec![]).await?, vec![], "an append of nothing in a full store");

    let commit = Commit { claim: Some(claim), records: vec!["settled".into()], events: vec![big], ..Commit::default() };
    stand.commit(T0, commit).await?;
    ensure_eq!(stand.events().await?.len(), fitted + 1, "events: the output of a settlement is there");
    stand = stand.reopen(End::Crash).await?;
    ensure!(stand.store().disk().full, "the store is not full any more after a crash: {:?}", stand.store().disk());
    ensure_eq!(stand.store().claim("owner").await?.records, vec![Bytes::from("settled")], "what was settled in the full store");

    resume(&stand).await?;
    ensure!(!stand.store().disk().full, "still full after a trim: {:?}", stand.store().disk());
    let again = fill(&stand, "second").await?;
    ensure!(again >= fitted / 2, "{fitted} events fitted at first, after a trim only {again}");
    Ok(())
}

/// Trims everything and appends, until the space is back: an engine may give it back a little after the answer.
async fn resume(stand: &Stand) -> Result<(), Broken> {
    for attempt in 0..400 {
        stand.store().trim(stand.store().disk().next).await?;
        let event = Sample::new(format!("resumed {attempt}")).body_bytes(EVENT).build()?;
        match stand.store().append(T0, vec![event]).await {
            Ok(_) if !stand.store().disk().full => return Ok(()),
            Ok(_) | Err(AppendError::Full { .. }) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            Err(other) => return Err(other.into()),
        }
    }
    Err(Broken(format!("everything was trimmed, and the store stays full: {:?}", stand.store().disk())))
}

/// Commits under a claim end at the cap, with the same clear refusal, and the cap is never passed.
pub async fn the_reserve_ends_at_the_cap(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let stand = Stand::with(factory, SMALL).await?;
    let claim = stand.store().claim("owner").await?.claim;
    fill(&stand, "first").await?;
    for count in 0..1_000 {
        let events = vec![Sample::new(format!("output {count}")).body_bytes(EVENT).build()?];
        let commit = Commit { claim: Some(claim.clone()), events, ..Commit::default() };
        match stand.store().commit(T0, commit).await {
            Ok(_) => {}
            Err(CommitError::Append(AppendError::Full { .. })) => {
                ensure!(count >= 10, "only {count} events of 100 KB fitted in a reserve of 4 MB");
                let disk = stand.store().disk();
                ensure!(disk.used <= disk.cap, "the cap is passed: {disk:?}");
                return resume(&stand).await;
            }
            Err(other) => return Err(other.into()),
        }
    }
    Err(Broken("100 MB fitted in a reserve of 4 MB".into()))
}

fn too_large(what: &'static str, value: usize, max: usize) -> AppendError {
    AppendError::TooLarge { what, value, max }
}

/// What is too large is refused by name, size and limit, whole; what is exactly as large as allowed is taken.
pub async fn what_is_too_large_is_named(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let stand = Stand::new(factory).await?;
    let many = build_all((0..=MAX_ITEMS_PER_WRITE).map(Sample::new))?;
    let items = too_large("items in one write", MAX_ITEMS_PER_WRITE + 1, MAX_ITEMS_PER_WRITE);
    ensure_eq!(stand.store().append(T0, many.clone()).await.err(), Some(items.clone()), "an append of 1,001 events");
    let mixed = Commit {
        events: many[..MAX_ITEMS_PER_WRITE].to_vec(),
        rows: vec![RowChange::Delete(Table::Timers, "k".into())],
        ..Commit::default()
    };
    ensure_eq!(stand.store().commit(T0, mixed).await.err(), Some(items.into()), "a commit of 1,001 items");

    let rest = MAX_BYTES_PER_WRITE - 3 * MAX_EVENT_BYTES;
    let event = |name: &str, bytes: usize| -> Result<_, Broken> {
        let mut event = Sample::new(name).build()?;
        event.body = Bytes::from(vec![7; bytes - event.head.encoded().len()]);
        Ok(event)
    };
    let error = stand.store().append(T0, vec![event("x", MAX_EVENT_BYTES + 1)?]).await.err();
    ensure_eq!(error, Some(too_large("bytes of one event", MAX_EVENT_BYTES + 1, MAX_EVENT_BYTES)), "an event too large");
    let mut full = Vec::new();
    for (name, bytes) in [("a", MAX_EVENT_BYTES), ("b", MAX_EVENT_BYTES), ("c", MAX_EVENT_BYTES), ("d", rest + 1)] {
        full.push(event(name, bytes)?);
    }
    let error = stand.store().append(T0, full.clone()).await.err();
    ensure_eq!(error, Some(too_large("bytes in one write", MAX_BYTES_PER_WRITE + 1, MAX_BYTES_PER_WRITE)), "an append too large");
    ensure_eq!(stand.events().await?, vec![], "events after refusals");

    let exactly = full[3].body.len() - 1;
    full[3].body.truncate(exactly);
    ensure_eq!(stand.store().append(T0, full).await?.len(), 4, "an append of exactly the most bytes");
    stand.store().append(T0, many[..MAX_ITEMS_PER_WRITE].to_vec()).await?;
    let stand = stand.reopen(End::Crash).await?;
    ensure_eq!(stand.events().await?.len(), 4 + MAX_ITEMS_PER_WRITE, "events: those of the largest writes");
    Ok(())
}

/// Rows that are too large are refused by name, size and limit.
pub async fn a_row_too_large_is_named(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let stand = Stand::new(factory).await?;
    let zeros = |bytes: usize| Bytes::from(vec![0; bytes]);
    let put = |key, value| RowChange::Put(Table::Timers, Row { key: zeros(key), value: zeros(value) });
    let (key, value) = (MAX_ROW_KEY_BYTES, MAX_ROW_VALUE_BYTES);
    let cases = [
        (put(key + 1, 0), too_large("bytes of a row's key", key + 1, key)),
        (RowChange::Delete(Table::Timers, zeros(key + 1)), too_large("bytes of a row's key", key + 1, key)),
        (put(1, value + 1), too_large("bytes of a row's value", value + 1, value)),
    ];
    for (change, expected) in cases {
        let commit = Commit { rows: vec![put(2, 2), change], ..Commit::default() };
        ensure_eq!(stand.store().commit(T0, commit).await.err(), Some(expected.into()), "a row too large");
    }
    ensure_eq!(stand.rows(Table::Timers).await?, vec![], "rows after refusals");
    let (events, _) = stand.read_all(0, &Selection::All, super::stand::ALL).await?;
    ensure_eq!(events, vec![], "events after refusals");
    Ok(())
}
