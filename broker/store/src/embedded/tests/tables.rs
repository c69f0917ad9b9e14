//! Damage to the file of the tables: every row is served as it was, or its loss is reported; nothing else is ever served.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use bytes::Bytes;
use tempfile::TempDir;

use super::{
    place::options,
    script::{T0, event},
    upkeep::verified,
};
use crate::{
    Commit, EmbeddedStore, Row, RowChange, Table,
    contract::EventStore,
    embedded::{
        check::Check,
        disk::Disk,
        salvage::salvage,
        table_file::{checkpoint, connect, is_damage},
        tables::FILE,
    },
    testing::{SimDisk, conformance::Sizes},
};

const SIZES: Sizes = Sizes { cap: 64 << 20, reserve: 1 << 20, segment_bytes: 64 << 10, dedup_ids: 100_000 };
const TABLES: [Table; 3] = [Table::Subscriptions, Table::DeadLetters, Table::Broker];
const OWNERS: usize = 12;

type Rows = BTreeMap<Bytes, Bytes>;

/// What is in the tables.
#[derive(Debug, PartialEq, Eq)]
struct Content {
    rows: Vec<Rows>,
    records: Vec<Vec<Bytes>>,
}

fn open(disk: &SimDisk, dir: &Path) -> EmbeddedStore {
    EmbeddedStore::open_on(Arc::new(disk.clone()), options(dir, SIZES)).unwrap()
}

async fn content(store: &EmbeddedStore) -> Content {
    let mut content = Content { rows: Vec::new(), records: Vec::new() };
    for table in TABLES {
        let rows = store.scan(table, &[], usize::MAX).await.unwrap();
        content.rows.push(rows.into_iter().map(|row| (row.key, row.value)).collect());
    }
    for owner in 0..OWNERS {
        content.records.push(store.claim(&format!("owner {owner}")).await.unwrap().records);
    }
    content
}

/// Fills the tables in rounds: rows are put, replaced and deleted, records appended and superseded.
async fn round(store: &EmbeddedStore, round: usize) {
    for owner in 0..OWNERS {
        let claim = Some(store.claim(&format!("owner {owner}")).await.unwrap().claim);
        let put = |number: usize| {
            let key = Bytes::from(format!("{owner:02} {number:03}"));
            let value = Bytes::from(format!("{round} {owner} {number} ").repeat(if number == 7 { 600 } else { 8 }));
            RowChange::Put(TABLES[(owner + number) % 3], Row { key, value })
        };
        let mut rows: Vec<RowChange> = (0..20).map(|number| put(number + round * 5)).collect();
        rows.push(RowChange::Delete(TABLES[(owner + round * 5) % 3], format!("{owner:02} {:03}", round * 5).into()));
        let records = vec![Bytes::from(format!("record {round} of {owner} ").repeat(10))];
        let commit = Commit { claim, records, supersede: (owner + round).is_multiple_of(5), rows, ..Commit::default() };
        store.commit(T0, commit).await.unwrap();
    }
}

/// A store whose tables hold rows that the log has, and rows that only the tables have.
async fn filled() -> (SimDisk, TempDir, Content) {
    let (disk, dir) = (SimDisk::new(1), TempDir::new().unwrap());
    {
        let store = open(&disk, dir.path());
        for number in 0..6 {
            round(&store, number).await;
            let large = (0..6).map(|event_number| event(&format!("{number} {event_number}"), 15_000)).collect();
            store.append(T0, large).await.unwrap();
            if number == 3 {
                assert!(store.trim(store.disk().next).await.unwrap() > 1, "nothing was trimmed");
            }
        }
        // Several folds lie in the file, and nothing waits in memory.
    }
    let copy = disk.power_cut(1);
    let expected = content(&open(&copy, dir.path())).await;
    (copy.power_cut(1), dir, expected)
}

fn damaged_copy(from: &Path, damage: impl FnOnce(&mut Vec<u8>)) -> TempDir {
    let dir = TempDir::new().unwrap();
    let mut bytes = std::fs::read(from.join(FILE)).unwrap();
    damage(&mut bytes);
    std::fs::write(dir.path().join(FILE), bytes).unwrap();
    dir
}

/// Where the first page of a table is.
fn root_of(dir: &Path, table: &str) -> usize {
    let connection = rusqlite::Connection::open(dir.join(FILE)).unwrap();
    let page: u32 = connection.query_row("SELECT rootpage FROM sqlite_master WHERE name = ?1", [table], |row| row.get(0)).unwrap();
    (page as usize - 1) * 4096
}

/// Compares; answers how many rows and owners lack something.
fn compare(found: &Content, expected: &Content, damage: u64, what: &str) -> usize {
    let mut lost = 0;
    for (found, expected) in found.rows.iter().zip(&expected.rows) {
        assert!(found.iter().all(|(key, value)| expected.get(key) == Some(value)), "{what}: a row that never was so is served");
        lost += expected.len() - found.len();
    }
    for (found, expected) in found.records.iter().zip(&expected.records) {
        // A prefix is a state that the owner had.
        assert!(expected.starts_with(found), "{what}: {found:?} is no state of {expected:?}");
        lost += usize::from(found.len() < expected.len());
    }
    assert!(lost == 0 || damage > 0, "{what}: {lost} rows or owners lack something, and no damage is counted");
    lost
}

#[tokio::test]
async fn p14_a_flipped_bit_in_any_page_of_the_tables_is_reported_and_repaired() {
    let (disk, dir, expected) = filled().await;
    let length = std::fs::metadata(dir.path().join(FILE)).unwrap().len();
    assert!(length > 16 * 4096, "{length} bytes are too few pages");
    let total: usize = expected.rows.iter().map(BTreeMap::len).sum();
    let (mut losses, mut flips, mut reports) = (0, 0, 0);
    for page in 0..usize::try_from(length / 4096).unwrap() {
        for place in [0, 3, 6, 18, 57, 1_500, 4_000] {
            let at = page * 4096 + place;
            let copy = damaged_copy(dir.path(), |bytes| bytes[at] ^= 1 << (at % 8));
            let what = format!("a bit of page {page} at {place}");
            let told = verified(&disk.power_cut(1), copy.path());
            let store = open(&disk.power_cut(1), copy.path());
            let found = content(&store).await;
            assert!(store.disk().damage == 0 || told > 0, "{what}: the store found damage, and a verification before it none");
            // The root of a tree costs what only the tables had in it; any other page costs what is on it.
            losses += compare(&found, &expected, store.disk().damage, &what);
            (flips, reports) = (flips + 1, reports + store.disk().damage);
        }
    }
    assert!(reports > 25, "the flips hit nothing: {reports} reports, {losses} losses");
    assert!(losses < flips * total / 50, "{flips} flips cost {losses} rows, of {total} each");
}

#[tokio::test]
async fn p14_tables_cut_short_are_reported_and_what_is_left_is_served() {
    let (disk, dir, expected) = filled().await;
    let length = std::fs::metadata(dir.path().join(FILE)).unwrap().len();
    for at in [0, 1, 100, 4_095, 4_096, 9_000, length / 3, length / 2, length - 4_096, length - 1] {
        let copy = damaged_copy(dir.path(), |bytes| bytes.truncate(usize::try_from(at).unwrap()));
        let told = verified(&disk.power_cut(1), copy.path());
        let store = open(&disk.power_cut(1), copy.path());
        let found = content(&store).await;
        assert!(store.disk().damage == 0 || told > 0, "cut at {at}: the store found damage, and a verification before it none");
        compare(&found, &expected, store.disk().damage, &format!("cut at {at}"));
        // Repaired: the next opening has nothing to report.
        drop(store);
        let again = open(&disk.power_cut(1), copy.path());
        assert_eq!(content(&again).await, found, "cut at {at}, opened twice");
    }
}

#[tokio::test]
async fn p14_damage_found_while_running_is_repaired_without_a_restart() {
    let (disk, dir, expected) = filled().await;
    let store = open(&disk, dir.path());
    let length = usize::try_from(std::fs::metadata(dir.path().join(FILE)).unwrap().len()).unwrap();
    let mut bytes = std::fs::read(dir.path().join(FILE)).unwrap();
    for page in 4..length / 4096 {
        bytes[page * 4096..page * 4096 + 16].fill(0xee);
    }
    std::fs::write(dir.path().join(FILE), bytes).unwrap();
    let found = content(&store).await;
    let lost = compare(&found, &expected, store.disk().damage, "pages overwritten");
    assert!(store.disk().damage > 0 && lost > 0, "{lost} lost, {} reported", store.disk().damage);
    // And it goes on.
    round(&store, 9).await;
    let after = content(&store).await;
    assert!(after.rows[0].keys().any(|key| key.ends_with(b"064")), "what was written after the repair is there");
    drop(store);
    assert_eq!(content(&open(&disk, dir.path())).await, after);
}

#[tokio::test]
async fn p14_a_repair_that_the_disk_refused_is_made_once_it_does_not() {
    let (disk, dir, expected) = filled().await;
    let store = open(&disk, dir.path());
    let mut bytes = std::fs::read(dir.path().join(FILE)).unwrap();
    for page in (0..bytes.len() / 4096).filter(|page| *page == 0 || *page > 3) {
        bytes[page * 4096..page * 4096 + 16].fill(0xee);
    }
    std::fs::write(dir.path().join(FILE), bytes).unwrap();
    // The new file cannot be made, and the damaged one cannot be opened again.
    let new = dir.path().join(format!("{FILE}.new"));
    std::fs::create_dir(&new).unwrap();
    for table in TABLES {
        assert!(store.scan(table, &[], usize::MAX).await.is_err(), "nothing is served from what is not repaired");
    }
    std::fs::remove_dir(&new).unwrap();
    let found = content(&store).await;
    compare(&found, &expected, store.disk().damage, "repaired late");
    assert!(found.rows.iter().all(|rows| !rows.is_empty()), "what the log has is there");
    drop(store);
    assert_eq!(content(&open(&disk, dir.path())).await, found);
}

#[tokio::test]
async fn p14_damaged_epochs_in_a_file_too_large_to_check_at_opening_are_repaired() {
    let (disk, dir, expected) = filled().await;
    let at = root_of(dir.path(), "owners");
    let copy = damaged_copy(dir.path(), |bytes| bytes[at..at + 16].fill(0xee));
    let file = std::fs::OpenOptions::new().write(true).open(copy.path().join(FILE)).unwrap();
    file.set_len(33 << 20).unwrap();
    let store = open(&disk, copy.path());
    compare(&content(&store).await, &expected, store.disk().damage, "owners overwritten");
    assert!(store.disk().damage > 0, "damage is reported");
}

#[tokio::test]
async fn p14_a_hole_in_the_log_lets_nothing_older_replace_what_was_salvaged() {
    let (disk, dir) = (SimDisk::new(1), TempDir::new().unwrap());
    let put = |key: &'static str, value: &'static str| RowChange::Put(Table::Broker, Row { key: key.into(), value: value.into() });
    let mut holding = Vec::new();
    {
        let store = open(&disk, dir.path());
        let claim = Some(store.claim("owner 0").await.unwrap().claim);
        for (round, row) in [("one", put("key", "older")), ("two", put("key", "newer")), ("three", put("other", "value"))] {
            let commit = Commit { claim: claim.clone(), records: vec![round.into()], rows: vec![row], ..Commit::default() };
            store.commit(T0, commit).await.unwrap();
            holding.push(store.disk().segments.len() - 1);
            for number in 0..6 {
                store.append(T0, vec![event(&format!("{round} {number}"), 15_000)]).await.unwrap();
            }
        }
    }
    assert!(holding.windows(2).all(|pair| pair[0] < pair[1]), "{holding:?}: the commits are in one segment");
    let mut segments: Vec<String> = disk.names().unwrap().into_iter().filter(|name| name.ends_with(".log")).collect();
    segments.sort();
    disk.truncate(&segments[holding[1]], 512).unwrap();
    let connection = rusqlite::Connection::open(dir.path().join(FILE)).unwrap();
    connection.execute("UPDATE rows SET value = x'00' WHERE key = CAST('other' AS BLOB)", []).unwrap();
    drop(connection);
    let store = open(&disk, dir.path());
    let rows = store.scan(Table::Broker, &[], 10).await.unwrap();
    let rows: Vec<_> = rows.iter().map(|row| (&row.key[..], &row.value[..])).collect();
    assert_eq!(rows, [(&b"key"[..], &b"newer"[..]), (b"other", b"value")]);
    assert_eq!(store.claim("owner 0").await.unwrap().records, ["one", "two", "three"], "what was salvaged is whole");
    assert!(store.disk().damage > 1, "the hole is reported");
}

/// Every state in which a salvage can be cut off.
#[tokio::test]
async fn p14_a_power_cut_during_a_salvage_loses_nothing_more() {
    let (disk, dir, expected) = filled().await;
    // Rows that only SQLite's own log has, and a damaged page that costs epochs at most.
    let connection = rusqlite::Connection::open(dir.path().join(FILE)).unwrap();
    connection.execute_batch("CREATE TEMP TABLE kept AS SELECT * FROM rows; DELETE FROM rows; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    connection.execute_batch("INSERT INTO rows SELECT * FROM kept").unwrap();
    let before = TempDir::new().unwrap();
    let root = root_of(dir.path(), "owners");
    for suffix in ["", "-wal"] {
        let name = format!("{FILE}{suffix}");
        let mut bytes = std::fs::read(dir.path().join(&name)).unwrap();
        if suffix.is_empty() {
            bytes[root..root + 16].fill(0xee);
        }
        std::fs::write(before.path().join(name), bytes).unwrap();
    }
    assert!(salvage(before.path()).unwrap().is_some_and(|salvaged| salvaged.broken > 0), "nothing was damaged");
    assert!(salvage(before.path()).unwrap().is_none(), "what is whole is not made again");
    let moved = ["", "-wal", "-shm"].map(|suffix| (format!("{FILE}{suffix}"), format!("{FILE}.damaged{suffix}")));
    // The names are changed in no order that a power cut would respect.
    for cut in 0..16 {
        let after = TempDir::new().unwrap();
        for entry in std::fs::read_dir(before.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), after.path().join(entry.file_name())).unwrap();
        }
        let rename = |from: &str, to: &str| drop(std::fs::rename(after.path().join(from), after.path().join(to)));
        for (number, (from, to)) in moved.iter().enumerate() {
            // The last name is taken when the others are durable.
            if cut & (1 << number) != 0 || cut >= 8 {
                rename(from, to);
            }
        }
        if cut >= 8 {
            rename(&format!("{FILE}.salvaged"), FILE);
        }
        let store = open(&disk.power_cut(1), after.path());
        assert_eq!(content(&store).await, expected, "cut {cut}");
        drop(store);
        assert_eq!(content(&open(&disk.power_cut(1), after.path())).await, expected, "cut {cut}, opened twice");
    }
}

#[tokio::test]
async fn p14_large_tables_are_looked_at_in_slices_that_find_what_a_reader_would() {
    let (disk, dir, _) = filled().await;
    let at = root_of(dir.path(), "records");
    let store = open(&disk, dir.path());
    let file = std::fs::OpenOptions::new().write(true).open(dir.path().join(FILE)).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xee; 16], at as u64).unwrap();
    let mut check = Check::new((0..OWNERS).map(|owner| format!("owner {owner}").into()));
    let mut slices = 1;
    while store.shared.check_slice(&mut check) {
        slices += 1;
    }
    assert!(slices > TABLES.len() + OWNERS, "{slices} slices");
    assert!(store.disk().damage > 0, "damage is found");
}

#[test]
fn p14_a_checkpoint_that_a_reader_holds_up_is_not_taken_for_done() {
    let dir = TempDir::new().unwrap();
    let (writer, _) = connect(&dir.path().join(FILE)).unwrap();
    writer.busy_timeout(std::time::Duration::ZERO).unwrap();
    writer.execute("INSERT INTO meta (key, value) VALUES ('one', x'')", []).unwrap();
    let reader = rusqlite::Connection::open(dir.path().join(FILE)).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM meta").unwrap();
    writer.execute("INSERT INTO meta (key, value) VALUES ('two', x'')", []).unwrap();
    let error = checkpoint(&writer).unwrap_err();
    assert!(!is_damage(&error), "{error}");
    reader.execute_batch("COMMIT").unwrap();
    checkpoint(&writer).unwrap();
}

/// An entry of a page points where its neighbour does, or amid another: a key is hidden, and what is read of the others is good.
#[tokio::test]
async fn p14_a_hidden_record_is_not_passed_over() {
    let (disk, dir, expected) = filled().await;
    let pages = std::fs::read(dir.path().join(FILE)).unwrap();
    let (mut hidden, mut losses) = (0, 0);
    for (number, page) in pages.chunks(4096).enumerate().filter(|(_, page)| page[0] == 10) {
        let cells = usize::from(u16::from_be_bytes([page[3], page[4]]));
        for cell in (0..cells.saturating_sub(1)).step_by(4) {
            let at = number * 4096 + 8 + cell * 2;
            for points_amid in [false, true] {
                let copy = damaged_copy(dir.path(), |bytes| match points_amid {
                    true => bytes[at] ^= 4,
                    false => bytes.copy_within(at + 2..at + 4, at),
                });
                let what = format!("entry {cell} of page {number}, amid another: {points_amid}");
                let store = open(&disk.power_cut(1), copy.path());
                losses += compare(&content(&store).await, &expected, store.disk().damage, &what);
                assert!(store.disk().damage > 0, "{what}: not reported");
                hidden += 1;
            }
        }
    }
    assert!(hidden > 50 && losses > 0, "{hidden} hidden, {losses} lost");
}
