//! Epochs, fencing, records and supersede.

use bytes::Bytes;

use super::{
    Broken, StoreFactory,
    sample::{Sample, T0},
    stand::{End, Stand, ensure, ensure_eq},
};
use crate::{
    contract::{Claim, Commit, Row, RowChange, Table},
    error::CommitError,
};

fn recording(claim: &Claim, records: &[&str]) -> Commit {
    let records = records.iter().map(|record| Bytes::copy_from_slice(record.as_bytes())).collect();
    Commit { claim: Some(claim.clone()), records, ..Commit::default() }
}

fn texts(records: &[Bytes]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8_lossy(record).into_owned()).collect()
}

/// A name never seen has no records; its records come back in their order; names do not mix.
pub async fn records_come_back_in_order(factory: &dyn StoreFactory) -> Result<(), Broken> {
    for end in End::BOTH {
        let stand = Stand::new(factory).await?;
        let a = stand.store().claim("a").await?;
        let b = stand.store().claim("b").await?;
        ensure!(a.records.is_empty() && b.records.is_empty(), "new names have records");
        ensure_eq!((&*a.claim.owner, &*b.claim.owner), ("a", "b"), "the owners of claims");
        for step in 0..20 {
            stand.commit(T0, recording(&a.claim, &[&format!("a{step}"), "again"])).await?;
            stand.commit(T0, recording(&b.claim, &[&format!("b{step}")])).await?;
        }
        let stand = stand.reopen(end).await?;
        let expected: Vec<String> = (0..20).flat_map(|step| [format!("a{step}"), "again".into()]).collect();
        ensure_eq!(texts(&stand.store().claim("a").await?.records), expected, "the records of a after {end:?}");
        let expected: Vec<String> = (0..20).map(|step| format!("b{step}")).collect();
        ensure_eq!(texts(&stand.store().claim("b").await?.records), expected, "the records of b after {end:?}");
        ensure_eq!(texts(&stand.store().claim("c").await?.records), Vec::<String>::new(), "the records of c");
    }
    Ok(())
}

/// Each claim of a name has a higher epoch than all before, over every reopening and after the name's records were deleted.
pub async fn epochs_only_rise(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let mut stand = Stand::new(factory).await?;
    let mut last: Option<u64> = None;
    for step in 0..12_usize {
        let claim = stand.store().claim("owner").await?.claim;
        ensure!(last.is_none_or(|last| claim.epoch > last), "epoch {} came after {last:?}", claim.epoch);
        last = Some(claim.epoch);
        match step % 4 {
            0 => stand = stand.reopen(End::Close).await?,
            1 => stand = stand.reopen(End::Crash).await?,
            2 => drop(stand.commit(T0, Commit { supersede: true, ..recording(&claim, &[]) }).await?),
            _ => {}
        }
    }
    Ok(())
}

/// After a claim, no commit under an earlier one of the name succeeds, over reopenings too; and it writes nothing.
pub async fn an_earlier_claim_is_fenced(factory: &dyn StoreFactory) -> Result<(), Broken> {
    for end in [None, Some(End::Close), Some(End::Crash)] {
        let mut stand = Stand::new(factory).await?;
        let old = stand.store().claim("owner").await?.claim;
        stand.commit(T0, recording(&old, &["old"])).await?;
        let new = stand.store().claim("owner").await?;
        ensure_eq!(texts(&new.records), ["old"], "the records that a new claim finds");
        if let Some(end) = end {
            stand = stand.reopen(end).await?;
        }
        let commit = Commit {
            events: vec![Sample::new("e").build()?],
            rows: vec![RowChange::Put(Table::Timers, Row { key: "k".into(), value: "v".into() })],
            ..recording(&old, &["late"])
        };
        let fenced = Some(CommitError::Fenced { owner: "owner".into(), epoch: old.epoch });
        ensure_eq!(stand.store().commit(T0, commit).await.err(), fenced, "a commit under an earlier claim ({end:?})");
        ensure_eq!(stand.store().commit(T0, recording(&old, &[])).await.err(), fenced, "an empty commit under an earlier claim");
        ensure!(stand.events().await?.is_empty() && stand.rows(Table::Timers).await?.is_empty(), "a fenced commit wrote something");
        // Nobody claimed the name since: reopening alone takes nothing away.
        stand.commit(T0, recording(&new.claim, &["new"])).await?;
        ensure_eq!(texts(&stand.store().claim("owner").await?.records), ["old", "new"], "records");
    }
    Ok(())
}

/// Claims are of one name: others go on, and a claim that was never given is none.
pub async fn a_claim_is_of_one_name(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let stand = Stand::new(factory).await?;
    let a = stand.store().claim("a").await?.claim;
    for _ in 0..3 {
        stand.store().claim("b").await?;
    }
    stand.commit(T0, recording(&a, &["a"])).await?;
    for made_up in [Claim { owner: "c".into(), epoch: 1 }, Claim { owner: "a".into(), epoch: a.epoch + 1 }] {
        let error = stand.store().commit(T0, recording(&made_up, &["x"])).await.err();
        let fenced = CommitError::Fenced { owner: made_up.owner.to_string(), epoch: made_up.epoch };
        ensure_eq!(error, Some(fenced), "a commit under a claim that was never given");
    }
    Ok(())
}

/// A superseding commit replaces the records before it, in one step, for good, and for its owner alone.
pub async fn supersede_replaces_the_records(factory: &dyn StoreFactory) -> Result<(), Broken> {
    for end in End::BOTH {
        let mut stand = Stand::new(factory).await?;
        let other = stand.store().claim("other").await?.claim;
        stand.commit(T0, recording(&other, &["mine"])).await?;
        let claim = stand.store().claim("owner").await?.claim;
        for record in ["1", "2", "3"] {
            stand.commit(T0, recording(&claim, &[record])).await?;
        }
        stand.commit(T0, Commit { supersede: true, ..recording(&claim, &["snapshot", "rest"]) }).await?;
        stand.commit(T0, recording(&claim, &["4"])).await?;
        stand = stand.reopen(end).await?;
        let claimed = stand.store().claim("owner").await?;
        ensure_eq!(texts(&claimed.records), ["snapshot", "rest", "4"], "records after a snapshot and {end:?}");
        stand.commit(T0, Commit { supersede: true, ..recording(&claimed.claim, &[]) }).await?;
        stand = stand.reopen(end).await?;
        ensure_eq!(texts(&stand.store().claim("owner").await?.records), Vec::<String>::new(), "records after deletion");
        ensure_eq!(texts(&stand.store().claim("other").await?.records), ["mine"], "the records of another");
    }
    Ok(())
}

/// Of many claims at once, all differ and the highest alone holds.
pub async fn of_many_claims_at_once_the_highest_holds(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let stand = Stand::new(factory).await?;
    let mut claims = Vec::new();
    for _ in 0..8 {
        let store = stand.handle();
        claims.push(tokio::spawn(async move { store.claim("owner").await.map(|claimed| claimed.claim) }));
    }
    let mut given = Vec::new();
    for claim in claims {
        given.push(claim.await??);
    }
    given.sort_by_key(|claim| claim.epoch);
    ensure!(given.windows(2).all(|two| two[0].epoch < two[1].epoch), "equal epochs: {given:?}");
    for (index, claim) in given.iter().enumerate() {
        let holds = stand.store().commit(T0, recording(claim, &["r"])).await.is_ok();
        ensure_eq!(holds, index == given.len() - 1, "whether claim {} of {given:?} holds", claim.epoch);
    }
    Ok(())
}
