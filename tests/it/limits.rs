//! Limits: how many connections an address may have, and how many streams the bearers of a token.

use tokio::{io::AsyncReadExt, net::TcpStream};
use tonic::Code;
use waypost_proto::v1::{ErrorReason, Event, ReadEventsRequest, ReadMode};

use crate::{
    bearer::{TOKENS, agent, reason, to, tokens},
    metrics::Scrape,
    stand::{Stand, soon},
};

fn address(url: &str) -> String {
    url.trim_start_matches("http://").to_owned()
}

/// Whether the broker closes a connection without having been asked anything.
async fn is_closed(stream: &mut TcpStream) -> bool {
    // A reset is an end as well.
    soon("the end of the connection", stream.read(&mut [0])).await.map_or(true, |read| read == 0)
}

#[tokio::test]
async fn an_address_has_no_more_connections_than_it_may_and_others_are_served() {
    let stand = Stand::with("agents.max_connections_per_address = 2\nedge.max_connections_per_address = 2");
    for (section, url) in [("agents", &stand.broker.agents), ("edge", &stand.broker.edge)] {
        let at = address(url);
        let held = [TcpStream::connect(&at).await.unwrap(), TcpStream::connect(&at).await.unwrap()];
        let mut third = TcpStream::connect(&at).await.unwrap();
        assert!(is_closed(&mut third).await, "{section}");
        // Other addresses are not concerned.
        let other = tokio::net::TcpSocket::new_v4().unwrap();
        other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let other = other.connect(at.parse().unwrap()).await.unwrap();

        let figure = async |name: &str| Scrape::of(&stand).await.get(&format!("waypost_{name}{{listener=\"{section}\"}}"));
        // The operating system has it before the broker does.
        soon("the other's connection", async { while figure("connections").await < 3.0 {} }).await;
        for (name, value) in [("refused_connections_total", 1.0), ("connections", 3.0), ("connections_max", 4096.0)] {
            let told = figure(name).await;
            assert!((told - value).abs() < f64::EPSILON, "{section} {name}: {told}");
        }
        let log = stand.log();
        assert!(log.contains(&format!("raise {section}.max_connections_per_address")) && log.contains("127.0.0.1:"), "{log}");

        drop((held, other));
        soon("the end of the others", async { while figure("connections").await > 0.0 {} }).await;
    }
    // There is room again.
    stand.agent().publish(Event::of_json("agents/a", "a.b", "{}")).await.unwrap();
}

/// A fleet behind one address, as the defaults have it.
#[tokio::test]
async fn a_thousand_connections_of_one_address_are_served() {
    let stand = Stand::new();
    let at = address(&stand.broker.agents);
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    let mut fleet = Vec::new();
    for _ in 0..1_000 {
        fleet.push(soon("a connection", TcpStream::connect(&at)).await.unwrap());
    }
    stand.agent().publish(Event::of_json("agents/a", "a.b", "{}")).await.unwrap();
    let scrape = Scrape::of(&stand).await;
    assert!(scrape.get(r#"waypost_connections{listener="agents"}"#) >= 1_000.0, "{}", scrape.text);
    assert!(scrape.get(r#"waypost_refused_connections_total{listener="agents"}"#) < 1.0, "{}", scrape.text);
}

#[tokio::test]
async fn who_opens_more_streams_than_its_token_may_is_told_which_limit_and_may_when_one_has_ended() {
    let mut token = String::new();
    let stand = Stand::prepared(TOKENS, |folder| {
        let args = ["create", "two", "--scope", "subscribe", "--scope", "read", "--scope", "publish", "--max-streams", "2"];
        token = String::from_utf8(tokens(folder, &args).stdout).unwrap().trim_end().to_owned();
    });
    let mut one = agent(&stand, &token);
    let mut first = soon("a stream", one.subscribe(to("a", &[]))).await.unwrap().into_inner();
    let follow = ReadEventsRequest { mode: ReadMode::Follow.into(), ..ReadEventsRequest::default() };
    let second = soon("a stream", one.read_events(follow.clone())).await.unwrap();
    // Another connection is the same token.
    let mut another = agent(&stand, &token);
    for refused in [another.subscribe(to("b", &[])).await.map(drop), another.read_events(follow.clone()).await.map(drop)] {
        let status = refused.unwrap_err();
        assert_eq!((status.code(), reason(&status)), (Code::ResourceExhausted, Some(ErrorReason::LimitReached)), "{status:?}");
        assert!(status.message().contains("max_streams_per_token") && status.message().contains("2 streams"), "{status:?}");
    }
    // Calls are no streams.
    another.publish(waypost_proto::v1::PublishRequest { items: vec![crate::bearer::item("agents/a", "a.b")] }).await.unwrap();
    soon("a message", first.message()).await.unwrap();
    drop(second);
    let again = async {
        while another.read_events(follow.clone()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    soon("room for another stream", again).await;
}
