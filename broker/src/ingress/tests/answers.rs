//! Every status, and whose fault it says it is.

use std::convert::Infallible;

use http::{HeaderValue, header};
use http_body_util::StreamBody;
use hyper::body::Frame;
use proptest::strategy::Strategy;
use waypost_store::{
    AppendError, Appended, BoxFuture, ClaimError, Claimed, Commit, CommitError, DiskState, Micros, NewEvent, Offset, ReadBatch, ReadError,
    Row, Table,
};

use super::*;
use crate::ingress::Outcome;

const GITHUB: &str = "[github]\nscheme = \"github\"\nsecrets = [\"file:next\", \"file:secret\"]";

fn header(request: &mut Request<Body>, name: &'static str, value: &str) {
    request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
}

#[tokio::test]
async fn each_secret_of_a_rotation_is_accepted() {
    let edge = Harness::new(GITHUB);
    assert_eq!(edge.post("github", "1", Some("push"), payload!("github_push")).await.summary(), (202, "accepted".to_owned()));
    let old = Harness::new("[github]\nscheme = \"github\"\nsecrets = [\"file:secret\"]");
    let request = old.signed("github", "2", Some("push"), &format!("{} ", payload!("github_push")));
    assert_eq!(edge.send(request).await.summary(), (202, "accepted".to_owned()));
    assert_eq!(edge.count("github", Outcome::Accepted), 2);
}

#[tokio::test]
async fn an_unverified_sender_learns_nothing_but_that() {
    let edge = Harness::new(GITHUB);
    let mut answers = Vec::new();
    for value in [None, Some(""), Some("sha256="), Some("sha1=00"), Some("sha256=zz"), Some("sha256=00")] {
        let mut request = edge.signed("github", "1", Some("push"), "{}");
        match value {
            Some(value) => header(&mut request, "x-hub-signature-256", value),
            None => drop(request.headers_mut().remove("x-hub-signature-256")),
        }
        answers.push(edge.send(request).await);
    }
    let tampered = edge.signed("github", "1", Some("push"), "{}").map(|_| Body::from("{ }"));
    answers.push(edge.send(tampered).await);
    for answer in &answers {
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer.body, answers[0].body);
    }
    assert_eq!(answers[0].text("message"), "the signature is missing or wrong");
    for outcome in [Outcome::UnverifiedSignatureMissing, Outcome::UnverifiedSignatureGrammar, Outcome::UnverifiedSignatureEncoding] {
        assert_eq!(edge.count("github", outcome), 1, "{outcome:?}");
    }
    assert_eq!(edge.count("github", Outcome::UnverifiedSignatureEmpty), 2);
    assert_eq!(edge.count("github", Outcome::UnverifiedSignatureWrong), 2);
    assert!(edge.events().await.is_empty());
}

#[tokio::test]
async fn an_old_signature_is_refused() {
    let edge = Harness::new("[pay]\nscheme = \"stripe\"\nsecrets = [\"file:secret\"]\ntolerance = \"1m\"");
    let verifier = edge.sources.get("pay").unwrap().verifier().unwrap();
    let sign = |wall| verifier.sign(HeaderMap::new(), &Sample { wall, ..sample(b"{}", None) }).unwrap();
    let old = request("/hooks/pay", sign(NOW - 61_000_000), "{}");
    assert_eq!(edge.send(old).await.status, StatusCode::UNAUTHORIZED);
    let ahead = request("/hooks/pay", sign(NOW + 61_000_000), "{}");
    assert_eq!(edge.send(ahead).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!((edge.count("pay", Outcome::UnverifiedTimestampOld), edge.count("pay", Outcome::UnverifiedTimestampAhead)), (1, 1));
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let edge = Harness::new(GITHUB);
    for path in ["/", "/hooks", "/hooks/", "/hooks/gitlab", "/hooks/github/"] {
        let answer = edge.send(request(path, HeaderMap::new(), "{}")).await;
        assert_eq!(answer.summary(), (404, "refused".to_owned()), "{path}");
    }
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS, Method::HEAD] {
        let mut request = edge.signed("github", "1", Some("push"), "{}");
        *request.method_mut() = method;
        let answer = edge.send(request).await;
        assert_eq!((answer.status, &answer.headers[header::ALLOW]), (StatusCode::METHOD_NOT_ALLOWED, &HeaderValue::from_static("POST")));
    }
}

#[tokio::test]
async fn content_types_other_than_json_are_refused() {
    let edge = Harness::new("[tasks]\nscheme = \"hmac\"\nsecrets = [\"file:secret\"]");
    for (content_type, status) in [
        ("application/json", 202),
        ("Application/JSON; charset=UTF-8", 202),
        ("application/cloudevents+json", 202),
        ("application/json; charset=utf-16", 415),
        ("text/plain", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/x-www-form-urlencoded", 415),
        ("", 415),
    ] {
        let mut request = edge.signed("tasks", "", None, &format!("{{\"a\":\"{content_type}\"}}"));
        header(&mut request, "content-type", content_type);
        assert_eq!(edge.send(request).await.status, status, "{content_type}");
    }
    let mut request = edge.signed("tasks", "", None, "{}");
    header(&mut request, "content-encoding", "br");
    let answer = edge.send(request).await;
    assert_eq!((answer.status.as_u16(), &answer.headers["accept-encoding"]), (415, &HeaderValue::from_static("gzip, deflate")));
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_however_it_comes() {
    let edge = Harness::new("[tasks]\nscheme = \"hmac\"\nsecrets = [\"file:secret\"]\nmax_body = \"1KiB\"");
    let fits = format!("{{\"a\":\"{}\"}}", "x".repeat(1024 - 8));
    assert_eq!(edge.post("tasks", "", None, &fits).await.status, 202);
    let beyond = format!("{fits} ");
    assert_eq!(edge.post("tasks", "", None, &beyond).await.summary(), (413, "refused".to_owned()));

    let chunks = move |body: String| {
        let frames: Vec<_> =
            body.as_bytes().chunks(100).map(|chunk| Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(chunk)))).collect();
        Body::new(StreamBody::new(tokio_stream::iter(frames)))
    };
    let chunked = edge.signed("tasks", "", None, &fits).map(|_| chunks(fits.clone()));
    assert_eq!(edge.send(chunked).await.summary(), (202, "duplicate".to_owned()));
    let chunked = edge.signed("tasks", "", None, &beyond).map(|_| chunks(beyond));
    assert_eq!(edge.send(chunked).await.status, 413);

    // An endless body is refused as soon as it is too large; one that lies about its length, before a byte of it is read.
    let endless = tokio_stream::iter(std::iter::repeat_with(|| Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"xxxx")))));
    assert_eq!(edge.send(request("/hooks/tasks", HeaderMap::new(), Body::new(StreamBody::new(endless)))).await.status, 413);
    let mut announced =
        request("/hooks/tasks", HeaderMap::new(), Body::new(StreamBody::new(tokio_stream::pending::<Result<Frame<Bytes>, Infallible>>())));
    header(&mut announced, "content-length", "1025");
    assert_eq!(edge.send(announced).await.status, 413);
    assert_eq!(edge.count("tasks", Outcome::RefusedTooLarge), 4);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up() {
    let edge = Harness::new(GITHUB);
    let silent = Body::new(StreamBody::new(tokio_stream::pending::<Result<Frame<Bytes>, Infallible>>()));
    let answer = edge.send(request("/hooks/github", HeaderMap::new(), silent)).await;
    assert_eq!((answer.status, edge.clock.now() - NOW), (StatusCode::REQUEST_TIMEOUT, 10_000_000));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_refused() {
    let edge = Harness::new(GITHUB);
    let frames = [Ok(Frame::data(Bytes::from_static(b"{"))), Err(std::io::Error::other("reset"))];
    let answer = edge.send(request("/hooks/github", HeaderMap::new(), Body::new(StreamBody::new(tokio_stream::iter(frames))))).await;
    assert_eq!(answer.summary(), (400, "refused".to_owned()));
}

#[tokio::test]
async fn a_slack_handshake_is_answered_only_when_it_is_verified() {
    let edge = Harness::new("[slack]\nscheme = \"slack\"\nsecrets = [\"file:secret\"]");
    let body = r#"{"token":"x","challenge":"3eZbrw1aB10lDMe","type":"url_verification"}"#;
    let answer = edge.post("slack", "", None, body).await;
    assert_eq!((answer.status, &*answer.body), (StatusCode::OK, &b"3eZbrw1aB10lDMe"[..]));
    assert_eq!(answer.headers[header::CONTENT_TYPE], "text/plain; charset=utf-8");

    let forged = edge.send(request("/hooks/slack", HeaderMap::new(), body)).await;
    assert_eq!(forged.status, StatusCode::UNAUTHORIZED);
    assert!(!String::from_utf8_lossy(&forged.body).contains("3eZbrw1aB10lDMe"));
    assert!(edge.events().await.is_empty());
}

#[tokio::test]
async fn our_own_trouble_is_never_the_senders() {
    for (error, outcome, wait) in [
        (AppendError::Full { used: 1, cap: 1, reserve: 0 }, Outcome::StoreFull, "30"),
        (AppendError::Unknown("fsync".into()), Outcome::OutcomeUnknown, "2"),
        (AppendError::Unavailable("recovering".into()), Outcome::StoreUnavailable, "2"),
    ] {
        let inner = MemoryStore::open(MemoryConfig::default());
        let edge = Harness::on(Arc::new(Troubled { inner, error }), GITHUB);
        for (event, body) in [("push", payload!("github_push")), ("push", "not JSON, so that it goes to quarantine")] {
            let answer = edge.post("github", "1", Some(event), body).await;
            assert_eq!(answer.summary(), (503, "unavailable".to_owned()));
            assert_eq!(answer.headers[header::RETRY_AFTER], wait);
        }
        assert_eq!(edge.count("github", outcome), 2);
    }
}

/// A store that writes nothing.
struct Troubled {
    inner: MemoryStore,
    error: AppendError,
}

impl EventStore for Troubled {
    fn append(&self, _: Micros, _: Vec<NewEvent>) -> BoxFuture<'_, Result<Vec<Appended>, AppendError>> {
        Box::pin(async { Err(self.error.clone()) })
    }

    fn commit(&self, _: Micros, _: Commit) -> BoxFuture<'_, Result<Vec<Appended>, CommitError>> {
        Box::pin(async { Err(self.error.clone().into()) })
    }

    fn claim<'a>(&'a self, owner: &'a str) -> BoxFuture<'a, Result<Claimed, ClaimError>> {
        self.inner.claim(owner)
    }

    fn read<'a>(&'a self, from: Offset, selection: &'a Selection, limits: ReadLimits) -> BoxFuture<'a, Result<ReadBatch, ReadError>> {
        self.inner.read(from, selection, limits)
    }

    fn tail(&self) -> tokio::sync::watch::Receiver<Offset> {
        self.inner.tail()
    }

    fn offset_at(&self, time: Micros) -> BoxFuture<'_, Result<Offset, ReadError>> {
        self.inner.offset_at(time)
    }

    fn scan<'a>(&'a self, table: Table, from: &'a [u8], limit: usize) -> BoxFuture<'a, Result<Vec<Row>, ReadError>> {
        self.inner.scan(table, from, limit)
    }

    fn trim(&self, before: Offset) -> BoxFuture<'_, Result<Offset, ReadError>> {
        self.inner.trim(before)
    }

    fn disk(&self) -> DiskState {
        self.inner.disk()
    }
}

proptest::proptest! {
    #[test]
    fn no_verified_request_makes_the_edge_panic(
        body in proptest::prop_oneof![
            "[\\[\\]{}:,\"a-z0-9 .eE+\\\\-]{0,60}".prop_map(String::into_bytes),
            "(payload|type|id|action|[a-z]{1,3})=([%+a-f0-9{}\":,]{0,12})(&[a-z]{1,3}=[%a-f0-9]{0,6}){0,3}".prop_map(String::into_bytes),
            proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60),
        ],
        content_type in proptest::sample::select(vec!["application/json", "application/x-www-form-urlencoded", "a/b+json; charset=\"utf8\";;=", ";", "="]),
        event in "[ -~]{0,20}",
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let edge = Harness::new(&format!("{GITHUB}\n[slack]\nscheme = \"slack\"\nsecrets = [\"file:secret\"]"));
            for name in ["github", "slack"] {
                let verifier = edge.sources.get(name).unwrap().verifier().unwrap();
                let mut headers = verifier.sign(HeaderMap::new(), &sample(&body, Some(&event))).unwrap();
                headers.insert("content-type", content_type.parse().unwrap());
                let answer = edge.send(request(&format!("/hooks/{name}"), headers, body.clone())).await;
                assert!(matches!(answer.status.as_u16(), 200 | 202 | 415), "{answer:?}");
            }
        });
    }
}
