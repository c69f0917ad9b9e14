//! An agent that takes, settles, and comes back with what it held.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use tonic::{Streaming, transport::Channel};
use waypost_proto::v1::{
    Ack, Delivery, Filter, Nack, Reject, SessionLimits, SettleRequest, Settlement, SettlementStatus, StartPoint, StartPosition,
    SubscribeRequest, SubscribeResponse, SubscriptionSpec, agent_service_client::AgentServiceClient, settlement::Action,
    start_position::Position, subscribe_response::Response,
};

use crate::ledger::Ledger;

/// One session of a subscription, over many lives of the broker.
#[derive(Debug)]
pub(crate) struct Agent {
    subscription: &'static str,
    types: &'static [&'static str],
    session: String,
    /// The ids of the events of the deliveries that it received and whose settlement was not confirmed.
    held: BTreeMap<Bytes, String>,
    nacked: BTreeSet<String>,
    /// Which life of the broker this is.
    life: u32,
    /// Whether now and then a delivery is left to its fate, so that the broker dies while it is held.
    careless: bool,
    rng: fastrand::Rng,
}

impl Agent {
    pub(crate) fn new(subscription: &'static str, types: &'static [&'static str], mut rng: fastrand::Rng) -> Self {
        let session = uuid::Builder::from_random_bytes(rng.u128(..).to_le_bytes()).into_uuid().to_string();
        Self { subscription, types, session, held: BTreeMap::new(), nacked: BTreeSet::new(), life: 0, careless: true, rng }
    }

    /// The same, settling everything from now on.
    pub(crate) fn careful(self) -> Self {
        Self { careless: false, ..self }
    }

    /// The same, on a copy of the store: of what it held of the original, the copy knows nothing.
    pub(crate) fn without_what_it_held(self) -> Self {
        Self { held: BTreeMap::new(), ..self }
    }

    /// Works until the broker is gone.
    pub(crate) async fn work(mut self, channel: Channel, ledger: Arc<Ledger>) -> Self {
        self.life += 1;
        let mut client = AgentServiceClient::new(channel).max_decoding_message_size(4 << 20);
        match client.subscribe(self.request()).await {
            Ok(stream) => self.serve(&mut client, stream.into_inner(), &ledger).await,
            // It was killed before it answered.
            Err(status) => assert!(is_gone(&status), "{}: {status:?}", self.subscription),
        }
        self
    }

    /// Takes and settles until so many heartbeats came, one a second at the most.
    pub(crate) async fn watch_heartbeats(mut self, channel: Channel, ledger: Arc<Ledger>, mut heartbeats: u32) {
        self.life += 1;
        let mut client = AgentServiceClient::new(channel).max_decoding_message_size(4 << 20);
        let heartbeat_interval = Some(prost_types::Duration { seconds: 1, nanos: 0 });
        let request = SubscribeRequest { heartbeat_interval, ..self.request() };
        let mut stream = client.subscribe(request).await.unwrap().into_inner();
        while heartbeats > 0 {
            match stream.message().await.unwrap().and_then(|message| message.response) {
                Some(Response::Heartbeat(_)) => heartbeats -= 1,
                Some(Response::Deliveries(deliveries)) => {
                    deliveries.deliveries.into_iter().for_each(|delivery| drop(self.take(delivery, &ledger)));
                }
                Some(_) => {}
                None => panic!("the stream of {} ended", self.subscription),
            }
        }
    }

    fn request(&self) -> SubscribeRequest {
        let filter = Filter { types: self.types.iter().map(|&name| name.to_owned()).collect(), ..Filter::default() };
        let start = StartPosition { position: Some(Position::Point(StartPoint::Earliest.into())) };
        SubscribeRequest {
            subscription: self.subscription.to_owned(),
            session_id: self.session.clone(),
            held_tokens: self.held.keys().cloned().collect(),
            spec: Some(SubscriptionSpec { filter: Some(filter), start_position: Some(start), ..SubscriptionSpec::default() }),
            session_limits: Some(SessionLimits { max_outstanding: Some(64), ..SessionLimits::default() }),
            ..SubscribeRequest::default()
        }
    }

    async fn serve(&mut self, client: &mut AgentServiceClient<Channel>, mut stream: Streaming<SubscribeResponse>, ledger: &Ledger) {
        while let Ok(Some(message)) = stream.message().await {
            let tokens: Vec<Bytes> = match message.response {
                Some(Response::Opened(opened)) => {
                    ledger.opened(self.subscription, &opened.incarnation, opened.adopted.len());
                    // What was held over the restart is finished now, adopted or not: if the answer to its ack was cut off, this is
                    // how its agent learns that it is settled.
                    self.held.keys().cloned().collect()
                }
                Some(Response::Deliveries(deliveries)) => {
                    deliveries.deliveries.into_iter().map(|delivery| self.take(delivery, ledger)).collect()
                }
                _ => continue,
            };
            let tokens: Vec<_> = tokens.into_iter().filter(|_| !self.careless || self.rng.u8(..32) > 0).collect();
            for chunk in tokens.chunks(100) {
                if !self.settle(client, chunk, ledger).await {
                    return;
                }
            }
        }
    }

    fn take(&mut self, delivery: Delivery, ledger: &Ledger) -> Bytes {
        let id = delivery.event.unwrap().id;
        ledger.delivered(self.subscription, &id, self.life);
        self.held.insert(delivery.token.clone(), id);
        delivery.token
    }

    /// Whether the broker answered.
    async fn settle(&mut self, client: &mut AgentServiceClient<Channel>, tokens: &[Bytes], ledger: &Ledger) -> bool {
        let actions: Vec<_> = tokens.iter().map(|token| self.choose(token)).collect();
        let settlements =
            tokens.iter().zip(&actions).map(|(token, action)| Settlement { token: token.clone(), action: Some(action.clone()) }).collect();
        let response = match client.settle(SettleRequest { settlements }).await {
            Ok(response) => response,
            Err(status) => {
                assert!(is_gone(&status), "{status:?}");
                return false;
            }
        };
        for ((result, token), action) in response.into_inner().results.iter().zip(tokens).zip(actions) {
            let id = self.held.get(token).cloned().unwrap_or_default();
            match (result.status(), action) {
                (SettlementStatus::Done, Action::Nack(_)) => {}
                (SettlementStatus::Done, action) => ledger.settled(self.subscription, &id, matches!(action, Action::Reject(_)), self.life),
                (SettlementStatus::AlreadySettled, _) => ledger.settled(self.subscription, &id, false, self.life),
                (SettlementStatus::DeadLettered, _) => ledger.settled(self.subscription, &id, true, self.life),
                (SettlementStatus::Stale, Action::Nack(_)) => {}
                // The store is recovering: it may be tried again, and is not held against it.
                (SettlementStatus::Unavailable, _) => continue,
                (status, action) => panic!("{action:?} of {id} by {}: {status:?} {}", self.subscription, result.message),
            }
            self.held.remove(token);
        }
        true
    }

    /// Every 13th event is poison, every 7th fails once, all others are done.
    fn choose(&mut self, token: &Bytes) -> Action {
        let id = self.held.get(token).cloned().unwrap_or_default();
        if is_poison(&id) {
            return Action::Reject(Reject { reason: "poison".to_owned() });
        }
        if weight(&id).is_multiple_of(7) && self.nacked.insert(id) {
            let delay = prost_types::Duration { seconds: 0, nanos: 1_000_000 };
            return Action::Nack(Nack { delay: Some(delay), reason: "not yet".to_owned() });
        }
        Action::Ack(Ack::default())
    }
}

/// Whether the broker went away, rather than refused.
fn is_gone(status: &tonic::Status) -> bool {
    matches!(status.code(), tonic::Code::Unavailable | tonic::Code::Unknown | tonic::Code::Cancelled)
}

/// Whether every agent rejects the event of this id.
pub(crate) fn is_poison(id: &str) -> bool {
    weight(id).is_multiple_of(13)
}

fn weight(id: &str) -> u32 {
    id.bytes().map(u32::from).sum()
}
