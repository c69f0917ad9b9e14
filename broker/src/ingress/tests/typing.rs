//! The payloads of the scenarios, typed by the project's messages; and the traps on the way.

use waypost_proto::{commerce, github, logistics, ops, support, tasks, v1::JsonPayload};

use super::*;
use crate::ingress::Outcome;

/// A source on the path and with the header that the outside system is configured for.
fn source(name: &str, path: &str, header: &str, message: &str, more: &str) -> String {
    format!(
        "[{name}]\npath = \"{path}\"\nscheme = {{ signature = {{ header = \"{header}\" }} }}\nsecrets = [\"file:secret\"]\n\
         types = {{ \"*\" = \"{message}\" }}\n{more}\n"
    )
}

async fn typed<T: Message + Default + prost::Name>(sources: &str, event_type: Option<&str>, body: &str) -> (wire::Event, T) {
    let edge = Harness::new(sources);
    let name = edge.sources.iter().next().unwrap().name.clone();
    let answer = edge.post(&name, "d-1", event_type, body).await;
    assert_eq!(answer.summary(), (202, "accepted".to_owned()), "{answer:?}");
    let event = edge.event().await;
    let message = data::<T>(&event);
    (event, message)
}

#[tokio::test]
async fn every_payload_of_the_scenarios_gets_its_type() {
    let x = "X-Webhook-Signature";
    let (event, sentiment) = typed::<support::v1::NegativeSentimentDetected>(
        &source(
            "sentiment",
            "/agent/social-sentiment-webhook",
            x,
            "support.v1.NegativeSentimentDetected",
            "event_type = [\"{/event_type}\"]",
        ),
        None,
        payload!("sentiment"),
    )
    .await;
    assert_eq!((sentiment.sentiment_score, &*sentiment.customer_id), (Some(-0.85), "cust_12345"));
    assert_eq!(sentiment.timestamp.unwrap().seconds, 1_775_385_000);
    assert_eq!(event.attributes["providertype"], "negative_sentiment_detected");

    let (event, delay) = typed::<logistics::v1::ShippingDelayed>(
        &source(
            "carrier",
            "/agent/logistics-anomaly-webhook",
            x,
            "logistics.v1.ShippingDelayed",
            "subject = \"shipments/{/shipment_id}\"\nordering_key = \"{/shipment_id}\"\ncorrelation_id = \"{/shipment_id}\"",
        ),
        None,
        payload!("shipping_delay"),
    )
    .await;
    assert_eq!((&*delay.shipment_id, delay.affected_products.len(), delay.proactive_action_needed), ("SHIP-XYZ-789", 2, true));
    assert_eq!((&*event.subject, &*event.ordering_key), ("shipments/SHIP-XYZ-789", "SHIP-XYZ-789"));
    assert_eq!(event.lineage.unwrap().correlation_id, "SHIP-XYZ-789");

    let (_, down) = typed::<ops::v1::ServiceDown>(
        &source("alerts", "/agent/ops-alert-webhook", x, "ops.v1.ServiceDown", ""),
        None,
        payload!("service_down"),
    )
    .await;
    assert_eq!((&*down.alert_id, &*down.service_name), ("ALERT-SVC-001", "PaymentGatewayService"));

    let (_, order) = typed::<commerce::v1::OrderPlaced>(
        &source("shop", "/agent/webhook/order_placed", x, "commerce.v1.OrderPlaced", ""),
        None,
        payload!("order_placed"),
    )
    .await;
    assert_eq!((&*order.order_id, order.items[0].quantity), ("ORDER-12345", 2));

    let (_, task) = typed::<tasks::v1::TaskAssigned>(
        &source("tasks", "/webhook/new_task", "X-Signature-256", "tasks.v1.TaskAssigned", ""),
        None,
        payload!("new_task"),
    )
    .await;
    assert_eq!((&*task.task_id, &*task.assigned_agent_id), ("TASK-42", "my_agent_id_123"));

    let (_, payment) = typed::<commerce::v1::PaymentUpdated>(
        &source("pay", "/webhook/payment", x, "commerce.v1.PaymentUpdated", ""),
        None,
        payload!("payment"),
    )
    .await;
    assert_eq!((&*payment.id, &*payment.status), ("pay_001", "succeeded"));
}

#[tokio::test]
async fn provider_payloads_get_their_types_without_a_mapping() {
    let shopify = "[shop]\nscheme = \"shopify\"\nsecrets = [\"file:secret\"]\npath = \"/webhook/new_order\"";
    let (event, order) = typed::<commerce::v1::NewOrder>(shopify, Some("orders/create"), payload!("new_order_shopify")).await;
    assert_eq!((order.id, &*order.total_price, &*event.id), (820_982_911_946_154_508, "199.00", "d-1"));

    let github = "[github]\nscheme = \"github\"\nsecrets = [\"file:secret\"]\npath = \"/github-webhook\"";
    let (event, push) = typed::<github::v1::Push>(github, Some("push"), payload!("github_push")).await;
    assert_eq!((&*push.repository.unwrap().full_name, &*push.pusher.unwrap().name), ("acme/router", "dana"));
    assert_eq!(event.attributes["providertype"], "push");
}

#[tokio::test]
async fn trap_an_unknown_type_is_exact_json() {
    let edge = Harness::new("[shop]\nscheme = \"shopify\"\nsecrets = [\"file:secret\"]");
    let body = "{\"b\": 820982911946154508,\n \"a\": 1.10, \"caf\\u00e9\":\"\\u001B\"}";
    assert_eq!(edge.post("shop", "1", Some("customers/update"), body).await.summary().0, 202);
    let event = edge.event().await;
    assert_eq!((&*event.r#type, &*event.attributes["providertype"]), ("shop.customers/update", "customers/update"));
    assert_eq!(data::<JsonPayload>(&event).json, body);
    assert!(!event.attributes.contains_key("duplicatekeys"));
    assert!(envelope::raw(&edge.stored().await[0].body).is_empty(), "the event is the body: it is not stored twice");
}

#[tokio::test]
async fn trap_duplicate_keys_are_flagged_on_the_event() {
    let edge = Harness::new("[shop]\nscheme = \"shopify\"\nsecrets = [\"file:secret\"]");
    edge.post("shop", "1", Some("other"), r#"{"a":{"b":1,"b":2}}"#).await;
    edge.post("shop", "2", Some("orders/create"), r#"{"id":1,"total_price":"1","total_price":"2"}"#).await;
    let events = edge.events().await;
    assert_eq!(events[0].attributes["duplicatekeys"], "/a/b");
    assert_eq!(events[1].attributes["duplicatekeys"], "/total_price");
    assert_eq!(data::<commerce::v1::NewOrder>(&events[1]).total_price, "2");
}

#[tokio::test]
async fn the_raw_body_is_kept_unless_it_is_not_wanted() {
    let config = source("tasks", "/t", "X-Sig", "tasks.v1.TaskAssigned", "");
    for (more, kept) in [("", payload!("new_task")), ("keep_raw = false", "")] {
        let edge = Harness::new(&format!("{config}{more}"));
        edge.post("tasks", "", None, payload!("new_task")).await;
        assert_eq!(envelope::raw(&edge.stored().await[0].body), kept);
    }
}

#[tokio::test]
async fn a_form_holds_its_json_in_payload() {
    let edge = Harness::new(
        "[github]\nscheme = \"github\"\nsecrets = [\"file:secret\"]\n[slack]\nscheme = \"slack\"\nsecrets = [\"file:secret\"]",
    );
    let post = async |source, event_type, body: &str| {
        let mut request = edge.signed(source, "1", event_type, body);
        request.headers_mut().insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
        edge.send(request).await
    };
    let body = "x=1&payload=%7B%22repository%22%3A%7B%22full_name%22%3A%22acme%2Frouter%22%7D%2C+%22pusher%22%3A%7B%22name%22%3A%22caf%C3%A9%22%7D%7D";
    assert_eq!(post("github", Some("push"), body).await.summary(), (202, "accepted".to_owned()));
    assert_eq!(data::<github::v1::Push>(&edge.event().await).pusher.unwrap().name, "café");
    assert_eq!(envelope::raw(&edge.stored().await[0].body), body, "what was signed is what is kept");

    assert_eq!(post("slack", None, "command=%2Fweather&trigger_id=7.8&text=94070").await.summary(), (202, "accepted".to_owned()));
    let command = edge.events().await.pop().unwrap();
    assert_eq!((&*command.id, &*command.r#type), ("7.8", "slack./weather"));
    assert_eq!(data::<JsonPayload>(&command).json, r#"{"command":"/weather","text":"94070","trigger_id":"7.8"}"#);

    for (body, message) in [("a=1", "the form has no field payload"), ("payload=%ff", "not a form of UTF-8"), ("payload=%zz", "not a form")]
    {
        let answer = post("github", Some("push"), body).await;
        assert_eq!(answer.summary(), (202, "quarantined".to_owned()));
        assert!(answer.text("message").contains(message), "{answer:?}");
    }
}

#[tokio::test]
async fn the_longest_known_part_of_a_providers_type_decides() {
    let edge = Harness::new(
        "[hooks]\nscheme = \"hmac\"\nsecrets = [\"file:secret\"]\nevent_type = [\"{/kind}\"]\nidentity = \"none\"\n\
         [hooks.types]\ntask = \"tasks.v1.TaskAssigned\"\n\
         [hooks.types.\"task.done\"]\nmessage = \"tasks.v1.TaskCompleted\"\nevent_type = \"work.finished\"\nat = \"/what\"\nsubject = \"{/what/task_id}\"\n\
         fields = { agent_id = \"/who\" }\nconstants = { result = \"ok\" }",
    );
    let post = async |body: &str| edge.post("hooks", "", None, body).await.summary().1;
    assert_eq!(post(r#"{"kind":"task.new.urgent","task_id":"1","assigned_agent_id":"a"}"#).await, "accepted");
    assert_eq!(post(r#"{"kind":"task.done.late","who":"a","what":{"task_id":"1"}}"#).await, "accepted");
    assert_eq!(post(r#"{"kind":"other"}"#).await, "accepted");
    assert_eq!(post(r#"{"no":"kind"}"#).await, "quarantined");
    let events = edge.events().await;
    let types: Vec<&str> = events.iter().map(|event| &*event.r#type).collect();
    assert_eq!(types, ["tasks.v1.TaskAssigned", "work.finished", "hooks.other"]);
    let done = data::<tasks::v1::TaskCompleted>(&events[1]);
    assert_eq!((&*done.task_id, &*done.agent_id, &*done.result, &*events[1].subject), ("1", "a", "ok", "1"));
    assert_eq!(edge.count("hooks", Outcome::QuarantinedNoEventType), 1);
}
