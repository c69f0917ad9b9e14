//! Who may do what: every call and page, by everybody; and what a scope does not cover.

use std::{collections::BTreeMap, fs, path::Path};

use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes};
use hyper_util::{client::legacy, rt::TokioExecutor};
use prost::Message;
use tonic::{Code, service::interceptor::InterceptedService};
use waypost_proto::{
    FILE_DESCRIPTOR_SET,
    v1::{
        Ack, ErrorReason, Event, PublishRequest, PublishStreamRequest, ReadEventsRequest, SettleRequest, Settlement, SettlementStatus,
        SubscribeRequest, SubscribeResponse, settlement::Action, subscribe_response::Response,
    },
};

use crate::{
    bearer::{Agent, Bearer, TOKENS, agent, create, item, outcomes, reason, to},
    raw::call,
    stand::{Stand, soon},
};

/// What each call takes. A call that is not here is one that nobody has thought about.
pub(crate) const CALLS: [(&str, &str); 33] = [
    ("AgentService/Publish", "publish"),
    ("AgentService/PublishStream", "publish"),
    ("AgentService/Subscribe", "subscribe"),
    ("AgentService/Settle", "subscribe"),
    ("AgentService/ReadEvents", "read"),
    ("AgentService/GetLineage", "read"),
    ("SubscriptionAdminService/CreateSubscription", "admin"),
    ("SubscriptionAdminService/GetSubscription", "inspect"),
    ("SubscriptionAdminService/ListSubscriptions", "inspect"),
    ("SubscriptionAdminService/UpdateSubscription", "admin"),
    ("SubscriptionAdminService/DeleteSubscription", "admin"),
    ("SubscriptionAdminService/PauseSubscription", "admin"),
    ("SubscriptionAdminService/ResumeSubscription", "admin"),
    ("SubscriptionAdminService/SeekSubscription", "admin"),
    ("DeadLetterAdminService/ListDeadLetters", "inspect"),
    ("DeadLetterAdminService/GetDeadLetter", "inspect"),
    ("DeadLetterAdminService/RedriveDeadLetters", "admin"),
    ("DeadLetterAdminService/DiscardDeadLetters", "admin"),
    ("SessionAdminService/ListSessions", "inspect"),
    ("SessionAdminService/EndSession", "admin"),
    ("SourceAdminService/ListSources", "inspect"),
    ("SourceAdminService/GetSource", "inspect"),
    ("QuarantineAdminService/ListQuarantinedWebhooks", "inspect"),
    ("QuarantineAdminService/GetQuarantinedWebhook", "inspect"),
    ("QuarantineAdminService/RetryQuarantinedWebhooks", "admin"),
    ("QuarantineAdminService/DiscardQuarantinedWebhooks", "admin"),
    ("WebhookAdminService/ListWebhooks", "inspect"),
    ("WebhookAdminService/GetWebhook", "inspect"),
    ("StoreAdminService/GetStore", "inspect"),
    ("StoreAdminService/VerifyStore", "inspect"),
    ("StoreAdminService/BackupStore", "admin"),
    ("SchemaAdminService/ListSchemas", "any"),
    ("SchemaAdminService/GetSchema", "any"),
];

/// What each scope brings with it.
const SCOPES: [(&str, &[&str]); 5] = [
    ("publish", &["publish", "any"]),
    ("subscribe", &["subscribe", "any"]),
    ("read", &["read", "any"]),
    ("inspect", &["inspect", "any"]),
    ("admin", &["admin", "inspect", "read", "any"]),
];

/// Every call of the contract, from its descriptor.
fn calls() -> Vec<String> {
    let files = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file;
    let services = files.into_iter().filter(|file| file.package() == "waypost.v1").flat_map(|file| file.service);
    services
        .flat_map(|service| service.method.clone().into_iter().map(move |method| format!("{}/{}", service.name(), method.name())))
        .collect()
}

#[tokio::test]
async fn every_call_is_for_those_who_have_its_scope_and_for_nobody_else() {
    let mut bearers: Vec<(&str, Option<String>, &[&str])> =
        vec![("no token", None, &[]), ("a wrong token", Some("waypost_nobody".to_owned()), &[])];
    let stand = Stand::prepared(TOKENS, |folder| {
        bearers.extend(SCOPES.map(|(scope, may)| (scope, Some(create(folder, scope, &[scope])), may)));
    });
    let rules: BTreeMap<_, _> = CALLS.into();
    let mut wrong = Vec::new();
    for rpc in calls() {
        let Some(&needs) = rules.get(rpc.as_str()) else {
            wrong.push(format!("{rpc}: who may call it? add a row, here and in broker/src/access/table.rs"));
            continue;
        };
        let channel = if rpc.starts_with("AgentService/") { stand.broker.channel() } else { stand.broker.admin_channel() };
        for (who, token, may) in &bearers {
            let channel = InterceptedService::new(channel.clone(), Bearer(token.clone()));
            let answer = call(channel, &rpc, Vec::new()).await;
            let told = answer.as_ref().err().map(|status| (status.code(), reason(status)));
            let is_right = match (may.contains(&needs), may.is_empty()) {
                (true, _) => !matches!(told, Some((Code::Unauthenticated | Code::PermissionDenied, _))),
                (false, true) => told == Some((Code::Unauthenticated, Some(ErrorReason::Unauthenticated))),
                (false, false) => {
                    let names_it = answer.as_ref().is_err_and(|status| status.message().contains(&format!("scope \"{needs}")));
                    told == Some((Code::PermissionDenied, Some(ErrorReason::ScopeMissing))) && names_it
                }
            };
            if !is_right {
                wrong.push(format!("{rpc} with {who}: {answer:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Where the pages of the admin listener are, what each is asked with, and what it takes; as [`CALLS`].
pub(crate) const PAGES: [(&str, &str, &str); 30] = [
    ("GET", "/", "inspect"),
    ("GET", "/subscriptions", "inspect"),
    ("GET", "/subscriptions/{name}", "inspect"),
    ("POST", "/pause", "admin"),
    ("POST", "/resume", "admin"),
    ("GET", "/sessions", "inspect"),
    ("GET", "/dead-letters", "inspect"),
    ("GET", "/dead-letters/{id}", "inspect"),
    ("POST", "/dead-letters/redrive", "admin"),
    ("POST", "/dead-letters/redrive-all", "admin"),
    ("POST", "/dead-letters/discard", "admin"),
    ("GET", "/quarantine", "inspect"),
    ("GET", "/quarantine/{id}", "inspect"),
    ("POST", "/quarantine/retry", "admin"),
    ("POST", "/quarantine/discard", "admin"),
    ("GET", "/webhooks", "inspect"),
    ("GET", "/webhooks/{id}", "inspect"),
    ("GET", "/story", "inspect"),
    ("GET", "/live", "inspect"),
    ("GET", "/metrics", "inspect"),
    ("GET", "/sign-in", "nothing"),
    ("POST", "/sign-in", "nothing"),
    ("POST", "/sign-out", "nothing"),
    ("GET", "/page/style.css", "nothing"),
    ("GET", "/page/live.js", "nothing"),
    ("GET", "/page/icon.svg", "nothing"),
    ("GET", "/healthz", "nothing"),
    ("GET", "/readyz", "nothing"),
    // What is nowhere is not told from what is for others.
    ("GET", "/anything", "admin"),
    ("POST", "/anything", "admin"),
];

/// Every route of the admin listener, as its source has it.
fn routes() -> Vec<(&'static str, String)> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../broker/src");
    let files = ["page/routes.rs", "metrics/exposition.rs", "server/health.rs"];
    let text: String = files.iter().map(|file| fs::read_to_string(source.join(file)).unwrap()).collect();
    let text: String = text.split_whitespace().collect();
    let mut routes = Vec::new();
    for route in text.split(".route(\"").skip(1) {
        let (path, handlers) = route.split_once('"').unwrap();
        let handlers = handlers.split(".route(").next().unwrap().split(".layer(").next().unwrap();
        let methods = [("GET", "get("), ("POST", "post(")].into_iter().filter(|(_, called)| handlers.contains(called));
        routes.extend(methods.map(|(method, _)| (method, path.to_owned())));
    }
    routes
}

/// How a bearer shows a token to a page.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shown {
    InHeader,
    InCookie,
}

/// Asks for a page, with the key of its forms where something is sent: the status, and where it leads or what it says.
pub(crate) async fn ask(stand: &Stand, method: &str, path: &str, token: Option<&str>, shown: Shown, key: &str) -> (u16, String) {
    let client: legacy::Client<_, Full<Bytes>> = legacy::Client::builder(TokioExecutor::new()).build_http();
    let url = format!("{}{}", stand.broker.admin, path.replace("{name}", "a").replace("{id}", "0000000000000000-1"));
    let mut request = Request::builder().method(method).uri(url);
    if let Some(token) = token {
        request = match shown {
            Shown::InHeader => request.header("authorization", format!("Bearer {token}")),
            Shown::InCookie => request.header("cookie", format!("waypost_token={token}")),
        };
    }
    let body = if method == "POST" { format!("key={key}") } else { String::new() };
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(Full::new(Bytes::from(body))).unwrap();
    let answer = soon("the page", client.request(request)).await.unwrap();
    let code = answer.status().as_u16();
    if let Some(to) = answer.headers().get("location") {
        return (code, to.to_str().unwrap().to_owned());
    }
    // A live page has no end.
    let is_live = code == 200 && path == "/live";
    let text = if is_live { Bytes::new() } else { answer.into_body().collect().await.unwrap().to_bytes() };
    (code, String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test]
async fn every_page_is_for_those_who_have_its_scope_and_for_nobody_else() {
    let mut wrong: Vec<String> = Vec::new();
    for (method, path) in routes() {
        if !PAGES.iter().any(|(known, at, _)| (*known, *at) == (method, path.as_str())) {
            wrong.push(format!("{method} {path}: who may? add a row, here and in broker/src/access/table.rs"));
        }
    }
    let mut bearers: Vec<(&str, Option<String>, &[&str])> =
        vec![("no token", None, &[]), ("a wrong token", Some("waypost_nobody".to_owned()), &[])];
    let stand = Stand::prepared(TOKENS, |folder| {
        bearers.extend(SCOPES.map(|(scope, may)| (scope, Some(create(folder, scope, &[scope])), may)));
    });
    let (_, door) = ask(&stand, "GET", "/sign-in", None, Shown::InHeader, "").await;
    let key = door.split("name=\"key\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
    for (method, path, needs) in PAGES {
        for (who, token, may) in &bearers {
            for shown in [Shown::InHeader, Shown::InCookie] {
                // A cookie is good for pages alone.
                let is_page = !["/metrics", "/anything"].contains(&path);
                let is_known = !may.is_empty() && (is_page || matches!(shown, Shown::InHeader));
                let (code, text) = ask(&stand, method, path, token.as_deref(), shown, &key).await;
                let is_shown_the_door = code == 401 && !text.contains("<table") || code == 303 && text.starts_with("/sign-in?to=");
                let is_right = match (needs == "nothing" || is_known && may.contains(&needs), is_known) {
                    (true, _) => needs == "nothing" || !is_shown_the_door && code != 403,
                    (false, false) => is_shown_the_door,
                    (false, true) => code == 403 && text.contains("lacks the scope") && text.contains(needs),
                };
                if !is_right {
                    wrong.push(format!("{method} {path} with {who} {shown:?}: {code} {}", text.chars().take(200).collect::<String>()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A call from a web page, which shows its token as any other caller does.
#[tokio::test]
async fn grpc_web_is_for_those_who_have_the_scope_and_for_nobody_else() {
    const PAGE: &str = "https://console.example.com";
    let mut bearers: Vec<(&str, Option<String>, &[&str])> =
        vec![("no token", None, &[]), ("a wrong token", Some("waypost_nobody".to_owned()), &[])];
    let stand = Stand::prepared(&format!("{TOKENS}\nagents.allowed_origins = ['{PAGE}']"), |folder| {
        bearers.extend(SCOPES.map(|(scope, may)| (scope, Some(create(folder, scope, &[scope])), may)));
    });
    let client: legacy::Client<_, Full<Bytes>> = legacy::Client::builder(TokioExecutor::new()).build_http();
    for (rpc, needs) in CALLS.iter().filter(|(rpc, _)| rpc.starts_with("AgentService/")) {
        for (who, token, may) in &bearers {
            let mut request = Request::post(format!("{}/waypost.v1.{rpc}", stand.broker.agents))
                .header("origin", PAGE)
                .header("content-type", "application/grpc-web+proto")
                .header("x-grpc-web", "1");
            if let Some(token) = token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let answer = soon("the answer", client.request(request.body(Full::new(Bytes::from_static(&[0; 5]))).unwrap())).await.unwrap();
            assert_eq!(answer.headers()["access-control-allow-origin"], PAGE, "the page may read the answer, whatever it is");
            let told = answer.headers().get("grpc-status").map(|status| status.to_str().unwrap().to_owned());
            match (may.contains(needs), may.is_empty()) {
                (true, _) => assert!(!matches!(told.as_deref(), Some("16" | "7")), "{rpc} with {who}: {told:?}"),
                (false, true) => assert_eq!(told.as_deref(), Some("16"), "{rpc} with {who}"),
                (false, false) => assert_eq!(told.as_deref(), Some("7"), "{rpc} with {who}"),
            }
        }
    }
}

#[tokio::test]
async fn health_is_for_everybody() {
    let stand = Stand::prepared(TOKENS, |folder| drop(create(folder, "agent", &["subscribe"])));
    let health = tonic_health::pb::health_client::HealthClient::new(stand.broker.channel());
    health.clone().check(tonic_health::pb::HealthCheckRequest::default()).await.unwrap();
}

#[tokio::test]
async fn a_publisher_speaks_for_its_sources_and_types_alone() {
    let mut token = String::new();
    let stand = Stand::prepared(TOKENS, |folder| token = create(folder, "routing", &["publish source=agents/routing type=logistics.*"]));
    let mut agent = agent(&stand, &token);
    let items = || vec![item("agents/routing", "logistics.x"), item("agents/billing", "logistics.x"), item("agents/routing", "billing.x")];
    let expected = [None, Some(ErrorReason::ScopeMissing), Some(ErrorReason::ScopeMissing)];
    assert_eq!(outcomes(agent.publish(PublishRequest { items: items() }).await.unwrap().into_inner().results), expected);
    let request = PublishStreamRequest { sequence: 1, items: items() };
    let mut stream = agent.publish_stream(tokio_stream::once(request)).await.unwrap().into_inner();
    let mut answers = soon("the results", stream.message()).await.unwrap().unwrap().results;
    assert_eq!(outcomes(answers.remove(0).results), expected);
}

/// Opens a stream; how its first message or its refusal reads.
async fn subscribe(agent: &mut Agent, request: SubscribeRequest) -> Result<tonic::Streaming<SubscribeResponse>, String> {
    match soon("the stream", agent.subscribe(request)).await {
        Ok(stream) => Ok(stream.into_inner()),
        Err(status) => {
            assert_eq!((status.code(), reason(&status)), (Code::PermissionDenied, Some(ErrorReason::ScopeMissing)), "{status:?}");
            Err(status.message().to_owned())
        }
    }
}

#[tokio::test]
async fn a_subscriber_receives_and_settles_what_its_scopes_cover_and_no_more() {
    let (mut routing, mut all) = (String::new(), String::new());
    let stand = Stand::prepared(TOKENS, |folder| {
        routing =
            create(folder, "routing", &["subscribe name=routing name=shared type=logistics.*", "publish source=agents/routing type=done"]);
        all = create(folder, "all", &["subscribe", "publish"]);
    });
    let (mut routing, mut all) = (agent(&stand, &routing), agent(&stand, &all));
    let refused = async |agent: &mut Agent, request, scope: &str| {
        let told = subscribe(agent, request).await.expect_err(scope);
        assert!(told.contains(scope), "{told}");
    };
    refused(&mut routing, to("billing", &["logistics.*"]), "scope \"subscribe name=billing\"").await;
    refused(&mut routing, to("routing", &[]), "scope \"subscribe name=routing\"").await;
    refused(&mut routing, to("routing", &["logistics.*", "billing.x"]), "type=billing.x").await;
    refused(&mut routing, to("", &["billing.x"]), "scope \"subscribe type=billing.x\"").await;
    // Nothing was created on the way: with another filter it would not match.
    let mut own = subscribe(&mut routing, to("routing", &["logistics.*"])).await.unwrap();
    subscribe(&mut routing, to("", &["logistics.x"])).await.unwrap();
    // One that somebody else made, with a wider filter, shows no more either.
    let mut wide = subscribe(&mut all, to("routing-wide", &[])).await.unwrap();
    drop(subscribe(&mut all, to("shared", &[])).await.unwrap());
    refused(&mut routing, to("shared", &[]), "scope \"subscribe name=shared\"").await;

    all.publish(PublishRequest { items: vec![item("somebody", "logistics.x")] }).await.unwrap();
    let token = async |stream: &mut tonic::Streaming<SubscribeResponse>| loop {
        let message = soon("a delivery", stream.message()).await.unwrap().unwrap();
        if let Some(Response::Deliveries(mut deliveries)) = message.response {
            break deliveries.deliveries.remove(0).token;
        }
    };
    let (mine, others) = (token(&mut own).await, token(&mut wide).await);
    let ack = |token: &Bytes, output: Option<&str>| Settlement {
        token: token.clone(),
        action: Some(Action::Ack(Ack { outputs: output.map(|name| Event::of_json("agents/routing", name, "{}")).into_iter().collect() })),
    };
    let settlements = vec![ack(&others, None), ack(&mine, Some("undone")), ack(&mine, Some("done"))];
    let results = routing.settle(SettleRequest { settlements }).await.unwrap().into_inner().results;
    let statuses: Vec<_> = results.iter().map(waypost_proto::v1::SettleResult::status).collect();
    assert_eq!(statuses, [SettlementStatus::PermissionDenied, SettlementStatus::OutputRefused, SettlementStatus::Done], "{results:?}");
    for (result, scope) in results.iter().zip(["subscribe name=routing-wide", "publish source=agents/routing type=undone"]) {
        assert_eq!(result.refusal.as_ref().unwrap().reason(), ErrorReason::ScopeMissing);
        assert!(result.message.contains(scope), "{}", result.message);
    }
}

#[tokio::test]
async fn a_reader_reads_its_types_alone() {
    let mut token = String::new();
    let stand = Stand::prepared(TOKENS, |folder| token = create(folder, "reader", &["read type=logistics.*"]));
    let mut agent = agent(&stand, &token);
    let types =
        |types: &[&str]| ReadEventsRequest { filter: to("", types).spec.and_then(|spec| spec.filter), ..ReadEventsRequest::default() };
    agent.read_events(types(&["logistics.x", "logistics.y.*"])).await.unwrap();
    for (what, request) in [("everything", types(&[])), ("another type", types(&["a.b"])), ("the broker's own", types(&["waypost.*"]))] {
        let refused = agent.read_events(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{what}");
    }
}
