//! Verifying and copying: damage is found where it is, a sound store has none, and a copy is a store.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use tempfile::TempDir;

use super::{
    damage::{open, written},
    place::{find_event, options},
    script::{T0, check, event},
};
use crate::{
    Commit, EmbeddedStore, Finding, Row, RowChange, Selection, Table, UpkeepError,
    contract::{EventStore, ReadLimits},
    embedded::{
        disk::Disk,
        glance::glance,
        segment::id_in,
        tables,
        verify::{verify, verify_on},
    },
    testing::{SimDisk, conformance::Sizes},
    upkeep::Backup,
};

const SIZES: Sizes = Sizes { cap: 64 << 20, reserve: 1 << 20, segment_bytes: 64 << 10, dedup_ids: 100_000 };

fn findings(disk: &SimDisk, tables: &Path) -> Vec<Finding> {
    let mut found = Vec::new();
    let verified = verify_on(disk, tables, &mut |finding| found.push(finding)).unwrap();
    assert_eq!(verified.damage, found.iter().filter(|finding| finding.is_damage).count() as u64);
    found
}

/// How much damage a verification finds.
pub(super) fn verified(disk: &SimDisk, tables: &Path) -> usize {
    findings(disk, tables).iter().filter(|finding| finding.is_damage).count()
}

#[tokio::test]
async fn a_sound_store_has_nothing_to_tell_and_is_not_changed() {
    let (disk, dir, acked) = written().await;
    let before = std::fs::read(dir.path().join(tables::FILE)).unwrap();
    assert_eq!(findings(&disk, dir.path()), []);
    let mut names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [tables::FILE], "nothing was made beside it");
    assert_eq!(std::fs::read(dir.path().join(tables::FILE)).unwrap(), before);
    let verified = verify_on(&disk, dir.path(), &mut |_| {}).unwrap();
    let kept = acked.events.values().filter(|offset| **offset >= verified.first).count() as u64;
    assert_eq!((verified.events, verified.next - verified.first), (kept, kept));
}

#[tokio::test]
async fn at_a_glance_a_store_is_what_it_is_when_it_is_open() {
    let dir = TempDir::new().unwrap();
    assert!(matches!(glance(dir.path()), Err(UpkeepError::NoStore(_))));
    let store = EmbeddedStore::open(options(dir.path(), SIZES)).unwrap();
    for number in 0..40 {
        store.append(T0 + number, vec![event(&format!("e{number}"), 9_000)]).await.unwrap();
    }
    store.trim(15).await.unwrap();
    let open = store.disk();
    assert!(open.segments.len() > 2, "some are sealed, and one is not");
    assert!(matches!(glance(dir.path()), Err(UpkeepError::InUse(_))));
    drop(store);
    let before = std::fs::read_dir(dir.path()).unwrap().count();
    let seen = glance(dir.path()).unwrap();
    assert_eq!((seen.first, seen.next, seen.newest, seen.segments), (open.first, open.next, T0 + 39, open.segments.len() as u64));
    assert!(seen.used > 0 && seen.set_aside == 0, "{seen:?}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), before);
}

#[tokio::test]
async fn p14_a_verification_names_file_position_and_cost_of_a_damaged_event() {
    let (disk, dir, acked) = written().await;
    let offset = *acked.events.values().max().unwrap() - 20;
    let (name, position, _) = find_event(&disk, offset).unwrap();
    disk.flip_bit(&name, position + 40, 3).unwrap();
    let found = findings(&disk, dir.path());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].file.as_str(), found[0].position), (name.as_str(), Some(position)));
    let told = found[0].to_string();
    assert!(told.contains(&format!("event {offset} is damaged")) && told.contains("cannot be served"), "{told}");
}

#[tokio::test]
async fn p14_a_running_store_finds_damage_that_nobody_has_read() {
    let (disk, dir, acked) = written().await;
    let store = open(&disk, &dir).unwrap();
    let upkeep = store.upkeep().unwrap();
    assert_eq!(upkeep.verify(&mut |finding| panic!("{finding}")).unwrap().damage, 0);
    let offset = *acked.events.values().max().unwrap() - 20;
    let (name, position, _) = find_event(&disk, offset).unwrap();
    disk.flip_bit(&name, position + 40, 3).unwrap();
    let index = disk.names().unwrap().into_iter().filter(|name| id_in(name, "idx").is_some()).max().unwrap();
    disk.flip_bit(&index, 600, 1).unwrap();
    let mut found = Vec::new();
    upkeep.verify(&mut |finding| found.push((finding.file, finding.position))).unwrap();
    assert!(found.contains(&(name, Some(position))) && found.iter().any(|(file, _)| *file == index), "{found:?}");
}

#[tokio::test]
async fn a_directory_that_is_in_use_or_none_is_told_so() {
    let dir = TempDir::new().unwrap();
    assert!(matches!(verify(dir.path(), &mut |_| {}), Err(UpkeepError::NoStore(_))));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let store = EmbeddedStore::open(options(dir.path(), SIZES)).unwrap();
    store.append(T0, vec![event("one", 100)]).await.unwrap();
    let error = verify(dir.path(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, UpkeepError::InUse(_)) && error.to_string().contains("ask that one"), "{error}");
    drop(store);
    assert_eq!(verify(dir.path(), &mut |finding| panic!("{finding}")).unwrap().events, 1);
}

/// Writes a backup out as a data directory, in small pieces.
fn restored(backup: &Backup) -> TempDir {
    let dir = TempDir::new().unwrap();
    for file in &backup.files {
        let mut content = Vec::new();
        while (content.len() as u64) < file.bytes {
            content.extend_from_slice(&file.read(content.len() as u64, 10_000).unwrap());
        }
        std::fs::write(dir.path().join(&file.name), content).unwrap();
    }
    dir
}

#[tokio::test]
async fn a_copy_has_everything_that_was_answered_and_what_was_said_only_for_it() {
    let (disk, dir, acked) = written().await;
    let store = open(&disk, &dir).unwrap();
    let put = |key: &'static str| RowChange::Put(Table::Broker, Row { key: key.into(), value: "kept".into() });
    store.commit(T0, Commit { rows: vec![put("a"), put("b")], ..Commit::default() }).await.unwrap();
    let backup = store.upkeep().unwrap().backup(vec![RowChange::Delete(Table::Broker, "a".into())]).unwrap();
    let copy = restored(&backup);
    assert_eq!(verify(copy.path(), &mut |finding| panic!("{finding}")).unwrap().next, backup.next);
    let opened = EmbeddedStore::open(options(copy.path(), SIZES)).unwrap();
    assert_eq!(opened.disk().damage, 0);
    check(&opened, &acked).await.unwrap();
    let keys = async |store: &EmbeddedStore| -> Vec<Bytes> {
        store.scan(Table::Broker, &[], 10).await.unwrap().into_iter().map(|row| row.key).collect()
    };
    assert_eq!((keys(&opened).await, keys(&store).await), (vec!["b".into()], vec!["a".into(), "b".into()]));
    assert!(!dir.path().read_dir().unwrap().any(|entry| entry.unwrap().file_name().to_string_lossy().ends_with(".tmp")));
}

/// The log rolls, is trimmed and folded all the while: each copy is whole, and one that is held stays what it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_taken_while_the_store_is_written_and_trimmed_are_whole() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(EmbeddedStore::open(options(dir.path(), SIZES)).unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let writing = {
        let (store, stop) = (store.clone(), stop.clone());
        tokio::spawn(async move {
            let claim = store.claim("owner").await.unwrap().claim;
            let mut number = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                // Event, record and row of a commit say the same number.
                let text = Bytes::from(format!("{number:08}").repeat(400));
                let row = RowChange::Put(Table::DeadLetters, Row { key: "newest".into(), value: text.clone() });
                let commit = Commit {
                    claim: Some(claim.clone()),
                    records: vec![text],
                    supersede: number.is_multiple_of(7),
                    events: vec![event(&format!("e{number}"), 9_000)],
                    rows: vec![row],
                };
                store.commit(T0 + number, commit).await.unwrap();
                if number.is_multiple_of(10) {
                    store.trim(store.disk().next.saturating_sub(15)).await.unwrap();
                }
            }
            number
        })
    };
    let (mut held, mut copies) = (Vec::new(), 0);
    while copies < 12 {
        let upkeep = store.upkeep().unwrap();
        let answered = store.disk().next;
        let backup = tokio::task::spawn_blocking(move || upkeep.backup(Vec::new())).await.unwrap().unwrap();
        assert!(backup.next >= answered, "what was answered before is in it");
        held.push(backup);
        if held.len() < 3 {
            continue;
        }
        // Copied late: the store went on meanwhile.
        let backup = held.remove(0);
        let copy = restored(&backup);
        assert_eq!(verify(copy.path(), &mut |finding| panic!("{finding}")).unwrap().damage, 0);
        let opened = EmbeddedStore::open(options(copy.path(), SIZES)).unwrap();
        let (disk, all) = (opened.disk(), ReadLimits { events: 10_000, bytes: 64 << 20 });
        assert_eq!((disk.damage, disk.next), (0, backup.next));
        let read = opened.read(disk.first, &Selection::All, all).await.unwrap();
        assert_eq!((read.events.len() as u64, read.gaps.len()), (backup.next - disk.first, 0));
        let newest = read.events.last().map(|event| event.head.id().trim_start_matches('e').parse::<u64>().unwrap());
        let row = opened.scan(Table::DeadLetters, &[], 1).await.unwrap().remove(0).value;
        let record = opened.claim("owner").await.unwrap().records.pop().unwrap();
        assert_eq!((&row[..8], &record[..8]), (&record[..8], format!("{:08}", newest.unwrap()).as_bytes()), "half a commit");
        copies += 1;
    }
    stop.store(true, Ordering::Relaxed);
    let written = writing.await.unwrap();
    assert!(store.disk().first > 1 && written > 100, "{written} commits, and nothing was trimmed");
}
