//! Bad input at every call of every service: what is missing, unspecified, unknown or absurd is answered with its field and what would be
//! right, in words and in google.rpc details; nothing of it ends the broker.
//!
//! Constraint: each case is one row; what a batch answers for one bad item is in `bad_calls`.

mod agents;
mod operators;

use prost::Message;
use tonic::Code;
use waypost_proto::{
    rpc,
    v1::{CreateSubscriptionRequest, ErrorReason, StartPosition, start_position::Position},
};

use crate::{raw::call, stand::Stand};

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

fn at(position: Position) -> Option<StartPosition> {
    Some(StartPosition { position: Some(position) })
}

#[tokio::test]
async fn every_call_answers_bad_input_with_its_field_and_what_would_be_right() {
    let stand = Stand::new();
    let (agents, admin) = (stand.broker.channel(), stand.broker.admin_channel());
    let there = CreateSubscriptionRequest { name: text("there"), spec: None };
    call(admin.clone(), "SubscriptionAdminService/CreateSubscription", there.encode_to_vec()).await.unwrap();

    let groups = [agents::publishing(), agents::subscribing(), agents::reading(), operators::subscriptions(), operators::looking_after()];
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
