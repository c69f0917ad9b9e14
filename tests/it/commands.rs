//! The commands that look after a running broker, each as an operator types it: what is printed, what is changed, and the exit code.

use std::process::{Command, Stdio};

use agent_client::{Settled, Start};
use serde_json::Value;
use waypost_tests::{process::program, webhook::Sender};

use crate::{
    metrics::Scrape,
    stand::{SECRET, Stand, delay, soon},
};

/// What a command did.
pub(crate) struct Ran {
    code: Option<i32>,
    pub(crate) out: String,
    err: String,
}

impl Ran {
    /// Runs a command without anybody to ask.
    pub(crate) fn of(args: &[&str]) -> Self {
        let output = Command::new(program()).args(args).stdin(Stdio::null()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Its output as JSON, one object a line.
    pub(crate) fn json(&self) -> Vec<Value> {
        assert_eq!(self.code, Some(0), "{}", self.err);
        self.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
    }

    pub(crate) fn one(&self) -> Value {
        let mut lines = self.json();
        assert_eq!(lines.len(), 1, "{}", self.out);
        lines.remove(0)
    }

    /// Its output, if it was done.
    pub(crate) fn text(&self) -> &str {
        assert_eq!(self.code, Some(0), "{}", self.err);
        &self.out
    }

    pub(crate) fn failed(&self, code: i32, told: &str) {
        assert!(self.code == Some(code) && self.err.contains(told), "{:?}: {}{}", self.code, self.out, self.err);
    }
}

impl Stand {
    pub(crate) fn waypost(&self, args: &[&str]) -> Ran {
        Ran::of(&[args, &["--admin", &self.broker.admin, "--agents", &self.broker.agents]].concat())
    }
}

#[tokio::test]
async fn subscriptions_are_made_changed_moved_and_deleted() {
    let stand = Stand::new();
    let empty = stand.waypost(&["subscriptions", "list"]);
    assert!(empty.text().contains("no subscriptions"), "{}", empty.out);
    assert_eq!(stand.waypost(&["subscriptions", "list", "--json"]).json().len(), 0);

    let made = stand.waypost(&[
        "subscriptions",
        "create",
        "routing",
        "--type",
        "logistics.v1.*",
        "--from",
        "earliest",
        "--spec",
        r#"{"ackDeadline": "60s"}"#,
        "--json",
    ]);
    let made = made.one();
    assert_eq!(made["state"], "SUBSCRIPTION_STATE_ACTIVE");
    assert_eq!((&made["spec"]["ackDeadline"], &made["spec"]["filter"]["types"][0]), (&"60s".into(), &"logistics.v1.*".into()));
    stand.waypost(&["subscriptions", "create", "routing"]).failed(1, "routing");
    stand.waypost(&["subscriptions", "create", "x", "--spec", r#"{"ackDedline": "60s"}"#]).failed(2, "ackDedline");

    stand.carrier(SECRET).post(delay(1)).await.unwrap();
    let listed = stand.waypost(&["subscriptions", "list"]);
    let (head, row) = listed.text().split_once('\n').unwrap();
    assert!(head.starts_with("NAME") && row.starts_with("routing") && row.contains("active"), "{}", listed.out);

    assert!(stand.waypost(&["subs", "pause", "routing", "--reason", "INC-7"]).text().contains("paused: INC-7"));
    assert_eq!(stand.waypost(&["subscriptions", "resume", "routing", "--json"]).one()["state"], "SUBSCRIPTION_STATE_ACTIVE");
    let updated =
        stand.waypost(&["subscriptions", "update", "routing", "--spec", r#"{"maxOutstanding": 7}"#, "--reset", "ack_deadline", "--json"]);
    let updated = updated.one();
    assert_eq!((&updated["spec"]["maxOutstanding"], &updated["spec"]["ackDeadline"]), (&7.into(), &"30s".into()));

    stand.waypost(&["subscriptions", "seek", "routing", "--to", "new"]).failed(2, "--yes");
    let moved = stand.waypost(&["subscriptions", "seek", "routing", "--to", "new", "--yes", "--json"]).one();
    assert_eq!((&moved["seekGeneration"], &moved["stats"]["lag"]), (&"1".into(), &"0".into()));
    stand.waypost(&["subscriptions", "seek", "routing", "--to", "999999", "--yes"]).failed(1, "999999");

    stand.waypost(&["subscriptions", "delete", "routing"]).failed(2, "delete subscription routing");
    assert!(stand.waypost(&["subscriptions", "show", "routing"]).text().contains("spec.maxOutstanding"));
    assert!(stand.waypost(&["subscriptions", "delete", "routing", "--yes"]).text().contains("is deleted"));
    stand.waypost(&["subscriptions", "show", "routing"]).failed(3, "routing");
}

#[tokio::test]
async fn a_long_list_comes_in_pages_and_says_when_it_was_cut() {
    let stand = Stand::new();
    let client = stand.broker.admin_channel();
    let mut client = waypost_proto::v1::subscription_admin_service_client::SubscriptionAdminServiceClient::new(client);
    for number in 0..205 {
        let name = format!("s{number:03}");
        client.create_subscription(waypost_proto::v1::CreateSubscriptionRequest { name, spec: None }).await.unwrap();
    }
    let people = stand.waypost(&["subscriptions", "list"]);
    assert_eq!(people.text().lines().count(), 1 + 200);
    assert!(people.err.contains("--limit"), "{}", people.err);
    assert_eq!(stand.waypost(&["subscriptions", "list", "--json"]).json().len(), 205);
    assert_eq!(stand.waypost(&["subscriptions", "list", "--json", "--limit", "3", "--prefix", "s1"]).json().len(), 3);
}

#[tokio::test]
async fn a_dead_letter_is_shown_with_its_history_redriven_and_discarded() {
    let stand = Stand::new();
    let agent = stand.agent();
    let mut subscription = soon("the stream", agent.subscribe("routing").start_at(Start::Earliest).open()).await.unwrap();
    for number in 1..=2 {
        stand.carrier(SECRET).post(delay(number)).await.unwrap();
        let delivery = soon("a delivery", subscription.try_next()).await.unwrap().unwrap();
        assert_eq!(delivery.reject(format!("no road {number}")).await.unwrap(), Settled::Done);
    }
    let listed = stand.waypost(&["dead-letters", "list", "--subscription", "routing", "--reason", "rejected", "--json"]).json();
    assert_eq!(listed.len(), 2);
    assert_eq!((&listed[0]["detail"], &listed[1]["detail"]), (&"no road 2".into(), &"no road 1".into()), "newest first");
    assert!(stand.waypost(&["dead-letters", "list", "--reason", "max_losses"]).text().contains("no dead letters"));
    stand.waypost(&["dead-letters", "list", "--reason", "tired"]).failed(2, "max_attempts, max_losses, rejected");

    let id = listed[1]["id"].as_str().unwrap();
    let shown = stand.waypost(&["dead-letters", "show", id, "--json"]).one();
    assert_eq!(shown["event"]["event"]["data"]["shipmentId"], "SHIP-1");
    assert_eq!(
        (&shown["history"][0]["outcome"], &shown["history"][0]["reason"]),
        (&"ATTEMPT_OUTCOME_REJECTED".into(), &"no road 1".into())
    );
    let people = stand.waypost(&["dead-letters", "show", id]);
    assert!(people.text().contains("ATTEMPT") && people.out.contains("no road 1") && people.out.contains("SHIP-1"), "{}", people.out);

    assert_eq!(stand.waypost(&["dead-letters", "redrive", id]).text(), "1 of 1 on their way again\n");
    let again = soon("the redriven one", subscription.try_next()).await.unwrap().unwrap();
    assert_eq!(again.ack().await.unwrap(), Settled::Done);
    stand.waypost(&["dead-letters", "redrive", id]).failed(3, id);

    stand.waypost(&["dead-letters", "discard", "--all"]).failed(2, "discard dead letter");
    stand.waypost(&["dead-letters", "discard", id, "--reason", "rejected", "--yes"]).failed(2, "--all");
    assert_eq!(stand.waypost(&["dead-letters", "discard", "--all", "--reason", "rejected", "--yes"]).text(), "1 of 1 discarded\n");
    assert_eq!(stand.waypost(&["dead-letters", "list", "--json"]).json().len(), 0);
    stand.waypost(&["dead-letters", "show", id]).failed(3, id);
}

#[tokio::test]
async fn quarantine_and_sources_show_what_came_in() {
    let stand = Stand::new();
    let carrier = stand.carrier(SECRET);
    carrier.post(delay(1)).await.unwrap();
    carrier.post(delay(1)).await.unwrap();
    let wrong = String::from_utf8(delay(2)).unwrap().replace("\"SHIP-2\"", "[\"SHIP-2\"]");
    carrier.post(wrong.clone().into_bytes()).await.unwrap();
    stand.carrier("guessed").post(delay(3)).await.unwrap();

    let source = stand.waypost(&["sources", "list", "--json"]).one();
    let stats = &source["stats"];
    assert_eq!((&stats["accepted"], &stats["duplicates"], &stats["quarantined"]), (&"1".into(), &"1".into(), &"1".into()), "{source}");
    assert_eq!((&stats["unverifiedRefused"], &stats["refused"]), (&"1".into(), &"0".into()), "{source}");
    assert!(stand.waypost(&["sources", "show", "carrier"]).text().contains("logistics.v1.ShippingDelayed"));
    stand.waypost(&["sources", "show", "courier"]).failed(3, "courier");

    let listed = stand.waypost(&["quarantine", "list", "--source", "carrier", "--json"]).one();
    let id = listed["id"].as_str().unwrap();
    let shown = stand.waypost(&["quarantine", "show", id, "--json"]).one();
    assert_eq!(shown["body"], serde_json::from_str::<Value>(&wrong).unwrap());
    let people = stand.waypost(&["quarantine", "list"]);
    assert!(people.text().contains(id), "{}", people.out);
    assert!(stand.waypost(&["quarantine", "show", id]).text().contains(listed["message"].as_str().unwrap()));
    assert!(stand.waypost(&["quarantine", "list", "--reason", "no_identity", "--json"]).json().len() <= 1);
    stand.waypost(&["quarantine", "show", "nothing"]).failed(3, "nothing");
}

/// The configuration is read again on a signal: what did not fit is retried with the mapping that there is then.
#[tokio::test]
async fn quarantine_is_retried_once_the_mapping_is_mended() {
    let right = "[sources.shop]\nscheme = 'hmac'\nsecrets = ['file:secret']\nidentity = 'none'\n";
    let wrong = format!("{right}types = {{ '*' = 'logistics.v1.ShippingDelayed' }}\n");
    let stand = Stand::new();
    stand.reread(&wrong, "was read again").await;
    let shop = Sender::new(format!("{}/hooks/shop", stand.broker.edge), SECRET);
    for number in 0..3 {
        let answer = shop.post(format!("{{\"number\":{number}}}").into_bytes()).await.unwrap();
        assert_eq!(answer.code, 202, "{answer:?}");
    }
    let listed = stand.waypost(&["quarantine", "list", "--source", "shop", "--json"]).json();
    let (id, fingerprint) = (listed[2]["id"].as_str().unwrap(), listed[0]["fingerprint"].as_str().unwrap());
    assert!(listed.iter().all(|webhook| webhook["fingerprint"] == *fingerprint), "{listed:?}");
    stand.waypost(&["quarantine", "retry", id]).failed(1, "in quarantine as before");
    stand.waypost(&["quarantine", "retry", id, "--source", "shop"]).failed(2, "--all");
    assert!(stand.waypost(&["quarantine", "show", id]).text().contains("1 times"));

    stand.reread(right, "was read again").await;
    let stored = stand.waypost(&["quarantine", "retry", id, "--json"]).one();
    assert_eq!(stored["outcome"], "QUARANTINE_OUTCOME_STORED", "{stored}");
    stand.waypost(&["quarantine", "retry", id]).failed(3, id);
    stand.waypost(&["quarantine", "discard", listed[1]["id"].as_str().unwrap()]).failed(2, "discard quarantined webhook");
    assert_eq!(stand.waypost(&["quarantine", "discard", listed[1]["id"].as_str().unwrap(), "--yes"]).text(), "1 of 1 discarded\n");
    assert_eq!(stand.waypost(&["quarantine", "retry", "--all", "--fingerprint", fingerprint]).text(), "1 of 1 are events now\n");
    assert_eq!(stand.waypost(&["quarantine", "list", "--json"]).json().len(), 0);
    let events = stand.waypost(&["tail", "--from", "earliest", "--once", "--source", "shop", "--json"]).json();
    assert_eq!(events.len(), 2, "{events:?}");

    let scrape = Scrape::of(&stand).await;
    for (outcome, count) in [("stored", 2.0), ("kept", 1.0), ("discarded", 1.0), ("duplicate", 0.0), ("expired", 0.0)] {
        assert_eq!(scrape.get(&format!("waypost_quarantine_webhooks_total{{outcome=\"{outcome}\"}}")), count, "{outcome}");
    }
    let log = stand.log();
    assert!(log.contains("retry_quarantined_webhooks") && log.contains("discard_quarantined_webhooks"), "the audit log tells: {log}");
}

#[tokio::test]
async fn sessions_show_who_holds_what() {
    let stand = Stand::new();
    assert!(stand.waypost(&["sessions", "list"]).text().contains("no session"));
    let mut subscription = soon("the stream", stand.agent().subscribe("routing").open()).await.unwrap();
    stand.carrier(SECRET).post(delay(1)).await.unwrap();
    let _held = soon("a delivery", subscription.try_next()).await.unwrap().unwrap();
    let session = stand.waypost(&["sessions", "list", "--subscription", "routing", "--json"]).one();
    assert_eq!((&session["state"], &session["outstanding"]), (&"SESSION_STATE_CONNECTED".into(), &1.into()), "{session}");
    assert!(stand.waypost(&["sessions", "list"]).text().contains("routing"));

    let id = session["id"].as_str().unwrap();
    let ended = stand.waypost(&["sessions", "end", id]);
    assert!(ended.text().contains("of routing is ended; 1 deliver"), "{}", ended.out);
    stand.waypost(&["sessions", "end", "nobody"]).failed(1, "sessions list");
    stand.waypost(&["sessions", "end", "0192f7a1-5f0e-7c3a-9d2e-3f1c6a7b8c9d"]).failed(3, "no session");
    // It is no ban.
    let again = soon("the event", subscription.try_next()).await.unwrap().unwrap();
    again.ack().await.unwrap();
}

#[tokio::test]
async fn an_event_is_shown_with_its_story() {
    let stand = Stand::new();
    let mut subscription = soon("the stream", stand.agent().subscribe("routing").open()).await.unwrap();
    stand.carrier(SECRET).post(delay(1)).await.unwrap();
    let delivery = soon("a delivery", subscription.try_next()).await.unwrap().unwrap();
    let offset = delivery.offset().to_string();
    let shown = stand.waypost(&["events", "show", &offset, "--json"]).one();
    let event = &shown["event"]["event"];
    assert_eq!((&event["source"], &event["data"]["shipmentId"]), (&"carrier".into(), &"SHIP-1".into()), "{shown}");
    assert_eq!(shown["outcomes"][0]["state"], "OUTCOME_STATE_LEASED");
    let (source, id) = (event["source"].as_str().unwrap(), event["id"].as_str().unwrap());
    let people = stand.waypost(&["events", "show", "--source", source, "--id", id]);
    assert!(people.text().contains("routing: leased") && people.out.contains("SHIP-1"), "{}", people.out);

    let tree = stand.waypost(&["events", "lineage", &offset]);
    assert!(tree.text().starts_with("logistics.v1.ShippingDelayed"), "{}", tree.out);
    let story = event["lineage"]["correlationId"].as_str().unwrap();
    assert_eq!(stand.waypost(&["events", "lineage", "--correlation-id", story, "--json"]).json().len(), 1);
    stand.waypost(&["events", "show", "999"]).failed(1, "");
    stand.waypost(&["events", "show", "--source", "carrier", "--id", "nobody"]).failed(3, "nobody");
    stand.waypost(&["events", "show"]).failed(2, "--source and --id");
}
