//! Each behaviour of the simulated disk: what must survive does, and what may be lost is lost for some seed.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{collections::BTreeSet, io::ErrorKind, sync::Arc};

use super::{Operation, SimDisk, Trouble};
use crate::embedded::disk::{Disk, DiskFile};

const SEEDS: u64 = 300;

fn content(disk: &SimDisk, name: &str) -> Option<Vec<u8>> {
    let file = disk.open(name).ok()?;
    let mut buffer = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(&mut buffer, 0).unwrap();
    Some(buffer)
}

/// A file of two sectors, durable with its name.
fn durable_file(disk: &SimDisk) -> Arc<dyn DiskFile> {
    let file = disk.create("a", 1024).unwrap();
    file.write_at(&[1; 1024], 0).unwrap();
    file.sync().unwrap();
    disk.sync_names().unwrap();
    file
}

/// What is found of file `a` after a cut, over many seeds.
fn found(disk: &SimDisk) -> BTreeSet<Option<Vec<u8>>> {
    (0..SEEDS).map(|seed| content(&disk.power_cut(seed), "a")).collect()
}

#[test]
fn what_was_synced_survives_every_cut() {
    let disk = SimDisk::new(1);
    durable_file(&disk);
    assert_eq!(found(&disk), BTreeSet::from([Some(vec![1; 1024])]));
}

#[test]
fn an_unsynced_write_survives_in_any_part_but_whole_sectors() {
    let disk = SimDisk::new(1);
    durable_file(&disk).write_at(&[2; 1024], 0).unwrap();
    let expected: BTreeSet<_> = [(1, 1), (1, 2), (2, 1), (2, 2)].map(|(a, b)| Some([[a; 512], [b; 512]].concat())).into();
    assert_eq!(found(&disk), expected);
}

#[test]
fn writes_reach_the_disk_in_any_order_and_at_any_version() {
    let disk = SimDisk::new(1);
    let file = durable_file(&disk);
    file.write_at(&[2; 512], 0).unwrap();
    file.write_at(&[3; 512], 512).unwrap();
    file.write_at(&[4; 512], 0).unwrap();
    let found = found(&disk);
    for (a, b) in [(1, 3), (2, 1), (4, 1), (2, 3), (4, 3), (1, 1)] {
        assert!(found.contains(&Some([[a; 512], [b; 512]].concat())), "({a}, {b}) was never found");
    }
}

#[test]
fn all_of_it_and_none_of_it_survive_often() {
    let disk = SimDisk::new(1);
    let file = durable_file(&disk);
    for version in 2..50 {
        file.write_at(&[version; 1024], 0).unwrap();
    }
    for byte in [1, 49] {
        let times = (0..SEEDS).filter(|seed| content(&disk.power_cut(*seed), "a").unwrap() == vec![byte; 1024]).count() as u64;
        assert!(times > SEEDS / 12, "version {byte} was found {times} times");
    }
}

#[test]
fn a_large_sector_is_not_torn() {
    let disk = SimDisk::with_sectors(1, 4096);
    durable_file(&disk).write_at(&[2; 1024], 0).unwrap();
    assert_eq!(found(&disk), [1, 2].map(|byte| Some(vec![byte; 1024])).into());
}

#[test]
fn an_unsynced_name_may_be_lost_though_its_content_was_synced() {
    let disk = SimDisk::new(1);
    let file = disk.create("a", 3).unwrap();
    file.sync().unwrap();
    assert_eq!(found(&disk), BTreeSet::from([None, Some(vec![0; 3])]));
}

#[test]
fn a_synced_name_may_have_lost_its_content() {
    let disk = SimDisk::new(1);
    disk.create("a", 512).unwrap().write_at(&[7; 512], 0).unwrap();
    disk.sync_names().unwrap();
    assert_eq!(found(&disk), [vec![], vec![0; 512], vec![7; 512]].map(Some).into());
}

#[test]
fn renames_and_removes_are_lost_one_by_one() {
    let disk = SimDisk::new(1);
    for name in ["a", "b", "c"] {
        disk.create(name, 1).unwrap();
    }
    disk.sync_names().unwrap();
    disk.rename("a", "x").unwrap();
    disk.rename("b", "y").unwrap();
    disk.remove("c").unwrap();
    let found: BTreeSet<String> = (0..SEEDS)
        .map(|seed| {
            let mut names = disk.power_cut(seed).names().unwrap();
            names.sort();
            names.concat()
        })
        .collect();
    assert_eq!(found, ["abc", "ab", "bcx", "bx", "acy", "ay", "cxy", "xy"].map(String::from).into());
}

#[test]
fn synced_changes_of_names_are_not_undone() {
    let disk = SimDisk::new(1);
    durable_file(&disk);
    disk.rename("a", "b").unwrap();
    disk.sync_names().unwrap();
    disk.remove("b").unwrap();
    disk.sync_names().unwrap();
    for seed in 0..SEEDS {
        assert!(disk.power_cut(seed).names().unwrap().is_empty());
    }
}

#[test]
fn a_failed_sync_of_names_loses_some_for_good() {
    let mut kept = 0;
    for seed in 0..SEEDS {
        let disk = SimDisk::new(seed);
        disk.create("a", 0).unwrap();
        disk.fail(Operation::SyncNames, 0, Trouble::Broken);
        assert!(disk.sync_names().is_err());
        disk.sync_names().unwrap();
        kept += disk.power_cut(seed).names().unwrap().len() as u64;
    }
    assert!((SEEDS / 4..SEEDS * 3 / 4).contains(&kept), "kept in {kept} of {SEEDS}");
}

#[test]
fn a_rename_over_a_file_leaves_one_of_the_two_whole() {
    let disk = SimDisk::new(1);
    durable_file(&disk);
    let new = disk.create("new", 8).unwrap();
    new.write_at(&[9; 8], 0).unwrap();
    new.sync().unwrap();
    disk.sync_names().unwrap();
    disk.rename("new", "a").unwrap();
    assert_eq!(found(&disk), [vec![1; 1024], vec![9; 8]].map(Some).into());
}

#[test]
fn the_length_is_lost_apart_from_the_content() {
    let disk = SimDisk::new(1);
    durable_file(&disk).write_at(&[2; 512], 1024).unwrap();
    let found = found(&disk);
    assert_eq!(found.len(), 3, "old; longer but empty; longer: {found:?}");
}

#[test]
fn what_was_cut_off_reads_as_zero_when_the_file_grows_again() {
    let disk = SimDisk::new(1);
    let file = durable_file(&disk);
    file.set_len(100).unwrap();
    file.set_len(1024).unwrap();
    let expected = [vec![1; 100], vec![0; 924]].concat();
    assert_eq!(content(&disk, "a").unwrap(), expected);
    file.sync().unwrap();
    assert_eq!(found(&disk), BTreeSet::from([Some(expected)]));
}

#[test]
fn a_cut_operation_is_the_last_and_the_old_files_are_dead() {
    let disk = SimDisk::new(1);
    let file = durable_file(&disk);
    assert_eq!(disk.operations(), 4);
    disk.cut_at(6);
    file.write_at(&[2; 1024], 0).unwrap();
    assert!(file.sync().is_err(), "the sync is cut");
    assert!(disk.is_off());
    assert!(file.read_at(&mut [0], 0).is_err() && file.len().is_err() && disk.names().is_err());
    assert_eq!(disk.operations(), 6);
    assert!(found(&disk).len() > 1, "a sync that was cut makes nothing durable");
    let after = disk.power_cut(3);
    assert_eq!(after.operations(), 0);
    after.create("b", 1).unwrap();
}

#[test]
fn one_seed_gives_one_disk() {
    let disk = SimDisk::new(1);
    durable_file(&disk).write_at(&[2; 1024], 0).unwrap();
    disk.create("b", 5).unwrap();
    for seed in 0..SEEDS {
        let (one, two) = (disk.power_cut(seed), disk.power_cut(seed));
        assert_eq!(one.names().unwrap(), two.names().unwrap());
        assert_eq!(content(&one, "a"), content(&two, "a"));
    }
}

#[test]
fn a_failed_sync_drops_what_it_did_not_write() {
    let mut lost = 0;
    for seed in 0..SEEDS {
        let disk = SimDisk::new(seed);
        let file = durable_file(&disk);
        disk.fail(Operation::Sync, 0, Trouble::Broken);
        file.write_at(&[2; 1024], 0).unwrap();
        assert!(file.sync().is_err());
        assert_eq!(content(&disk, "a").unwrap(), vec![2; 1024], "until the cut, reads see it");
        file.sync().unwrap();
        let after = content(&disk.power_cut(seed), "a").unwrap();
        lost += u64::from(after != vec![2; 1024]);
        assert_eq!(disk.injected(), 1);
    }
    assert!(lost > SEEDS / 2, "a later sync must not bring it back: lost in {lost} of {SEEDS}");
}

#[test]
fn a_failed_write_is_done_in_part() {
    let written: BTreeSet<usize> = (0..50)
        .map(|seed| {
            let disk = SimDisk::new(seed);
            let file = durable_file(&disk);
            disk.fail(Operation::Write, 1, Trouble::Broken);
            file.write_at(&[1], 0).unwrap();
            assert!(file.write_at(&[2; 1024], 0).is_err());
            content(&disk, "a").unwrap().iter().filter(|byte| **byte == 2).count()
        })
        .collect();
    assert!(written.len() > 10, "{written:?}");
}

#[test]
fn a_full_disk_refuses_what_grows_and_nothing_else() {
    let disk = SimDisk::new(1);
    let file = durable_file(&disk);
    disk.set_capacity(1100);
    assert_eq!(disk.available().unwrap(), 76);
    assert_eq!(disk.create("b", 100).err().unwrap().kind(), ErrorKind::StorageFull);
    assert_eq!(file.write_at(&[1; 101], 1000).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.set_len(2000).unwrap_err().kind(), ErrorKind::StorageFull);
    file.write_at(&[1; 76], 1024).unwrap();
    assert_eq!(disk.available().unwrap(), 0);
    file.write_at(&[1; 100], 0).unwrap();
    disk.fail(Operation::Write, 0, Trouble::NoSpace);
    assert_eq!(file.write_at(&[1], 0).unwrap_err().kind(), ErrorKind::StorageFull);
    disk.remove("a").unwrap();
    disk.create("b", 1000).unwrap();
}

#[test]
fn damage_is_there_before_and_after_a_cut() {
    let disk = SimDisk::new(1);
    durable_file(&disk);
    disk.flip_bit("a", 5, 1).unwrap();
    assert_eq!(content(&disk, "a").unwrap()[5], 3);
    disk.truncate("a", 10).unwrap();
    let after = content(&disk.power_cut(1), "a").unwrap();
    assert_eq!((after.len(), after[5]), (10, 3));
    assert!(disk.flip_bit("nope", 0, 0).is_err());
}

#[test]
fn errors_are_those_of_the_seam() {
    let disk = SimDisk::new(1);
    let file = durable_file(&disk);
    assert_eq!(disk.create("a", 1).err().unwrap().kind(), ErrorKind::AlreadyExists);
    assert_eq!(disk.open("b").err().unwrap().kind(), ErrorKind::NotFound);
    assert_eq!(disk.remove("b").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(file.read_at(&mut [0; 2], 1023).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    disk.fail(Operation::Read, 0, Trouble::Broken);
    assert!(file.read_at(&mut [0], 0).is_err());
    file.read_at(&mut [0], 0).unwrap();
}
