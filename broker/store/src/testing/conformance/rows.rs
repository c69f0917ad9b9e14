//! Tables.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{
    Broken, StoreFactory,
    sample::T0,
    stand::{End, Stand, ensure_eq},
};
use crate::contract::{Commit, Row, RowChange, Table};

fn put(table: Table, key: &[u8], value: &[u8]) -> RowChange {
    RowChange::Put(table, Row { key: Bytes::copy_from_slice(key), value: Bytes::copy_from_slice(value) })
}

fn delete(table: Table, key: &[u8]) -> RowChange {
    RowChange::Delete(table, Bytes::copy_from_slice(key))
}

async fn change(stand: &Stand, rows: Vec<RowChange>) -> Result<(), Broken> {
    stand.commit(T0, Commit { rows, ..Commit::default() }).await.map(drop)
}

fn pairs(rows: &[Row]) -> Vec<(&[u8], &[u8])> {
    rows.iter().map(|row| (&row.key[..], &row.value[..])).collect()
}

/// Rows come in the order of their keys' bytes, from any key, at most so many, and paging finds each once.
pub async fn a_scan_is_in_key_order(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let mut stand = Stand::new(factory).await?;
    let keys: [&[u8]; 9] = [b"\xff\xff", b"b", b"", b"a\x00", b"a", b"\x00", b"ab", b"\xff", b"a\x00\x00"];
    for key in keys {
        change(&stand, vec![put(Table::Timers, key, key)]).await?;
    }
    let sorted: BTreeMap<&[u8], &[u8]> = keys.into_iter().map(|key| (key, key)).collect();
    for end in [None, Some(End::Close), Some(End::Crash)] {
        if let Some(end) = end {
            stand = stand.reopen(end).await?;
        }
        for from in keys.into_iter().chain([&b"a\x01"[..], b"zzz", b"\xff\xff\xff"]) {
            for limit in [0, 1, 3, usize::MAX] {
                let expected: Vec<_> = sorted.range(from..).take(limit).map(|(key, value)| (*key, *value)).collect();
                let found = stand.store().scan(Table::Timers, from, limit).await?;
                ensure_eq!(pairs(&found), expected, "rows from {from:?}, at most {limit} ({end:?})");
            }
        }
    }
    Ok(())
}

/// Changes of one commit apply in their order; a put replaces; deleting what is not there is fine.
pub async fn changes_apply_in_order(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let table = Table::Broker;
    for end in End::BOTH {
        let stand = Stand::new(factory).await?;
        change(&stand, vec![delete(table, b"x"), put(table, b"a", b"1"), put(table, b"a", b"2"), put(table, b"b", b"")]).await?;
        ensure_eq!(pairs(&stand.rows(table).await?), [(&b"a"[..], &b"2"[..]), (b"b", b"")], "after two puts of one key");
        change(&stand, vec![delete(table, b"a"), put(table, b"a", b"3"), put(table, b"c", b"4"), delete(table, b"c")]).await?;
        change(&stand, vec![put(table, b"b", b"5"), delete(table, b"b")]).await?;
        ensure_eq!(pairs(&stand.rows(table).await?), [(&b"a"[..], &b"3"[..])], "after puts and deletes");
        let stand = stand.reopen(end).await?;
        ensure_eq!(pairs(&stand.rows(table).await?), [(&b"a"[..], &b"3"[..])], "after {end:?}");
    }
    Ok(())
}

/// Tables do not mix: not in scans, not in deletes.
pub async fn tables_do_not_mix(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let mut stand = Stand::new(factory).await?;
    for (number, table) in Table::ALL.into_iter().enumerate() {
        change(&stand, vec![put(table, b"k", number.to_string().as_bytes()), put(table, b"gone", b"x")]).await?;
    }
    change(&stand, Table::ALL.into_iter().skip(1).map(|table| delete(table, b"gone")).collect()).await?;
    for end in [None, Some(End::Close), Some(End::Crash)] {
        if let Some(end) = end {
            stand = stand.reopen(end).await?;
        }
        for (number, table) in Table::ALL.into_iter().enumerate() {
            let rows = stand.rows(table).await?;
            let mine = number.to_string();
            let mut expected = vec![(&b"gone"[..], &b"x"[..]), (b"k", mine.as_bytes())];
            if number > 0 {
                expected.remove(0);
            }
            ensure_eq!(pairs(&rows), expected, "the rows of {table:?} ({end:?})");
        }
    }
    Ok(())
}

/// Rows of the largest size come back byte for byte.
pub async fn a_large_row_comes_back(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let key = vec![0xee; crate::limits::MAX_ROW_KEY_BYTES];
    let value: Vec<u8> = (0..crate::limits::MAX_ROW_VALUE_BYTES).map(|k| k.to_le_bytes()[k % 2]).collect();
    let stand = Stand::new(factory).await?;
    change(&stand, vec![put(Table::DeadLetters, &key, &value)]).await?;
    let stand = stand.reopen(End::Crash).await?;
    let rows = stand.rows(Table::DeadLetters).await?;
    ensure_eq!(pairs(&rows) == [(&key[..], &value[..])], true, "whether the largest row came back as it was");
    Ok(())
}
