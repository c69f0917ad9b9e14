//! Bad requests of agents.

use tonic::Code;
use waypost_proto::v1::{
    self, BacklogPolicy, ErrorReason, EventRef, Filter, GetLineageRequest, PublishItem, PublishRequest, ReadEventsRequest, RetryPolicy,
    SessionLimits, SettleRequest, Settlement, StartPosition, SubscribeRequest, SubscriptionSpec, get_lineage_request::Story,
    start_position::Position,
};

use super::{Case, at, case, other, text};

const LONG: i64 = 1_000_000_000;

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}
pub(super) fn publishing() -> Vec<Case> {
    const PUBLISH: &str = "AgentService/Publish";
    let many = PublishRequest { items: vec![PublishItem::default(); 1_001] };
    vec![
        case(PUBLISH, PublishRequest::default(), "items", "1 to 1000"),
        case(PUBLISH, many, "items", "1001"),
        case("AgentService/PublishStream", v1::PublishStreamRequest::default(), "items", "1 to 1000"),
        case("AgentService/Settle", SettleRequest::default(), "settlements", "1 to 1000"),
        case("AgentService/Settle", SettleRequest { settlements: vec![Settlement::default(); 1_001] }, "settlements", "1001"),
    ]
}

pub(super) fn subscribing() -> Vec<Case> {
    const SUBSCRIBE: &str = "AgentService/Subscribe";
    let to = |name: &str| SubscribeRequest { subscription: text(name), ..SubscribeRequest::default() };
    let with = |spec| SubscribeRequest { spec: Some(spec), ..to("a") };
    let held = |limits| SubscribeRequest { session_limits: Some(limits), ..to("a") };
    let spec = SubscriptionSpec::default;
    let filter = |filter| with(SubscriptionSpec { filter: Some(filter), ..spec() });
    let retry = |retry| with(SubscriptionSpec { retry_policy: Some(retry), ..spec() });
    // So much is wrong that telling all of it would not fit into the headers of an answer.
    let hopeless = (0..256).map(|number| format!("{number}*{}", "x".repeat(200))).collect();
    vec![
        case(SUBSCRIBE, to("a b"), "subscription", "a-z"),
        case(SUBSCRIBE, to(&"x".repeat(129)), "subscription", "128"),
        case(SUBSCRIBE, SubscribeRequest { session_id: text("mine"), ..to("a") }, "session_id", "UUID"),
        case(SUBSCRIBE, SubscribeRequest { client: "x".repeat(129), ..to("a") }, "client", "at most 128"),
        case(SUBSCRIBE, SubscribeRequest { create_mode: 77, ..to("a") }, "create_mode", "77"),
        case(SUBSCRIBE, SubscribeRequest { heartbeat_interval: seconds(0), ..to("a") }, "heartbeat_interval", "1s to 300s"),
        case(SUBSCRIBE, SubscribeRequest { held_tokens: vec![vec![1].into(); 10_001], ..to("a") }, "held_tokens", "10001"),
        case(
            SUBSCRIBE,
            held(SessionLimits { max_outstanding: Some(0), ..SessionLimits::default() }),
            "session_limits.max_outstanding",
            "release",
        ),
        case(
            SUBSCRIBE,
            held(SessionLimits { max_outstanding: Some(u32::MAX), ..SessionLimits::default() }),
            "session_limits.max_outstanding",
            "4294967295",
        ),
        case(
            SUBSCRIBE,
            held(SessionLimits { max_outstanding_bytes: Some(1), ..SessionLimits::default() }),
            "session_limits.max_outstanding_bytes",
            "1048576",
        ),
        case(SUBSCRIBE, with(SubscriptionSpec { ack_deadline: seconds(0), ..spec() }), "spec.ack_deadline", "100"),
        case(SUBSCRIBE, with(SubscriptionSpec { ack_deadline: seconds(-1), ..spec() }), "spec.ack_deadline", "-1"),
        case(SUBSCRIBE, with(SubscriptionSpec { max_lease_total: seconds(LONG), ..spec() }), "spec.max_lease_total", "86400"),
        case(SUBSCRIBE, with(SubscriptionSpec { max_outstanding: Some(10_001), ..spec() }), "spec.max_outstanding", "10001"),
        case(SUBSCRIBE, with(SubscriptionSpec { max_outstanding_bytes: Some(0), ..spec() }), "spec.max_outstanding_bytes", "1048576"),
        case(SUBSCRIBE, with(SubscriptionSpec { expire_after: seconds(1), ..spec() }), "spec.expire_after", ""),
        case(
            SUBSCRIBE,
            with(SubscriptionSpec { backlog: Some(BacklogPolicy { max_age: seconds(1), ..BacklogPolicy::default() }), ..spec() }),
            "spec.backlog.max_age",
            "",
        ),
        case(
            SUBSCRIBE,
            with(SubscriptionSpec { start_position: at(Position::Point(0)), ..spec() }),
            "spec.start_position",
            "START_POINT_NEW",
        ),
        case(
            SUBSCRIBE,
            with(SubscriptionSpec { start_position: at(Position::Time(prost_types::Timestamp { seconds: -1, nanos: 0 })), ..spec() }),
            "spec.start_position",
            "1970",
        ),
        case(SUBSCRIBE, retry(RetryPolicy { max_attempts: Some(0), ..RetryPolicy::default() }), "spec.retry_policy.max_attempts", "1000"),
        case(SUBSCRIBE, retry(RetryPolicy { min_backoff: seconds(LONG), ..RetryPolicy::default() }), "spec.retry_policy", ""),
        case(SUBSCRIBE, filter(Filter { types: vec![text("*")], ..Filter::default() }), "spec.filter.types", ".*"),
        case(
            SUBSCRIBE,
            filter(Filter { sources: (0..257).map(|number| number.to_string()).collect(), ..Filter::default() }),
            "spec.filter",
            "256",
        ),
        case(SUBSCRIBE, filter(Filter { types: hopeless, ..Filter::default() }), "spec.filter.types[0]", "0*x"),
        case(SUBSCRIBE, filter(Filter { subject_prefix: "x".repeat(1_025), ..Filter::default() }), "spec.filter.subject_prefix", "1024"),
        Case {
            code: Code::OutOfRange,
            ..case(
                SUBSCRIBE,
                with(SubscriptionSpec { start_position: at(Position::Offset(u64::MAX)), ..spec() }),
                "spec.start_position",
                "18446744073709551615",
            )
        },
        other(
            SUBSCRIBE,
            SubscribeRequest { create_mode: v1::CreateMode::MustExist.into(), ..to("nobody") },
            Code::NotFound,
            ErrorReason::SubscriptionNotFound,
            "nobody",
        ),
    ]
}

pub(super) fn reading() -> Vec<Case> {
    const READ: &str = "AgentService/ReadEvents";
    const LINEAGE: &str = "AgentService/GetLineage";
    let read = ReadEventsRequest::default;
    let story = |id: &str| GetLineageRequest { story: Some(Story::CorrelationId(text(id))), ..GetLineageRequest::default() };
    let gone = EventRef { source: text("agents/a"), id: text("gone") };
    vec![
        case(READ, ReadEventsRequest { limit: Some(0), ..read() }, "limit", "leave it out"),
        case(READ, ReadEventsRequest { mode: 9, ..read() }, "mode", "9"),
        case(
            READ,
            ReadEventsRequest { start_position: Some(StartPosition::default()), ..read() },
            "start_position",
            "point, offset and time",
        ),
        case(READ, ReadEventsRequest { heartbeat_interval: seconds(LONG), ..read() }, "heartbeat_interval", "1s to 300s"),
        case(
            READ,
            ReadEventsRequest { filter: Some(Filter { types: vec![text("a*b")], ..Filter::default() }), ..read() },
            "filter.types",
            "a*b",
        ),
        Case {
            code: Code::OutOfRange,
            ..case(READ, ReadEventsRequest { start_position: at(Position::Offset(99)), ..read() }, "start_position", "99")
        },
        case(LINEAGE, GetLineageRequest::default(), "story", "event and correlation_id"),
        case(LINEAGE, story(""), "correlation_id", "empty"),
        case(LINEAGE, GetLineageRequest { page_size: Some(501), ..story("a") }, "page_size", "1 to 500"),
        other(
            LINEAGE,
            GetLineageRequest { page_token: text("nonsense"), ..story("a") },
            Code::InvalidArgument,
            ErrorReason::PageTokenInvalid,
            "start over",
        ),
        other(LINEAGE, story("none"), Code::NotFound, ErrorReason::NotFound, "none"),
        other(
            LINEAGE,
            GetLineageRequest { story: Some(Story::Event(gone)), ..GetLineageRequest::default() },
            Code::NotFound,
            ErrorReason::NotFound,
            "gone",
        ),
    ]
}
