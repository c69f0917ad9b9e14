//! Who may do what: every call and page, by everybody; what a scope does not cover; how tokens come and go; what is told of it, and what never.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
};

use agent_client::{Client, Start, SubscribeError};
use http_body_util::{BodyExt, Empty};
use hyper::{Request, body::Bytes};
use hyper_util::{client::legacy, rt::TokioExecutor};
use prost::Message;
use tonic::{
    Code, Status,
    metadata::MetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};
use waypost_proto::{
    FILE_DESCRIPTOR_SET, rpc,
    v1::{
        Ack, ErrorReason, Event, Filter, ListSessionsRequest, PublishItem, PublishRequest, PublishStreamRequest, ReadEventsRequest,
        SettleRequest, Settlement, SettlementStatus, SubscribeRequest, SubscribeResponse, SubscriptionSpec,
        agent_service_client::AgentServiceClient, publish_result::Result as Outcome,
        session_admin_service_client::SessionAdminServiceClient, settlement::Action, subscribe_response::Response,
    },
};
use waypost_tests::{authority::Authority, process::program};

use crate::{
    stand::{SECRET, Stand, delay, soon},
    sweep::call,
};

const TOKENS: &str = "auth.tokens_file = 'tokens.toml'\nlog.audit_file = 'audit.jsonl'";

/// What each call takes. A call that is not here is one that nobody has thought about.
const CALLS: [(&str, &str); 28] = [
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
    ("SourceAdminService/ListSources", "inspect"),
    ("SourceAdminService/GetSource", "inspect"),
    ("QuarantineAdminService/ListQuarantinedWebhooks", "inspect"),
    ("QuarantineAdminService/GetQuarantinedWebhook", "inspect"),
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

/// `waypost token …` on the tokens of a folder.
fn tokens(folder: &Path, args: &[&str]) -> Output {
    Command::new(program()).arg("token").args(args).current_dir(folder).output().unwrap()
}

/// A new token, as a script takes it.
fn create(folder: &Path, name: &str, scopes: &[&str]) -> String {
    let scopes: Vec<_> = scopes.iter().flat_map(|scope| ["--scope", scope]).collect();
    let made = tokens(folder, &[&["create", name], &scopes[..]].concat());
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let token = String::from_utf8(made.stdout).unwrap().trim_end().to_owned();
    assert!(token.len() > 40 && !String::from_utf8(made.stderr).unwrap().contains(&token), "the token is on standard output alone");
    token
}

/// Puts a header into every call.
#[derive(Clone)]
struct Bearer(Option<String>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", MetadataValue::try_from(format!("Bearer {token}")).unwrap());
        }
        Ok(request)
    }
}

type Agent = AgentServiceClient<InterceptedService<Channel, Bearer>>;

fn agent(stand: &Stand, token: &str) -> Agent {
    AgentServiceClient::with_interceptor(stand.broker.channel(), Bearer(Some(token.to_owned())))
}

fn reason(status: &Status) -> Option<ErrorReason> {
    rpc::Status::decode(status.details()).ok()?.detail::<rpc::ErrorInfo>()?.reason()
}

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

async fn get(url: &str, token: Option<&str>) -> (u16, String) {
    let client: legacy::Client<_, Empty<Bytes>> = legacy::Client::builder(TokioExecutor::new()).build_http();
    let mut request = Request::get(url);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let answer = soon("the page", client.request(request.body(Empty::new()).unwrap())).await.unwrap();
    let code = answer.status().as_u16();
    (code, String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().into()).unwrap())
}

#[tokio::test]
async fn pages_are_for_those_who_may_and_health_is_for_everybody() {
    let mut token = String::new();
    let stand = Stand::prepared(TOKENS, |folder| token = create(folder, "agent", &["subscribe"]));
    for open in ["/healthz", "/readyz"] {
        assert_eq!(get(&format!("{}{open}", stand.broker.admin), None).await.0, 200);
    }
    let page = format!("{}/anything", stand.broker.admin);
    assert_eq!(get(&page, None).await.0, 401);
    let (code, text) = get(&page, Some(&token)).await;
    assert!(code == 403 && text.contains("lacks the scope \"admin\""), "{code} {text}");
    let health = tonic_health::pb::health_client::HealthClient::new(stand.broker.channel());
    health.clone().check(tonic_health::pb::HealthCheckRequest::default()).await.unwrap();
}

fn item(source: &str, event_type: &str) -> PublishItem {
    PublishItem { event: Some(Event::of_json(source, event_type, "{}")), ..PublishItem::default() }
}

/// What became of each item: accepted, or why not.
fn outcomes(results: Vec<waypost_proto::v1::PublishResult>) -> Vec<Option<ErrorReason>> {
    let outcome = |result: waypost_proto::v1::PublishResult| match result.result.unwrap() {
        Outcome::Accepted(_) => None,
        Outcome::Refused(refusal) => Some(refusal.reason()),
    };
    results.into_iter().map(outcome).collect()
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

fn to(name: &str, types: &[&str]) -> SubscribeRequest {
    let filter = Filter { types: types.iter().map(|&name| name.to_owned()).collect(), ..Filter::default() };
    let spec = (!types.is_empty()).then(|| SubscriptionSpec { filter: Some(filter), ..SubscriptionSpec::default() });
    SubscribeRequest { subscription: name.to_owned(), spec, ..SubscribeRequest::default() }
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

#[tokio::test]
async fn no_secret_is_in_any_output() {
    let authority = Authority::new();
    let pair = authority.sign(&["127.0.0.1"]);
    let mut secrets = vec![SECRET.to_owned(), "waypost_not-a-token-of-this-broker".to_owned()];
    secrets.extend(pair.key.lines().filter(|line| !line.starts_with('-')).map(str::to_owned));
    let lines = format!("{TOKENS}\nlog.level = 'trace'\nadmin.tls = {{ certificate = 'here.pem', key = 'here.key' }}");
    let stand = Stand::prepared(&lines, |folder| {
        pair.write(folder, "here");
        secrets.push(create(folder, "all", &["publish", "subscribe", "read", "admin"]));
    });
    let (wrong, right) = (secrets[1].clone(), secrets.last().unwrap().clone());
    stand.carrier(SECRET).post(delay(1)).await.unwrap();
    stand.carrier("another secret").post(delay(2)).await.unwrap();
    stand.carrier(SECRET).post(b"{}".to_vec()).await.unwrap();
    for token in [&right, &wrong] {
        let mut agent = agent(&stand, token);
        let _ = agent.publish(PublishRequest { items: vec![item("agents/a", "a.b")] }).await;
        let _ = agent.read_events(ReadEventsRequest::default()).await;
        let _ = subscribe_once(&mut agent).await;
        let ca = stand.folder.path().join("ca.pem");
        fs::write(&ca, authority.pem()).unwrap();
        fs::write(stand.folder.path().join("cli.token"), token).unwrap();
        let printed = Command::new(program())
            .args(["publish", "a.b", "{}", "--agents", &stand.broker.agents, "--admin", &stand.broker.admin, "--token", "file:cli.token"])
            .arg("--ca")
            .arg(&ca)
            .env("WAYPOST_LOG", "trace")
            .current_dir(stand.folder.path())
            .output()
            .unwrap();
        assert_eq!(printed.status.success(), *token == right, "{printed:?}");
        fs::write(stand.folder.path().join("cli.output"), [printed.stdout, printed.stderr].concat()).unwrap();
        fs::remove_file(stand.folder.path().join("cli.token")).unwrap();
    }
    // A file of tokens that holds what it should not.
    let tokens_file = stand.folder.path().join("tokens.toml");
    let sound = fs::read_to_string(&tokens_file).unwrap();
    fs::write(&tokens_file, format!("{sound}\n[[tokens]]\nname = 'b'\nhash = '{right}'\nscopes = []\n")).unwrap();
    let told = async {
        while !stand.log().contains("auth.tokens_file: ") {
            tokio::task::yield_now().await;
        }
    };
    soon("the report of the bad file", told).await;
    fs::write(&tokens_file, sound).unwrap();

    fs::write(stand.folder.path().join("printed"), &stand.broker.printed).unwrap();
    let mut files = 0;
    let mut folders = vec![stand.folder.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.file_name().unwrap().to_str().unwrap() {
                _ if path.is_dir() => folders.push(path),
                "secret" | "here.key" => {}
                name => {
                    files += 1;
                    let content = fs::read(&path).unwrap();
                    for secret in &secrets {
                        let is_there = content.windows(secret.len()).any(|part| part == secret.as_bytes());
                        assert!(!is_there, "{name} holds the secret {secret:?}");
                    }
                }
            }
        }
    }
    assert!(files > 6, "the log, the audit log, what was printed, and the store were looked at: {files}");
    assert!(stand.log().contains("TRACE"), "everything that can be logged was");
}

async fn subscribe_once(agent: &mut Agent) -> Result<(), Status> {
    let mut stream = agent.subscribe(to("routing", &[])).await?.into_inner();
    soon("the first message", stream.message()).await.map(drop)
}
