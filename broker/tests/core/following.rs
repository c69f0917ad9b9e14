//! What operators see of work under way: how far each subscription is with an event, and what each session holds.

use std::time::Duration;

use waypost_broker::{grpc::admin_routes, ingress::LiveSources};
use waypost_proto::v1::{
    self, CreateSubscriptionRequest, EventRef, Filter, GetLineageRequest, LineageOutcome, ListSessionsRequest, OutcomeState, SessionLimits,
    SubscribeRequest, SubscriptionSpec, UpdateSubscriptionRequest, get_lineage_request::Story,
    session_admin_service_client::SessionAdminServiceClient, settlement::Action,
};

use crate::world::{Agent, World, to};

async fn outcomes(agent: &mut Agent, id: &str) -> Vec<LineageOutcome> {
    let event = EventRef { source: "agents/test".into(), id: id.into() };
    let request = GetLineageRequest { story: Some(Story::Event(event)), ..GetLineageRequest::default() };
    agent.client.get_lineage(request).await.unwrap().into_inner().events.remove(0).outcomes
}

#[tokio::test(start_paused = true)]
async fn a_story_tells_who_is_not_done_with_each_event() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let elsewhere = Filter { types: vec!["else.*".into()], ..Filter::default() };
    let mut admin = world.subscriptions().await;
    for (name, filter) in [("waits", None), ("wants-else", Some(elsewhere))] {
        let spec = Some(SubscriptionSpec { filter, ..SubscriptionSpec::default() });
        admin.create_subscription(CreateSubscriptionRequest { name: name.into(), spec }).await.unwrap();
    }
    let named = |name: &str| SubscribeRequest { client: "planner/2".into(), ..to(name) };
    let mut streams = Vec::new();
    for name in ["acks", "holds", "nacks", "rejects"] {
        streams.push(agent.subscribe(named(name)).await);
    }
    agent.publish(&["a"]).await;
    let mut tokens = Vec::new();
    for stream in &mut streams {
        tokens.push(stream.delivery().await.token);
    }
    agent.settle(&tokens[0], Action::Ack(v1::Ack::default())).await;
    let later = v1::Nack { delay: Some(prost_types::Duration { seconds: 60, nanos: 0 }), ..v1::Nack::default() };
    agent.settle(&tokens[2], Action::Nack(later)).await;
    agent.settle(&tokens[3], Action::Reject(v1::Reject { reason: "no".into() })).await;

    let told = outcomes(&mut agent, "a").await;
    let seen: Vec<_> = told.iter().map(|outcome| (outcome.subscription.as_str(), outcome.state(), outcome.attempts)).collect();
    use OutcomeState::{DeadLettered, Leased, Waiting};
    assert_eq!(seen, [("holds", Leased, 1), ("nacks", Waiting, 1), ("rejects", DeadLettered, 1), ("waits", Waiting, 0)]);
    assert_eq!((&*told[0].session_id, &*told[0].client), (&*streams[1].opened.session_id, "planner/2"));
    assert!(told[2].settled_at.is_some() && told[0].settled_at.is_none(), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_session_is_shown_with_what_it_holds() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let limits = SessionLimits { max_outstanding: Some(2), ..SessionLimits::default() };
    let mut stream = agent.subscribe(SubscribeRequest { session_limits: Some(limits), ..to("work") }).await;
    let mut admin = SessionAdminServiceClient::new(world.channel(admin_routes(&world.broker, LiveSources::default())).await);
    let mut shown = async || admin.list_sessions(ListSessionsRequest::default()).await.unwrap().into_inner().sessions.remove(0);
    let idle = shown().await;
    assert_eq!((idle.outstanding, idle.outstanding_bytes, idle.oldest_delivery_at), (0, 0, None));

    agent.publish(&["a"]).await;
    let first = stream.delivery().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    agent.publish(&["b", "c"]).await;
    stream.delivery().await;
    let busy = shown().await;
    let (oldest, expires) = (busy.oldest_delivery_at.unwrap(), first.lease_expires_at.unwrap());
    assert_eq!((busy.outstanding, expires.seconds - oldest.seconds), (2, 30));
    assert!(busy.outstanding_bytes > 0, "{busy:?}");
}

#[tokio::test(start_paused = true)]
async fn an_update_tells_from_where_its_filter_decides() {
    let world = World::new().await;
    let (mut agent, mut admin) = (world.agent().await, world.subscriptions().await);
    let mut stream = agent.subscribe(to("work")).await;
    let offsets = agent.publish(&["a", "b"]).await;
    stream.deliveries(2).await;
    let filter = Filter { types: vec!["else.*".into()], ..Filter::default() };
    let spec = Some(SubscriptionSpec { filter: Some(filter), ..SubscriptionSpec::default() });
    let update = UpdateSubscriptionRequest { name: "work".into(), spec, ..UpdateSubscriptionRequest::default() };
    let updated = admin.update_subscription(update).await.unwrap().into_inner();
    assert_eq!(updated.from_offset, offsets[1] + 1);
}
