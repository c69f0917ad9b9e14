//! A signed body that comes again under another delivery id, where nothing signs the id.

use super::*;
use crate::ingress::Outcome;

const FLAGGING: &str = "[github]\nscheme = \"github\"\nsecrets = [\"file:secret\"]";
const REFUSING: &str = "[github]\nscheme = \"github\"\nsecrets = [\"file:secret\"]\nreplays = \"refuse\"";

#[tokio::test]
async fn a_body_under_another_id_is_an_event_that_says_whose_body_it_has() {
    let edge = Harness::new(FLAGGING);
    let body = payload!("github_issues");
    assert_eq!(edge.post("github", "first", Some("issues"), body).await.summary(), (202, "accepted".to_owned()));
    assert_eq!(edge.post("github", "second", Some("issues"), body).await.summary(), (202, "accepted".to_owned()));
    assert_eq!(edge.post("github", "first", Some("issues"), body).await.summary(), (202, "duplicate".to_owned()), "a retry is none");
    let events = edge.events().await;
    let said: Vec<_> = events.iter().map(|event| (&*event.id, event.attributes.get("replayof").map(String::as_str))).collect();
    assert_eq!(said, [("first", None), ("second", Some("first"))]);
    assert_eq!((edge.count("github", Outcome::Accepted), edge.count("github", Outcome::AcceptedReplay)), (1, 1));
}

#[tokio::test]
async fn a_source_may_refuse_it_and_still_takes_retries_and_other_bodies() {
    let edge = Harness::new(REFUSING);
    let body = payload!("github_issues");
    edge.post("github", "first", Some("issues"), body).await;
    let replay = edge.post("github", "second", Some("issues"), body).await;
    assert_eq!(replay.summary(), (409, "refused".to_owned()));
    assert!(replay.text("message").contains("as delivery first"), "{replay:?}");
    assert_eq!(edge.post("github", "first", Some("issues"), body).await.summary(), (202, "duplicate".to_owned()));
    assert_eq!(edge.post("github", "third", Some("issues"), &body.replace("Delay", "Another")).await.summary().0, 202);
    assert_eq!(edge.events().await.len(), 2);
}

#[tokio::test]
async fn who_is_not_verified_leaves_nothing_to_be_recognised() {
    let edge = Harness::new(REFUSING);
    let mut forged = edge.signed("github", "forged", Some("push"), "{\"ref\":\"x\"}");
    forged.headers_mut().insert("x-hub-signature-256", "sha256=00".parse().unwrap());
    assert_eq!(edge.send(forged).await.status, 401);
    let answer = edge.post("github", "true", Some("push"), "{\"ref\":\"x\"}").await;
    assert_ne!(answer.summary().0, 409, "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn beyond_the_window_it_is_a_webhook_like_any_other() {
    let edge = Harness::new(REFUSING);
    let body = payload!("github_issues");
    edge.post("github", "first", Some("issues"), body).await;
    tokio::time::advance(std::time::Duration::from_secs(72 * 3_600 + 1)).await;
    assert_eq!(edge.post("github", "second", Some("issues"), body).await.summary(), (202, "accepted".to_owned()));
}

#[tokio::test]
async fn what_came_before_a_restart_is_recognised_typed_or_not() {
    let before = Harness::new(REFUSING);
    let (typed, untyped) = (payload!("github_issues"), r#"{"action":"created","starred_at":"2026-04-05T10:30:00Z"}"#);
    before.post("github", "1", Some("issues"), typed).await;
    before.post("github", "2", Some("star"), untyped).await;

    let after = Harness::on(Arc::clone(&before.store), REFUSING);
    after.replays.recall(&after.sources, &*after.store, after.clock.now()).await.unwrap();
    assert_eq!(after.post("github", "3", Some("issues"), typed).await.summary().0, 409);
    assert_eq!(after.post("github", "4", Some("star"), untyped).await.summary().0, 409);
    assert_eq!(after.post("github", "2", Some("star"), untyped).await.summary(), (202, "duplicate".to_owned()));
}

#[tokio::test]
async fn an_operator_may_allow_it_and_is_told_where_the_setting_means_nothing() {
    let edge = Harness::new("[github]\nscheme = \"github\"\nsecrets = [\"file:secret\"]\nreplays = \"allow\"");
    edge.post("github", "1", Some("star"), "{}").await;
    edge.post("github", "2", Some("star"), "{}").await;
    assert_eq!(edge.events().await.len(), 2);
    assert!(edge.events().await.iter().all(|event| !event.attributes.contains_key("replayof")));

    let (_, findings, _folder) = build("[s]\nscheme = \"standard-webhooks\"\nsecrets = [\"file:standard\"]\nreplays = \"refuse\"");
    assert_eq!(findings.iter().map(|(key, _)| &**key).collect::<Vec<_>>(), ["sources.s.replays"], "its id is signed");
}
