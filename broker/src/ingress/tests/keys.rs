//! Keys that a provider publishes, fetched from a server over TLS.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::header;

use super::{providers::Attempt, stand_in::StandIn, *};
use crate::ingress::{
    Outcome,
    keys::NoKeys,
    verify::{KeyFormat, KeySet, KeysAt, tests::Vector},
};

/// A provider that always says the same.
struct Provider {
    ring: KeyRing,
    asked: Arc<AtomicUsize>,
}

impl Provider {
    async fn new(hosts: &[&str], answer: String) -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let server = StandIn::new(hosts, move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            answer.clone()
        });
        Self { ring: KeyRing::new(server.await.fetcher()), asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nCache-Control: public, max-age=600, must-revalidate\r\n\r\n{body}", body.len())
}

const SNS: &str = "sns.us-east-1.amazonaws.com";

/// An SNS webhook whose certificate has to be fetched.
fn unfetched(name: &str, provider: &Provider) -> Attempt {
    Attempt { keys: None, ring: Some(provider.ring.clone()), ..Attempt::new(&Vector::find(name)) }
}

fn certificate() -> String {
    Vector::find("aws-sns").fetched.unwrap().body
}

#[tokio::test]
async fn a_certificate_is_fetched_once_for_all_that_ask() {
    let provider = Provider::new(&[SNS], ok(&certificate())).await;
    let attempt = unfetched("aws-sns", &provider);
    let (a, b, c) = tokio::join!(attempt.send(), attempt.send(), attempt.send());
    assert_eq!([a.1, b.1, c.1], [Outcome::Accepted; 3]);
    assert_eq!(provider.asked(), 1);
}

#[tokio::test]
async fn a_provider_that_does_not_answer_is_our_trouble_and_not_the_senders() {
    let large = ok(&"x".repeat(300_000));
    for (case, hosts, answer) in [
        (
            "a redirect",
            &[SNS][..],
            "HTTP/1.1 302 Found\r\nLocation: https://sns.us-east-1.amazonaws.com/\r\nContent-Length: 0\r\n\r\n".to_owned(),
        ),
        ("an error", &[SNS], "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n".to_owned()),
        ("no certificate", &[SNS], ok("hello")),
        ("too much", &[SNS], large),
        ("a broken answer", &[SNS], "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nhalf".to_owned()),
        ("another host", &["evil.example"], ok(&certificate())),
    ] {
        let provider = Provider::new(hosts, answer).await;
        let (answer, outcome) = unfetched("aws-sns", &provider).send().await;
        assert_eq!((answer.status.as_u16(), outcome), (503, Outcome::KeysUnavailable), "{case}");
        assert_eq!(answer.headers[header::RETRY_AFTER], "10", "{case}");
        let (_, again) = unfetched("aws-sns", &provider).send().await;
        assert_eq!(again, Outcome::KeysUnavailable, "{case}");
        assert!(provider.asked() <= 1, "{case}: a failure is remembered");
    }
}

#[tokio::test]
async fn a_certificate_that_the_provider_does_not_have_is_a_forgery() {
    let provider = Provider::new(&[SNS], "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned()).await;
    let (answer, outcome) = unfetched("aws-sns", &provider).send().await;
    assert_eq!((answer.status.as_u16(), outcome), (401, Outcome::UnverifiedKeyUnknown));
}

#[tokio::test]
async fn nobody_is_asked_who_is_not_the_provider() {
    let provider = Provider::new(&[SNS, "evil.example"], ok(&certificate())).await;
    let mut attempt = unfetched("aws-sns", &provider);
    attempt.vector.body = attempt.vector.body.replace("https://sns.us-east-1.amazonaws.com/Simple", "https://evil.example/Simple");
    let (answer, outcome) = attempt.send().await;
    assert_eq!((answer.status.as_u16(), outcome, provider.asked()), (401, Outcome::UnverifiedKeyUnknown, 0));
}

#[tokio::test]
async fn a_subscription_is_confirmed_for_an_allowed_topic_only() {
    let provider = Provider::new(&[SNS], ok("<ConfirmSubscriptionResponse/>")).await;
    // The certificate is there already: what is asked for is the confirmation.
    let attempt = Attempt { ring: Some(provider.ring.clone()), ..Attempt::new(&Vector::find("aws-sns, confirmation")) };
    let (answer, outcome) = attempt.send().await;
    assert_eq!((answer.status.as_u16(), outcome, provider.asked()), (200, Outcome::Handshake, 1));

    let mut other = attempt.clone();
    other.vector.allow.insert("topic".to_owned(), vec!["arn:aws:sns:us-east-1:123456789012:another".to_owned()]);
    assert_eq!(other.send().await.1, Outcome::UnverifiedNotAllowed);
    assert_eq!(provider.asked(), 1, "for another topic nobody is called");
}

#[tokio::test]
async fn keys_hold_for_as_long_as_their_provider_says_and_outlive_its_failures() {
    const SECOND: u64 = 1_000_000;
    let jwks = Vector::find("google-pubsub").fetched.unwrap();
    let provider = Provider::new(&["www.googleapis.com"], ok(&jwks.body)).await;
    let at = |id: &str| KeysAt::open(jwks.url.clone(), KeyFormat::Jwks, Some(id));
    let ring = &provider.ring;
    assert!(ring.get(&at("g1"), 0).await.unwrap().knows(Some("g1")));
    ring.get(&at("g1"), 599 * SECOND).await.unwrap();
    assert_eq!(provider.asked(), 1, "max-age is 600 s");
    ring.get(&at("g1"), 601 * SECOND).await.unwrap();
    assert_eq!(provider.asked(), 2);
    // A key that is not among them may be new: it is asked for, but not for each request that names one.
    for now in [602, 605, 610] {
        assert!(!ring.get(&at("made-up"), now * SECOND).await.unwrap().knows(Some("made-up")));
    }
    assert_eq!(provider.asked(), 2);
    ring.get(&at("made-up"), 612 * SECOND).await.unwrap();
    assert_eq!(provider.asked(), 3);

    let down = Provider::new(&["elsewhere.example"], ok("")).await;
    down.ring.hold_for(&jwks.url, KeySet::of_jwks(jwks.body.as_bytes()).unwrap(), 600 * SECOND);
    assert!(down.ring.get(&at("g1"), 3_600 * SECOND).await.is_ok(), "old keys are better than none");
    assert_eq!(down.ring.get(&at("g1"), 90_000 * SECOND).await, Err(NoKeys::Unavailable), "but not for ever");
}

#[tokio::test]
async fn addresses_that_somebody_makes_up_cost_no_memory() {
    let provider = Provider::new(&["elsewhere.example"], ok("")).await;
    for number in 0..200 {
        let url = format!("https://{SNS}/SimpleNotificationService-{number}.pem");
        assert!(provider.ring.get(&KeysAt::open(url, KeyFormat::Pem, None), 0).await.is_err());
    }
    assert!(provider.ring.addresses() <= crate::limits::MAX_KEY_ADDRESSES);
}
