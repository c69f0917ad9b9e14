//! A provider's server over TLS: it says what it is told to say, and remembers what it was asked.

use std::{net::SocketAddr, sync::Mutex};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring::default_provider,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

use super::*;
use crate::ingress::Fetcher;

/// A provider's server.
pub(super) struct StandIn {
    at: SocketAddr,
    roots: RootCertStore,
    asked: Arc<Mutex<Vec<String>>>,
}

type Answers = Arc<dyn Fn(&str) -> String + Send + Sync>;

impl StandIn {
    /// Answers as one of these hosts: `answer` makes a whole answer of a request.
    pub(super) async fn new(hosts: &[&str], answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_certificate = authority.self_signed(&authority_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let issuer = Issuer::new(authority, authority_key);
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();

        let mut roots = RootCertStore::empty();
        roots.add(authority_certificate.der().clone()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions().unwrap();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], private).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (at, asked) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        tokio::spawn(listen(listener, TlsAcceptor::from(Arc::new(config)), Arc::new(answer), Arc::clone(&asked)));
        Self { at, roots, asked }
    }

    /// What finds every host here.
    pub(super) fn fetcher(&self) -> Fetcher {
        Fetcher::to(self.at, self.roots.clone()).unwrap()
    }

    /// The requests since it was asked for them last.
    pub(super) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

async fn listen(listener: TcpListener, tls: TlsAcceptor, answer: Answers, asked: Arc<Mutex<Vec<String>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, tls.clone(), Arc::clone(&answer), Arc::clone(&asked)));
    }
}

async fn serve(stream: TcpStream, tls: TlsAcceptor, answer: Answers, asked: Arc<Mutex<Vec<String>>>) {
    // Who does not trust the certificate hangs up.
    let Ok(mut stream) = tls.accept(stream).await else { return };
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let mut head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    head.push_str(str::from_utf8(&body).unwrap());
    let answer = answer(&head);
    asked.lock().unwrap().push(head);
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
}

/// A whole answer.
pub(super) fn answer(status: u16, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}
