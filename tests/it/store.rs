//! `waypost store`: how it is, whether it is sound, and a copy of it. (The crash test takes backups under load.)

use std::fs;

use crate::{
    commands::Ran,
    stand::{SECRET, Stand, delay},
};

/// A broker whose log has several segments.
async fn written() -> Stand {
    let stand = Stand::with("store.segment_size = '64KiB'");
    for number in 0..60 {
        let body = String::from_utf8(delay(number)).unwrap().replacen('{', &format!("{{\"filler\": \"{}\",", "x".repeat(8_000)), 1);
        assert_eq!(stand.carrier(SECRET).post(body.into_bytes()).await.unwrap().code, 202);
    }
    stand
}

fn data(stand: &Stand) -> String {
    stand.folder.path().join("data").to_str().unwrap().to_owned()
}

#[tokio::test]
async fn p14_damage_is_told_with_its_file_its_position_and_its_cost_live_and_offline() {
    let stand = written().await;
    let data = data(&stand);
    let stat = stand.waypost(&["store", "stat", "--json"]).one();
    assert_eq!((&stat["nextOffset"], &stat["damage"], &stat["onDisk"]), (&"61".into(), &"0".into(), &true.into()), "{stat}");
    assert!(stand.waypost(&["store", "stat"]).text().contains("1 to 60"));
    let sound = stand.waypost(&["store", "verify"]);
    assert!(sound.text().contains("60 events") && sound.out.contains("no damage found"), "{}", sound.out);
    stand.waypost(&["store", "verify", &data]).failed(4, "ask that one");
    stand.waypost(&["store", "verify", "nowhere"]).failed(3, "no store");
    stand.waypost(&["store", "stat", &data]).failed(4, "`waypost store stat` without");
    stand.waypost(&["store", "stat", "nowhere"]).failed(3, "no store");

    let mut logs: Vec<_> = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path()).collect();
    logs.retain(|path| path.extension().is_some_and(|end| end == "log"));
    logs.sort();
    assert!(logs.len() > 3, "{logs:?}");
    // Behind the header of the segment and that of its first frame.
    let mut bytes = fs::read(&logs[1]).unwrap();
    bytes[512 + 64 + 300] ^= 1;
    fs::write(&logs[1], bytes).unwrap();
    let name = logs[1].file_name().unwrap().to_str().unwrap().to_owned();

    let live = stand.waypost(&["store", "verify"]);
    live.failed(6, "found in 1 places");
    assert!(live.out.contains(&format!("DAMAGE  {name} at 576: event")) && live.out.contains("cannot be served"), "{}", live.out);
    let copy = stand.folder.path().join("copy");
    stand.waypost(&["store", "backup", copy.to_str().unwrap()]).failed(6, "as the store is");
    assert!(copy.join("tables.db").exists(), "a damaged copy is better than none");

    let admin = stand.broker.admin.clone();
    let Stand { broker, folder, .. } = stand;
    broker.kill();
    let offline = Ran::of(&["store", "verify", &data, "--json", "--admin", &admin]);
    offline.failed(6, "damage was found");
    let found: serde_json::Value = serde_json::from_str(offline.out.lines().next().unwrap()).unwrap();
    assert_eq!((&found["file"], &found["position"], &found["damage"]), (&name.into(), &"576".into(), &true.into()), "{found}");
    // What is damaged in the middle of a segment changes nothing at a glance.
    assert!(Ran::of(&["store", "stat", &data]).text().contains("1 to 60"));
    let stat = Ran::of(&["store", "stat", &data, "--json"]).one();
    assert_eq!((&stat["nextOffset"], &stat["onDisk"]), (&"61".into(), &true.into()), "{stat}");
    drop(folder);
}

#[tokio::test]
async fn a_backup_has_its_name_only_when_it_is_whole_and_a_broker_serves_it() {
    let stand = written().await;
    let copy = stand.folder.path().join("copy");
    let told = stand.waypost(&["store", "backup", copy.to_str().unwrap()]);
    assert!(told.text().contains("offsets 1 to 60") && told.out.contains("verified"), "{}", told.out);
    stand.waypost(&["store", "backup", copy.to_str().unwrap()]).failed(2, "is there already");
    assert!(!stand.folder.path().join("copy.partial").exists());
    assert_eq!(stand.carrier(SECRET).post(delay(1_000)).await.unwrap().code, 202, "the broker goes on");

    // Restored: the copy takes the place of the data directory.
    let data = data(&stand);
    fs::rename(&data, format!("{data}.before")).unwrap();
    fs::rename(&copy, &data).unwrap();
    let stand = stand.kill_and_restart();
    let stat = stand.waypost(&["store", "stat", "--json"]).one();
    assert_eq!((&stat["nextOffset"], &stat["damage"]), (&"61".into(), &"0".into()), "{stat}");
    assert!(stand.waypost(&["events", "show", "60"]).text().contains("SHIP-59"));
}

#[tokio::test]
async fn a_store_in_memory_says_that_there_is_nothing_to_verify() {
    let stand = Stand::with("store.engine = 'memory'");
    assert!(stand.waypost(&["store", "stat"]).text().contains("in memory"));
    stand.waypost(&["store", "verify"]).failed(1, "nothing on disk");
    let copy = stand.folder.path().join("copy");
    stand.waypost(&["store", "backup", copy.to_str().unwrap()]).failed(1, "nothing on disk");
    assert!(!copy.exists() && !stand.folder.path().join("copy.partial").exists());
}
