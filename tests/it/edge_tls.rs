//! The edge with TLS: HTTP/1.1 and HTTP/2, and certificates that are renewed.

use std::{sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full};
use hyper::{Request, Version, body::Bytes, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};
use waypost_tests::{authority::Authority, webhook::sign};

use crate::stand::{PATH, SECRET, Stand, delay, soon};

const TLS: &str = "edge.tls = { certificate = 'here.pem', key = 'here.key' }\nedge.header_timeout = '500ms'";

/// A connection of who trusts this authority alone, and speaks only this protocol.
async fn connect(stand: &Stand, authority: &Authority, protocol: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(stand.broker.edge.trim_start_matches("https://")).await?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    soon("the handshake", TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

fn webhook(stand: &Stand, number: u32) -> Request<Full<Bytes>> {
    let body = delay(number);
    let request = Request::post(format!("{}{PATH}", stand.broker.edge)).version(Version::HTTP_2);
    let request = request.header("content-type", "application/json").header("x-webhook-signature", sign(SECRET, &body));
    request.body(Full::new(Bytes::from(body))).unwrap()
}

#[tokio::test]
async fn webhooks_come_over_http_2_many_at_a_time_and_over_http_1() {
    let authority = Authority::new();
    let stand = Stand::prepared(TLS, |folder| authority.sign(&["127.0.0.1"]).write(folder, "here"));
    let stream = connect(&stand, &authority, b"h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let posted = (0..50).map(|number| {
        let (mut sender, request) = (sender.clone(), webhook(&stand, number));
        tokio::spawn(async move { soon("an answer", sender.send_request(request)).await.unwrap() })
    });
    for answer in posted.collect::<Vec<_>>() {
        let answer = answer.await.unwrap();
        let status = answer.status();
        let text = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(status, 202, "{text:?}");
    }

    let mut stream = connect(&stand, &authority, b"http/1.1").await.unwrap();
    let body = delay(51);
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: w\r\nconnection: close\r\ncontent-type: application/json\r\nx-webhook-signature: {}\r\ncontent-length: {}\r\n\r\n",
        sign(SECRET, &body),
        body.len()
    );
    stream.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
    let mut answer = String::new();
    soon("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
}

#[tokio::test]
async fn who_begins_http_2_and_goes_silent_is_cut() {
    let authority = Authority::new();
    let stand = Stand::prepared(TLS, |folder| authority.sign(&["127.0.0.1"]).write(folder, "here"));
    // In the preface; after it; in the middle of a head, which is a HEADERS frame that does not end its block.
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let headers = [0, 0, 1, 1, 0, 0, 0, 0, 1, 0x83];
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for begun in
        [&preface[..1], &preface[..23], &preface[..], &[&preface[..], &settings].concat(), &[&preface[..], &settings, &headers].concat()]
    {
        let mut stream = connect(&stand, &authority, b"h2").await.unwrap();
        stream.write_all(begun).await.unwrap();
        let mut rest = Vec::new();
        // A reset is an end as well.
        let _ = soon("the end of the connection", stream.read_to_end(&mut rest)).await;
    }
}

#[tokio::test]
async fn a_renewed_certificate_of_the_edge_is_shown_without_a_restart() {
    let (old, new) = (Authority::new(), Authority::new());
    let stand = Stand::prepared(TLS, |folder| old.sign(&["127.0.0.1"]).write(folder, "here"));
    assert!(connect(&stand, &old, b"http/1.1").await.is_ok() && connect(&stand, &new, b"http/1.1").await.is_err());
    new.sign(&["127.0.0.1"]).write(stand.folder.path(), "here");
    let renewed = async { while connect(&stand, &new, b"http/1.1").await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(60), renewed).await.expect("the new certificate is shown");
    assert!(connect(&stand, &old, b"http/1.1").await.is_err());
}
