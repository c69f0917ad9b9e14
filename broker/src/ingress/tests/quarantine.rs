//! A verified webhook is never lost: quarantine.

use super::*;
use crate::ingress::{
    Outcome,
    quarantine::{QuarantineError, Reason, Which, get, list},
};

const GITHUB: &str = "[github]\nscheme = \"github\"\nsecrets = [\"file:secret\"]";

#[tokio::test]
async fn what_cannot_be_typed_is_kept_with_the_failing_path() {
    let edge = Harness::new(GITHUB);
    let missing = r#"{"action":"opened","issue":{"html_url":"x"}}"#;
    for (event, body, reason, path, event_type) in [
        ("issues", missing, Reason::RequiredFieldMissing, "/issue/title", "github.v1.IssueChanged"),
        ("issues", r#"{"action":"opened","issue":{"title":5}}"#, Reason::TypeMismatch, "/issue/title", "github.v1.IssueChanged"),
        ("push", r#"{"commits":[{},{"timestamp":"yesterday"}]}"#, Reason::TypeMismatch, "/commits/1/timestamp", "github.v1.Push"),
        ("push", "{", Reason::MalformedBody, "", ""),
        ("push", "[]", Reason::TypeMismatch, "", "github.v1.Push"),
    ] {
        let answer = edge.post("github", "1", Some(event), body).await;
        assert_eq!(answer.summary(), (202, "quarantined".to_owned()), "{body}");
        let kept = get(&*edge.store, &answer.text("event_id")).await.unwrap().unwrap();
        let webhook = kept.webhook.unwrap();
        assert_eq!((webhook.reason(), &*webhook.path, &*webhook.event_type), (reason, path, event_type), "{body}");
        assert_eq!((&*webhook.source, webhook.body_size), ("github", body.len() as u64));
        assert_eq!(webhook.received_at.unwrap().seconds, 1_775_385_000);
        assert_eq!(kept.body, body);
    }
    assert!(edge.events().await.is_empty());
}

#[tokio::test]
async fn what_is_kept_is_told_of_once_and_without_its_content() {
    let edge = Harness::new(GITHUB);
    let body = r#"{"action":"opened","issue":{"title":5},"token":"hunter2"}"#;
    let answer = edge.post("github", "1", Some("issues"), body).await;
    edge.post("github", "1", Some("issues"), body).await;
    let told = edge.told().await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&*told[0].source, &*told[0].r#type, &*told[0].subject), ("waypost.broker", "waypost.quarantine.added", "github"));
    let data = told[0].data.as_ref().unwrap();
    let json = waypost_proto::v1::JsonPayload::decode(&*data.value).unwrap().json;
    let facts: Value = serde_json::from_slice(&json).unwrap();
    let expected = serde_json::json!({
        "quarantined": answer.text("event_id"),
        "source": "github",
        "event_id": "1",
        "event_type": "github.v1.IssueChanged",
        "reason": "QUARANTINE_REASON_TYPE_MISMATCH",
        "path": "/issue/title",
    });
    assert_eq!(facts, expected);
}

#[tokio::test]
async fn a_body_that_is_not_utf8_is_kept_byte_for_byte() {
    let edge = Harness::new(GITHUB);
    let body = b"{\"a\":\"\xff\"}";
    let verifier = edge.sources.get("github").unwrap().verifier().unwrap();
    let headers = verifier.sign(HeaderMap::new(), &sample(body, Some("push"))).unwrap();
    let answer = edge.send(request("/hooks/github", headers, &body[..])).await;
    assert!(answer.text("message").contains("not UTF-8"), "{answer:?}");
    assert_eq!(get(&*edge.store, &answer.text("event_id")).await.unwrap().unwrap().body, &body[..]);
}

#[tokio::test]
async fn secrets_and_signatures_are_not_kept() {
    let edge = Harness::new(GITHUB);
    let mut request = edge.signed("github", "1", Some("push"), "{}");
    for (name, value) in [("authorization", "Bearer hunter2"), ("x-gitlab-token", "hunter2"), ("user-agent", "GitHub-Hookshot/1")] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let signature = request.headers()["x-hub-signature-256"].to_str().unwrap().to_owned();
    let answer = edge.send(request).await;
    let kept = get(&*edge.store, &answer.text("event_id")).await.unwrap().unwrap();
    assert_eq!((&*kept.headers["x-github-event"], &*kept.headers["user-agent"]), ("push", "GitHub-Hookshot/1"));
    let shown = format!("{kept:?}");
    assert!(!shown.contains("hunter2") && !shown.contains(&signature) && !shown.contains(SECRET), "{shown}");
}

#[tokio::test]
async fn the_same_webhook_again_is_kept_once() {
    let edge = Harness::new(GITHUB);
    let first = edge.post("github", "1", Some("push"), "{}").await;
    let again = edge.post("github", "1", Some("push"), "{}").await;
    assert_eq!(again.summary(), (202, "quarantined".to_owned()));
    assert_eq!(first.text("event_id"), again.text("event_id"));
    let other = edge.post("github", "2", Some("push"), "{}").await;
    assert_ne!(first.text("event_id"), other.text("event_id"));
    assert_eq!(list(&*edge.store, 10, "", Which::default()).await.unwrap().webhooks.len(), 2);
    assert_eq!(edge.count("github", Outcome::QuarantinedAgain), 1);
}

#[tokio::test(start_paused = true)]
async fn the_quarantine_is_listed_newest_first_in_pages() {
    let edge = Harness::new(&format!("{GITHUB}\n[other]\nscheme = \"github\"\nsecrets = [\"file:secret\"]"));
    for number in 0..70 {
        let (source, body) = if number % 2 == 0 { ("github", "{}") } else { ("other", "{") };
        edge.post(source, &number.to_string(), Some("push"), body).await;
        tokio::time::advance(std::time::Duration::from_millis(1)).await;
    }
    let all = async |size, source, reason| {
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let page = list(&*edge.store, size, &token, Which { source, reason, fingerprint: "" }).await.unwrap();
            assert!(page.webhooks.len() <= size);
            found.extend(page.webhooks);
            token = page.next_page_token;
            if token.is_empty() {
                break found;
            }
        }
    };
    let found = all(9, "", Reason::Unspecified).await;
    assert_eq!(found.len(), 70);
    let time = |webhook: &waypost_proto::v1::QuarantinedWebhook| webhook.received_at.map(|at| (at.seconds, at.nanos));
    assert!(found.windows(2).all(|pair| time(&pair[0]) > time(&pair[1])), "newest first");
    assert_eq!(all(9, "other", Reason::Unspecified).await.len(), 35);
    assert_eq!(all(100, "other", Reason::RequiredFieldMissing).await.len(), 0);
    assert_eq!(all(2, "", Reason::RequiredFieldMissing).await.len(), 35);
    let error = list(&*edge.store, 1, "nonsense", Which::default()).await.unwrap_err();
    assert_eq!(error, QuarantineError::PageToken("nonsense".into()));
    assert_eq!(get(&*edge.store, "nonsense").await, Ok(None));
}

#[tokio::test]
async fn a_source_may_refuse_instead() {
    let refuse = format!("{GITHUB}\non_undecodable = \"refuse\"");
    let open = "[github]\nverify = \"none\"\ntypes = { \"*\" = \"github.v1.Push\" }";
    let kept = &format!("{open}\non_undecodable = \"quarantine\"");
    for (config, status) in [(&*refuse, 400), (open, 400), (kept, 202)] {
        let edge = Harness::new(config);
        let answer = edge.post("github", "1", Some("push"), r#"{"repository":{}}"#).await;
        assert_eq!(answer.status, status, "{config}");
        assert!(answer.text("message").contains("/repository/full_name"), "{answer:?}");
        let kept = list(&*edge.store, 10, "", Which::default()).await.unwrap().webhooks.len();
        assert_eq!(kept, usize::from(status == 202));
    }
}

#[tokio::test]
async fn an_event_that_would_be_too_large_is_kept() {
    let edge = Harness::new(GITHUB);
    let head = "{\"a\":\"";
    let body = format!("{head}{}\"}}", "x".repeat(1024 * 1024 - head.len() - 2));
    let answer = edge.post("github", "1", Some("star"), &body).await;
    assert_eq!(answer.summary(), (202, "quarantined".to_owned()));
    assert_eq!(edge.count("github", Outcome::QuarantinedInvalidEvent), 1);
    assert_eq!(get(&*edge.store, &answer.text("event_id")).await.unwrap().unwrap().body.len(), 1024 * 1024);
}

#[tokio::test]
async fn a_large_event_leaves_out_its_raw_body_rather_than_fail() {
    let edge = Harness::new(GITHUB);
    let body = format!("{{\"repository\":{{\"full_name\":\"r\"}},\"pusher\":{{}},\"compare\":\"{}\"}}", "x".repeat(700_000));
    assert_eq!(edge.post("github", "1", Some("push"), &body).await.summary(), (202, "accepted".to_owned()));
    assert!(envelope::raw(&edge.stored().await[0].body).is_empty());
}
