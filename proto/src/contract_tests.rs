//! What other crates and languages rely on: both flavours are one protocol, options reach prost-reflect, and the sample
//! webhooks decode.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Debug;

use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, FieldDescriptor, ReflectMessage, Value};
use prost_types::{Duration, Timestamp};

use crate::{FILE_DESCRIPTOR_SET, PROTO_SOURCES, commerce, github, logistics, ops, support, tasks, v1, wire};

fn event() -> v1::Event {
    let data = commerce::v1::OrderPlaced {
        order_id: "ORDER-12345".into(),
        customer_id: "cust_12345".into(),
        items: vec![commerce::v1::OrderItem { sku: "PROD-A".into(), quantity: 2 }],
    };
    v1::Event {
        id: "01".into(),
        subject: "orders/ORDER-12345".into(),
        time: Some(Timestamp { seconds: 1_775_000_000, nanos: 5 }),
        ordering_key: "cust_12345".into(),
        lineage: Some(v1::Lineage { correlation_id: "01".into(), causation_id: "00".into(), hops: 3 }),
        attributes: [("traceparent".into(), "00-ab-cd-01".into()), ("a".into(), "b".into())].into(),
        ..v1::Event::of("agents/shop", &data)
    }
}

/// Encodes with one flavour, decodes with the other, and the other way round.
fn same_bytes<A, B>(a: &A, b: &B)
where
    A: Message + Default + PartialEq + Debug,
    B: Message + Default + PartialEq + Debug,
{
    let bytes = a.encode_to_vec();
    assert_eq!(bytes, b.encode_to_vec());
    assert_eq!(a.encoded_len(), b.encoded_len());
    assert_eq!(&A::decode(bytes.as_slice()).unwrap(), a);
    assert_eq!(&B::decode(bytes.as_slice()).unwrap(), b);
}

#[test]
fn forwarded_events_are_the_same_on_the_wire() {
    let encoded = wire::EncodedEvent::from(&event());
    let token = bytes::Bytes::from_static(b"token");
    let expires = Timestamp { seconds: 9, nanos: 0 };

    let public = v1::Delivery {
        token: token.clone(),
        offset: 7,
        attempt: 2,
        lease_expires_at: Some(expires),
        event: Some(event()),
        ..Default::default()
    };
    let wired = wire::Delivery {
        token,
        offset: 7,
        attempt: 2,
        lease_expires_at: Some(expires),
        event: Some(encoded.clone()),
        ..Default::default()
    };
    same_bytes(&public, &wired);
    same_bytes(
        &v1::SubscribeResponse {
            response: Some(v1::subscribe_response::Response::Deliveries(v1::Deliveries { deliveries: vec![public.clone(), public] })),
        },
        &wire::SubscribeResponse {
            response: Some(wire::subscribe_response::Response::Deliveries(wire::Deliveries { deliveries: vec![wired.clone(), wired] })),
        },
    );

    let public = v1::StoredEvent { offset: 7, accepted_at: None, event: Some(event()) };
    let wired = wire::StoredEvent { offset: 7, accepted_at: None, event: Some(encoded) };
    same_bytes(
        &v1::GetLineageResponse {
            events: vec![v1::LineageEvent { event: Some(public.clone()), outcomes: vec![Default::default()] }],
            ..Default::default()
        },
        &wire::GetLineageResponse {
            events: vec![wire::LineageEvent { event: Some(wired.clone()), outcomes: vec![Default::default()] }],
            ..Default::default()
        },
    );
    same_bytes(
        &v1::ReadEventsResponse { response: Some(v1::read_events_response::Response::Events(v1::StoredEvents { events: vec![public] })) },
        &wire::ReadEventsResponse {
            response: Some(wire::read_events_response::Response::Events(wire::StoredEvents { events: vec![wired] })),
        },
    );
}

#[test]
fn published_events_are_the_same_on_the_wire() {
    let wired = wire::EncodedEvent::from(&event()).decode_event().unwrap();
    assert_eq!(wire::EncodedEvent::from(&wired), wire::EncodedEvent::from(&event()));
    same_bytes(&event(), &wired);

    let cause_token = bytes::Bytes::from_static(b"cause");
    same_bytes(
        &v1::PublishRequest { items: vec![v1::PublishItem { event: Some(event()), cause_token: cause_token.clone() }] },
        &wire::PublishRequest { items: vec![wire::PublishItem { event: Some(wired.clone()), cause_token }] },
    );
    same_bytes(
        &v1::SettleRequest {
            settlements: vec![v1::Settlement {
                token: bytes::Bytes::from_static(b"token"),
                action: Some(v1::settlement::Action::Ack(v1::Ack { outputs: vec![event()] })),
            }],
        },
        &wire::SettleRequest {
            settlements: vec![wire::Settlement {
                token: bytes::Bytes::from_static(b"token"),
                action: Some(wire::settlement::Action::Ack(wire::Ack { outputs: vec![wired] })),
            }],
        },
    );
}

#[test]
fn published_data_shares_the_request_buffer() {
    let request = wire::PublishRequest {
        items: vec![wire::PublishItem { event: wire::EncodedEvent::from(&event()).decode_event().ok(), ..Default::default() }],
    };
    let buffer = bytes::Bytes::from(request.encode_to_vec());
    let decoded = wire::PublishRequest::decode(buffer.clone()).unwrap();
    let data = decoded.items[0].event.as_ref().unwrap().data.as_ref().unwrap();
    assert!(buffer.as_ptr_range().contains(&data.value.as_ptr()));
}

#[test]
fn messages_without_events_are_one_type() {
    let by: v1::Extend = wire::Extend { by: Some(Duration { seconds: 1, nanos: 0 }) };
    let _: wire::settlement::Action = wire::settlement::Action::Extend(by);
    let _: v1::SubscribeRequest = wire::SubscribeRequest::default();
}

fn required(field: &FieldDescriptor) -> bool {
    let pool = field.parent_pool();
    let extension = pool.get_extension_by_name("waypost.v1.required").unwrap();
    matches!(field.options().get_extension(&extension).as_ref(), Value::Bool(true))
}

fn pool() -> DescriptorPool {
    DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap()
}

#[test]
fn required_reaches_prost_reflect() {
    let message = pool().get_message_by_name("logistics.v1.ShippingDelayed").unwrap();
    assert!(required(&message.get_field_by_name("shipment_id").unwrap()));
    assert!(!required(&message.get_field_by_name("reason").unwrap()));
}

#[test]
fn required_is_never_on_a_field_whose_default_means_something() {
    for message in pool().all_messages() {
        for field in message.fields().filter(required) {
            let flag = matches!(field.kind(), prost_reflect::Kind::Bool);
            assert!(!flag || field.supports_presence(), "{} cannot be required: false means something", field.full_name());
        }
    }
}

#[test]
fn sources_hold_every_file_of_ours() {
    let ours = pool().files().filter(|file| !file.name().starts_with("google/")).count();
    assert_eq!(PROTO_SOURCES.len(), ours);
    assert!(PROTO_SOURCES.is_sorted());
    let find = |name| PROTO_SOURCES.iter().find(|(path, _)| *path == name).unwrap().1;
    assert!(find("waypost/v1/options.proto").contains("extend google.protobuf.FieldOptions"));
}

/// Decodes as the edge does: by the descriptor, unknown fields ignored; then as the generated type.
fn decode<T: Name + Default>(json: &str) -> T {
    let message = pool().get_message_by_name(&T::full_name()).unwrap();
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let dynamic = DynamicMessage::deserialize_with_options(message, &mut deserializer, &options).unwrap();
    for field in dynamic.descriptor().fields().filter(required) {
        assert!(dynamic.has_field(&field), "the sample lacks {}", field.full_name());
    }
    dynamic.transcode_to().unwrap()
}

#[test]
fn sample_webhooks_decode() {
    let delay: logistics::v1::ShippingDelayed = decode(
        r#"{"event_type":"shipping_delay","timestamp":"2026-04-05T11:15:00Z","shipment_id":"SHIP-XYZ-789",
            "carrier":"Global Freight","original_eta":"2026-04-08T17:00:00Z","new_eta":"2026-04-10T17:00:00Z",
            "reason":"Port strike at Rotterdam","affected_products":["PROD-A","PROD-B"],"proactive_action_needed":true}"#,
    );
    assert_eq!(delay.affected_products, ["PROD-A", "PROD-B"]);
    assert_eq!(delay.new_eta.unwrap().seconds - delay.original_eta.unwrap().seconds, 2 * 86_400);
    assert!(delay.proactive_action_needed);

    let mood: support::v1::NegativeSentimentDetected = decode(
        r#"{"event_type":"negative_sentiment_detected","timestamp":"2026-04-05T10:30:00Z","source":"twitter",
            "original_post_url":"https://twitter.com/user/status/123456789","customer_id":"cust_12345",
            "customer_name":"Jane Doe","sentiment_score":-0.85,"message":"buggy! #fail","action_required":true}"#,
    );
    assert_eq!(mood.sentiment_score, Some(-0.85));

    let down: ops::v1::ServiceDown = decode(
        r#"{"alert_id":"ALERT-SVC-001","event_type":"service_down","timestamp":"2026-04-05T12:01:00Z",
            "service_name":"PaymentGatewayService","severity":"critical","environment":"production",
            "message":"unresponsive","incident_link":"https://monitoring.tool/incident/12345"}"#,
    );
    assert_eq!(down.severity, "critical");

    let order: commerce::v1::OrderPlaced = decode(
        r#"{"orderId":"ORDER-12345","customerId":"cust_12345",
            "items":[{"sku":"PROD-A","quantity":2},{"sku":"PROD-B","quantity":1}]}"#,
    );
    assert_eq!(order.items[1].quantity, 1);

    let task: tasks::v1::TaskAssigned = decode(r#"{"task_id":"TASK-42","description":"Check","assigned_agent_id":"my_agent_id_123"}"#);
    assert_eq!(task.assigned_agent_id, "my_agent_id_123");

    let payment: commerce::v1::PaymentUpdated = decode(r#"{"id":"pay_001","user_id":"user_7","status":"succeeded"}"#);
    assert_eq!(payment.status, "succeeded");
}

#[test]
fn a_shopify_id_beyond_2_53_is_exact() {
    let order: commerce::v1::NewOrder =
        decode(r#"{"id":820982911946154508,"customer":{"email":"jon@example.com"},"total_price":"199.00"}"#);
    assert_eq!(order.id, 820_982_911_946_154_508);
    assert_eq!(order.total_price, "199.00");
}

#[test]
fn github_webhooks_decode() {
    let push: github::v1::Push = decode(
        r#"{"repository":{"full_name":"acme/router"},"pusher":{"name":"dana"},
            "head_commit":{"message":"Reroute around Rotterdam","timestamp":"2026-04-05T10:30:00-07:00"}}"#,
    );
    assert_eq!(push.repository.unwrap().full_name, "acme/router");
    assert_eq!(push.head_commit.unwrap().timestamp.unwrap().seconds, 1_775_410_200);

    let issue: github::v1::IssueChanged = decode(
        r#"{"action":"opened","issue":{"title":"Delay not propagated","body":null,
            "html_url":"https://github.com/acme/router/issues/7"}}"#,
    );
    assert_eq!(issue.issue.unwrap().title, "Delay not propagated");

    let gone: github::v1::Push = decode(r#"{"repository":{"full_name":"a/b","private":true},"pusher":{"name":"d"},"head_commit":null}"#);
    assert!(gone.head_commit.is_none());
}
