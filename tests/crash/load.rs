//! Publishers and an outside system, until the broker is gone.

use std::sync::Arc;

use tokio::task::JoinHandle;
use waypost_proto::v1::{Event, PublishItem, PublishRequest, agent_service_client::AgentServiceClient, publish_result::Result as Outcome};
use waypost_tests::{process::Broker, webhook::Sender};

use crate::{SECRET, ledger::Ledger};

const SOURCE: &str = "agents/crash";

/// Starts the load of one round. Each task ends with the broker.
pub(crate) fn start(broker: &Broker, ledger: &Arc<Ledger>, round: u32, rng: &mut fastrand::Rng) -> Vec<JoinHandle<()>> {
    let mut tasks = Vec::new();
    for publisher in 0..3 {
        let client = AgentServiceClient::new(broker.channel());
        tasks.push(tokio::spawn(publish(client, Arc::clone(ledger), format!("{round}-{publisher}"), rng.fork())));
    }
    let sender = Sender::new(format!("{}/hooks/hook", broker.edge), SECRET);
    tasks.push(tokio::spawn(post(sender, Arc::clone(ledger), round, rng.fork())));
    tasks
}

async fn publish(mut client: AgentServiceClient<tonic::transport::Channel>, ledger: Arc<Ledger>, name: String, mut rng: fastrand::Rng) {
    let mut count = 0;
    loop {
        let mut batch = Vec::new();
        for _ in 0..rng.usize(1..20) {
            count += 1;
            batch.push((format!("{name}-{count}"), if count % 2 == 1 { "crash.odd" } else { "crash.even" }));
        }
        for (id, accepted) in ledger.some_accepted(&mut rng, 2) {
            if accepted.event_type != "hook.crash" {
                batch.push((id, accepted.event_type));
            }
        }
        let items = batch.iter().map(|(id, event_type)| PublishItem { event: Some(event(id, event_type)), ..PublishItem::default() });
        let Ok(response) = client.publish(PublishRequest { items: items.collect() }).await else { return };
        for (result, (id, event_type)) in response.into_inner().results.into_iter().zip(batch) {
            match result.result {
                Some(Outcome::Accepted(accepted)) => ledger.accepted(&id, accepted.offset, accepted.duplicate, event_type),
                other => panic!("{id} was refused: {other:?}"),
            }
        }
    }
}

/// The same id always has the same content, whoever sends it.
pub(crate) fn event(id: &str, event_type: &str) -> Event {
    let size = id.bytes().map(usize::from).sum::<usize>() % 1_500;
    let json = format!("{{\"id\":\"{id}\",\"filler\":\"{}\"}}", "x".repeat(size));
    Event { id: id.to_owned(), ..Event::of_json(SOURCE, event_type, json) }
}

async fn post(sender: Sender, ledger: Arc<Ledger>, round: u32, mut rng: fastrand::Rng) {
    let mut count = 0;
    loop {
        // Some are sent twice: the body's hash tells.
        count += u32::from(count == 0 || rng.u8(..4) > 0);
        let body = format!("{{\"round\":{round},\"count\":{count}}}").into_bytes();
        let Some(answer) = sender.post(body).await else { return };
        assert_eq!(answer.code, 202, "{answer:?}");
        let id = answer.json["event_id"].as_str().unwrap();
        ledger.accepted(id, 0, answer.json["status"] == "duplicate", "hook.crash");
    }
}
