//! Webhooks that hold several events.

use super::*;
use crate::ingress::Outcome;

const SOURCE: &str = "[grid]\nscheme = { signature = { header = \"X-Sig\" }, batch = {}, delivery_id = \"{/id}\", event_type = [\"{/type}\"] }\n\
                      secrets = [\"file:secret\"]";

#[tokio::test]
async fn p1_all_events_of_a_batch_are_durable_when_it_is_answered() {
    let edge = Harness::new(SOURCE);
    let body = r#"[{"id":"a","type":"t","n":820982911946154508}, {"id":"b","type":"t"} ,{"id":"c","type":"u"}]"#;
    let answer = edge.post("grid", "", None, body).await;
    assert_eq!((answer.summary(), answer.text("event_id")), ((202, "accepted".to_owned()), "a".to_owned()));
    assert_eq!(answer.text("message"), "3 events stored");
    let events = edge.events().await;
    let seen: Vec<_> = events.iter().map(|event| (&*event.id, &*event.r#type)).collect();
    assert_eq!(seen, [("a", "grid.t"), ("b", "grid.t"), ("c", "grid.u")]);
    let item: waypost_proto::v1::JsonPayload = data(&events[0]);
    assert_eq!(item.json, r#"{"id":"a","type":"t","n":820982911946154508}"#, "an item is what was sent, byte for byte");
    assert_eq!(edge.count("grid", Outcome::Accepted), 1);
}

#[tokio::test]
async fn p7_a_batch_sent_again_is_a_duplicate_and_new_events_in_it_are_not() {
    let edge = Harness::new(SOURCE);
    let first = r#"[{"id":"a","type":"t"},{"id":"b","type":"t"}]"#;
    edge.post("grid", "", None, first).await;
    assert_eq!(edge.post("grid", "", None, first).await.summary(), (202, "duplicate".to_owned()));
    let more = r#"[{"id":"a","type":"t"},{"id":"c","type":"t"}]"#;
    assert_eq!(edge.post("grid", "", None, more).await.summary(), (202, "accepted".to_owned()));
    let ids: Vec<_> = edge.events().await.into_iter().map(|event| event.id).collect();
    assert_eq!(ids, ["a", "b", "c"]);
}

#[tokio::test]
async fn an_item_that_fits_nothing_is_set_aside_alone() {
    let edge = Harness::new(SOURCE);
    let answer = edge.post("grid", "", None, r#"[{"id":"a","type":"t"},{"type":"t"},7,{"id":"b","type":"t"}]"#).await;
    assert_eq!(answer.summary(), (202, "accepted".to_owned()), "{answer:?}");
    assert_eq!(answer.text("message"), "2 events in quarantine, the others stored");
    assert_eq!(edge.events().await.len(), 2);
    let page = crate::ingress::quarantine::list(&*edge.store, 10, "", Default::default()).await.unwrap();
    let mut kept = Vec::new();
    for webhook in page.webhooks {
        kept.push(crate::ingress::quarantine::get(&*edge.store, &webhook.id).await.unwrap().unwrap().body);
    }
    kept.sort();
    assert_eq!(kept, [r#"7"#, r#"{"type":"t"}"#], "the items, not the batch");
}

#[tokio::test]
async fn a_batch_of_nothing_but_trouble_is_kept_in_one_piece() {
    let edge = Harness::new(SOURCE);
    let body = format!("[{}{{\"id\":\"a\",\"type\":\"t\"}}]", "{\"x\":1},".repeat(40));
    assert_eq!(edge.post("grid", "", None, &body).await.summary(), (202, "accepted".to_owned()));
    let page = crate::ingress::quarantine::list(&*edge.store, 10, "", Default::default()).await.unwrap();
    let [kept] = &page.webhooks[..] else { panic!("{page:?}") };
    assert!(kept.message.starts_with("40 of 41 events do not fit; of the first:"), "{}", kept.message);
    let too_many = format!("[{}1]", "1,".repeat(1_000));
    assert_eq!(edge.post("grid", "", None, &too_many).await.summary(), (202, "quarantined".to_owned()));
    assert_eq!(edge.post("grid", "", None, "[1, 2").await.summary(), (202, "quarantined".to_owned()));
}

#[tokio::test]
async fn a_batch_without_events_is_a_sign_of_life() {
    let edge = Harness::new(SOURCE);
    assert_eq!(edge.post("grid", "", None, "[]").await.summary(), (202, "handshake".to_owned()));
    assert_eq!((edge.events().await.len(), edge.count("grid", Outcome::Empty)), (0, 1));
    assert_eq!(
        edge.post("grid", "", None, r#"{"id":"a","type":"t"}"#).await.summary(),
        (202, "accepted".to_owned()),
        "one is a batch, too"
    );
}

#[tokio::test]
async fn events_without_an_identity_of_their_own_are_numbered() {
    let edge = Harness::new(&SOURCE.replace("{/id}", "{header:X-Id}"));
    for _ in 0..2 {
        edge.post("grid", "d7", None, r#"[{"type":"t"},{"type":"t"}]"#).await;
    }
    let ids: Vec<_> = edge.events().await.into_iter().map(|event| event.id).collect();
    assert_eq!(ids, ["d7#0", "d7#1"]);
}

#[tokio::test]
async fn a_source_that_refuses_what_does_not_fit_stores_nothing_of_its_batch() {
    let edge = Harness::new(&format!("{SOURCE}\non_undecodable = \"refuse\""));
    assert_eq!(edge.post("grid", "", None, r#"[{"id":"a","type":"t"},{"type":"t"}]"#).await.status, 400);
    assert!(edge.events().await.is_empty());
}
