//! What the broker tells of its sources, as events that an agent subscribes to.

use agent_client::{Filter, Start, proto::v1::JsonPayload};

use crate::stand::{SECRET, Stand, delay, soon};

/// The next event of the broker itself: its type and its facts.
async fn told(stand: &Stand, name: &str, event_type: &str) -> serde_json::Value {
    let builder = stand.agent().subscribe(name).filter(Filter::new().event_type(event_type)).of::<JsonPayload>().start_at(Start::Earliest);
    let mut subscription = soon("the stream", builder.open()).await.unwrap();
    let delivery = soon(event_type, subscription.try_next()).await.unwrap().unwrap();
    assert_eq!((&*delivery.event().source, &*delivery.event().subject), ("waypost.broker", "carrier"));
    let facts = serde_json::from_slice(&delivery.data().json).unwrap();
    delivery.ack().await.unwrap();
    facts
}

#[tokio::test]
async fn a_source_that_falls_quiet_is_told_of_and_so_is_its_return() {
    let stand = Stand::with("retention.interval = '100ms'");
    let mut configuration = stand.configuration.clone();
    configuration.push_str("silent_after = '1s'\n");
    let stand = Stand { configuration, ..stand }.kill_and_restart();
    assert_eq!(stand.carrier(SECRET).post(delay(1)).await.unwrap().code, 202);
    let silent = told(&stand, "silent", "waypost.source.silent").await;
    assert_eq!((&silent["source"], &silent["limit_seconds"]), (&"carrier".into(), &1.into()));

    let stand = stand.kill_and_restart();
    assert_eq!(stand.carrier(SECRET).post(delay(2)).await.unwrap().code, 202);
    let resumed = told(&stand, "resumed", "waypost.source.resumed").await;
    assert!(resumed["silent_seconds"].as_u64().unwrap() >= 1, "it is known over a restart: {resumed}");
}

#[tokio::test]
async fn a_burst_of_wrong_signatures_is_told_of() {
    let stand = Stand::with("retention.interval = '100ms'");
    for number in 0..10 {
        assert_eq!(stand.carrier("wrong").post(delay(number)).await.unwrap().code, 401);
    }
    let rejecting = told(&stand, "rejecting", "waypost.source.rejecting").await;
    assert_eq!((&rejecting["refused"], &rejecting["refused_since_start"]["signature_wrong"]), (&10.into(), &10.into()), "{rejecting}");
}
