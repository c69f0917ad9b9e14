//! Flipped bits and truncated files: reported, contained, and never served.

use std::{collections::BTreeMap, sync::Arc};

use tempfile::TempDir;

use super::{
    place::{copy_tables, options},
    script::{Acked, T0, event, run},
    upkeep::verified,
};
use crate::{
    EmbeddedStore, OpenError,
    contract::{EventStore, GapCause, Offset, ReadLimits, Selection, TypeSet},
    embedded::{disk::Disk, format, tables},
    testing::{SimDisk, conformance::Sizes},
};

const SIZES: Sizes = Sizes { cap: 64 << 20, reserve: 1 << 20, segment_bytes: 64 << 10, dedup_ids: 100_000 };
const ALL: ReadLimits = ReadLimits { events: 10_000, bytes: 64 << 20 };

pub(super) fn open(disk: &SimDisk, dir: &TempDir) -> Result<EmbeddedStore, OpenError> {
    EmbeddedStore::open_on(Arc::new(disk.clone()), options(dir.path(), SIZES))
}

/// A store after a run of the script, closed.
pub(super) async fn written() -> (SimDisk, TempDir, Acked) {
    let (disk, dir, mut acked) = (SimDisk::new(1), TempDir::new().unwrap(), Acked::default());
    run(&open(&disk, &dir).unwrap(), &mut acked).await;
    assert_eq!(acked.refused, 0);
    // Settled, with the power off: every copy is the same.
    (disk.power_cut(1), dir, acked)
}

/// Names and lengths of all files.
fn files(disk: &SimDisk) -> Vec<(String, u64)> {
    let copy = disk.power_cut(1);
    copy.names().unwrap().into_iter().map(|name| (name.clone(), copy.open(&name).unwrap().len().unwrap())).collect()
}

/// Opens a damaged copy and reads all of it in two ways. Answers how many events are gone, and how much damage was reported.
async fn look(disk: &SimDisk, dir: &TempDir, acked: &Acked, what: &str) -> (usize, u64) {
    let tables = TempDir::new().unwrap();
    copy_tables(dir.path(), tables.path());
    let found = verified(disk, tables.path());
    let store = open(disk, &tables).unwrap_or_else(|error| panic!("{what}: {error}"));
    let prefix = Selection::Types(TypeSet { names: Vec::new(), prefixes: vec!["t.".into()] });
    let mut lost = 0;
    for selection in [Selection::All, prefix] {
        let batch = store.read(1, &selection, ALL).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        let found: BTreeMap<&str, Offset> = batch.events.iter().map(|event| (event.head.id(), event.offset)).collect();
        let in_gap = |offset: Offset| batch.gaps.iter().any(|gap| (gap.from..gap.to).contains(&offset));
        let first = store.disk().first;
        let gone: Vec<_> = acked.events.iter().filter(|(id, offset)| **offset >= first && found.get(&***id) != Some(offset)).collect();
        for (id, offset) in &gone {
            assert!(in_gap(**offset), "{what}: {id} at {offset} is gone, and no gap says so: {:?}", batch.gaps);
        }
        for event in &batch.events {
            let expected: Vec<u8> = event.head.id().bytes().cycle().take(event.body.len()).collect();
            assert_eq!(event.body, expected, "{what}: damaged bytes were served");
        }
        assert!(batch.gaps.iter().all(|gap| gap.cause == GapCause::Damaged || gap.to <= first), "{what}: {:?}", batch.gaps);
        lost = gone.len().max(lost);
    }
    let damage = store.disk().damage;
    assert!(lost == 0 || damage > 0, "{what}: {lost} events are gone, and no damage is counted");
    assert!(damage == 0 || found > 0, "{what}: the store found damage {damage} times, and a verification before it none");
    let fresh = store.append(u64::MAX >> 1, vec![event("fresh", 10)]).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(acked.events.values().all(|offset| *offset < fresh[0].offset), "{what}: an offset was given out twice");
    (lost, damage)
}

#[tokio::test]
async fn p14_a_flipped_bit_is_reported_and_costs_a_frame_at_most() {
    let (disk, dir, acked) = written().await;
    let (mut losses, mut reports) = (0, 0);
    for (name, length) in files(&disk) {
        // Everywhere in what is small or dense, every few sectors elsewhere.
        let step = if length < 1_000 { 2 } else { length / 37 + 1 };
        for at in (0..length).step_by(usize::try_from(step).unwrap()) {
            let copy = disk.power_cut(1);
            copy.flip_bit(&name, at, u32::try_from(at % 8).unwrap()).unwrap();
            let (lost, damage) = look(&copy, &dir, &acked, &format!("a bit of {name} at {at}")).await;
            assert!(lost <= 2, "a bit of {name} at {at} cost {lost} events; a frame has two at most");
            (losses, reports) = (losses + lost, reports + damage);
        }
    }
    assert!(losses > 5 && reports > 15, "the flips hit nothing: {losses} events, {reports} reports");
}

#[tokio::test]
async fn p14_a_truncated_file_is_reported_and_the_rest_is_served() {
    let (disk, dir, acked) = written().await;
    let mut losses = 0;
    for (name, length) in files(&disk) {
        for at in [0, 1, 63, 511, 512, 513, 600, 4_096, length / 3, length / 2, length - 1].into_iter().filter(|at| *at < length) {
            let copy = disk.power_cut(1);
            copy.truncate(&name, at).unwrap();
            losses += look(&copy, &dir, &acked, &format!("{name} cut at {at}")).await.0;
        }
        let copy = disk.power_cut(1);
        copy.remove(&name).unwrap();
        if name != format::FILE {
            losses += look(&copy, &dir, &acked, &format!("{name} gone")).await.0;
        }
    }
    assert!(losses > 10, "the cuts hit nothing");
}

#[tokio::test]
async fn p14_a_damaged_index_that_lost_tables_need_is_made_again() {
    let (disk, _, acked) = written().await;
    let mut damaged = 0;
    for (name, length) in files(&disk).into_iter().filter(|(name, length)| name.ends_with(".idx") && *length > 512) {
        let copy = disk.power_cut(1);
        // Behind the header: where the frames are.
        copy.flip_bit(&name, 530.min(length - 1), 3).unwrap();
        let none = TempDir::new().unwrap();
        drop(rusqlite::Connection::open(none.path().join(tables::FILE)).unwrap());
        let (lost, reports) = look(&copy, &none, &acked, &name).await;
        assert!(lost == 0 && reports > 0, "{name}: {lost} events are gone, {reports} reports");
        damaged += 1;
    }
    assert!(damaged > 2, "only {damaged} indexes");
}

#[tokio::test]
async fn p14_a_time_is_found_though_the_indexes_are_damaged() {
    let (disk, dir, _) = written().await;
    let good = open(&disk.power_cut(1), &dir).unwrap();
    let copy = disk.power_cut(1);
    for (name, _) in files(&disk).into_iter().filter(|(name, length)| name.ends_with(".idx") && *length > 530) {
        copy.flip_bit(&name, 530, 3).unwrap();
    }
    let damaged = open(&copy, &dir).unwrap();
    for round in 0..14 {
        assert_eq!(damaged.offset_at(T0 + round).await.unwrap(), good.offset_at(T0 + round).await.unwrap(), "round {round}");
    }
    assert!(damaged.disk().damage > 0, "damage is reported");
}

/// Where some bytes stand in a file.
fn find(disk: &SimDisk, needle: &[u8]) -> (String, u64) {
    let find_in = |name: String| {
        let file = disk.open(&name).unwrap();
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_at(&mut bytes, 0).unwrap();
        bytes.windows(needle.len()).position(|window| window == needle).map(|at| (name, at as u64))
    };
    disk.names().unwrap().into_iter().find_map(find_in).unwrap()
}

#[tokio::test]
async fn p14_a_damaged_row_of_a_sealed_segment_is_reported_when_it_is_needed() {
    let (disk, dir) = (SimDisk::new(1), TempDir::new().unwrap());
    {
        let store = open(&disk, &dir).unwrap();
        let row = crate::Row { key: "key".into(), value: "a value like no other".into() };
        let rows = vec![crate::RowChange::Put(crate::Table::Broker, row)];
        store.commit(1, crate::Commit { rows, ..crate::Commit::default() }).await.unwrap();
        for number in 0..12 {
            store.append(1, vec![event(&format!("e{number}"), 15_000)]).await.unwrap();
        }
    }
    let copy = disk.power_cut(1);
    let (name, at) = find(&copy, b"a value like no other");
    copy.flip_bit(&name, at, 0).unwrap();
    let none = TempDir::new().unwrap();
    drop(rusqlite::Connection::open(none.path().join(tables::FILE)).unwrap());
    let store = open(&copy, &none).unwrap();
    assert_eq!(store.scan(crate::Table::Broker, &[], 10).await.unwrap(), []);
    assert!(store.disk().damage > 0, "a lost row is reported");
}

#[tokio::test]
async fn p14_lost_tables_are_made_again_from_the_log() {
    let (disk, dir) = (SimDisk::new(1), TempDir::new().unwrap());
    {
        let store = open(&disk, &dir).unwrap();
        let claim = store.claim("owner").await.unwrap().claim;
        for record in ["one", "two"] {
            let commit = crate::Commit { claim: Some(claim.clone()), records: vec![record.into()], ..crate::Commit::default() };
            store.commit(1, commit).await.unwrap();
        }
    }
    let file = dir.path().join(tables::FILE);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[..100].fill(7);
    for content in [Some(bytes), None] {
        match content {
            Some(bytes) => std::fs::write(&file, bytes).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let store = open(&disk, &dir).unwrap();
        assert_eq!(store.claim("owner").await.unwrap().records, ["one", "two"], "the log has them still");
        assert!(store.disk().damage > 0, "lost tables are reported");
    }
}

#[tokio::test]
async fn p14_a_damaged_value_of_a_table_comes_back_from_the_log() {
    let (disk, dir) = (SimDisk::new(1), TempDir::new().unwrap());
    let put = |key: &'static str| {
        let row = crate::Row { key: key.into(), value: "value".into() };
        crate::Commit { rows: vec![crate::RowChange::Put(crate::Table::Broker, row)], ..crate::Commit::default() }
    };
    {
        let store = open(&disk, &dir).unwrap();
        store.commit(1, put("a")).await.unwrap();
        store.commit(1, put("b")).await.unwrap();
    }
    let connection = rusqlite::Connection::open(dir.path().join(tables::FILE)).unwrap();
    connection
        .execute("UPDATE rows SET value = CAST(replace(CAST(value AS TEXT), 'value', 'valuf') AS BLOB) WHERE key = x'61'", [])
        .unwrap();
    drop(connection);
    let store = open(&disk, &dir).unwrap();
    let rows = store.scan(crate::Table::Broker, &[], 10).await.unwrap();
    assert_eq!(rows.iter().map(|row| (&row.key[..], &row.value[..])).collect::<Vec<_>>(), [(&b"a"[..], &b"value"[..]), (b"b", b"value")]);
    assert_eq!(store.disk().damage, 1);
}

#[tokio::test]
async fn another_version_is_refused_in_clear_words() {
    let (disk, dir, _) = written().await;
    let file = disk.power_cut(1);
    file.remove(format::FILE).unwrap();
    file.create(format::FILE, 0).unwrap().write_at(&format::encode(9, 5), 0).unwrap();
    let error = open(&file, &dir).unwrap_err();
    assert!(matches!(error, OpenError::Version { found: 9, supported: 2, .. }), "{error}");
}

#[tokio::test]
async fn a_second_opener_is_told_which_directory_and_what_to_do() {
    let dir = TempDir::new().unwrap();
    let first = EmbeddedStore::open(options(dir.path(), SIZES)).unwrap();
    let error = EmbeddedStore::open(options(dir.path(), SIZES)).unwrap_err().to_string();
    assert!(error.contains(dir.path().to_str().unwrap()) && error.contains("in use by another process"), "{error}");
    drop(first);
    EmbeddedStore::open(options(dir.path(), SIZES)).unwrap();
}
