//! How an agent stops: what runs may finish, the rest is given back uncounted, and it takes a bounded time.

use std::process::{Command, id};
use std::time::Duration;

use agent_client::proto::logistics::v1::ShippingDelayed;
use agent_client::{Agent, Client, Router, RunError};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::agents::{Heard, Probe, delayed, gated, settled};
use crate::fake::{Fake, Stream};

/// An agent of which one handler has begun, and a second delivery waits.
struct Scene {
    fake: Fake,
    stream: Stream,
    heard: Heard,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), RunError>>,
}

fn agent(client: &Client) -> (Agent<Probe>, Heard) {
    let (probe, heard) = Probe::new();
    (client.subscribe("routing").serve(Router::new(probe).on::<ShippingDelayed, _>(gated)).max_concurrent(1), heard)
}

impl Scene {
    async fn set() -> Self {
        let (mut fake, client) = Fake::start();
        let (agent, mut heard) = agent(&client);
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(agent.grace(Duration::from_secs(10)).run_until(async { drop(stopped.await) }));
        let stream = fake.open().await;
        stream.deliver_events([delayed("a"), delayed("b")]);
        assert_eq!(heard.next().await, "a began");
        Self { fake, stream, heard, stop, running }
    }
}

#[tokio::test(start_paused = true)]
async fn what_runs_may_finish_and_the_rest_is_released_at_once() {
    let Scene { mut fake, stream, mut heard, stop, running } = Scene::set().await;
    let began = Instant::now();
    stop.send(()).unwrap();
    assert_eq!(settled(&mut fake, 1).await, ["b release"]);
    assert!(began.elapsed() < Duration::from_secs(1), "before the handler has ended");
    let again = fake.open().await;
    stream.closed().await;
    assert!(again.held().contains(&"a".to_owned()));

    heard.gate.add_permits(2);
    assert_eq!(settled(&mut fake, 1).await, ["a ack"]);
    running.await.unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(heard.said.recv().await, None, "the second was never begun");
    assert!(!fake.settle_came());
}

#[tokio::test(start_paused = true)]
async fn p6_what_is_unfinished_after_the_grace_is_cancelled_and_released_uncounted() {
    let Scene { mut fake, mut heard, stop, running, .. } = Scene::set().await;
    let began = Instant::now();
    stop.send(()).unwrap();
    assert_eq!(settled(&mut fake, 1).await, ["b release"]);
    let _again = fake.open().await;
    assert_eq!(heard.next().await, "a cancelled");
    assert_eq!(began.elapsed().as_secs(), 10);
    assert_eq!(settled(&mut fake, 1).await, ["a release"]);
    running.await.unwrap().unwrap();
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn stopping_takes_a_bounded_time_even_if_the_broker_is_gone() {
    let Scene { fake, stop, running, .. } = Scene::set().await;
    fake.set_down(true);
    fake.cut();
    let began = Instant::now();
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    assert_eq!(began.elapsed().as_secs(), 15, "the grace, and the 5 s for the last answers");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_dropped_gives_back_uncounted() {
    let Scene { mut fake, mut heard, running, .. } = Scene::set().await;
    running.abort();
    assert_eq!(heard.next().await, "a cancelled");
    assert_eq!(settled(&mut fake, 2).await, ["a release", "b release"]);
}

/// The time is real, since a signal comes from outside.
#[tokio::test]
async fn a_signal_stops_the_agent_and_a_second_one_ends_the_grace() {
    for signal in ["TERM", "INT"] {
        let (mut fake, client) = Fake::start();
        let (agent, mut heard) = agent(&client);
        let running = tokio::spawn(agent.grace(Duration::from_secs(3_600)).run_until_signal());
        let stream = fake.open().await;
        stream.deliver_events([delayed("a"), delayed("b")]);
        assert_eq!(heard.next().await, "a began");
        let send = || assert!(Command::new("kill").args([format!("-{signal}"), id().to_string()]).status().unwrap().success());
        send();
        assert_eq!(settled(&mut fake, 1).await, ["b release"]);
        let _again = fake.open().await;
        assert!(!running.is_finished());
        send();
        let cancelled = timeout(Duration::from_secs(60), heard.next()).await;
        assert_eq!(cancelled.expect("the grace would last an hour"), "a cancelled");
        assert_eq!(settled(&mut fake, 1).await, ["a release"]);
        running.await.unwrap().unwrap();
    }
}
