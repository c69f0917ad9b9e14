//! What only looks: reading the log, sources, schemas and the quarantine; and letting go of what was set aside.

use std::{path::Path, sync::Arc, time::Duration};

use axum::body::Body;
use tonic::Code;
use tower::ServiceExt;
use waypost_broker::{
    config,
    entropy::Entropy,
    grpc::admin_routes,
    ingress::{Edge, KeyRing, LiveSources, Replays, router},
    journal::Journal,
    renewal::Renewals,
    trace::Tracer,
};
use waypost_proto::v1::{
    self, DiscardDeadLettersRequest, EventRef, GetLineageRequest, GetQuarantinedWebhookRequest, GetSchemaRequest, GetSourceRequest,
    GetSubscriptionRequest, ListDeadLettersRequest, ListQuarantinedWebhooksRequest, ListSchemasRequest, ListSourcesRequest, OutcomeState,
    ReadEventsRequest, ReadMode, RedriveDeadLettersRequest, SessionLimits, SettleRequest, Settlement, StartPosition, SubscribeRequest,
    SubscriptionSpec, get_lineage_request::Story, quarantine_admin_service_client::QuarantineAdminServiceClient,
    read_events_response::Response, schema_admin_service_client::SchemaAdminServiceClient, settlement::Action,
    source_admin_service_client::SourceAdminServiceClient, start_position::Position,
};
use waypost_store::testing::faulty::{Call, Fault};

use crate::world::{Agent, World, to};

const DAY: Duration = Duration::from_secs(86_400);

/// Everything that a read brings until it ends: ids, gaps, and where it ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    ids: Vec<String>,
    gaps: Vec<(u64, u64)>,
    next: u64,
}

async fn read(agent: &mut Agent, request: ReadEventsRequest) -> Read {
    let mut stream = agent.client.read_events(request).await.unwrap().into_inner();
    let mut read = Read::default();
    while let Some(message) = stream.message().await.unwrap() {
        match message.response.unwrap() {
            Response::Events(events) => read.ids.extend(events.events.into_iter().map(|stored| stored.event.unwrap().id)),
            Response::Gap(gap) => read.gaps.push((gap.from_offset, gap.to_offset)),
            Response::Progress(progress) => read.next = progress.next_offset,
        }
    }
    read
}

fn ids(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_bounded_read_ends_at_its_limit_at_its_end_or_at_the_tail() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let offsets = agent.publish(&["a", "b", "c"]).await;
    let all = read(&mut agent, ReadEventsRequest::default()).await;
    assert_eq!(all, Read { ids: ids(&["a", "b", "c"]), gaps: Vec::new(), next: offsets[2] + 1 });
    let limited = read(&mut agent, ReadEventsRequest { limit: Some(2), ..ReadEventsRequest::default() }).await;
    assert_eq!((limited.ids, limited.next), (ids(&["a", "b"]), offsets[2]));
    let start_position = Some(StartPosition { position: Some(Position::Offset(offsets[1])) });
    let middle = ReadEventsRequest { start_position, end_offset: Some(offsets[2]), ..ReadEventsRequest::default() };
    assert_eq!(read(&mut agent, middle).await.ids, ["b"]);
    let nothing = ReadEventsRequest { limit: Some(0), ..ReadEventsRequest::default() };
    assert_eq!(agent.client.read_events(nothing).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(start_paused = true)]
async fn a_read_tells_at_once_that_it_has_begun() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let offsets = agent.publish(&["a"]).await;
    let start_position = Some(StartPosition { position: Some(Position::Offset(offsets[0] + 1)) });
    let request = ReadEventsRequest { mode: ReadMode::Follow.into(), start_position, ..ReadEventsRequest::default() };
    let begun = tokio::time::Instant::now();
    let mut stream = agent.client.read_events(request).await.unwrap().into_inner();
    let Some(Response::Progress(progress)) = stream.message().await.unwrap().unwrap().response else { panic!("the first is progress") };
    assert_eq!((progress.next_offset, progress.durable_end_offset), (offsets[0] + 1, offsets[0] + 1));
    assert_eq!(begun.elapsed(), Duration::ZERO, "nothing is waited for");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_follows_waits_for_what_is_published_later() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    agent.publish(&["a"]).await;
    let request = ReadEventsRequest { mode: ReadMode::Follow.into(), limit: Some(2), ..ReadEventsRequest::default() };
    let mut reader = agent.clone();
    let reading = tokio::spawn(async move { read(&mut reader, request).await });
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!reading.is_finished(), "there is one event only");
    agent.publish(&["b"]).await;
    assert_eq!(reading.await.unwrap().ids, ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn p14_a_read_tells_what_is_damaged_as_a_gap() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let offsets = agent.publish(&["a", "b", "c"]).await;
    assert!(world.disk.damage(offsets[1]));
    let found = read(&mut agent, ReadEventsRequest::default()).await;
    assert_eq!(found, Read { ids: ids(&["a", "c"]), gaps: vec![(offsets[1], offsets[1] + 1)], next: offsets[2] + 1 });
}

#[tokio::test(start_paused = true)]
async fn p12_a_subscription_that_does_not_answer_holds_up_no_story() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    for name in ["answers", "hangs"] {
        drop(agent.subscribe(to(name)).await);
    }
    agent.publish(&["a"]).await;
    let world = world.restarted().await;
    let mut agent = world.agent().await;
    world.subscriptions().await.get_subscription(GetSubscriptionRequest { name: "answers".into() }).await.unwrap();
    // The other is asked for the first time, and its records do not come.
    world.faults.script(Call::Claim, [Some(Fault::Slow { before: DAY, after: Duration::ZERO })]);
    let story = Some(Story::Event(EventRef { source: "agents/test".into(), id: "a".into() }));
    let asked = tokio::time::Instant::now();
    let found = agent.client.get_lineage(GetLineageRequest { story, ..GetLineageRequest::default() }).await.unwrap().into_inner();
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    let told: Vec<_> = found.events[0].outcomes.iter().map(|outcome| (outcome.subscription.as_str(), outcome.state())).collect();
    assert_eq!(told, [("answers", OutcomeState::Waiting)], "who answers is told all the same");
}

#[tokio::test(start_paused = true)]
async fn a_discarded_dead_letter_is_gone_and_discarding_again_says_so() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let mut stream = agent.subscribe(to("work")).await;
    agent.publish(&["a"]).await;
    let delivery = stream.delivery().await;
    agent.settle(&delivery.token, Action::Reject(v1::Reject { reason: "no".into() })).await;
    let mut admin = world.dead_letters().await;
    let list = ListDeadLettersRequest::default;
    let found = admin.list_dead_letters(list()).await.unwrap().into_inner().dead_letters;
    let discard = || DiscardDeadLettersRequest { ids: vec![found[0].id.clone()] };
    let results = admin.discard_dead_letters(discard()).await.unwrap().into_inner().results;
    assert_eq!(results[0].refusal, None);
    assert!(admin.list_dead_letters(list()).await.unwrap().into_inner().dead_letters.is_empty());
    let results = admin.discard_dead_letters(discard()).await.unwrap().into_inner().results;
    assert_eq!(results[0].refusal.as_ref().unwrap().reason(), v1::ErrorReason::NotFound);
}

/// As many as one call may name: more than a machine decides in one commit.
#[tokio::test(start_paused = true)]
async fn a_thousand_dead_letters_are_redriven_or_discarded_in_one_call() {
    for redriven in [true, false] {
        let world = World::new().await;
        let mut agent = world.agent().await;
        let spec = Some(SubscriptionSpec { max_outstanding: Some(1_000), ..SubscriptionSpec::default() });
        let session_limits = Some(SessionLimits { max_outstanding: Some(1_000), ..SessionLimits::default() });
        let mut stream = agent.subscribe(SubscribeRequest { spec, session_limits, ..to("work") }).await;
        let names: Vec<_> = (0..1_000).map(|number| number.to_string()).collect();
        agent.publish(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let reject = |token| Settlement { token, action: Some(Action::Reject(v1::Reject { reason: "no".into() })) };
        let settlements = stream.deliveries(1_000).await.into_iter().map(|delivery| reject(delivery.token)).collect();
        agent.client.settle(SettleRequest { settlements }).await.unwrap();

        let mut admin = world.dead_letters().await;
        let list = ListDeadLettersRequest { page_size: Some(1_000), ..ListDeadLettersRequest::default() };
        let found = admin.list_dead_letters(list.clone()).await.unwrap().into_inner().dead_letters;
        let ids: Vec<_> = found.into_iter().map(|dead| dead.id).collect();
        assert_eq!(ids.len(), 1_000);
        let results = match redriven {
            true => admin.redrive_dead_letters(RedriveDeadLettersRequest { ids }).await.unwrap().into_inner().results,
            false => admin.discard_dead_letters(DiscardDeadLettersRequest { ids }).await.unwrap().into_inner().results,
        };
        let refused: Vec<_> = results.iter().filter_map(|result| result.refusal.as_ref()).collect();
        assert_eq!((results.len(), refused.first()), (1_000, None), "{} refused", refused.len());
        let left = admin.list_dead_letters(list).await.unwrap().into_inner().dead_letters;
        let expected = if redriven { 1_000 } else { 0 };
        assert!(left.len() == expected && left.iter().all(|dead| dead.redriving), "{} are left", left.len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_type_is_shown_with_what_it_requires() {
    let world = World::new().await;
    let mut admin = SchemaAdminServiceClient::new(world.channel(admin_routes(&world.broker, LiveSources::default())).await);
    let list = ListSchemasRequest { name_prefix: "github.v1.".into(), ..ListSchemasRequest::default() };
    let names: Vec<_> = admin.list_schemas(list).await.unwrap().into_inner().schemas.into_iter().map(|schema| schema.name).collect();
    assert!(names.contains(&"github.v1.IssueChanged".to_owned()), "{names:?}");
    assert!(names.iter().all(|name| name.starts_with("github.v1.")), "{names:?}");
    let get = |name: &str| GetSchemaRequest { name: name.into() };
    let shown = admin.get_schema(get("github.v1.IssueChanged")).await.unwrap().into_inner();
    assert!(!shown.schema.unwrap().required_fields.is_empty() && !shown.file_descriptor_set.is_empty());
    assert_eq!(admin.get_schema(get("github.v1.Nothing")).await.unwrap_err().code(), Code::NotFound);
}

/// A source that keeps what it cannot read.
fn sources() -> LiveSources {
    let text = "[sources.tool]\nverify = 'none'\non_undecodable = 'quarantine'";
    LiveSources::new(config::parse(text, Path::new("")).unwrap_or_else(|wrong| panic!("{wrong:?}")).sources)
}

#[tokio::test(start_paused = true)]
async fn quarantined_webhooks_are_shown_with_their_source_and_go_after_their_time() {
    let world = World::new().await;
    let sources = sources();
    let (store, clock) = (Arc::clone(&world.broker.store), world.broker.clock);
    let (entropy, tracer, journal) = (Arc::new(Entropy::seeded(3)), Tracer::off(), Journal::off());
    let (replays, keys) = (Arc::new(Replays::new(&entropy)), KeyRing::default());
    let edge =
        router(Edge { store, clock, entropy, sources: sources.clone(), keys, replays, tracer, journal, renewals: Renewals::default() });
    let post = || http::Request::post("/hooks/tool").header("content-type", "application/json").body(Body::from("{")).unwrap();
    assert_eq!(edge.clone().oneshot(post()).await.unwrap().status(), http::StatusCode::ACCEPTED);

    let channel = world.channel(admin_routes(&world.broker, sources)).await;
    let mut admin = SourceAdminServiceClient::new(channel.clone());
    let listed = admin.list_sources(ListSourcesRequest::default()).await.unwrap().into_inner().sources;
    let shown = admin.get_source(GetSourceRequest { name: "tool".into() }).await.unwrap().into_inner().source.unwrap();
    assert_eq!(listed, std::slice::from_ref(&shown));
    assert!(shown.unverified && shown.path == "/hooks/tool", "{shown:?}");
    assert_eq!(shown.stats.unwrap().quarantined, 1);
    assert_eq!(admin.get_source(GetSourceRequest { name: "other".into() }).await.unwrap_err().code(), Code::NotFound);

    let mut admin = QuarantineAdminServiceClient::new(channel);
    let list = || ListQuarantinedWebhooksRequest { source: "tool".into(), ..ListQuarantinedWebhooksRequest::default() };
    tokio::time::sleep(29 * DAY).await;
    let kept = admin.list_quarantined_webhooks(list()).await.unwrap().into_inner().webhooks;
    assert_eq!(kept.len(), 1, "{kept:?}");
    let get = GetQuarantinedWebhookRequest { id: kept[0].id.clone() };
    assert_eq!(admin.get_quarantined_webhook(get).await.unwrap().into_inner().body, "{".as_bytes());
    tokio::time::sleep(2 * DAY).await;
    assert_eq!(admin.list_quarantined_webhooks(list()).await.unwrap().into_inner().webhooks, []);
    // Who sends it again is not told of one that is gone.
    assert_eq!(edge.oneshot(post()).await.unwrap().status(), http::StatusCode::ACCEPTED);
    assert_eq!(admin.list_quarantined_webhooks(list()).await.unwrap().into_inner().webhooks.len(), 1);
}
