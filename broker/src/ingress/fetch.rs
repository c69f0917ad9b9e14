//! Asking providers: for their keys, to confirm subscriptions, for what was missed.
//!
//! Constraints:
//! - HTTPS only, one request and one answer: no redirect is followed, and nothing is sent that the caller does not say.
//! - Bounded: in time, in bytes, and in how many are under way. Who may be asked is decided before, by what a scheme pins.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header, uri::PathAndQuery};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::Semaphore};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};

use crate::limits::{FETCH_WITHIN, MAX_FETCHED_BYTES, MAX_FETCHES};

/// Fetches what providers publish. Clones share their limits.
#[derive(Clone)]
pub struct Fetcher(Arc<Inner>);

struct Inner {
    tls: OnceLock<Result<TlsConnector, String>>,
    /// Where every host is, if not where it says.
    at: Option<SocketAddr>,
    places: Semaphore,
}

/// What was fetched.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The content.
    pub body: Bytes,
    /// How long it holds, if it says so.
    pub max_age: Option<Duration>,
}

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It is no address of HTTPS.
    #[error("not an https address with a host")]
    Address,
    /// It took too long, or too many others were under way.
    #[error("no answer in time")]
    TooSlow,
    /// There are no authorities to trust.
    #[error("no certificate authorities: {0}")]
    NoRoots(String),
    /// Nobody answers there, or it is not who it should be.
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    /// The exchange failed.
    #[error("no answer: {0}")]
    Http(#[from] hyper::Error),
    /// It was refused, or redirected.
    #[error("the answer is {0}")]
    Status(StatusCode),
    /// It is larger than anything of its kind, or broke off.
    #[error("the answer broke off, or is larger than is taken")]
    Content,
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher").field("at", &self.0.at).finish_non_exhaustive()
    }
}

impl Default for Fetcher {
    fn default() -> Self {
        Self::new()
    }
}

impl Fetcher {
    /// Trusts the authorities of the operating system, which are read when the first is needed.
    #[must_use]
    pub fn new() -> Self {
        Self::with(OnceLock::new(), None)
    }

    /// Trusts these authorities, and finds every host at one address: for tests.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn to(at: SocketAddr, roots: RootCertStore) -> Result<Self, String> {
        Ok(Self::with(OnceLock::from(Ok(connector(roots)?)), Some(at)))
    }

    fn with(tls: OnceLock<Result<TlsConnector, String>>, at: Option<SocketAddr>) -> Self {
        Self(Arc::new(Inner { tls, at, places: Semaphore::new(MAX_FETCHES) }))
    }

    /// Gets what is at an address. Dropping the future breaks the connection off.
    ///
    /// # Errors
    /// [`FetchError`]; every answer but 200 is one.
    pub async fn get(&self, url: &str) -> Result<Fetched, FetchError> {
        self.fetch(Request::get(url).body(Bytes::new()).map_err(|_| FetchError::Address)?).await
    }

    /// The same with a request that says more.
    ///
    /// # Errors
    /// [`FetchError`]; every answer but 200 is one.
    pub async fn fetch(&self, request: Request<Bytes>) -> Result<Fetched, FetchError> {
        let answer = self.send(request, FETCH_WITHIN, MAX_FETCHED_BYTES).await?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        let max_age = answer.headers().get(header::CACHE_CONTROL).and_then(|value| max_age(value.to_str().ok()?));
        Ok(Fetched { body: answer.into_body(), max_age })
    }

    /// Sends a request to its absolute address: the answer whatever it is, if it is whole within this time and no larger than that.
    /// Dropping the future breaks the connection off.
    ///
    /// # Errors
    /// [`FetchError`], but for [`FetchError::Status`].
    pub async fn send(&self, request: Request<Bytes>, within: Duration, most: usize) -> Result<Response<Bytes>, FetchError> {
        tokio::time::timeout(within, self.exchange(request, most)).await.unwrap_or(Err(FetchError::TooSlow))
    }

    async fn exchange(&self, mut request: Request<Bytes>, most: usize) -> Result<Response<Bytes>, FetchError> {
        let url = std::mem::take(request.uri_mut());
        let (true, Some(host)) = (url.scheme_str() == Some("https"), url.host()) else { return Err(FetchError::Address) };
        let Inner { tls, at, places } = &*self.0;
        let _place = places.acquire().await.map_err(|_| FetchError::TooSlow)?;
        let tls = tls.get_or_init(native).as_ref().map_err(|problem| FetchError::NoRoots(problem.clone()))?;
        let name = ServerName::try_from(host.to_owned()).map_err(|_| FetchError::Address)?;
        let stream = match at {
            Some(at) => TcpStream::connect(at).await?,
            None => TcpStream::connect((host, url.port_u16().unwrap_or(443))).await?,
        };
        let stream = tls.connect(name, stream).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let target = url.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let authority = url.authority().map_or(host, |authority| authority.as_str());
        let authority = HeaderValue::from_str(authority).map_err(|_| FetchError::Address)?;
        *request.uri_mut() = target.into();
        request.headers_mut().insert(header::HOST, authority);
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        let answered = async { read(sender.send_request(request.map(Full::new)).await?, most).await };
        // The connection ends with the answer, and with whoever waits for it.
        tokio::pin!(answered, connection);
        tokio::select! {
            biased;
            fetched = &mut answered => fetched,
            _ = &mut connection => answered.await,
        }
    }
}

async fn read(answer: Response<Incoming>, most: usize) -> Result<Response<Bytes>, FetchError> {
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, most).collect().await.map_err(|_| FetchError::Content)?.to_bytes();
    Ok(Response::from_parts(head, body))
}

fn max_age(cache_control: &str) -> Option<Duration> {
    let seconds = cache_control.split(',').find_map(|directive| directive.trim().strip_prefix("max-age="))?;
    seconds.parse().ok().map(Duration::from_secs)
}

fn native() -> Result<TlsConnector, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let problem = found.errors.first().map_or_else(|| "the operating system has none".to_owned(), ToString::to_string);
        return Err(problem);
    }
    connector(roots)
}

fn connector(roots: RootCertStore) -> Result<TlsConnector, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
    let config = builder.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
