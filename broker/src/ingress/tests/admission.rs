//! Who may knock at a source, and how often.

use std::net::IpAddr;

use http::header::RETRY_AFTER;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::*;
use crate::ingress::{Outcome, Peer};

const OPEN: &str = "[open]\nscheme = \"hmac\"\nsecrets = [\"file:secret\"]";

fn from(peer: &str, mut request: Request<Body>) -> Request<Body> {
    request.extensions_mut().insert(Peer(peer.parse::<IpAddr>().unwrap()));
    request
}

#[tokio::test]
async fn who_may_not_post_is_answered_as_if_there_was_no_source() {
    let edge =
        Harness::new(&format!("{OPEN}\n[listed]\nscheme = \"hmac\"\nsecrets = [\"file:secret\"]\nlimits.peers = [\"192.0.2.0/24\"]"));
    let nobody = edge.send(request("/hooks/nobody", HeaderMap::new(), "{}")).await;
    for (what, asked) in [
        ("signed", from("203.0.113.1", edge.signed("listed", "1", None, "{}"))),
        ("unsigned", from("203.0.113.1", request("/hooks/listed", HeaderMap::new(), "{}"))),
        ("another method", from("203.0.113.1", Request::get("/hooks/listed").body(Body::empty()).unwrap())),
        ("by nobody", edge.signed("listed", "1", None, "{}")),
    ] {
        let answer = edge.send(asked).await;
        assert_eq!((answer.status, &answer.headers, &answer.body), (nobody.status, &nobody.headers, &nobody.body), "{what}");
    }
    assert_eq!(edge.count("listed", Outcome::RefusedPeer), 4);
    let sources = &edge.sources;
    assert_eq!(sources.get("listed").unwrap().counters.sum(|_| true), 4, "nothing else was found out about them");
    assert_eq!(edge.send(from("192.0.2.77", edge.signed("listed", "1", None, "{}"))).await.status, 202);
    assert_eq!(edge.send(from("203.0.113.1", edge.signed("open", "1", None, "{}"))).await.status, 202, "where nobody is listed, all may");
}

#[tokio::test]
async fn who_says_to_be_forwarded_is_believed_of_nobody_but_a_listed_proxy() {
    let listed = "[listed]\nscheme = \"hmac\"\nsecrets = [\"file:secret\"]\nlimits.peers = [\"192.0.2.0/24\"]";
    for (proxies, peer, status) in [("", "10.0.0.1", 404), ("10.0.0.0/8", "10.0.0.1", 202), ("10.0.0.0/8", "203.0.113.1", 404)] {
        let edge = Harness::behind(proxies, listed);
        let mut asked = from(peer, edge.signed("listed", "1", None, "{}"));
        asked.headers_mut().insert("x-forwarded-for", "192.0.2.77".parse().unwrap());
        // The other spelling, which proxies that do not know it would pass on from anybody, is not looked at.
        asked.headers_mut().insert("forwarded", "for=192.0.2.77".parse().unwrap());
        assert_eq!(edge.send(asked).await.status, status, "{peer} with proxies {proxies:?}");
    }
}

#[tokio::test]
async fn webhooks_beyond_the_rate_are_429_until_the_time_that_they_are_told() {
    let edge = Harness::new(&format!("{OPEN}\nlimits.max_per_second = 2"));
    for id in 0..20 {
        assert_eq!(edge.send(request("/hooks/open", HeaderMap::new(), format!("{id}"))).await.status, 401, "a stranger");
    }
    for id in 0..2 {
        let answer = edge.post("open", "", None, &format!("{{\"n\":{id}}}")).await;
        assert_eq!(answer.status, 202, "what a stranger sends costs the provider nothing");
    }
    let answer = edge.post("open", "", None, "{\"n\":2}").await;
    assert_eq!((answer.summary(), &answer.headers[RETRY_AFTER]), ((429, "refused".to_owned()), &"1".parse().unwrap()));
    assert_eq!((edge.count("open", Outcome::RefusedRate), edge.events().await.len()), (1, 2));
}

#[tokio::test]
async fn a_source_with_all_its_requests_under_way_is_503_at_once_and_the_others_go_on() {
    let edge = Harness::new(&format!("{OPEN}\nlimits.max_concurrent = 2\n{}", OPEN.replace("open", "other")));
    let (mut held, mut senders) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        // Its body never ends.
        let (sender, body) = mpsc::channel::<Result<Bytes, std::convert::Infallible>>(1);
        let body = Body::from_stream(ReceiverStream::new(body));
        let (router, asked) = (edge.router.clone(), request("/hooks/open", HeaderMap::new(), body));
        held.push(tokio::spawn(async move { router.oneshot(asked).await.unwrap().status() }));
        sender.send(Ok(Bytes::from_static(b"{"))).await.unwrap();
        sender.reserve().await.unwrap();
        senders.push(sender);
    }
    let answer = edge.post("open", "", None, "{}").await;
    assert_eq!((answer.summary(), &answer.headers[RETRY_AFTER]), ((503, "unavailable".to_owned()), &"1".parse().unwrap()));
    assert_eq!(edge.post("other", "", None, "{}").await.status, 202, "no other source notices");
    assert_eq!((edge.count("open", Outcome::Busy), edge.sources.get("open").unwrap().admission.under_way()), (1, 2));
    drop(senders);
    for held in held {
        assert_eq!(held.await.unwrap(), 401);
    }
    assert_eq!(edge.post("open", "", None, "{}").await.status, 202, "there is room again");
}

#[test]
fn limits_that_make_no_sense_are_told_with_their_key() {
    let (_, findings, _) = build(&format!("{OPEN}\nlimits.max_concurrent = 0"));
    assert_eq!(findings, [("sources.open.limits.max_concurrent".to_owned(), "is 0, so that nothing would be accepted".to_owned())]);
    let told = parse(&format!("[sources.{}\n[sources.open.limits]\npeers = [\"10.0.0.1/8\"]", &OPEN[1..]), Path::new("way.toml"));
    let told = told.unwrap_err().to_string();
    assert!(told.contains("way.toml:5: sources.open.limits.peers") && told.contains("write \"10.0.0.0/8\""), "{told}");
}
