//! The journal of webhooks as an operator meets it: every request is there, nothing that must not be kept is, and its end harms nobody.

use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;
use waypost_tests::process::Broker;

use crate::{
    commands::Ran,
    metrics::Scrape,
    stand::{PATH, SECRET, Stand, delay, soon},
};

/// Asks the edge for something that no provider would.
async fn knock(stand: &Stand, method: &str, path: &str, body: &str) -> u16 {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::builder()
        .method(method)
        .uri(format!("{}{path}", stand.broker.edge))
        .header("authorization", "Bearer hunter2hunter2hunter2");
    let answer = soon("the edge", client.request(request.body(Full::new(Bytes::from(body.to_owned()))).unwrap())).await.unwrap();
    let status = answer.status().as_u16();
    answer.into_body().collect().await.unwrap();
    status
}

#[tokio::test]
async fn every_request_is_in_the_journal_with_what_became_of_it() {
    let stand = Stand::new();
    let carrier = stand.carrier(SECRET).header("x-request-id", "r-1");
    let first = carrier.post(delay(1)).await.unwrap();
    carrier.post(delay(1)).await.unwrap();
    let wrong = String::from_utf8(delay(2)).unwrap().replace("\"SHIP-2\"", "[\"SHIP-2\"]");
    carrier.post(wrong.into_bytes()).await.unwrap();
    stand.carrier("guessed").post(format!("{{\"note\":\"{SECRET}\"}}").into_bytes()).await.unwrap();
    assert_eq!(knock(&stand, "PUT", PATH, "{}").await, 405);
    assert_eq!(knock(&stand, "POST", "/nowhere?token=hunter2", "{}").await, 404);

    let listed = stand.waypost(&["webhooks", "list", "--json"]).json();
    let seen: Vec<(&str, &str, u64, &str)> = listed
        .iter()
        .map(|webhook| {
            let text = |key: &str| webhook[key].as_str().unwrap();
            (text("outcome"), text("reason"), webhook["status"].as_u64().unwrap(), text("step"))
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("WEBHOOK_OUTCOME_REFUSED", "unknown_path", 404, "WEBHOOK_STEP_PATH"),
            ("WEBHOOK_OUTCOME_REFUSED", "method", 405, "WEBHOOK_STEP_METHOD"),
            ("WEBHOOK_OUTCOME_REFUSED", "signature_wrong", 401, "WEBHOOK_STEP_SIGNATURE"),
            ("WEBHOOK_OUTCOME_QUARANTINED", "no_identity", 202, "WEBHOOK_STEP_DECODE"),
            ("WEBHOOK_OUTCOME_DUPLICATE", "", 202, "WEBHOOK_STEP_STORE"),
            ("WEBHOOK_OUTCOME_ACCEPTED", "", 202, "WEBHOOK_STEP_STORE"),
        ]
    );
    assert!(listed.iter().all(|webhook| webhook["peer"] == "127.0.0.1"), "{listed:?}");
    let event_id = first.json["event_id"].as_str().unwrap();
    assert_eq!(stand.waypost(&["webhooks", "list", "--event-id", event_id, "--json"]).json().len(), 2);
    let refused = stand.waypost(&["webhooks", "list", "--outcome", "refused", "--source", "carrier", "--since", "1h", "--json"]).json();
    assert_eq!(refused.len(), 2);
    assert!(stand.waypost(&["webhooks", "list", "--until", "1h"]).text().contains("no such webhook"));
    stand.waypost(&["webhooks", "list", "--outcome", "eaten"]).failed(2, "accepted, duplicate");
    let people = stand.waypost(&["webhooks", "list", "--limit", "2"]);
    assert!(people.text().starts_with("ID") && people.out.lines().count() == 3, "{}", people.out);

    let id = refused[1]["id"].as_str().unwrap();
    let shown = stand.waypost(&["webhooks", "show", id, "--json"]).one();
    assert_eq!((&shown["body"], &shown["bodyMasked"]), (&Value::from("{\"note\":\"(masked)\"}"), &Value::from(true)), "{shown}");
    let accepted = stand.waypost(&["webhooks", "show", listed[5]["id"].as_str().unwrap()]);
    assert!(accepted.text().contains("SHIP-1") && accepted.out.contains("x-request-id: r-1"), "{}", accepted.out);
    stand.waypost(&["webhooks", "show", "1"]).failed(3, "no webhook");

    let scrape = Scrape::of(&stand).await;
    assert_eq!(scrape.get(r#"waypost_journal_webhooks_total{outcome="written"}"#), 6.0);
    assert_eq!(scrape.get(r#"waypost_journal_webhooks_total{outcome="dropped"}"#), 0.0);
    assert!(scrape.get("waypost_journal_bytes") > 0.0);
    let told = format!("{people:?}{accepted:?}{shown}{listed:?}", people = people.out, accepted = accepted.out);
    let files = ["webhooks.journal", "webhooks.journal-wal"]
        .map(|name| std::fs::read(stand.folder.path().join("data").join(name)).unwrap_or_default());
    for secret in [SECRET, "hunter2"] {
        assert!(!told.contains(secret), "{told}");
        assert!(files.iter().all(|file| !file.windows(secret.len()).any(|window| window == secret.as_bytes())), "{secret} is in the file");
    }
}

#[tokio::test]
async fn the_journal_survives_a_restart_and_its_damage_harms_nobody() {
    let stand = Stand::new();
    stand.carrier(SECRET).post(delay(1)).await.unwrap();
    assert_eq!(stand.waypost(&["webhooks", "list", "--json"]).json().len(), 1);
    let stand = stand.kill_and_restart();
    assert_eq!(stand.waypost(&["webhooks", "list", "--json"]).json().len(), 1, "what was asked for was written");

    let Stand { broker, folder, configuration } = stand;
    broker.kill();
    let file = folder.path().join("data/webhooks.journal");
    std::fs::write(&file, vec![0x5a; 50_000]).unwrap();
    std::fs::remove_file(file.with_extension("journal-wal")).unwrap();
    let broker = Broker::start(folder.path(), &configuration);
    let stand = Stand { broker, folder, configuration };
    assert_eq!(stand.carrier(SECRET).post(delay(2)).await.unwrap().code, 202);
    assert_eq!(stand.waypost(&["webhooks", "list", "--json"]).json().len(), 1, "it is begun anew");
    assert!(stand.log().contains("set aside"), "{}", stand.log());
    assert_eq!(Scrape::of(&stand).await.get("waypost_journal_damage_total"), 1.0);
    assert!(stand.folder.path().join("data/webhooks.journal.damaged").exists());
}

#[tokio::test]
async fn a_journal_that_is_turned_off_says_so_and_keeps_nothing() {
    let stand = Stand::with("journal.enabled = false");
    stand.carrier(SECRET).post(delay(1)).await.unwrap();
    stand.waypost(&["webhooks", "list"]).failed(1, "journal.enabled = true");
    assert!(!stand.folder.path().join("data/webhooks.journal").exists());
}

#[tokio::test]
async fn a_refused_request_says_why_in_the_journal_and_as_a_capture() {
    let stand = Stand::new();
    let config = stand.folder.path().join("waypost.toml");
    let body = String::from_utf8(delay(1)).unwrap();
    let signature = waypost_tests::webhook::sign(SECRET, body.as_bytes());
    // Something on the way adds a line break.
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::post(stand.url()).header("content-type", "application/json").header("x-webhook-signature", &signature);
    let answer = soon("the edge", client.request(request.body(Full::new(Bytes::from(format!("{body}\n")))).unwrap())).await.unwrap();
    assert_eq!(answer.status(), 401);

    let listed = stand.waypost(&["webhooks", "list", "--json"]).one();
    assert_eq!(listed["detail"], "body changed: a line break was put at its end");
    let shown = stand.waypost(&["webhooks", "show", listed["id"].as_str().unwrap(), "--json"]);
    let verify = |name: &str, text: &str| {
        let file = stand.folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        Ran::of(&["verify", "--source", "carrier", "--config", config.to_str().unwrap(), "--capture", file.to_str().unwrap()])
    };
    let masked = verify("shown.json", shown.text());
    masked.failed(1, "signature");
    assert!(
        masked.out.contains("x-webhook-signature is masked") && masked.out.contains("the broker found: body changed"),
        "{}",
        masked.out
    );

    let captured = |body: &str| format!("POST {PATH} HTTP/1.1\nContent-Type: application/json\nX-Webhook-Signature: {signature}\n\n{body}");
    let whole = verify("whole.http", &captured(&body));
    assert!(whole.text().contains("ok    signature") && whole.out.contains("logistics.v1.ShippingDelayed"), "{}", whole.out);
    let changed = verify("changed.http", &captured(&format!("{body}\n")));
    changed.failed(1, "the step signature fails: signature_wrong");
    assert!(changed.out.contains("body changed: a line break was put at its end"), "{}", changed.out);
    let unsigned = verify("unsigned.http", &format!("POST {PATH} HTTP/1.1\n\n{{}}"));
    assert!(unsigned.out.contains("there is no signature"), "{}", unsigned.out);
    verify("elsewhere.http", "POST /elsewhere HTTP/1.1\n\n{}").failed(1, "the step path fails");
    verify("broken.http", "hello").failed(1, "empty line");
    for ran in [&masked, &whole, &changed] {
        assert!(!ran.out.contains(SECRET) && !ran.out.contains(&signature), "{}", ran.out);
    }
}
