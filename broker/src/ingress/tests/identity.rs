//! P7 at the edge: what makes two webhooks one.

use super::*;
use crate::ingress::Outcome;

async fn summaries(edge: &Harness, source: &str, posts: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (id, body) in posts {
        let answer = edge.post(source, id, Some("push"), body).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        found.push((answer.text("status"), answer.text("event_id")));
    }
    found
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(status, id)| ((*status).to_owned(), (*id).to_owned())).collect()
}

#[tokio::test]
async fn p7_a_delivery_id_again_is_a_duplicate_even_with_another_body() {
    let edge = Harness::new("[github]\nscheme = \"github\"\nsecrets = [\"file:secret\"]");
    let push = payload!("github_push");
    let changed = push.replace("dana", "erin");
    let found = summaries(&edge, "github", &[("a", push), ("a", push), ("a", &changed), ("b", push)]).await;
    assert_eq!(found, pairs(&[("accepted", "a"), ("duplicate", "a"), ("duplicate", "a"), ("accepted", "b")]));
    assert_eq!(edge.events().await.len(), 2);
    assert_eq!((edge.count("github", Outcome::Duplicate), edge.count("github", Outcome::ChangedDuplicate)), (1, 1));
}

#[tokio::test]
async fn p7_a_template_again_with_another_body_is_a_conflict() {
    let edge = Harness::new(
        "[pay]\nscheme = \"hmac\"\nsecrets = [\"file:secret\"]\nidentity = { template = \"{/id}:{/status}\" }\ntypes = { \"*\" = \"commerce.v1.PaymentUpdated\" }",
    );
    let other_status = payload!("payment").replace("succeeded", "refunded");
    let other_user = payload!("payment").replace("user_7", "user_8");
    let posts = [("", payload!("payment")), ("", payload!("payment")), ("", &*other_status)];
    let found = summaries(&edge, "pay", &posts).await;
    assert_eq!(found, pairs(&[("accepted", "pay_001:succeeded"), ("duplicate", "pay_001:succeeded"), ("accepted", "pay_001:refunded")]));
    let conflict = edge.post("pay", "", None, &other_user).await;
    assert_eq!(conflict.summary(), (202, "quarantined".to_owned()));
    assert_eq!(edge.count("pay", Outcome::QuarantinedIdentityConflict), 1);
    assert_eq!(edge.events().await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn p7_a_body_is_remembered_for_ten_minutes() {
    let edge = Harness::new("[tasks]\nscheme = \"hmac\"\nsecrets = [\"file:secret\"]");
    let status = async || edge.post("tasks", "", None, payload!("new_task")).await.text("status");
    assert_eq!((status().await, status().await), ("accepted".to_owned(), "duplicate".to_owned()));
    tokio::time::advance(std::time::Duration::from_secs(599)).await;
    assert_eq!(status().await, "duplicate");
    tokio::time::advance(std::time::Duration::from_secs(2)).await;
    assert_eq!(status().await, "accepted");
}

#[tokio::test]
async fn p7_without_an_identity_every_webhook_is_new() {
    let edge = Harness::new("[tasks]\nscheme = \"hmac\"\nsecrets = [\"file:secret\"]\nidentity = \"none\"");
    for _ in 0..2 {
        assert_eq!(edge.post("tasks", "", None, payload!("new_task")).await.text("status"), "accepted");
    }
    let events = edge.events().await;
    assert_ne!(events[0].id, events[1].id);
}

#[tokio::test]
async fn p7_sources_do_not_share_ids() {
    let edge = Harness::new("[a]\nscheme = \"github\"\nsecrets = [\"file:secret\"]\n[b]\nscheme = \"github\"\nsecrets = [\"file:secret\"]");
    for source in ["a", "b"] {
        assert_eq!(edge.post(source, "1", Some("push"), payload!("github_push")).await.text("status"), "accepted");
    }
}

#[tokio::test]
async fn p7_nothing_unverified_is_remembered() {
    let edge = Harness::new("[github]\nscheme = \"github\"\nsecrets = [\"file:secret\"]");
    let mut forged = edge.signed("github", "1", Some("push"), payload!("github_push"));
    forged.headers_mut().insert("x-hub-signature-256", "sha256=00".parse().unwrap());
    assert_eq!(edge.send(forged).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(edge.post("github", "1", Some("push"), payload!("github_push")).await.text("status"), "accepted");
}

#[tokio::test]
async fn p7_a_webhook_without_its_delivery_id_is_not_taken_for_another() {
    let edge = Harness::new("[github]\nscheme = \"github\"\nsecrets = [\"file:secret\"]");
    let mut request = edge.signed("github", "1", Some("push"), payload!("github_push"));
    request.headers_mut().remove("x-github-delivery");
    let answer = edge.send(request).await;
    assert_eq!(answer.summary(), (202, "quarantined".to_owned()));
    assert!(answer.text("message").contains("x-github-delivery"), "{answer:?}");
}
