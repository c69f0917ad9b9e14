//! All or nothing; conflicts.

use bytes::Bytes;

use super::{
    Broken, StoreFactory,
    sample::{Sample, T0, build_all},
    stand::{End, Stand, ensure, ensure_eq},
};
use crate::{
    contract::{Claim, Commit, Duplicate, Row, RowChange, Table},
    error::{AppendError, CommitError},
    limits::MAX_ITEMS_PER_WRITE,
};

fn row(key: &str, value: &str) -> Row {
    Row { key: Bytes::copy_from_slice(key.as_bytes()), value: Bytes::copy_from_slice(value.as_bytes()) }
}

/// A commit of a record, an event and a row that all bear the same number.
fn whole(claim: &Claim, number: u64) -> Result<Commit, Broken> {
    let name = number.to_string();
    Ok(Commit {
        claim: Some(claim.clone()),
        records: vec![Bytes::from(name.clone())],
        events: vec![Sample::new(&name).build()?],
        rows: vec![RowChange::Put(Table::DeadLetters, row(&name, "letter"))],
        ..Commit::default()
    })
}

/// What there is of the commits of [`whole`]: records, events and rows by number, which must agree.
async fn numbers(stand: &Stand) -> Result<Vec<String>, Broken> {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let mut records: Vec<String> = stand.store().claim("owner").await?.records.iter().map(text).collect();
    let mut events: Vec<String> = stand.events().await?.iter().map(|event| event.head.id().to_owned()).collect();
    let rows: Vec<String> = stand.rows(Table::DeadLetters).await?.iter().map(|row| text(&row.key)).collect();
    records.sort();
    events.sort();
    ensure_eq!(events, records, "events, beside the records of the same commits");
    ensure_eq!(rows, records, "rows, beside the records of the same commits");
    Ok(records)
}

/// Records, events and rows of an answered commit are all there: at once, after a close, after a crash.
pub async fn an_answered_commit_is_whole(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let mut stand = Stand::new(factory).await?;
    for number in 0..12 {
        let claim = stand.store().claim("owner").await?.claim;
        let answers = stand.commit(T0, whole(&claim, number)?).await?;
        ensure_eq!(answers.len(), 1, "answers to a commit with one event");
        ensure_eq!(numbers(&stand).await?.len() as u64, number + 1, "commits that are there");
        stand = stand.reopen(End::BOTH[usize::from(number % 3 != 0)]).await?;
        ensure_eq!(numbers(&stand).await?.len() as u64, number + 1, "commits that are there after reopening");
    }
    Ok(())
}

/// A crash while commits are under way leaves each of them whole or not at all, and all that were answered.
pub async fn a_crash_never_splits_a_commit(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let mut stand = Stand::new(factory).await?;
    let mut next = 0;
    for round in 0..12_usize {
        let claim = stand.store().claim("owner").await?.claim;
        let mut writers = Vec::new();
        for _ in 0..4 {
            let (store, commit) = (stand.handle(), whole(&claim, next)?);
            next += 1;
            writers.push(tokio::spawn(async move { store.commit(T0, commit).await.map(|_| ()) }));
        }
        for _ in 0..round % 4 {
            tokio::task::yield_now().await;
        }
        stand = stand.reopen(End::Crash).await?;
        let found = numbers(&stand).await?;
        for (writer, number) in writers.into_iter().zip(next - 4..) {
            match writer.await? {
                Ok(()) => ensure!(found.contains(&number.to_string()), "commit {number} was answered, and is gone after a crash"),
                Err(error) if error.is_unknown() => {}
                Err(error) => {
                    ensure!(!found.contains(&number.to_string()), "commit {number} was refused ({error}), and is there");
                }
            }
        }
    }
    Ok(())
}

/// An append of several events under way in a crash is there whole or not at all.
pub async fn a_crash_never_splits_an_append(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let mut stand = Stand::new(factory).await?;
    for round in 0..12_usize {
        let store = stand.handle();
        let events = build_all((0..5).map(|k| Sample::new(format!("{round}.{k}")).body_bytes(700)))?;
        let writer = tokio::spawn(async move { store.append(T0, events).await });
        for _ in 0..round % 4 {
            tokio::task::yield_now().await;
        }
        stand = stand.reopen(End::Crash).await?;
        let prefix = format!("{round}.");
        let found = stand.events().await?.iter().filter(|event| event.head.id().starts_with(&prefix)).count();
        ensure!(found == 0 || found == 5, "{found} of 5 events of one call are there after a crash");
        let answered = writer.await?.is_ok();
        ensure!(!answered || found == 5, "an append was answered, and is gone after a crash");
    }
    Ok(())
}

/// A conflict refuses the whole commit and says which event and where the first is; the same content is left out and answered.
pub async fn a_conflict_refuses_the_whole_commit(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let stand = Stand::new(factory).await?;
    let claim = stand.store().claim("owner").await?.claim;
    let first = stand.append_one(T0, Sample::new("taken")).await?;
    let mut commit = whole(&claim, 1)?;
    commit.events.push(Sample::new("taken").content(2).build()?);
    let error = stand.store().commit(T0, commit.clone()).await.err();
    ensure_eq!(error, Some(CommitError::Conflict { index: 1, first: first.offset }), "the answer to a conflict");
    ensure_eq!(stand.events().await?.len(), 1, "events after a conflict");
    ensure_eq!(stand.rows(Table::DeadLetters).await?, vec![], "rows after a conflict");

    commit.events[1] = Sample::new("taken").build()?;
    let answers = stand.commit(T0, commit).await?;
    ensure_eq!(answers[0].duplicate, None, "the new event beside a duplicate");
    ensure_eq!(answers[1], crate::Appended { duplicate: Some(Duplicate::SameContent), ..first }, "the duplicate in a commit");
    let events = stand.events().await?;
    ensure_eq!(events.iter().map(|event| event.head.id()).collect::<Vec<_>>(), ["taken", "1"], "events");
    ensure_eq!(stand.store().claim("owner").await?.records, vec![Bytes::from("1")], "records: those of the commit that was answered");
    Ok(())
}

/// Two events of one commit with one id: the same content is one event; other content refuses the commit.
pub async fn a_conflict_within_one_commit_is_one(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let stand = Stand::new(factory).await?;
    let events = build_all([Sample::new("x"), Sample::new("a"), Sample::new("a").content(1)])?;
    let error = stand.store().commit(T0, Commit { events, ..Commit::default() }).await.err();
    ensure_eq!(error, Some(CommitError::Conflict { index: 2, first: 0 }), "the answer to a conflict within one commit");
    ensure_eq!(stand.events().await?, vec![], "events after a conflict");
    let events = build_all([Sample::new("x"), Sample::new("a"), Sample::new("a")])?;
    let answers = stand.commit(T0, Commit { events, ..Commit::default() }).await?;
    ensure_eq!(answers[2], crate::Appended { duplicate: Some(Duplicate::SameContent), ..answers[1] }, "the same content twice");
    ensure_eq!(stand.events().await?.len(), 2, "events");
    Ok(())
}

/// Rows and events may go without a claim; records and supersede may not.
pub async fn records_need_a_claim(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let stand = Stand::new(factory).await?;
    let commit = Commit {
        events: vec![Sample::new("a").build()?],
        rows: vec![RowChange::Put(Table::Quarantine, row("k", "v"))],
        ..Commit::default()
    };
    stand.commit(T0, commit).await?;
    ensure_eq!(stand.rows(Table::Quarantine).await?, vec![row("k", "v")], "a row without a claim");
    let commit = Commit { records: vec!["r".into()], ..Commit::default() };
    let error = stand.store().commit(T0, commit).await.err();
    ensure_eq!(error, Some(CommitError::Unclaimed { records: 1, supersede: false }), "records without a claim");
    let error = stand.store().commit(T0, Commit { supersede: true, ..Commit::default() }).await.err();
    ensure_eq!(error, Some(CommitError::Unclaimed { records: 0, supersede: true }), "supersede without a claim");
    Ok(())
}

/// Where several errors apply, the first of these is the answer: too large, unclaimed, fenced, conflict.
pub async fn errors_come_in_their_order(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let stand = Stand::new(factory).await?;
    let stale = stand.store().claim("owner").await?.claim;
    stand.store().claim("owner").await?;
    stand.append_one(T0, Sample::new("taken")).await?;
    let conflict = vec![Sample::new("taken").content(1).build()?];
    let items = vec![Bytes::new(); MAX_ITEMS_PER_WRITE];
    let large = AppendError::TooLarge { what: "items in one write", value: MAX_ITEMS_PER_WRITE + 1, max: MAX_ITEMS_PER_WRITE };

    let mut commit = Commit { records: items, events: conflict, ..Commit::default() };
    ensure_eq!(stand.store().commit(T0, commit.clone()).await.err(), Some(large.clone().into()), "too large before unclaimed");
    commit.claim = Some(stale.clone());
    ensure_eq!(stand.store().commit(T0, commit.clone()).await.err(), Some(large.into()), "too large before fenced");
    commit.records.truncate(1);
    let fenced = CommitError::Fenced { owner: "owner".into(), epoch: stale.epoch };
    ensure_eq!(stand.store().commit(T0, commit.clone()).await.err(), Some(fenced), "fenced before conflict");
    commit.claim = None;
    let unclaimed = CommitError::Unclaimed { records: 1, supersede: false };
    ensure_eq!(stand.store().commit(T0, commit).await.err(), Some(unclaimed), "unclaimed before conflict");
    Ok(())
}
