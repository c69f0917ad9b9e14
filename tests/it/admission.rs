//! Who may post to a source, over real connections.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
};
use waypost_tests::webhook::sign;

use crate::{
    metrics::Scrape,
    stand::{PATH, SECRET, Stand, delay, soon},
};

/// The status of a signed webhook that is posted from an address, with more headers.
async fn post_from(stand: &Stand, address: &str, headers: &str, number: u32) -> u16 {
    let body = delay(number);
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
    let mut stream = soon("a connection", socket.connect(stand.edge().parse().unwrap())).await.unwrap();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: w\r\nconnection: close\r\ncontent-type: application/json\r\nx-webhook-signature: {}\r\n{headers}\
         content-length: {}\r\n\r\n",
        sign(SECRET, &body),
        body.len()
    );
    stream.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
    let mut answer = String::new();
    soon("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    answer.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_source_takes_webhooks_from_its_peers_alone_also_behind_a_proxy() {
    let stand = Stand::with("edge.trusted_proxies = ['127.0.0.3']");
    assert_eq!(post_from(&stand, "127.0.0.1", "", 1).await, 202);
    stand.reread("[sources.carrier.limits]\npeers = ['127.0.0.2', '192.0.2.0/24']", "was read again").await;
    assert_eq!(post_from(&stand, "127.0.0.2", "", 2).await, 202);
    assert_eq!(post_from(&stand, "127.0.0.1", "", 3).await, 404);
    assert_eq!(post_from(&stand, "127.0.0.1", "x-forwarded-for: 192.0.2.1\r\n", 3).await, 404, "no proxy of ours");
    assert_eq!(post_from(&stand, "127.0.0.3", "x-forwarded-for: 203.0.113.1, 192.0.2.1\r\n", 3).await, 202);
    assert_eq!(post_from(&stand, "127.0.0.3", "x-forwarded-for: 192.0.2.1, 203.0.113.1\r\n", 4).await, 404);
    let refused = r#"waypost_webhooks_total{source="carrier",outcome="refused",reason="peer"}"#;
    assert!((Scrape::of(&stand).await.get(refused) - 3.0).abs() < f64::EPSILON);
    let log = stand.log();
    assert!(log.contains("limits.peers") && log.contains("203.0.113.1"), "{log}");
}
