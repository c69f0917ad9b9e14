//! Bad input at every call of every service: what is missing, unspecified, unknown or absurd is answered with its field and what would be
//! right, in words and in google.rpc details; nothing of it ends the broker.
//!
//! Constraint: each case is one row; what a batch answers for one bad item is in `bad_calls`.

use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use tonic::{
    Code, Request, Status,
    body::Body,
    client::{Grpc, GrpcService},
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};
use waypost_proto::{
    rpc,
    v1::{
        self, BacklogPolicy, CreateSubscriptionRequest, ErrorReason, EventRef, Filter, GetLineageRequest, PublishItem, PublishRequest,
        ReadEventsRequest, RetryPolicy, SeekSubscriptionRequest, SessionLimits, SettleRequest, Settlement, StartPosition, SubscribeRequest,
        SubscriptionSpec, UpdateSubscriptionRequest, get_lineage_request::Story, start_position::Position,
    },
};

use crate::stand::{Stand, soon};

/// One bad request, and what it must be answered with.
struct Case {
    rpc: &'static str,
    request: Vec<u8>,
    code: Code,
    reason: ErrorReason,
    /// The field of the BadRequest; empty where no field is at fault.
    field: &'static str,
    /// What the message must hold: the value, or what would be right.
    says: &'static str,
}

fn case<M: Message>(rpc: &'static str, request: M, field: &'static str, says: &'static str) -> Case {
    Case { rpc, request: request.encode_to_vec(), code: Code::InvalidArgument, reason: ErrorReason::InvalidField, field, says }
}

fn other<M: Message>(rpc: &'static str, request: M, code: Code, reason: ErrorReason, says: &'static str) -> Case {
    Case { rpc, request: request.encode_to_vec(), code, reason, field: "", says }
}

fn text(text: &str) -> String {
    text.to_owned()
}

const LONG: i64 = 1_000_000_000;

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn at(position: Position) -> Option<StartPosition> {
    Some(StartPosition { position: Some(position) })
}

fn publishing() -> Vec<Case> {
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

fn subscribing() -> Vec<Case> {
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

fn reading() -> Vec<Case> {
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

fn subscriptions() -> Vec<Case> {
    let create = |name: &str| CreateSubscriptionRequest { name: text(name), spec: None };
    let update = |name: &str| UpdateSubscriptionRequest { name: text(name), ..UpdateSubscriptionRequest::default() };
    let seek = |name: &str, target| SeekSubscriptionRequest { name: text(name), target, incarnation: String::new() };
    let anywhere = at(Position::Point(v1::StartPoint::Earliest.into()));
    let start = SubscriptionSpec { start_position: anywhere, ..SubscriptionSpec::default() };
    let mut cases = vec![
        case("SubscriptionAdminService/CreateSubscription", create(""), "name", "1 to 128"),
        case("SubscriptionAdminService/CreateSubscription", create("waypost.x"), "name", "waypost."),
        other(
            "SubscriptionAdminService/CreateSubscription",
            create("there"),
            Code::AlreadyExists,
            ErrorReason::SubscriptionExists,
            "there",
        ),
        case(
            "SubscriptionAdminService/UpdateSubscription",
            UpdateSubscriptionRequest { spec: Some(start), ..update("there") },
            "spec.start_position",
            "seek",
        ),
        case(
            "SubscriptionAdminService/UpdateSubscription",
            UpdateSubscriptionRequest { reset_fields: vec![text("nothing")], ..update("there") },
            "reset_fields",
            "nothing",
        ),
        other(
            "SubscriptionAdminService/UpdateSubscription",
            UpdateSubscriptionRequest { incarnation: text("no"), ..update("there") },
            Code::FailedPrecondition,
            ErrorReason::IncarnationMismatch,
            "no",
        ),
        case("SubscriptionAdminService/SeekSubscription", seek("there", None), "target", "point, offset and time"),
        case("SubscriptionAdminService/SeekSubscription", seek("there", at(Position::Point(0))), "target", "START_POINT_NEW"),
        Case {
            code: Code::OutOfRange,
            ..case("SubscriptionAdminService/SeekSubscription", seek("there", at(Position::Offset(99))), "target", "99")
        },
    ];
    for rpc in [
        "SubscriptionAdminService/GetSubscription",
        "SubscriptionAdminService/UpdateSubscription",
        "SubscriptionAdminService/DeleteSubscription",
        "SubscriptionAdminService/PauseSubscription",
        "SubscriptionAdminService/ResumeSubscription",
        "SubscriptionAdminService/SeekSubscription",
    ] {
        // The name is field 1 of all of them.
        let named = |name: &str| v1::GetSubscriptionRequest { name: text(name) };
        cases.push(case(rpc, named(""), "name", "required"));
        cases.push(other(rpc, named("nobody"), Code::NotFound, ErrorReason::SubscriptionNotFound, "nobody"));
    }
    cases
}

fn looking_after() -> Vec<Case> {
    let letters = |count| v1::RedriveDeadLettersRequest { ids: vec![text("x"); count] };
    let mut cases = vec![
        case("DeadLetterAdminService/RedriveDeadLetters", letters(0), "ids", "1 to 1000"),
        case("DeadLetterAdminService/DiscardDeadLetters", letters(1_001), "ids", "1001"),
        case("DeadLetterAdminService/ListDeadLetters", v1::ListDeadLettersRequest { reason: 99, ..Default::default() }, "reason", "99"),
        case("DeadLetterAdminService/GetDeadLetter", v1::GetDeadLetterRequest::default(), "id", "required"),
        other(
            "DeadLetterAdminService/GetDeadLetter",
            v1::GetDeadLetterRequest { id: text("x-1") },
            Code::NotFound,
            ErrorReason::NotFound,
            "x-1",
        ),
        case(
            "QuarantineAdminService/ListQuarantinedWebhooks",
            v1::ListQuarantinedWebhooksRequest { reason: 99, ..Default::default() },
            "reason",
            "99",
        ),
        case("QuarantineAdminService/GetQuarantinedWebhook", v1::GetQuarantinedWebhookRequest::default(), "id", "required"),
        other(
            "QuarantineAdminService/GetQuarantinedWebhook",
            v1::GetQuarantinedWebhookRequest { id: text("no") },
            Code::NotFound,
            ErrorReason::NotFound,
            "no",
        ),
        case("SourceAdminService/GetSource", v1::GetSourceRequest::default(), "name", "required"),
        other(
            "SourceAdminService/GetSource",
            v1::GetSourceRequest { name: text("nobody") },
            Code::NotFound,
            ErrorReason::NotFound,
            "nobody",
        ),
        case("SchemaAdminService/GetSchema", v1::GetSchemaRequest::default(), "name", "required"),
        other("SchemaAdminService/GetSchema", v1::GetSchemaRequest { name: text("a.B") }, Code::NotFound, ErrorReason::NotFound, "a.B"),
    ];
    // Page size and token are fields 1 and 2 of all lists.
    for rpc in LISTS {
        let page = |page_size, token: &str| v1::ListSourcesRequest { page_size, page_token: text(token) };
        cases.push(case(rpc, page(Some(0), ""), "page_size", "1 to 1000"));
        cases.push(case(rpc, page(Some(u32::MAX), ""), "page_size", "4294967295"));
        cases.push(other(rpc, page(None, "nonsense"), Code::InvalidArgument, ErrorReason::PageTokenInvalid, "start over"));
    }
    cases
}

const LISTS: [&str; 6] = [
    "SubscriptionAdminService/ListSubscriptions",
    "DeadLetterAdminService/ListDeadLetters",
    "QuarantineAdminService/ListQuarantinedWebhooks",
    "SourceAdminService/ListSources",
    "SchemaAdminService/ListSchemas",
    "SessionAdminService/ListSessions",
];

/// Bytes as they are: all calls look alike from here.
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        buffer.advance(buffer.remaining());
        Ok(Some(()))
    }
}

/// The first answer to a call.
pub(crate) async fn call<T>(channel: T, rpc: &str, request: Vec<u8>) -> Result<Option<()>, Status>
where
    T: GrpcService<
            Body,
            Error: std::fmt::Debug,
            ResponseBody: hyper::body::Body<Data = Bytes, Error: Into<tonic::codegen::StdError>> + Send + 'static,
        >,
{
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.unwrap();
    let path = format!("/waypost.v1.{rpc}").parse().unwrap();
    let answers = grpc.streaming(Request::new(tokio_stream::once(request)), path, Raw).await?;
    soon("an answer", answers.into_inner().message()).await
}

#[tokio::test]
async fn every_call_answers_bad_input_with_its_field_and_what_would_be_right() {
    let stand = Stand::new();
    let (agents, admin) = (stand.broker.channel(), stand.broker.admin_channel());
    let there = CreateSubscriptionRequest { name: text("there"), spec: None };
    call(admin.clone(), "SubscriptionAdminService/CreateSubscription", there.encode_to_vec()).await.unwrap();

    let groups = [publishing(), subscribing(), reading(), subscriptions(), looking_after()];
    let mut wrong = Vec::new();
    for Case { rpc, request, code, reason, field, says } in groups.into_iter().flatten() {
        let channel = if rpc.starts_with("AgentService/") { &agents } else { &admin };
        let status = match call(channel.clone(), rpc, request).await {
            Ok(answer) => {
                wrong.push(format!("{rpc} ({field:?}, {says:?}): answered {answer:?}"));
                continue;
            }
            Err(status) => status,
        };
        let details = rpc::Status::decode(status.details()).unwrap_or_default();
        let told = details.detail::<rpc::ErrorInfo>().and_then(|info| info.reason());
        let fields: Vec<_> = details.detail::<rpc::BadRequest>().map_or_else(Vec::new, |bad| bad.field_violations);
        let names_it = field.is_empty() || fields.iter().any(|at| at.field.starts_with(field) && !at.description.is_empty());
        if status.code() != code || told != Some(reason) || !names_it || !status.message().contains(says) {
            wrong.push(format!("{rpc}: {code:?} {reason:?} {field:?} {says:?} is due, not {status:?} {told:?} {fields:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let log = std::fs::read_to_string(stand.folder.path().join("waypost.log")).unwrap();
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test]
async fn bytes_that_are_no_message_and_calls_that_are_none_end_nothing() {
    let stand = Stand::new();
    let agents = stand.broker.channel();
    for rpc in ["Publish", "PublishStream", "Subscribe", "Settle", "ReadEvents", "GetLineage"] {
        let status = call(agents.clone(), &format!("AgentService/{rpc}"), vec![0xff; 16]).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{rpc}: {status:?}");
    }
    assert_eq!(call(agents.clone(), "AgentService/Nothing", Vec::new()).await.unwrap_err().code(), Code::Unimplemented);
    let admin_here = call(agents.clone(), "SubscriptionAdminService/ListSubscriptions", Vec::new()).await.unwrap_err();
    assert_eq!(admin_here.code(), Code::Unimplemented, "administrators have a listener of their own");
    let huge = call(agents.clone(), "AgentService/Publish", vec![0; 5 << 20]).await.unwrap_err();
    assert!(huge.message().contains("4194304"), "the limit is told: {huge:?}");
    call(stand.broker.admin_channel(), "SubscriptionAdminService/ListSubscriptions", Vec::new()).await.unwrap();
}
