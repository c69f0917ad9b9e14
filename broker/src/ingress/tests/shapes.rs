//! Bodies under the type of others, where nothing signs the type.

use super::*;
use crate::ingress::Outcome;

const GITHUB: &str = "[s]\nscheme = \"github\"\nsecrets = [\"file:secret\"]";
const SHOPIFY: &str = "[s]\nscheme = \"shopify\"\nsecrets = [\"file:secret\"]";

/// What is said of bodies under types.
async fn doubts(source: &str, webhooks: &[(&str, &str)]) -> Vec<Option<String>> {
    let edge = Harness::new(source);
    for (index, (event_type, body)) in webhooks.iter().enumerate() {
        let answer = edge.post("s", &index.to_string(), Some(event_type), body).await;
        assert_eq!(answer.summary(), (202, "accepted".to_owned()), "{event_type}: {answer:?}");
    }
    let said: Vec<Option<String>> = edge.events().await.into_iter().map(|event| event.attributes.get("typedoubt").cloned()).collect();
    let doubted = said.iter().filter(|doubt| doubt.is_some()).count();
    assert_eq!(edge.count("s", Outcome::AcceptedDoubtful), u64::try_from(doubted).unwrap(), "each is counted");
    said
}

#[tokio::test]
async fn a_body_under_the_type_of_another_is_an_event_that_says_what_it_lacks_or_has_too_much() {
    let (push, issues) = (payload!("github_push"), payload!("github_issues"));
    let comment = issues.replacen("\"action\": \"opened\"", "\"action\": \"opened\", \"comment\": {\"id\": 1}", 1);
    assert_ne!(comment, issues);
    let webhooks = [
        ("push", push),
        ("issues", issues),
        // A type without a message of its own: nothing else would notice.
        ("star", push),
        ("fork", issues),
        ("watch", issues),
        // One with a message, whose required fields are all there.
        ("issues", &*comment),
        // What is not known is not doubted.
        ("brand_new", push),
    ];
    let expected = [None, None, Some("lacks /starred_at"), Some("lacks /forkee"), Some("lacks /repository"), Some("has /comment"), None];
    assert_eq!(doubts(GITHUB, &webhooks).await, expected.map(|doubt| doubt.map(str::to_owned)));
}

#[tokio::test]
async fn a_topic_of_shopify_is_held_against_its_body() {
    let order = payload!("new_order_shopify");
    let product = r#"{"id":1,"title":"Shirt","vendor":"Acme","variants":[],"updated_at":"2026-04-05T10:30:00Z"}"#;
    let webhooks = [
        ("orders/create", order),
        ("products/update", product),
        ("products/delete", r#"{"id":1}"#),
        ("products/update", order),
        ("orders/delete", product),
        ("customers/redact", product),
    ];
    let expected = [
        None,
        None,
        None,
        Some("lacks /variants|/product_type|/vendor"),
        Some("has /created_at|/updated_at|/name|/token|/total_price"),
        Some("lacks /orders_to_redact"),
    ];
    assert_eq!(doubts(SHOPIFY, &webhooks).await, expected.map(|doubt| doubt.map(str::to_owned)));
}

#[tokio::test]
async fn whoever_finds_the_type_in_what_is_signed_has_no_doubts() {
    let own = format!("{GITHUB}\nevent_type = [\"{{/ref}}\"]");
    let edge = Harness::new(&own);
    edge.post("s", "1", Some("star"), "{\"ref\":\"main\"}").await;
    assert_eq!(edge.event().await.attributes.get("typedoubt"), None);
}

#[test]
fn shapes_are_of_types_that_stand_in_headers_and_their_members_are_pointers() {
    let scheme = |more: &str| {
        let text = format!("signature = {{ header = \"X-Sig\" }}\nshapes = {{ a = {{ has = [\"/a|/b\"] }} }}\n{more}");
        toml::from_str::<crate::ingress::verify::Scheme>(&text).unwrap().problems()
    };
    assert_eq!(scheme("event_type = [\"{header:X-Event}\", \"{/action}\"]"), []);
    for wrong in ["event_type = [\"{/type}\"]", "event_type = [\"{header:X-Event|/type}\"]", ""] {
        let problems = scheme(wrong);
        assert!(problems.iter().any(|(key, problem)| *key == "shapes" && problem.contains("stand in headers")), "{wrong}: {problems:?}");
    }
    for wrong in ["a", "/a|b", "/a~2"] {
        assert!(wrong.parse::<crate::ingress::Members>().is_err(), "{wrong}");
    }
}
