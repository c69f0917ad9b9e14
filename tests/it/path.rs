//! From a signed POST to a confirmed ack, also over a kill.

use agent_client::{
    Settled, Start, Subscription,
    proto::{logistics::v1::ShippingDelayed, v1::Event},
};

use crate::stand::{SECRET, Stand, delay, soon};

async fn open(stand: &Stand, name: &str) -> Subscription<ShippingDelayed> {
    let builder = stand.agent().subscribe(name).of::<ShippingDelayed>().start_at(Start::Earliest);
    soon("the stream", builder.open()).await.unwrap()
}

#[tokio::test]
async fn a_signed_webhook_becomes_a_typed_event_that_each_subscription_settles_on_its_own() {
    let stand = Stand::new();
    let (mut routing, mut support) = (open(&stand, "routing").await, open(&stand, "support").await);
    let answer = stand.carrier(SECRET).post(delay(1)).await.unwrap();
    assert_eq!((answer.code, &answer.json["status"]), (202, &"accepted".into()), "{answer:?}");

    for subscription in [&mut routing, &mut support] {
        let delivery = soon("the delivery", subscription.try_next()).await.unwrap().unwrap();
        assert_eq!(delivery.event().id, answer.json["event_id"].as_str().unwrap());
        assert_eq!((&*delivery.event().subject, delivery.attempt()), ("shipments/SHIP-1", 1));
        assert_eq!((&*delivery.data().carrier, delivery.data().affected_products.len()), ("Global Freight", 2));
        assert_eq!(delivery.ack().await.unwrap(), Settled::Done);
    }
}

#[tokio::test]
async fn a_wrong_signature_is_401_and_no_event() {
    let stand = Stand::new();
    let mut routing = open(&stand, "routing").await;
    let answer = stand.carrier("wrong").post(delay(1)).await.unwrap();
    assert_eq!(answer.code, 401, "{answer:?}");
    assert_eq!(stand.carrier(SECRET).post(delay(2)).await.unwrap().code, 202);
    let first = soon("the delivery", routing.try_next()).await.unwrap().unwrap();
    assert_eq!(first.data().shipment_id, "SHIP-2");
    first.ack().await.unwrap();
}

#[tokio::test]
async fn p1_a_kill_right_after_the_202_loses_nothing() {
    let mut stand = Stand::new();
    drop(open(&stand, "routing").await);
    for number in 1..=5 {
        assert_eq!(stand.carrier(SECRET).post(delay(number)).await.unwrap().code, 202);
        stand = stand.kill_and_restart();
    }
    let mut routing = open(&stand, "routing").await;
    let mut seen = Vec::new();
    while seen.len() < 5 {
        let delivery = soon("a delivery", routing.try_next()).await.unwrap().unwrap();
        seen.push(delivery.data().shipment_id.clone());
        delivery.ack().await.unwrap();
    }
    seen.sort();
    assert_eq!(seen, ["SHIP-1", "SHIP-2", "SHIP-3", "SHIP-4", "SHIP-5"]);
}

#[tokio::test]
async fn p7_a_webhook_that_comes_twice_is_one_event_also_after_a_restart() {
    let stand = Stand::new();
    let first = stand.carrier(SECRET).post(delay(1)).await.unwrap();
    let stand = stand.kill_and_restart();
    let again = stand.carrier(SECRET).post(delay(1)).await.unwrap();
    assert_eq!((again.code, &again.json["status"]), (202, &"duplicate".into()), "{again:?}");
    assert_eq!(again.json["event_id"], first.json["event_id"]);
}

#[tokio::test]
async fn p6_work_in_progress_is_not_repeated_by_a_restart_of_the_broker() {
    let stand = Stand::new();
    let mut routing = open(&stand, "routing").await;
    stand.carrier(SECRET).post(delay(1)).await.unwrap();
    let held = soon("the delivery", routing.try_next()).await.unwrap().unwrap();

    let stand = stand.kill_and_restart();
    stand.carrier(SECRET).post(delay(2)).await.unwrap();
    let next = soon("the delivery after the restart", routing.try_next()).await.unwrap().unwrap();
    assert_eq!(next.data().shipment_id, "SHIP-2", "what is held goes on, and is not delivered again");
    assert_eq!(held.ack().await.unwrap(), Settled::Done);
    assert_eq!(next.ack().await.unwrap(), Settled::Done);
}

#[tokio::test]
async fn p9_an_ack_with_outputs_settles_and_publishes_in_one_step_with_lineage() {
    let stand = Stand::new();
    let (mut routing, mut follower) = (open(&stand, "routing").await, soon("it", stand.agent().subscribe("all").open()).await.unwrap());
    let webhook = stand.carrier(SECRET).post(delay(1)).await.unwrap();
    let delivery = soon("the delivery", routing.try_next()).await.unwrap().unwrap();
    let acked = delivery.ack_with([Event::of_json("agents/router", "story.rerouted", "{}")]).await.unwrap();

    let first = soon("the webhook's event", follower.try_next()).await.unwrap().unwrap();
    let second = soon("the output", follower.try_next()).await.unwrap().unwrap();
    let (webhook_id, lineage) = (webhook.json["event_id"].as_str().unwrap(), second.event().lineage.clone().unwrap());
    assert_eq!(first.event().id, webhook_id);
    assert_eq!(second.event().id, acked.output_ids[0]);
    assert_eq!((&*lineage.causation_id, lineage.hops), (webhook_id, 1));
    first.ack().await.unwrap();
    second.ack().await.unwrap();
}
