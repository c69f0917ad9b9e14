//! Tokens: how they come and go, what their bearers may use up, and what is told of what they do.

use std::fs;

use agent_client::{Client, Start, SubscribeError};
use http_body_util::{BodyExt, Empty};
use hyper::{Request, body::Bytes};
use hyper_util::{client::legacy, rt::TokioExecutor};
use prost::Message;
use tonic::{Code, service::interceptor::InterceptedService};
use waypost_proto::v1::{
    ErrorReason, Event, ListSessionsRequest, PublishRequest, publish_result::Result as Outcome,
    session_admin_service_client::SessionAdminServiceClient,
};

use crate::{
    access::CALLS,
    bearer::{Bearer, TOKENS, agent, create, item, tokens},
    raw::call,
    stand::{Stand, soon},
};

#[tokio::test]
async fn a_token_that_is_revoked_loses_its_streams_and_a_new_one_is_known_within_seconds() {
    let (mut kept, mut revoked) = (String::new(), String::new());
    let stand = Stand::prepared(TOKENS, |folder| {
        kept = create(folder, "kept", &["subscribe", "publish"]);
        revoked = create(folder, "revoked", &["subscribe"]);
    });
    let client = |token: &str| Client::builder().token(token).connect(stand.broker.agents.clone()).unwrap();
    let mut going = client(&kept).subscribe("going").start_at(Start::Earliest).open().await.unwrap();
    let mut ending = client(&revoked).subscribe("ending").open().await.unwrap();
    let operator = create(stand.folder.path(), "operator", &["inspect"]);

    assert!(tokens(stand.folder.path(), &["revoke", "revoked"]).status.success());
    let ended = soon("the end of the stream", ending.try_next()).await.unwrap_err();
    assert!(matches!(&ended, SubscribeError::Refused { failure, .. } if failure.code == Code::Unauthenticated), "{ended:?}");
    let audited = async {
        let audit = || fs::read_to_string(stand.folder.path().join("audit.jsonl")).unwrap();
        while !(audit().contains("change_tokens") && audit().contains("ended: revoked")) {
            tokio::task::yield_now().await;
        }
    };
    soon("the line in the audit log", audited).await;
    let refused = client(&revoked).subscribe("ending").open().await.unwrap_err();
    assert!(refused.to_string().contains("revoked"), "{refused}");

    client(&kept).publish(Event::of_json("agents/a", "a.b", "{}")).await.unwrap();
    soon("a delivery", going.try_next()).await.unwrap().unwrap().ack().await.unwrap();
    // The file was read: the token that was made while the broker ran is known, and sees who is there.
    let channel = InterceptedService::new(stand.broker.admin_channel(), Bearer(Some(operator)));
    let mut admin = SessionAdminServiceClient::new(channel);
    let alone = async {
        loop {
            let sessions = admin.list_sessions(ListSessionsRequest::default()).await.unwrap().into_inner().sessions;
            if sessions.iter().map(|session| session.principal.as_str()).eq(["kept"]) {
                break;
            }
        }
    };
    soon("the end of the other's session", alone).await;
}

#[tokio::test]
async fn a_live_page_ends_with_its_token_and_is_not_given_again() {
    let mut token = String::new();
    let stand = Stand::prepared(TOKENS, |folder| token = create(folder, "looker", &["inspect"]));
    let client: legacy::Client<_, Empty<Bytes>> = legacy::Client::builder(TokioExecutor::new()).build_http();
    let ask = || {
        let request = Request::get(format!("{}/live?view=overview", stand.broker.admin)).header("authorization", format!("Bearer {token}"));
        client.request(request.body(Empty::new()).unwrap())
    };
    let mut live = soon("the page", ask()).await.unwrap();
    assert_eq!(live.status(), 200);
    let first = soon("its first parts", live.body_mut().frame()).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(first.data_ref().unwrap()).contains("event: parts"));
    assert!(tokens(stand.folder.path(), &["revoke", "looker"]).status.success());
    soon("its end", async { while live.body_mut().frame().await.is_some_and(|frame| frame.is_ok()) {} }).await;
    assert_eq!(soon("a refusal", ask()).await.unwrap().status(), 401);
}

#[tokio::test]
async fn who_publishes_faster_than_its_token_may_is_told_how_long_to_wait() {
    let mut token = String::new();
    let stand = Stand::prepared(TOKENS, |folder| {
        let made = tokens(folder, &["create", "slow", "--scope", "publish", "--max-events-per-second", "3"]);
        token = String::from_utf8(made.stdout).unwrap().trim_end().to_owned();
    });
    let items = (0..9).map(|_| item("agents/a", "a.b")).collect();
    let results = agent(&stand, &token).publish(PublishRequest { items }).await.unwrap().into_inner().results;
    let wait = |result: &waypost_proto::v1::PublishResult| match result.result.as_ref().unwrap() {
        Outcome::Accepted(_) => None,
        Outcome::Refused(refusal) => {
            assert_eq!((refusal.reason(), Code::from(refusal.code)), (ErrorReason::QuotaExceeded, Code::ResourceExhausted));
            Some(refusal.retry_delay.unwrap())
        }
    };
    let waits: Vec<_> = results.iter().filter_map(wait).collect();
    // A second's worth at once, and one or two more if the machine is slow.
    assert!((4..=6).contains(&waits.len()) && waits.iter().all(|wait| wait.seconds == 0 && wait.nanos > 0), "{waits:?}");
}

/// `CreateSubscription` as `create_subscription`.
fn action(rpc: &str) -> String {
    let mut name = String::new();
    for letter in rpc.split('/').nth(1).unwrap().chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

#[tokio::test]
async fn what_administrators_do_or_may_not_do_is_in_the_audit_log() {
    let (mut operator, mut watcher) = (String::new(), String::new());
    let stand = Stand::prepared(&format!("{TOKENS}\nlog.level = 'error'"), |folder| {
        operator = create(folder, "operator", &["admin"]);
        watcher = create(folder, "watcher", &["inspect"]);
    });
    // Field 1 is the name of the thing, in all of them; what is done to the whole store passes over it.
    let request = waypost_proto::v1::GetSubscriptionRequest { name: "thing\nforged".to_owned() }.encode_to_vec();
    let good = waypost_proto::v1::GetSubscriptionRequest { name: "thing".to_owned() }.encode_to_vec();
    let changes: Vec<_> = CALLS.iter().filter(|(_, needs)| *needs == "admin").map(|(rpc, _)| *rpc).collect();
    for rpc in &changes {
        for token in [&operator, &watcher] {
            let channel = InterceptedService::new(stand.broker.admin_channel(), Bearer(Some(token.clone())));
            // Whatever it answers.
            let _ = call(channel.clone(), rpc, request.clone()).await;
            let _ = call(channel, rpc, good.clone()).await;
        }
    }
    let audit = fs::read_to_string(stand.folder.path().join("audit.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for rpc in &changes {
        let by = |who: &str, action: &str| {
            lines.iter().filter(move |line| line["caller"] == who && line["action"] == action).collect::<Vec<_>>()
        };
        let done = by("operator", &action(rpc));
        assert!(done.len() >= 2 && done.iter().all(|line| line["peer"].as_str().unwrap().starts_with("127.0.0.1:")), "{rpc}: {audit}");
        let object = if rpc.starts_with("StoreAdminService/") { "store" } else { "thing" };
        assert!(done.iter().any(|line| line["object"].as_str().unwrap().contains(object)), "{rpc}: {done:?}");
        let denied = by("watcher", &format!("/waypost.v1.{rpc}"));
        assert!(denied.len() == 2 && denied.iter().all(|line| line["outcome"] == "denied"), "{rpc}: {audit}");
    }
    let created: Vec<_> = lines.iter().filter(|line| line["action"] == "create_subscription" && line["caller"] == "operator").collect();
    assert_eq!(created.iter().map(|line| line["outcome"].as_str().unwrap()).collect::<Vec<_>>(), ["failed", "done"]);
    // In the log of everything as well, whatever its level, and nobody can forge a line.
    assert!(stand.log().contains("create_subscription") && !stand.log().lines().any(|line| line.starts_with("forged")), "{}", stand.log());
}
