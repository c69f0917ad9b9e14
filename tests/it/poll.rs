//! What never came as a webhook, found at a provider over TLS by the real program; killed in the middle, it goes on where it was.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    sync::mpsc,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};
use waypost_proto::v1::{GetSourceRequest, SourceStats, source_admin_service_client::SourceAdminServiceClient};
use waypost_tests::authority::{Authority, Pair};

use crate::stand::{Stand, soon};

/// A list of moves in two pages, of which the second cannot be had at first; says who asked for what.
struct Depot {
    port: u16,
    recovers: Arc<AtomicBool>,
    asked: mpsc::UnboundedReceiver<String>,
}

impl Depot {
    async fn open(pair: &Pair) -> Self {
        let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions().unwrap();
        let tls = TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (recovers, (heard, asked)) = (Arc::new(AtomicBool::new(false)), mpsc::unbounded_channel());
        let is_well = Arc::clone(&recovers);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = BufReader::new(tls.accept(stream).await.unwrap());
                let (mut head, mut line) = (String::new(), String::new());
                while stream.read_line(&mut line).await.unwrap() > 2 {
                    head.push_str(&std::mem::take(&mut line));
                }
                let (status, body) = match head.contains("page=p2") {
                    false => (200, r#"{"items":[{"n":1,"at":"2100-01-01T00:00:00Z"}],"next":"p2"}"#),
                    true if is_well.load(Ordering::Relaxed) => (200, r#"{"items":[{"n":2,"at":"2100-01-01T00:00:00Z"}],"next":null}"#),
                    true => (503, "{}"),
                };
                let answer = format!("HTTP/1.1 {status} X\r\nRetry-After: 1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
                heard.send(head).unwrap();
            }
        });
        Self { port, recovers, asked }
    }

    async fn asked(&mut self) -> String {
        soon("a request to the provider", self.asked.recv()).await.unwrap()
    }
}

async fn stats(stand: &Stand) -> SourceStats {
    let mut admin = SourceAdminServiceClient::new(stand.broker.admin_channel());
    let source = admin.get_source(GetSourceRequest { name: "depot".to_owned() }).await.unwrap().into_inner().source.unwrap();
    source.stats.unwrap()
}

#[tokio::test]
async fn what_a_provider_lists_is_found_page_by_page_over_failures_and_kills() {
    let authority = Authority::new();
    let mut depot = Depot::open(&authority.sign(&["localhost"])).await;
    let lines = format!(
        "sources.depot.scheme = {{ signature = {{ header = 'X-Sig' }} }}\nsources.depot.secrets = ['file:secret']\n\
         sources.depot.identity = {{ template = '{{/n}}' }}\nsources.depot.event_type = ['moved']\nsources.depot.poll.token = 'file:secret'\nsources.depot.poll.rule = {{ \
         url = 'https://localhost:{}/moves?since={{since}}', headers = {{ Authorization = 'Bearer {{token}}' }}, items = '/items', \
         time = '/at', next = {{ query = 'page', cursor = '/next' }} }}",
        depot.port
    );
    let stand = Stand::prepared(&lines, |folder| std::fs::write(folder.join("trusted.pem"), authority.pem()).unwrap());
    let first = depot.asked().await;
    assert!(first.starts_with("GET /moves?since=20"), "{first}");
    assert!(first.to_lowercase().contains("authorization: bearer correct horse battery staple"), "{first}");
    assert!(depot.asked().await.contains("page=p2"));
    assert!(depot.asked().await.contains("page=p2"), "after a failure it goes on with the page that failed");

    let stand = stand.kill_and_restart();
    depot.recovers.store(true, Ordering::Relaxed);
    let end = async { while stats(&stand).await.last_polled_at.is_none() {} };
    soon("the end of the list", end).await;
    assert_eq!(stats(&stand).await.recovered, 1, "the first item was there before");
    let log = stand.log();
    assert!(log.contains("the provider answered 503") && !log.contains("horse battery"), "{log}");
}
