//! The admin services, end to end.

use std::time::Duration;

use prost::Message;
use tonic::Code;
use waypost_proto::{
    rpc,
    v1::{
        self, CreateSubscriptionRequest, DeleteSubscriptionRequest, EndSessionRequest, Filter, GetSubscriptionRequest,
        ListSubscriptionsRequest, PauseSubscriptionRequest, ResumeSubscriptionRequest, SeekSubscriptionRequest, SettlementStatus,
        StartPoint, StartPosition, SubscribeRequest, SubscriptionSpec, SubscriptionState, UpdateSubscriptionRequest,
        start_position::Position, subscribe_response::Response,
    },
};

use crate::world::{World, id, to};

fn at(position: Position) -> Option<StartPosition> {
    Some(StartPosition { position: Some(position) })
}

fn types(names: &[&str]) -> Option<Filter> {
    Some(Filter { types: names.iter().map(|&name| name.to_owned()).collect(), ..Filter::default() })
}

#[tokio::test(start_paused = true)]
async fn a_subscription_made_beforehand_gathers_events() {
    let world = World::new().await;
    let (mut agent, mut admin) = (world.agent().await, world.subscriptions().await);
    let create = || CreateSubscriptionRequest { name: "work".into(), spec: None };
    let made = admin.create_subscription(create()).await.unwrap().into_inner().subscription.unwrap();
    assert_eq!((made.name.as_str(), made.state()), ("work", SubscriptionState::Active));
    assert_eq!(admin.create_subscription(create()).await.unwrap_err().code(), Code::AlreadyExists);
    agent.publish(&["a"]).await;
    let mut stream = agent.subscribe(to("work")).await;
    assert_eq!(id(&stream.delivery().await), "a");
}

#[tokio::test(start_paused = true)]
async fn another_spec_is_refused_and_names_each_field() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    drop(agent.subscribe(to("work")).await);
    let spec = Some(SubscriptionSpec { max_outstanding: Some(9), filter: types(&["a"]), ..SubscriptionSpec::default() });
    let status = agent.try_subscribe(SubscribeRequest { spec, ..to("work") }).await.err().unwrap();
    assert_eq!(status.code(), Code::FailedPrecondition);
    let details = rpc::Status::decode(status.details()).unwrap();
    assert_eq!(details.detail::<rpc::ErrorInfo>().unwrap().reason(), Some(v1::ErrorReason::SpecMismatch));
    let fields: Vec<_> = details.detail::<rpc::BadRequest>().unwrap().field_violations.into_iter().map(|v| v.field).collect();
    assert_eq!(fields, ["spec.filter", "spec.max_outstanding"]);
}

#[tokio::test(start_paused = true)]
async fn a_paused_subscription_delivers_nothing_until_it_is_resumed() {
    let world = World::new().await;
    let (mut agent, mut admin) = (world.agent().await, world.subscriptions().await);
    let mut stream = agent.subscribe(to("work")).await;
    let pause = PauseSubscriptionRequest { name: "work".into(), reason: "deploy".into() };
    let paused = admin.pause_subscription(pause).await.unwrap().into_inner().subscription.unwrap();
    assert_eq!((paused.state(), paused.state_reason.as_str()), (SubscriptionState::Paused, "deploy"));
    agent.publish(&["a"]).await;
    stream.stays_silent(Duration::from_secs(60)).await;
    admin.resume_subscription(ResumeSubscriptionRequest { name: "work".into() }).await.unwrap();
    stream.delivery().await;
}

#[tokio::test(start_paused = true)]
async fn a_seek_delivers_again_and_tokens_from_before_are_stale() {
    let world = World::new().await;
    let (mut agent, mut admin) = (world.agent().await, world.subscriptions().await);
    let mut stream = agent.subscribe(to("work")).await;
    agent.publish(&["a", "b"]).await;
    let before = stream.deliveries(2).await;
    agent.ack(&before[0]).await;
    let seek = |target| SeekSubscriptionRequest { name: "work".into(), target, incarnation: String::new() };
    admin.seek_subscription(seek(at(Position::Point(StartPoint::Earliest.into())))).await.unwrap();
    let Response::Revoked(revoked) = stream.message().await else { panic!("the lease of b is gone") };
    assert_eq!(revoked.token, before[1].token);
    let again = stream.deliveries(2).await;
    assert_eq!(again.iter().map(|delivery| (id(delivery), delivery.attempt)).collect::<Vec<_>>(), [("a", 1), ("b", 1)]);
    assert_eq!(agent.ack(&before[1]).await, SettlementStatus::Stale);
    assert_eq!(admin.seek_subscription(seek(at(Position::Offset(99)))).await.unwrap_err().code(), Code::OutOfRange);
    assert_eq!(admin.seek_subscription(seek(None)).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(start_paused = true)]
async fn an_update_holds_from_an_offset_on_and_survives_a_restart() {
    let world = World::new().await;
    let (mut agent, mut admin) = (world.agent().await, world.subscriptions().await);
    let mut stream = agent.subscribe(to("work")).await;
    let spec = Some(SubscriptionSpec { filter: types(&["else.*"]), max_outstanding: Some(3), ..SubscriptionSpec::default() });
    let update = UpdateSubscriptionRequest { name: "work".into(), spec, ..UpdateSubscriptionRequest::default() };
    admin.update_subscription(update).await.unwrap();
    agent.publish(&["a"]).await;
    stream.stays_silent(Duration::from_secs(60)).await;
    let world = world.restarted().await;
    let get = GetSubscriptionRequest { name: "work".into() };
    let shown = world.subscriptions().await.get_subscription(get).await.unwrap().into_inner().subscription.unwrap();
    assert_eq!(shown.spec.unwrap().max_outstanding, Some(3));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_subscription_ends_its_streams_and_another_of_its_name_is_another() {
    let world = World::new().await;
    let (mut agent, mut admin) = (world.agent().await, world.subscriptions().await);
    let mut stream = agent.subscribe(to("work")).await;
    agent.publish(&["a"]).await;
    let delivery = stream.delivery().await;
    let delete = |incarnation: &str| DeleteSubscriptionRequest { name: "work".into(), incarnation: incarnation.into() };
    assert_eq!(admin.delete_subscription(delete("other")).await.unwrap_err().code(), Code::FailedPrecondition);
    admin.delete_subscription(delete(&stream.opened.incarnation)).await.unwrap();
    assert_eq!(stream.try_message().await.unwrap_err().code(), Code::NotFound);
    assert_eq!(agent.ack(&delivery).await, SettlementStatus::UnknownToken);
    assert_eq!(admin.delete_subscription(delete("")).await.unwrap_err().code(), Code::NotFound);
    let again = agent.subscribe(to("work")).await;
    assert_ne!(again.opened.incarnation, stream.opened.incarnation);
    let world = world.restarted().await;
    let list = world.subscriptions().await.list_subscriptions(ListSubscriptionsRequest::default()).await.unwrap().into_inner();
    assert_eq!(list.subscriptions.len(), 1);
    assert_eq!(list.subscriptions[0].incarnation, again.opened.incarnation);
}

#[tokio::test(start_paused = true)]
async fn p6_a_session_that_an_operator_ends_gives_back_what_it_holds_uncounted_and_may_come_back() {
    let world = World::new().await;
    let (mut agent, mut admin) = (world.agent().await, world.sessions().await);
    let mut hanging = agent.subscribe(to("work")).await;
    agent.publish(&["a"]).await;
    let held = hanging.delivery().await;
    let session_id = hanging.opened.session_id.clone();
    let mut other = agent.subscribe(to("work")).await;
    let elsewhere = EndSessionRequest { session_id: session_id.clone(), subscription: "elsewhere".into() };
    assert_eq!(admin.end_session(elsewhere).await.unwrap_err().code(), Code::NotFound);

    let asked = tokio::time::Instant::now();
    let request = EndSessionRequest { session_id: session_id.clone(), subscription: String::new() };
    let ended = admin.end_session(request.clone()).await.unwrap().into_inner().sessions;
    assert_eq!((ended[0].id.as_str(), ended[0].subscription.as_str(), ended[0].outstanding), (session_id.as_str(), "work", 1));
    let status = hanging.try_message().await.unwrap_err();
    assert!(status.code() == Code::Unavailable && status.message().contains("operator"), "{status:?}");
    let again = other.delivery().await;
    assert_eq!((id(&again), again.attempt, again.losses), ("a", held.attempt, 0));
    assert_eq!(asked.elapsed(), Duration::ZERO, "no grace is waited for");
    assert_eq!(admin.end_session(request).await.unwrap_err().code(), Code::NotFound, "there is none any more");

    // A late ack is work done all the same (P4), and the agent may connect again.
    assert_eq!(agent.ack(&held).await, SettlementStatus::Done);
    let back = agent.subscribe(SubscribeRequest { session_id, held_tokens: vec![held.token], ..to("work") }).await;
    assert_eq!((back.opened.adopted.len(), back.opened.dropped.len()), (0, 1));
}
