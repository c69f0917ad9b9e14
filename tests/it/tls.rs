//! TLS on the three listeners: who is believed, what a mistake is told, and how a certificate is renewed.

use std::{path::Path, process::Command, time::Duration};

use agent_client::{Client, PublishError, Start, Tls};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use waypost_proto::v1::{
    Event, ListSourcesRequest, PublishItem, PublishRequest, SubscribeRequest, agent_service_client::AgentServiceClient,
    source_admin_service_client::SourceAdminServiceClient, subscribe_response::Response,
};
use waypost_tests::{
    authority::{Authority, Pair, self_signed},
    process::program,
};

use crate::{
    metrics::Scrape,
    stand::{PATIENCE, Stand, delay, soon},
};

const HERE: [&str; 2] = ["127.0.0.1", "localhost"];
const EVERYWHERE: &str = "
edge.tls = { certificate = 'here.pem', key = 'here.key' }
agents.tls = { certificate = 'here.pem', key = 'here.key' }
admin.tls = { certificate = 'here.pem', key = 'here.key' }
";

fn stand(pair: &Pair) -> Stand {
    Stand::prepared(EVERYWHERE, |folder| pair.write(folder, "here"))
}

fn agent(stand: &Stand, authority: &str) -> Client {
    let builder = Client::builder().call_deadline(Duration::from_millis(500)).tls(Tls::new().ca_pem(authority));
    builder.connect(stand.broker.agents.clone()).unwrap()
}

async fn channel(url: &str, tls: ClientTlsConfig) -> Result<Channel, tonic::transport::Error> {
    soon("an end of the handshake", Endpoint::from_shared(url.to_owned()).unwrap().tls_config(tls).unwrap().connect()).await
}

fn trusting(authority: &str) -> ClientTlsConfig {
    ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority))
}

fn clicked() -> Event {
    Event::of_json("agents/a", "page.clicked", "{}")
}

/// What comes back on a plain connection.
async fn say(address: &str, what: &[u8]) -> String {
    let mut stream = TcpStream::connect(address.split_once("//").map_or(address, |(_, address)| address)).await.unwrap();
    stream.write_all(what).await.unwrap();
    let mut answer = Vec::new();
    // A reset is an end as well.
    let _ = soon("the end of the connection", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn agents_publish_and_receive_over_tls() {
    let authority = Authority::new();
    let stand = stand(&authority.sign(&HERE));
    assert!(stand.broker.edge.starts_with("https://") && stand.broker.admin.starts_with("https://"));
    let client = agent(&stand, &authority.pem());
    let mut subscription = soon("the stream", client.subscribe("routing").start_at(Start::Earliest).open()).await.unwrap();
    let published = client.publish(clicked()).await.unwrap();
    let delivery = soon("the delivery", subscription.try_next()).await.unwrap().unwrap();
    assert_eq!(delivery.offset(), published.offset);
}

#[tokio::test]
async fn a_webhook_is_posted_over_tls() {
    let authority = Authority::new();
    let stand = Stand::prepared(EVERYWHERE, |folder| {
        authority.sign(&HERE).write(folder, "here");
        std::fs::write(folder.join("authority.pem"), authority.pem()).unwrap();
    });
    let send = |more: &[&str]| {
        let address = stand.broker.edge.trim_start_matches("https://");
        let mut command = Command::new(program());
        command.args(["send", "carrier", "--config", "waypost.toml", "--file", "delay.json", "--edge", address]).args(more);
        let output = command.current_dir(stand.folder.path()).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    std::fs::write(stand.folder.path().join("delay.json"), delay(1)).unwrap();
    let answer = send(&["--ca", "authority.pem"]);
    assert!(answer.starts_with("202 ") && answer.contains("accepted"), "{answer}");
    let other = Authority::new().pem();
    std::fs::write(stand.folder.path().join("other.pem"), other).unwrap();
    let refused = send(&["--ca", "other.pem"]);
    assert!(refused.contains("cannot be trusted"), "{refused}");
}

#[tokio::test]
async fn a_broker_with_another_name_an_expired_certificate_or_one_by_nobody_is_not_believed() {
    let authority = Authority::new();
    for (what, pair, says) in [
        ("another name", authority.sign(&["broker.example.com"]), "not valid for name"),
        ("expired", authority.sign_expired(&HERE), "expired"),
        ("self-signed", self_signed(&HERE), "UnknownIssuer"),
        ("another authority", Authority::new().sign(&HERE), "invalid peer certificate"),
    ] {
        let stand = stand(&pair);
        match agent(&stand, &authority.pem()).publish(clicked()).await {
            Err(PublishError::TimedOut { last: Some(failure), .. }) => {
                assert!(failure.to_string().contains(says), "{what}: {failure}");
            }
            other => panic!("{what}: {other:?}"),
        }
    }
    // Unless it is the one that was named.
    let pair = self_signed(&HERE);
    agent(&stand(&pair), &pair.certificate).publish(clicked()).await.unwrap();
}

#[tokio::test]
async fn plain_http_to_a_tls_port_is_told_so_and_tls_to_a_plain_port_is_logged() {
    let authority = Authority::new();
    let secured = stand(&authority.sign(&HERE));
    for address in [&secured.broker.edge, &secured.broker.agents, &secured.broker.admin] {
        let answer = say(address, b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("use https://"), "{answer}");
    }
    assert_eq!(secured.log().matches("a client speaks plain HTTP, and this listener speaks TLS").count(), 3);
    // HTTP/2 without TLS, as gRPC clients speak it to http://.
    let plain = Client::builder().call_deadline(Duration::from_millis(500));
    let plain = plain.connect(secured.broker.agents.replace("https://", "http://")).unwrap();
    plain.publish(clicked()).await.unwrap_err();

    let open = Stand::new();
    assert!(channel(&open.broker.agents.replace("http://", "https://"), trusting(&authority.pem())).await.is_err());
    assert!(open.log().contains("a client speaks TLS, and this listener does not"), "{}", open.log());
}

#[tokio::test]
async fn a_handshake_that_is_never_finished_is_cut() {
    let stand = stand(&Authority::new().sign(&HERE));
    assert_eq!(say(&stand.broker.agents, &[0x16, 3, 1]).await, "");
}

#[tokio::test]
async fn who_must_show_a_certificate_is_served_with_one_of_the_right_authority_only() {
    let (authority, others) = (Authority::new(), Authority::new());
    let lines = "admin.tls = { certificate = 'here.pem', key = 'here.key', client_ca = 'clients.pem' }";
    let stand = Stand::prepared(lines, |folder| {
        authority.sign(&HERE).write(folder, "here");
        std::fs::write(folder.join("clients.pem"), authority.pem()).unwrap();
    });
    let ask = async |identity: Option<Pair>| {
        let mut tls = trusting(&authority.pem());
        if let Some(Pair { certificate, key }) = identity {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        // With TLS 1.3 a client may learn that it was refused with its first answer only.
        let channel = channel(&stand.broker.admin, tls).await.ok()?;
        SourceAdminServiceClient::new(channel).list_sources(ListSourcesRequest::default()).await.ok()
    };
    assert!(ask(Some(authority.sign(&["operator"]))).await.is_some());
    assert!(ask(None).await.is_none(), "without a certificate");
    assert!(ask(Some(others.sign(&["operator"]))).await.is_none(), "with one of another authority");
    assert!(ask(Some(authority.sign_expired(&["operator"]))).await.is_none(), "with an expired one");
}

#[tokio::test]
async fn the_end_of_a_certificate_is_a_metric_and_what_is_near_is_warned_of() {
    const LINES: &str = "
edge.tls = { certificate = 'here.pem', key = 'here.key' }
agents.tls = { certificate = 'old.pem', key = 'old.key' }
";
    let authority = Authority::new();
    let stand = Stand::prepared(LINES, |folder| {
        authority.sign(&HERE).write(folder, "here");
        authority.sign_expired(&HERE).write(folder, "old");
    });
    let scrape = Scrape::of(&stand).await;
    let end = |listener: &str| scrape.get(&format!("waypost_certificate_expires_timestamp_seconds{{listener=\"{listener}\"}}"));
    // 2021-01-01, and rcgen's year 4096.
    assert!((end("agents") - 1_609_459_200.0).abs() < 1.0 && end("edge") > 6e10, "{}", scrape.text);
    assert!(!scrape.text.contains("expires_timestamp_seconds{listener=\"admin\""), "there is none");
    until("the warning", async || stand.log().contains("agents.tls: the certificate in ")).await;
    assert!(stand.log().contains("has expired") && !stand.log().contains("edge.tls: the certificate in "), "{}", stand.log());
}

/// Whether a new handshake succeeds for who trusts this authority alone.
async fn is_shown(stand: &Stand, authority: &Authority) -> bool {
    channel(&stand.broker.agents, trusting(&authority.pem())).await.is_ok()
}

/// Waits until it is so.
async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what} did not happen within {PATIENCE:?}"));
}

#[tokio::test]
async fn a_certificate_is_renewed_under_load_without_dropping_a_stream() {
    let (old, new) = (Authority::new(), Authority::new());
    let stand = stand(&old.sign(&HERE));
    // Streams and calls of one connection, by a client that never connects again.
    let mut client = AgentServiceClient::new(channel(&stand.broker.agents, trusting(&old.pem())).await.unwrap());
    let request = SubscribeRequest { subscription: "routing".to_owned(), ..SubscribeRequest::default() };
    let mut stream = soon("the stream", client.subscribe(request)).await.unwrap().into_inner();
    let (mut published, mut delivered) = (0, 0);
    let mut work = async |published: &mut usize| {
        let items = vec![PublishItem { event: Some(clicked()), ..PublishItem::default() }];
        soon("a publication", client.publish(PublishRequest { items })).await.unwrap();
        *published += 1;
    };

    // What cannot be used changes nothing: a certificate without its key comes first, as files are written one by one.
    let renewed = new.sign(&HERE);
    std::fs::write(stand.folder.path().join("here.pem"), &renewed.certificate).unwrap();
    until("the report of the bad pair", async || {
        work(&mut published).await;
        stand.log().contains("agents.tls: ") && stand.log().contains("cannot be used together")
    })
    .await;
    assert!(is_shown(&stand, &old).await && !is_shown(&stand, &new).await);

    replace(stand.folder.path(), &renewed);
    until("the renewal", async || {
        work(&mut published).await;
        is_shown(&stand, &new).await
    })
    .await;
    assert!(!is_shown(&stand, &old).await, "new handshakes use the new certificate");
    work(&mut published).await;
    while delivered < published {
        let message = soon("a delivery", stream.message()).await.unwrap().expect("the stream goes on");
        if let Some(Response::Deliveries(deliveries)) = message.response {
            delivered += deliveries.deliveries.len();
            let settlements = deliveries.deliveries.into_iter().map(|delivery| ack(delivery.token)).collect();
            soon("the ack", client.settle(waypost_proto::v1::SettleRequest { settlements })).await.unwrap();
        }
    }
    assert_eq!(stand.log().matches("agents.tls: ").count(), 2, "once for the bad pair, once for the good: {}", stand.log());
}

fn ack(token: bytes::Bytes) -> waypost_proto::v1::Settlement {
    use waypost_proto::v1::{Ack, Settlement, settlement::Action};
    Settlement { token, action: Some(Action::Ack(Ack::default())) }
}

/// Both files, whole, as a tool that renews certificates puts them.
fn replace(folder: &Path, pair: &Pair) {
    pair.write(folder, "next");
    for kind in ["pem", "key"] {
        std::fs::rename(folder.join(format!("next.{kind}")), folder.join(format!("here.{kind}"))).unwrap();
    }
}
