//! What operators and their tools rely on: dead agents are noticed, health and reflection tell the truth, signals end the broker.

use std::{collections::BTreeSet, time::Duration};

use agent_client::{Client, Settled, Start, Subscription};
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{oneshot, watch},
};
use tonic::{Code, Status, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient, server_reflection_request::MessageRequest,
    server_reflection_response::MessageResponse,
};

use crate::stand::{SECRET, Stand, delay, soon};

/// A cable to the agents' listener that can be cut without either end being told.
struct Cable {
    address: String,
    cut: watch::Sender<bool>,
    hung_up: oneshot::Receiver<()>,
}

impl Cable {
    async fn to(stand: &Stand) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let broker = stand.broker.agents.trim_start_matches("http://").to_owned();
        let (cut, is_cut) = watch::channel(false);
        let (tell, hung_up) = oneshot::channel();
        tokio::spawn(async move {
            let (agent, _) = listener.accept().await.unwrap();
            let (mut from_agent, mut to_agent) = agent.into_split();
            let (mut from_broker, mut to_broker) = TcpStream::connect(broker).await.unwrap().into_split();
            let mut until_cut = is_cut.clone();
            let upstream = tokio::spawn(async move {
                tokio::select! {
                    _ = until_cut.wait_for(|cut| *cut) => {}
                    _ = tokio::io::copy(&mut from_agent, &mut to_broker) => {}
                }
                // Neither half is dropped: that would be a goodbye.
                (from_agent, to_broker)
            });
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = from_broker.read(&mut buffer).await {
                if !*is_cut.borrow() {
                    to_agent.write_all(&buffer[..count]).await.unwrap();
                }
            }
            let _ = tell.send(());
            drop(upstream);
        });
        Self { address, cut, hung_up }
    }
}

async fn open(agent: &Client, name: &str) -> Subscription<()> {
    let builder = agent.subscribe(name).start_at(Start::Earliest).ack_deadline(Duration::from_secs(600));
    soon("the stream", builder.open()).await.unwrap()
}

/// One that answers pings is left alone; one that does not is gone long before its ack deadline, and so are its leases.
#[tokio::test]
async fn p6_a_dead_agent_is_noticed_by_its_silence() {
    let stand = Stand::with("agents.keepalive_interval = '1s'\nagents.keepalive_timeout = '1s'\ndelivery.resume_grace = '100ms'");
    let (mut cable, mut sound) = (Cable::to(&stand).await, Cable::to(&stand).await);
    let (dying, living) = (Client::connect(cable.address.clone()).unwrap(), Client::connect(sound.address.clone()).unwrap());
    let _silent = open(&living, "other").await;
    let mut subscription = open(&dying, "routing").await;
    stand.carrier(SECRET).post(delay(1)).await.unwrap();
    let held = soon("the delivery", subscription.try_next()).await.unwrap().unwrap();

    cable.cut.send(true).unwrap();
    soon("the end of the dead agent's connection", &mut cable.hung_up).await.unwrap();
    let mut heir = open(&stand.agent(), "routing").await;
    let again = soon("what the dead agent held", heir.try_next()).await.unwrap().unwrap();
    assert_eq!((again.offset(), again.attempt()), (held.offset(), 2));
    assert_eq!(again.ack().await.unwrap(), Settled::Done);
    assert!(sound.hung_up.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty), "it answered every ping");
}

async fn reflect(channel: &Channel, ask: MessageRequest) -> Result<MessageResponse, Status> {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
    let answer = ServerReflectionClient::new(channel.clone()).server_reflection_info(tokio_stream::once(request)).await.unwrap();
    Ok(soon("what reflection says", answer.into_inner().message()).await?.unwrap().message_response.unwrap())
}

#[tokio::test]
async fn reflection_lists_what_each_listener_serves_and_describes_it() {
    let stand = Stand::new();
    let common = ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"];
    let admin = ["DeadLetter", "Quarantine", "Schema", "Session", "Source", "Store", "Subscription", "Webhook"]
        .map(|what| format!("waypost.v1.{what}AdminService"));
    for (channel, own) in
        [(stand.broker.channel(), vec!["waypost.v1.AgentService".to_owned()]), (stand.broker.admin_channel(), admin.into())]
    {
        let listed = match reflect(&channel, MessageRequest::ListServices(String::new())).await {
            Ok(MessageResponse::ListServicesResponse(list)) => {
                list.service.into_iter().map(|service| service.name).collect::<BTreeSet<_>>()
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(listed, own.into_iter().chain(common.map(str::to_owned)).collect());
        for name in listed {
            let Ok(MessageResponse::FileDescriptorResponse(found)) =
                reflect(&channel, MessageRequest::FileContainingSymbol(name.clone())).await
            else {
                panic!("{name} is listed and not described");
            };
            let files = found.file_descriptor_proto.iter().map(|file| prost_types::FileDescriptorProto::decode(&file[..]).unwrap());
            let services: Vec<_> = files
                .flat_map(|file| {
                    file.service
                        .into_iter()
                        .map(move |service| format!("{}.{}", file.package.as_deref().unwrap_or_default(), service.name()))
                })
                .collect();
            assert!(services.contains(&name), "{name} is not among {services:?}");
        }
    }
    let unknown = reflect(&stand.broker.channel(), MessageRequest::FileContainingSymbol("waypost.v1.Nothing".to_owned())).await;
    assert!(unknown.as_ref().is_err_and(|status| status.code() == Code::NotFound), "{unknown:?}");
}

/// Health as a load balancer watches it.
async fn watch_health(channel: Channel, service: &str) -> tonic::Streaming<tonic_health::pb::HealthCheckResponse> {
    HealthClient::new(channel).watch(HealthCheckRequest { service: service.to_owned() }).await.unwrap().into_inner()
}

/// A broker that drains and cannot end, since an agent holds something; health watched.
async fn draining(stand: &Stand, mut health: tonic::Streaming<tonic_health::pb::HealthCheckResponse>) {
    let mut status = async || soon("the health", health.message()).await.unwrap().unwrap().status();
    assert_eq!(status().await, ServingStatus::Serving);
    stand.broker.terminate();
    assert_eq!(status().await, ServingStatus::NotServing);
}

#[tokio::test]
async fn p6_a_signal_drains_what_is_held_is_settled_and_the_broker_ends_with_0() {
    let stand = Stand::with("agents.drain_grace = '10m'");
    let mut subscription = open(&stand.agent(), "routing").await;
    stand.carrier(SECRET).post(delay(1)).await.unwrap();
    let held = soon("the delivery", subscription.try_next()).await.unwrap().unwrap();
    draining(&stand, watch_health(stand.broker.channel(), "waypost.v1.AgentService").await).await;

    assert_eq!(held.ack().await.unwrap(), Settled::Done, "settling goes on while the broker drains");
    let Stand { broker, folder, .. } = stand;
    assert_eq!(soon("the end", broker.ended()).await.code(), Some(0));
    drop(folder);
}

#[tokio::test]
async fn a_second_signal_ends_the_broker_at_once_with_130() {
    let stand = Stand::with("agents.drain_grace = '10m'");
    let mut subscription = open(&stand.agent(), "routing").await;
    stand.carrier(SECRET).post(delay(1)).await.unwrap();
    let _held = soon("the delivery", subscription.try_next()).await.unwrap().unwrap();
    draining(&stand, watch_health(stand.broker.admin_channel(), "").await).await;

    stand.broker.terminate();
    let Stand { broker, folder, .. } = stand;
    assert_eq!(soon("the end", broker.ended()).await.code(), Some(130));
    drop(folder);
}

#[tokio::test]
async fn every_service_has_its_health() {
    let stand = Stand::new();
    let admin = stand.broker.admin_channel();
    for (channel, service) in [
        (stand.broker.channel(), ""),
        (stand.broker.channel(), "waypost.v1.AgentService"),
        (admin.clone(), ""),
        (admin.clone(), "waypost.v1.SubscriptionAdminService"),
        (admin, "waypost.v1.DeadLetterAdminService"),
    ] {
        let status =
            HealthClient::new(channel).check(HealthCheckRequest { service: service.to_owned() }).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service}");
    }
}
