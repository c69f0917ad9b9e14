//! The log for programs: every line is JSON, and trouble names what an operator looks up next.

use agent_client::{Settled, Start};
use serde_json::Value;

use crate::stand::{SECRET, Stand, delay, soon};

#[tokio::test]
async fn a_line_about_trouble_names_the_source_the_event_and_the_subscription() {
    let stand = Stand::with("log.format = 'json'");
    let wrong = String::from_utf8(delay(1)).unwrap().replace("\"SHIP-1\"", "[\"SHIP-1\"]");
    let quarantined = stand.carrier(SECRET).post(wrong.into_bytes()).await.unwrap();
    let mut subscription = soon("the stream", stand.agent().subscribe("routing").start_at(Start::Earliest).open()).await.unwrap();
    stand.carrier(SECRET).post(delay(2)).await.unwrap();
    let delivery = soon("a delivery", subscription.try_next()).await.unwrap().unwrap();
    let offset = delivery.offset();
    assert_eq!(delivery.reject("no\nroad").await.unwrap(), Settled::Done);

    let log = std::fs::read_to_string(stand.folder.path().join("waypost.log")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect();
    assert!(lines.iter().all(|line| ["timestamp", "level", "target", "message"].iter().all(|key| line.get(key).is_some())), "{log}");
    let line = |message: &str| lines.iter().find(|line| line["message"] == message).unwrap_or_else(|| panic!("{message}: {log}"));
    let quarantine = line("a verified webhook is in quarantine");
    assert_eq!((&quarantine["source"], &quarantine["id"]), (&"carrier".into(), &quarantined.json["event_id"]), "{quarantine}");
    assert!(quarantine["reason"].is_string() && quarantine["identity"].is_string(), "{quarantine}");
    let dead = line("an event became a dead letter");
    assert_eq!(
        (&dead["subscription"], &dead["offset"], &dead["reason"]),
        (&"routing".into(), &offset.into(), &"no\nroad".into()),
        "{dead}"
    );
    assert!(dead["dead_letter"].as_str().unwrap().ends_with(&format!("-{offset:x}")) && dead["attempts"].is_number(), "{dead}");
    assert!(!log.contains(SECRET), "a secret is in the log");
}
