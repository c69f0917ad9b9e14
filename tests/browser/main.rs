//! The page as people meet it: the real program, and a real browser.
//!
//! Constraints: each test prepares a broker and names a case of `cases.js`, which looks and clicks in Chromium; a missing Chromium or Node is a
//! failure and never a skip; nothing is waited for by time alone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

mod browser;
mod scene;

use std::time::Duration;

use agent_client::proto::{
    logistics::v1::PackageRerouted,
    v1::{Event, ReadEventsRequest, agent_service_client::AgentServiceClient},
};
use serde_json::json;
use waypost_tests::{authority::self_signed, process::program};

use crate::{
    browser::look,
    scene::{HOSTILE, Scene},
};

#[tokio::test]
async fn an_empty_broker_says_so_on_every_page() {
    look("empty", &Scene::new(""), json!({})).await;
}

#[tokio::test]
async fn a_busy_broker_shows_what_flows_as_it_flows() {
    let scene = Scene::new("");
    scene.story().await;
    scene.quarantined(b"{\"event_type\":\"shipping_delay\",\"shipment_id\":\"SHIP-9\"}").await;
    scene.dead("billing", 3).await;
    let flowing = scene.flow();
    look("busy", &scene, json!({})).await;
    flowing.abort();
}

#[tokio::test]
async fn a_thousand_dead_letters_are_paged() {
    let scene = Scene::new("");
    scene.dead("billing", 1_000).await;
    look("thousand", &scene, json!({ "count": 1_000 })).await;
}

#[tokio::test]
async fn hostile_payloads_and_subjects_are_shown_and_never_run() {
    let scene = Scene::new("");
    let id = scene.hostile().await;
    look("hostile", &scene, json!({ "text": HOSTILE, "id": id })).await;
}

#[tokio::test]
async fn dead_letters_are_redriven_and_discarded_by_buttons() {
    let scene = Scene::new("");
    scene.dead("billing", 6).await;
    look("actions", &scene, json!({})).await;
    // Three were discarded, two redriven: these come again.
    let mut billing = scene.open("billing").await;
    for _ in 0..2 {
        let again = scene::soon("a redriven event", billing.try_next()).await.unwrap().unwrap();
        assert!(again.is_redriven());
        again.ack().await.unwrap();
    }
}

#[tokio::test]
async fn a_subscription_is_paused_and_resumed_by_buttons_and_keys() {
    let scene = Scene::new("");
    scene.dead("billing", 2).await;
    look("pausing", &scene, json!({})).await;
}

#[tokio::test]
async fn over_tls_a_page_is_live_until_its_token_is_revoked() {
    let mut tokens = Vec::new();
    let lines = "auth.tokens_file = 'tokens.toml'\nadmin.tls = { certificate = 'here.pem', key = 'here.key' }";
    let scene = Scene::prepared(lines, |folder| {
        self_signed(&["127.0.0.1"]).write(folder, "here");
        let made = [("boss", "admin"), ("worker", "subscribe"), ("writer", "publish")];
        tokens.extend(made.map(|(name, scope)| scene::create_token(folder, name, scope)));
    });
    scene.with_token(&tokens[1]).reject("billing", scene.with_token(&tokens[2]), 2).await;
    look("revoked", &scene, json!({ "token": tokens[0], "program": program(), "folder": scene.folder.path() })).await;
}

#[tokio::test]
async fn without_a_script_everything_can_be_read_and_done() {
    let scene = Scene::new("");
    scene.story().await;
    scene.quarantined(b"{\"event_type\":\"shipping_delay\"}").await;
    scene.dead("billing", 2).await;
    look("without_script", &scene, json!({})).await;
}

#[tokio::test]
async fn another_site_can_neither_act_nor_look() {
    let scene = Scene::new("");
    scene.dead("billing", 2).await;
    look("cross_site", &scene, json!({})).await;
}

#[tokio::test]
async fn the_keyboard_is_enough() {
    let scene = Scene::new("");
    scene.dead("billing", 2).await;
    look("keyboard", &scene, json!({})).await;
}

#[tokio::test]
async fn a_story_is_found_and_drawn_as_a_tree() {
    let scene = Scene::new("");
    let webhook = scene.story().await;
    look("story", &scene, json!({ "id": webhook })).await;
}

#[tokio::test]
async fn who_has_a_token_signs_in_and_does_what_it_allows() {
    let mut tokens = Vec::new();
    let scene = Scene::prepared("auth.tokens_file = 'tokens.toml'\nlog.audit_file = 'audit.jsonl'", |folder| {
        let made = [("boss", "admin"), ("looker", "inspect"), ("worker", "subscribe"), ("writer", "publish")];
        tokens.extend(made.map(|(name, scope)| scene::create_token(folder, name, scope)));
    });
    scene.with_token(&tokens[2]).reject("billing", scene.with_token(&tokens[3]), 2).await;
    let [boss, looker, worker, _] = &tokens[..] else { panic!("four tokens") };
    look("sign_in", &scene, json!({ "boss": boss, "looker": looker, "worker": worker })).await;
    let audit = std::fs::read_to_string(scene.folder.path().join("audit.jsonl")).unwrap();
    let did = audit.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let acts: Vec<_> = did.map(|line| format!("{} {} {}", line["caller"], line["action"], line["outcome"]).replace('"', "")).collect();
    assert!(acts.contains(&"boss redrive_dead_letters done".to_owned()), "{acts:#?}");
    for denied in ["/dead-letters/redrive", "/pause"] {
        assert!(acts.contains(&format!("looker {denied} denied")), "{acts:#?}");
    }
    let log = std::fs::read_to_string(scene.folder.path().join("waypost.log")).unwrap();
    assert!(tokens.iter().all(|token| !audit.contains(token) && !log.contains(token)), "a token is in a log");
}

/// What a page asks of its server is at most what the page says: the whole log is where it was.
#[tokio::test]
async fn looking_changes_nothing() {
    let scene = Scene::new("");
    scene.story().await;
    scene.dead("billing", 1).await;
    let before = log(&scene).await;
    look("every_page", &scene, json!({})).await;
    assert_eq!(log(&scene).await, before);
}

/// The ids of all events.
async fn log(scene: &Scene) -> Vec<String> {
    use agent_client::proto::v1::read_events_response::Response;
    let mut agent = AgentServiceClient::new(scene.broker.channel());
    let mut events = agent.read_events(ReadEventsRequest::default()).await.unwrap().into_inner();
    let mut ids = Vec::new();
    while let Some(response) = scene::soon("the end of the log", events.message()).await.unwrap() {
        if let Some(Response::Events(events)) = response.response {
            ids.extend(events.events.into_iter().map(|event| event.event.unwrap_or_default().id));
        }
    }
    ids
}

/// An event that leads to another, for stories.
fn rerouted(package: &str) -> Event {
    let route = vec!["Hamburg".to_owned(), "Rotterdam".to_owned()];
    Event::of("agents/routing", &PackageRerouted { package_id: package.to_owned(), new_route: route, ..PackageRerouted::default() })
}

/// Longer than anything here takes, on any machine.
const PATIENCE: Duration = Duration::from_secs(120);
