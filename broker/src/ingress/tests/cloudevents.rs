//! CloudEvents in binary, structured and batched mode.

use super::*;
use crate::ingress::Outcome;

const SOURCE: &str = "[shop]\nscheme = \"cloudevents\"\nsecrets = [\"file:secret\"]";

const ATTRIBUTES: [(&str, &str); 9] = [
    ("specversion", "1.0"),
    ("id", "a-1"),
    ("source", "https://shop.example/orders"),
    ("type", "com.example.order.placed"),
    ("subject", "orders/7"),
    ("time", "2026-04-05T10:29:00.5Z"),
    ("partitionkey", "customer-3"),
    ("correlationid", "story"),
    ("region", "eu"),
];

fn structured(attributes: &[(&str, &str)], data: &str) -> String {
    let attributes: String = attributes.iter().map(|(name, value)| format!("\"{name}\":{},", Value::from(*value))).collect();
    format!("{{{attributes}\"data\":{data}}}")
}

fn with(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    ATTRIBUTES.iter().copied().filter(|(known, _)| *known != name).chain([(name, value)]).collect()
}

async fn post(edge: &Harness, content_type: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Answer {
    let mut all: HeaderMap = [("authorization", format!("Bearer {SECRET}")), ("content-type", content_type.to_owned())]
        .into_iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect();
    for (name, value) in headers {
        all.append(format!("ce-{name}").parse::<http::HeaderName>().unwrap(), value.parse().unwrap());
    }
    edge.send(request("/hooks/shop", all, body.into())).await
}

const DATA: &str = r#"{ "n": 820982911946154508, "s": "caf\u00e9" }"#;

#[tokio::test]
async fn an_event_is_the_same_in_every_mode() {
    let mut seen = Vec::new();
    let one = structured(&ATTRIBUTES, DATA);
    for (mode, content_type, headers, body) in [
        ("structured", "application/cloudevents+json; charset=utf-8", &[][..], one.clone()),
        ("batched", "application/cloudevents-batch+json", &[], format!("[{one}]")),
        ("binary", "application/json", &ATTRIBUTES, DATA.to_owned()),
    ] {
        let edge = Harness::new(SOURCE);
        assert_eq!(post(&edge, content_type, headers, body).await.summary(), (202, "accepted".to_owned()), "{mode}");
        let event = edge.event().await;
        let payload: waypost_proto::v1::JsonPayload = data(&event);
        assert_eq!(payload.json, DATA, "{mode}: as it was sent");
        seen.push(event);
    }
    assert!(seen.iter().all(|event| *event == seen[0]), "{seen:#?}");
    let event = seen.remove(0);
    assert_eq!((&*event.source, &*event.id), ("shop", "https://shop.example/orders|a-1"), "the source is the one that is configured");
    assert_eq!((&*event.r#type, &*event.subject, &*event.ordering_key), ("com.example.order.placed", "orders/7", "customer-3"));
    assert_eq!(event.lineage.unwrap().correlation_id, "story");
    assert_eq!(event.time.map(|time| (time.seconds, time.nanos)), Some((1_775_384_940, 500_000_000)));
    for (name, value) in [("cesource", "https://shop.example/orders"), ("ceid", "a-1"), ("region", "eu")] {
        assert_eq!(event.attributes[name], value);
    }
}

#[tokio::test]
async fn p7_an_event_is_known_by_its_source_and_its_id_in_whatever_mode_it_comes_again() {
    let edge = Harness::new(SOURCE);
    let structured_type = "application/cloudevents+json";
    assert_eq!(post(&edge, structured_type, &[], structured(&ATTRIBUTES, DATA)).await.summary().1, "accepted");
    assert_eq!(post(&edge, "application/json", &ATTRIBUTES, DATA).await.summary().1, "duplicate");
    // The same id of another source, and another id, are other events.
    assert_eq!(post(&edge, structured_type, &[], structured(&with("source", "/elsewhere"), DATA)).await.summary().1, "accepted");
    assert_eq!(post(&edge, structured_type, &[], structured(&with("id", "a-2"), DATA)).await.summary().1, "accepted");
    // One that is too long for an id is known by its hash.
    let long = format!("/subscriptions/{}", "x".repeat(300));
    let long: Vec<(&str, &str)> =
        ATTRIBUTES.iter().map(|(name, value)| if *name == "source" { (*name, &*long) } else { (*name, *value) }).collect();
    for expected in ["accepted", "duplicate"] {
        assert_eq!(post(&edge, structured_type, &[], structured(&long, DATA)).await.summary().1, expected);
    }
    let last = edge.events().await.pop().unwrap();
    assert!(last.id.len() == 64 && last.attributes["cesource"].len() > 300, "{last:?}");
}

#[tokio::test]
async fn p1_a_batch_is_accepted_as_one_and_what_fits_nothing_is_set_aside() {
    let edge = Harness::new(SOURCE);
    let events: Vec<String> = ["a-1", "a-2", "a-3"].into_iter().map(|id| structured(&with("id", id), DATA)).collect();
    let answer =
        post(&edge, "application/cloudevents-batch+json", &[], format!("[{}, {{\"specversion\":\"1.0\"}}]", events.join(","))).await;
    assert_eq!(
        (answer.summary().1, answer.text("message")),
        ("accepted".to_owned(), "1 events in quarantine, the others stored".to_owned())
    );
    assert_eq!(edge.events().await.len(), 3);
}

#[tokio::test]
async fn an_event_whose_type_is_the_name_of_a_message_is_that_message() {
    let edge = Harness::new(SOURCE);
    let attributes = with("type", "tasks.v1.TaskAssigned");
    let task = r#"{"task_id":"t-1","description":"d","assigned_agent_id":"a"}"#;
    let answer = post(&edge, "application/cloudevents+json", &[], structured(&attributes, task)).await;
    assert_eq!(answer.summary().1, "accepted", "{answer:?}");
    let event = edge.event().await;
    assert_eq!(data::<waypost_proto::tasks::v1::TaskAssigned>(&event).task_id, "t-1");
    assert_eq!(event.r#type, "tasks.v1.TaskAssigned");
    let answer = post(&edge, "application/cloudevents+json", &[], structured(&attributes, r#"{"task_id":5}"#)).await;
    assert_eq!(answer.summary().1, "quarantined", "{answer:?}");
    assert!(answer.text("message").contains("/task_id: found 5"), "{answer:?}");
}

#[tokio::test]
async fn data_that_is_not_json_is_a_text_and_says_what_it_was() {
    for (content_type, body, json) in
        [("text/plain", &b"caf\xc3\xa9"[..], "\"caf\u{e9}\""), ("image/png", &b"\x89PNG\xff"[..], "\"iVBOR/8=\"")]
    {
        let edge = Harness::new(SOURCE);
        assert_eq!(post(&edge, content_type, &ATTRIBUTES, body).await.summary().1, "accepted", "{content_type}");
        let event = edge.event().await;
        assert_eq!(data::<waypost_proto::v1::JsonPayload>(&event).json, json);
        assert_eq!(event.attributes["cedatacontenttype"], content_type);
    }
    let edge = Harness::new(SOURCE);
    let base64 =
        structured(&ATTRIBUTES, "0").replace("\"data\":0", "\"datacontenttype\":\"application/json\",\"data_base64\":\"eyJuIjoxfQ==\"");
    assert_eq!(post(&edge, "application/cloudevents+json", &[], base64).await.summary().1, "accepted");
    assert_eq!(data::<waypost_proto::v1::JsonPayload>(&edge.event().await).json, "{\"n\":1}");
    let edge = Harness::new(SOURCE);
    assert_eq!(post(&edge, "application/json", &ATTRIBUTES, "").await.summary().1, "accepted");
    assert_eq!(edge.event().await.data, None, "no data is no data");
}

#[tokio::test]
async fn what_is_no_event_is_kept_and_says_why() {
    let edge = Harness::new(SOURCE);
    for (name, value, says) in [
        ("specversion", "0.3", "specversion: is \"0.3\"; 1.0 is understood"),
        ("time", "yesterday", "time: \"yesterday\" is not a time of RFC 3339"),
        ("type", "waypost.source.silent", "type: begins with waypost., which is kept"),
        ("source", "", "the payload has no text at /source"),
        ("wayposthops", "-1", "wayposthops: \"-1\" is not a number"),
        ("Region", "x", "\"Region\" is not a name of 1 to 64 of a-z and 0-9"),
    ] {
        let answer = post(&edge, "application/cloudevents+json", &[], structured(&with(name, value), DATA)).await;
        assert_eq!(answer.summary(), (202, "quarantined".to_owned()), "{answer:?}");
        assert!(answer.text("message").contains(says), "{answer:?}");
    }
    for (content_type, headers, body, says) in [
        ("application/json", &ATTRIBUTES[..], "{", "the data is not the JSON that its content type says"),
        ("application/json", &[("specversion", "1.0"), ("id", "%zz")], "{}", "ce-id is not UTF-8, percent-encoded"),
        ("application/json", &[("specversion", "1.0"), ("id", "1"), ("id", "2")], "{}", "ce-id is there several times"),
        ("application/json", &[("specversion", "1.0"), ("data", "1")], "{}", "ce-data is no attribute"),
    ] {
        let answer = post(&edge, content_type, headers, body).await;
        assert!(answer.text("message").contains(says), "{answer:?}");
    }
    assert_eq!(post(&edge, "multipart/form-data; boundary=x", &ATTRIBUTES, "").await.status, 415);
    assert!(edge.events().await.is_empty());
}

#[tokio::test]
async fn who_asks_whether_it_may_send_is_told_and_who_sends_without_a_token_is_refused() {
    let edge = Harness::new(SOURCE);
    let asked = Request::builder().method(Method::OPTIONS).uri("/hooks/shop").header("WebHook-Request-Origin", "shop.example");
    let answer = edge.send(asked.body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status.as_u16(), &answer.headers["webhook-allowed-origin"]), (200, &"shop.example".parse().unwrap()));
    let answer = edge.send(request("/hooks/shop", HeaderMap::new(), structured(&ATTRIBUTES, DATA))).await;
    assert_eq!((answer.status.as_u16(), edge.count("shop", Outcome::UnverifiedSignatureMissing)), (401, 1));
}

#[tokio::test]
async fn any_scheme_can_carry_them_and_rules_look_at_them_as_structured_mode_writes_them() {
    let source = "[shop]\nscheme = { signature = { header = \"X-Sig\" }, cloudevents = true, delivery_id = \"{/source}|{/id}\", event_type = [\"{/type}\"] }\n\
                  secrets = [\"file:secret\"]\nsubject = \"numbers/{/data/n}\"";
    let edge = Harness::new(source);
    assert_eq!(edge.post("shop", "", None, &structured(&ATTRIBUTES, DATA)).await.summary().1, "accepted");
    assert_eq!(edge.event().await.subject, "numbers/820982911946154508", "a rule of the source goes before the sender's word");
}
