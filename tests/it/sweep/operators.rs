//! Bad requests of operators.

use tonic::Code;
use waypost_proto::v1::{
    self, CreateSubscriptionRequest, ErrorReason, SeekSubscriptionRequest, SubscriptionSpec, UpdateSubscriptionRequest,
    start_position::Position,
};

use super::{Case, at, case, other, text};

pub(super) fn subscriptions() -> Vec<Case> {
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

pub(super) fn looking_after() -> Vec<Case> {
    let letters = |count| v1::RedriveDeadLettersRequest { ids: vec![text("x"); count] };
    let past = prost_types::Timestamp { seconds: -1, nanos: 0 };
    let retries = |count, fingerprint: &str, token: &str| v1::RetryQuarantinedWebhooksRequest {
        ids: vec![text("x"); count],
        fingerprint: text(fingerprint),
        page_token: text(token),
    };
    let ending = |id: &str| v1::EndSessionRequest { session_id: text(id), subscription: String::new() };
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
        case("QuarantineAdminService/RetryQuarantinedWebhooks", v1::RetryQuarantinedWebhooksRequest::default(), "ids", "1 to 1000"),
        case("QuarantineAdminService/RetryQuarantinedWebhooks", retries(1_001, "", ""), "ids", "1001"),
        case("QuarantineAdminService/RetryQuarantinedWebhooks", retries(1, "x", ""), "fingerprint", "one of both"),
        other(
            "QuarantineAdminService/RetryQuarantinedWebhooks",
            retries(0, "x", "nonsense"),
            Code::InvalidArgument,
            ErrorReason::PageTokenInvalid,
            "start over",
        ),
        case("QuarantineAdminService/DiscardQuarantinedWebhooks", v1::DiscardQuarantinedWebhooksRequest::default(), "ids", "1 to 1000"),
        case("WebhookAdminService/ListWebhooks", v1::ListWebhooksRequest { outcome: 99, ..Default::default() }, "outcome", "99"),
        case("WebhookAdminService/ListWebhooks", v1::ListWebhooksRequest { since: Some(past), ..Default::default() }, "since", "1970"),
        case("WebhookAdminService/GetWebhook", v1::GetWebhookRequest::default(), "id", "required"),
        other("WebhookAdminService/GetWebhook", v1::GetWebhookRequest { id: text("no") }, Code::NotFound, ErrorReason::NotFound, "no"),
        case("SessionAdminService/EndSession", v1::EndSessionRequest::default(), "session_id", "required"),
        case("SessionAdminService/EndSession", ending("mine"), "session_id", "sessions list"),
        other(
            "SessionAdminService/EndSession",
            ending("0192f7a1-5f0e-7c3a-9d2e-3f1c6a7b8c9d"),
            Code::NotFound,
            ErrorReason::NotFound,
            "0192f7a1",
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

const LISTS: [&str; 7] = [
    "WebhookAdminService/ListWebhooks",
    "SubscriptionAdminService/ListSubscriptions",
    "DeadLetterAdminService/ListDeadLetters",
    "QuarantineAdminService/ListQuarantinedWebhooks",
    "SourceAdminService/ListSources",
    "SchemaAdminService/ListSchemas",
    "SessionAdminService/ListSessions",
];
