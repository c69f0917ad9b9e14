//! Web pages: gRPC-Web over HTTP/1.1 as a browser speaks it, with what a browser insists on.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, body::Incoming, header::HeaderMap};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use prost::Message;
use waypost_proto::v1::{
    Event, GetLineageRequest, PublishItem, PublishRequest, PublishResponse, ReadEventsRequest, SubscribeRequest, SubscribeResponse,
    agent_service_client::AgentServiceClient, publish_result::Result as Outcome, read_events_response, subscribe_response,
};

use crate::stand::{Stand, soon};

const PAGE: &str = "https://console.example.com";
const ALLOWED: &str = "agents.allowed_origins = ['https://console.example.com']";

/// A page in a browser that calls the agents' listener.
struct Page {
    http: Client<HttpConnector, Full<Bytes>>,
    url: String,
    origin: &'static str,
}

impl Page {
    fn new(stand: &Stand, origin: &'static str) -> Self {
        Self { http: Client::builder(TokioExecutor::new()).build_http(), url: stand.broker.agents.clone(), origin }
    }

    async fn preflight(&self, rpc: &str) -> Response<Incoming> {
        let request = Request::builder()
            .method(Method::OPTIONS)
            .uri(format!("{}/waypost.v1.AgentService/{rpc}", self.url))
            .header("origin", self.origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type,x-grpc-web,x-user-agent")
            .body(Full::default())
            .unwrap();
        soon("the preflight's answer", self.http.request(request)).await.unwrap()
    }

    async fn call(&self, rpc: &str, message: &impl Message) -> Response<Incoming> {
        let mut frame = BytesMut::new();
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.encoded_len()).unwrap());
        message.encode(&mut frame).unwrap();
        let request = Request::post(format!("{}/waypost.v1.AgentService/{rpc}", self.url))
            .header("origin", self.origin)
            .header("content-type", "application/grpc-web+proto")
            .header("x-grpc-web", "1")
            .body(Full::new(frame.freeze()))
            .unwrap();
        soon("the answer", self.http.request(request)).await.unwrap()
    }
}

/// The frames of a gRPC-Web answer.
struct Frames {
    body: Incoming,
    read: BytesMut,
}

/// One of them.
enum Frame {
    Message(Bytes),
    Trailers(String),
}

impl Frames {
    fn of(response: Response<Incoming>) -> Self {
        assert_eq!(header(response.headers(), "content-type"), "application/grpc-web+proto");
        Self { body: response.into_body(), read: BytesMut::new() }
    }

    async fn next(&mut self) -> Frame {
        loop {
            if let [kind, length @ ..] = &self.read[..]
                && let Some(length) = length.first_chunk().map(|length| u32::from_be_bytes(*length) as usize)
                && self.read.len() >= 5 + length
            {
                let is_trailers = kind & 0x80 != 0;
                self.read.advance(5);
                let content = self.read.split_to(length).freeze();
                return if is_trailers { Frame::Trailers(String::from_utf8(content.into()).unwrap()) } else { Frame::Message(content) };
            }
            let more = soon("a frame", self.body.frame()).await.expect("the answer goes on").unwrap();
            self.read.extend_from_slice(more.data_ref().expect("no HTTP trailers: a page cannot read them"));
        }
    }

    async fn message<M: Message + Default>(&mut self) -> M {
        match self.next().await {
            Frame::Message(bytes) => M::decode(bytes).unwrap(),
            Frame::Trailers(trailers) => panic!("the call ended: {trailers}"),
        }
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).unwrap_or_else(|| panic!("no {name} in {headers:?}")).to_str().unwrap()
}

fn publish() -> PublishRequest {
    let event = Event::of_json("pages/console", "page.clicked", "{}");
    PublishRequest { items: vec![PublishItem { event: Some(event), ..PublishItem::default() }] }
}

#[tokio::test]
async fn a_browser_is_told_that_an_allowed_page_may_call() {
    let stand = Stand::with(ALLOWED);
    let answer = Page::new(&stand, PAGE).preflight("Publish").await;
    assert_eq!(answer.status(), 204);
    let headers = answer.headers();
    assert_eq!(header(headers, "access-control-allow-origin"), PAGE);
    assert_eq!(header(headers, "access-control-allow-methods"), "POST");
    assert_eq!(header(headers, "access-control-allow-headers"), "content-type,x-grpc-web,x-user-agent");
    assert!(header(headers, "access-control-max-age").parse::<u32>().unwrap() > 0);
    assert_eq!(header(headers, "vary"), "origin");
}

#[tokio::test]
async fn an_allowed_page_publishes_and_gets_what_follows_as_it_comes() {
    let stand = Stand::with(ALLOWED);
    let page = Page::new(&stand, PAGE);
    let opening = page.call("Subscribe", &SubscribeRequest { subscription: "console".to_owned(), ..SubscribeRequest::default() }).await;
    assert_eq!((opening.status().as_u16(), header(opening.headers(), "access-control-allow-origin")), (200, PAGE));
    let mut stream = Frames::of(opening);
    let opened = stream.message::<SubscribeResponse>().await.response;
    assert!(matches!(opened, Some(subscribe_response::Response::Opened(_))), "{opened:?}");

    let mut answer = Frames::of(page.call("Publish", &publish()).await);
    let Some(Outcome::Accepted(accepted)) = answer.message::<PublishResponse>().await.results.remove(0).result else { panic!("refused") };
    let Frame::Trailers(trailers) = answer.next().await else { panic!("a unary call has one answer") };
    assert!(trailers.contains("grpc-status:0"), "{trailers}");

    let delivered = loop {
        if let Some(subscribe_response::Response::Deliveries(mut deliveries)) = stream.message::<SubscribeResponse>().await.response {
            break deliveries.deliveries.remove(0);
        }
    };
    assert_eq!(delivered.offset, accepted.offset);
}

#[tokio::test]
async fn a_page_can_read_why_a_call_failed() {
    let stand = Stand::with(ALLOWED);
    let answer = Page::new(&stand, PAGE).call("GetLineage", &GetLineageRequest::default()).await;
    let exposed = header(answer.headers(), "access-control-expose-headers").to_owned();
    for name in ["grpc-status", "grpc-message", "grpc-status-details-bin"] {
        assert!(exposed.contains(name), "a page cannot see {name}: {exposed}");
    }
    assert_eq!(header(answer.headers(), "grpc-status"), "3");
    assert!(header(answer.headers(), "grpc-message").contains("story"));
    assert!(!header(answer.headers(), "grpc-status-details-bin").is_empty());
}

#[tokio::test]
async fn a_page_that_is_not_allowed_can_neither_read_nor_do_anything() {
    for (what, lines, origin) in [("none is by default", "", PAGE), ("another is", ALLOWED, "https://evil.example.com")] {
        let stand = Stand::with(lines);
        let page = Page::new(&stand, origin);
        for answer in [page.preflight("Publish").await, page.call("Publish", &publish()).await] {
            assert_eq!(answer.status(), 403, "{what}");
            assert!(!answer.headers().contains_key("access-control-allow-origin"), "{what}: {answer:?}");
        }
        // Nor behind the back of gRPC-Web: administrators' calls take no page at all.
        let admin = Page { url: stand.broker.admin.clone(), ..page };
        assert_eq!(admin.call("Publish", &publish()).await.status(), 403, "{what}");

        let mut agent = AgentServiceClient::new(stand.broker.channel());
        let mut events = agent.read_events(ReadEventsRequest::default()).await.unwrap().into_inner();
        while let Some(response) = soon("the end of the log", events.message()).await.unwrap() {
            let is_event = matches!(response.response, Some(read_events_response::Response::Events(_)));
            assert!(!is_event, "{what}, and yet its event is stored: {response:?}");
        }
    }
}
