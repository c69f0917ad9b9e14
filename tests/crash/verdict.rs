//! The end of a run: everything that was accepted is settled or a dead letter, and everything that was confirmed is still so.

use std::{collections::BTreeSet, sync::Arc};

use waypost_proto::v1::{
    ListDeadLettersRequest, PublishItem, PublishRequest, ReadEventsRequest, agent_service_client::AgentServiceClient,
    dead_letter_admin_service_client::DeadLetterAdminServiceClient, publish_result::Result as Outcome, read_events_response::Response,
};
use waypost_tests::process::Broker;

use crate::{
    PATIENCE, SUBSCRIPTIONS,
    agent::{Agent, is_poison},
    ledger::Ledger,
    load,
};

/// P2: once the agents settle all that they get, every accepted event is settled in every subscription that is about it.
pub(crate) async fn all_is_settled(broker: Broker, ledger: &Arc<Ledger>, agents: Vec<Agent>) -> Vec<Agent> {
    let work: Vec<_> = agents.into_iter().map(|agent| tokio::spawn(agent.careful().work(broker.channel(), Arc::clone(ledger)))).collect();
    let settled = tokio::time::timeout(PATIENCE, async {
        let mut confirmed = ledger.confirmations();
        while !missing(ledger).is_empty() {
            confirmed.changed().await.unwrap();
        }
    });
    assert!(settled.await.is_ok(), "P2: accepted and never settled: {:?}", missing(ledger).iter().take(20).collect::<Vec<_>>());
    broker.kill();
    let mut agents = Vec::new();
    for agent in work {
        agents.push(agent.await.unwrap());
    }
    agents
}

fn missing(ledger: &Ledger) -> Vec<(&'static str, String)> {
    let mut missing = Vec::new();
    for (name, types) in SUBSCRIPTIONS {
        let progress = ledger.progress(name);
        let done =
            |id: &String| progress.settled.contains_key(id) || progress.rejected.contains_key(id) || progress.either_way.contains(id);
        missing.extend(ledger.wanted(types).into_iter().filter(|id| !done(id)).map(|id| (name, id)));
    }
    missing
}

/// P4: after another restart, and the grace that follows it, nothing is delivered. (The ledger judges each delivery.)
pub(crate) async fn nothing_comes_back(broker: &Broker, ledger: &Arc<Ledger>, agents: Vec<Agent>) {
    let watches: Vec<_> =
        agents.into_iter().map(|agent| tokio::spawn(agent.watch_heartbeats(broker.channel(), Arc::clone(ledger), 4))).collect();
    for watch in watches {
        watch.await.unwrap();
    }
}

/// P5: the dead letters are those that were rejected, each once.
pub(crate) async fn dead_letters_are_there(broker: &Broker, ledger: &Ledger) {
    let mut client = DeadLetterAdminServiceClient::new(broker.admin_channel()).max_decoding_message_size(4 << 20);
    for (name, types) in SUBSCRIPTIONS {
        let mut ids = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListDeadLettersRequest {
                page_size: Some(500),
                page_token,
                subscription: name.to_owned(),
                ..ListDeadLettersRequest::default()
            };
            let page = client.list_dead_letters(request).await.unwrap().into_inner();
            ids.extend(page.dead_letters.into_iter().map(|letter| letter.event_id));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        let count = ids.len();
        let found: BTreeSet<_> = ids.into_iter().collect();
        assert_eq!(found.len(), count, "P5: {name} has a dead letter twice");
        let expected: BTreeSet<_> = ledger.wanted(types).into_iter().filter(|id| is_poison(id)).collect();
        assert!(
            expected.is_subset(&found),
            "P5: dead letters of {name} are missing: {:?}",
            expected.difference(&found).collect::<Vec<_>>()
        );
        // One may be of a publish that was stored and whose answer the kill cut off.
        assert!(found.iter().all(|id| is_poison(id)), "P5: {name} has dead letters that nobody rejected");
    }
}

/// P7: what was accepted before any of the restarts is a duplicate, with the first one's offset.
pub(crate) async fn duplicates_are_recognised(broker: &Broker, ledger: &Ledger, rng: &mut fastrand::Rng) {
    let mut client = AgentServiceClient::new(broker.channel());
    let sample: Vec<_> = ledger.some_accepted(rng, 500);
    let items =
        sample.iter().map(|(id, accepted)| PublishItem { event: Some(load::event(id, accepted.event_type)), ..PublishItem::default() });
    let response = client.publish(PublishRequest { items: items.collect() }).await.unwrap().into_inner();
    for (result, (id, accepted)) in response.results.iter().zip(&sample) {
        match &result.result {
            Some(Outcome::Accepted(again)) => assert_eq!((again.offset, again.duplicate), (accepted.offset, true), "P7: {id}"),
            other => panic!("P7: {id}: {other:?}"),
        }
    }
    assert!(ledger.duplicates() > 0, "no duplicate was sent: the run proves nothing about P7");
}

/// That the run went through retention at all: the log no longer begins at its beginning.
pub(crate) async fn segments_were_dropped(broker: &Broker) {
    let mut client = AgentServiceClient::new(broker.channel()).max_decoding_message_size(4 << 20);
    let mut stream = client.read_events(ReadEventsRequest { limit: Some(1), ..ReadEventsRequest::default() }).await.unwrap().into_inner();
    let mut first = None;
    while let Some(message) = stream.message().await.unwrap() {
        match message.response {
            Some(Response::Events(events)) => first = first.or(events.events.first().map(|event| event.offset)),
            Some(Response::Progress(progress)) => first = first.or(Some(progress.next_offset)),
            _ => {}
        }
    }
    assert!(first.is_some_and(|first| first > 1), "no segment was dropped in the whole run: it proves nothing about retention");
}
