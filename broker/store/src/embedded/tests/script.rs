//! A scripted run over everything a store does, what it answered, and the check that it still is so.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    EmbeddedStore,
    contract::{Claim, Commit, EventStore, GapCause, Micros, Offset, ReadLimits, Row, RowChange, Selection, Table},
    event::{EventHead, NewEvent},
};

pub(super) const T0: Micros = 1_700_000_000_000_000;
const WINDOW: Micros = 1 << 40;
const ALL: ReadLimits = ReadLimits { events: 10_000, bytes: 64 << 20 };

/// What a step of an owner changes: all of it, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) records: Vec<Bytes>,
    pub(super) row: Option<Bytes>,
    /// The output that was published with it.
    pub(super) output: Option<String>,
}

/// What was answered.
#[derive(Debug, Default)]
pub(super) struct Acked {
    /// Where the event of an id is.
    pub(super) events: BTreeMap<String, Offset>,
    /// The state of each owner after its last answered step.
    pub(super) owners: BTreeMap<String, State>,
    /// The state after a step that was not answered: it may be there as well.
    pub(super) pending: BTreeMap<String, State>,
    pub(super) trimmed: Offset,
    pub(super) refused: u64,
    pub(super) rolls: usize,
    pub(super) trims: u64,
    pub(super) duplicates: u64,
}

pub(super) fn event(id: &str, bytes: usize) -> NewEvent {
    let head = EventHead::new("script", id, if bytes > 2_000 { "t.Large" } else { "t.Small" }, "", "", "story").unwrap();
    let body = id.bytes().cycle().take(bytes).collect::<Vec<u8>>().into();
    NewEvent { head, body, fingerprint: bytes as u128, dedup_window: WINDOW }
}

/// Runs the script until it ends or the power goes.
pub(super) async fn run(store: &EmbeddedStore, acked: &mut Acked) {
    let mut claims: BTreeMap<String, Claim> = BTreeMap::new();
    for round in 0..14_u64 {
        let now = T0 + round;
        let ids = [format!("a{round}"), format!("b{round}")];
        match store.append(now, vec![event(&ids[0], 16_000), event(&ids[1], 700)]).await {
            Ok(answers) => {
                acked.events.extend(ids.into_iter().zip(answers.iter().map(|answer| answer.offset)));
                acked.rolls = acked.rolls.max(store.disk().segments.len() - 1);
            }
            Err(_) => acked.refused += 1,
        }
        for owner in ["one", "two"] {
            step(store, acked, &mut claims, owner, round).await;
        }
        if let Some((id, first)) = acked.events.iter().next_back().map(|(id, offset)| (id.clone(), *offset))
            && let Ok(answers) = store.append(now, vec![event(&id, 1)]).await
        {
            assert_eq!((answers[0].offset, answers[0].duplicate.is_some()), (first, true), "{id} is known");
            acked.duplicates += 1;
        }
        if round % 5 == 4 {
            let before = store.disk().next.saturating_sub(8);
            match store.trim(before).await {
                Ok(first) => {
                    acked.trims += u64::from(first > acked.trimmed);
                    acked.trimmed = acked.trimmed.max(first);
                }
                // It may have let go of them all the same.
                Err(_) => (acked.trimmed, acked.refused) = (acked.trimmed.max(before), acked.refused + 1),
            }
        }
    }
}

async fn step(store: &EmbeddedStore, acked: &mut Acked, claims: &mut BTreeMap<String, Claim>, owner: &str, round: u64) {
    if round.is_multiple_of(4) {
        match store.claim(owner).await {
            Ok(claimed) => drop(claims.insert(owner.to_owned(), claimed.claim)),
            Err(_) => acked.refused += 1,
        }
    }
    let Some(claim) = claims.get(owner).cloned() else { return };
    if acked.pending.contains_key(owner) {
        return;
    }
    let before = acked.owners.get(owner).cloned().unwrap_or_default();
    let supersede = round % 6 == 5;
    let record = Bytes::from(format!("{owner} {round}"));
    let output = format!("out {owner} {round}");
    let row = (round % 3 != 2).then(|| Bytes::from(format!("row {round}")));
    let records = if supersede { vec![record.clone()] } else { before.records.iter().cloned().chain([record.clone()]).collect() };
    let after = State { records, row: row.clone(), output: Some(output.clone()) };
    let key = Bytes::from(owner.to_owned());
    let change = match row {
        Some(value) => RowChange::Put(Table::DeadLetters, Row { key, value }),
        None => RowChange::Delete(Table::DeadLetters, key),
    };
    let commit = Commit { claim: Some(claim), records: vec![record], supersede, events: vec![event(&output, 300)], rows: vec![change] };
    match store.commit(T0 + round, commit).await {
        Ok(answers) => {
            acked.events.insert(output, answers[0].offset);
            acked.owners.insert(owner.to_owned(), after);
        }
        Err(_) => {
            acked.refused += 1;
            acked.pending.insert(owner.to_owned(), after);
        }
    }
}

/// Checks that a store has everything that was answered, and nothing by half.
pub(super) async fn check(store: &EmbeddedStore, acked: &Acked) -> Result<(), String> {
    let batch = store.read(1, &Selection::All, ALL).await.map_err(|error| error.to_string())?;
    if let Some(gap) = batch.gaps.iter().find(|gap| gap.cause == GapCause::Damaged || gap.to > acked.trimmed) {
        return Err(format!("{gap:?}, but only {} and what is before was let go", acked.trimmed));
    }
    let found: BTreeMap<&str, Offset> = batch.events.iter().map(|event| (event.head.id(), event.offset)).collect();
    for (id, offset) in &acked.events {
        if found.get(&**id) != Some(offset) && *offset >= acked.trimmed {
            return Err(format!("{id} was answered with offset {offset}, and is at {:?}", found.get(&**id)));
        }
    }
    for event in &batch.events {
        let expected: Vec<u8> = event.head.id().bytes().cycle().take(event.body.len()).collect();
        if event.body != expected {
            return Err(format!("{} has another body", event.head.id()));
        }
    }
    // The first half of an append is not there without the second.
    for round in 0..14 {
        let pair = [format!("a{round}"), format!("b{round}")].map(|id| found.get(&*id).copied());
        if pair[0].is_some() != pair[1].is_some() && pair.iter().flatten().any(|offset| *offset > acked.trimmed) {
            return Err(format!("half of append {round} is there: {pair:?}"));
        }
    }
    check_owners(store, acked, &found).await?;
    check_ids(store, acked).await
}

async fn check_owners(store: &EmbeddedStore, acked: &Acked, found: &BTreeMap<&str, Offset>) -> Result<(), String> {
    let rows = store.scan(Table::DeadLetters, &[], 100).await.map_err(|error| error.to_string())?;
    for owner in ["one", "two"] {
        let records = store.claim(owner).await.map_err(|error| error.to_string())?.records;
        let row = rows.iter().find(|row| row.key == *owner.as_bytes()).map(|row| row.value.clone());
        let certain = acked.owners.get(owner).cloned().unwrap_or_default();
        let possible = [Some(&certain), acked.pending.get(owner)];
        let is_now = |state: &&State| state.records == records && state.row == row;
        let Some(state) = possible.into_iter().flatten().find(is_now) else {
            return Err(format!("{owner} has {records:?} and {row:?}, and not {possible:?}"));
        };
        // The output of a step that was not answered is there if and only if the step is.
        if let Some(pending) = acked.pending.get(owner)
            && let Some(output) = &pending.output
            && (state == pending) != found.contains_key(&**output)
        {
            return Err(format!("{owner}: {state:?}, but its output {output} is at {:?}", found.get(&**output)));
        }
    }
    Ok(())
}

/// Every id that was answered is still a duplicate, whether or not its event is still there.
async fn check_ids(store: &EmbeddedStore, acked: &Acked) -> Result<(), String> {
    for (id, offset) in &acked.events {
        let answers = store.append(T0 + 1_000, vec![event(id, 1)]).await.map_err(|error| error.to_string())?;
        if answers[0].offset != *offset || answers[0].duplicate.is_none() {
            return Err(format!("{id} at {offset} is not found as a duplicate: {:?}", answers[0]));
        }
    }
    Ok(())
}
