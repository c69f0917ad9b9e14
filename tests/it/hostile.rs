//! Hostile senders: slow ones, and ten thousand malformed requests beside good ones.
//!
//! Constraint: what is malformed is made from a seed, out of requests that are not; a failure names the seed and the number.

use std::{
    collections::BTreeMap,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use waypost_tests::webhook::sign;

use crate::stand::{PATH, SECRET, Stand, delay, soon};

const SEED: u64 = 0x5eed_0004;
const REQUESTS: u64 = 10_000;
const SENDERS: u64 = 16;

/// More than the memory of the broker may grow by, whatever it is sent.
const MAX_GROWTH_KIB: u64 = 128 * 1024;

/// A request before its head and body are put together.
struct Draft {
    method: String,
    path: String,
    version: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Draft {
    fn signed(body: Vec<u8>) -> Self {
        let headers = [
            ("host", "waypost".to_owned()),
            ("connection", "close".to_owned()),
            ("content-type", "application/json".to_owned()),
            ("x-webhook-signature", sign(SECRET, &body)),
            ("content-length", body.len().to_string()),
        ];
        Self {
            method: "POST".to_owned(),
            path: PATH.to_owned(),
            version: "HTTP/1.1".to_owned(),
            headers: headers.map(|(name, value)| (name.to_owned(), value.into_bytes())).into(),
            body,
        }
    }

    fn set(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.into()));
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} {}\r\n", self.method, self.path, self.version).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        [&bytes[..], b"\r\n", &self.body].concat()
    }
}

/// The request of a number, and what is wrong with it.
fn malformed(number: u64) -> (&'static str, Vec<u8>) {
    let mut rng = fastrand::Rng::with_seed(SEED ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let good = delay(u32::try_from(number).unwrap());
    match number % 12 {
        0 => {
            let whole = Draft::signed(good).bytes();
            ("cut off", whole[..rng.usize(1..whole.len())].to_vec())
        }
        1 => {
            let mut bytes = Draft::signed(good).bytes();
            for _ in 0..rng.usize(1..8) {
                let at = rng.usize(..bytes.len());
                bytes[at] = rng.u8(..);
            }
            ("bytes changed", bytes)
        }
        2 => ("bad chunks", chunked(&mut rng, good)),
        3 => ("a wrong length", with_length(&mut rng, good)),
        4 => ("bad headers", with_headers(&mut rng, good)),
        5 => ("a broken signature", with_signature(&mut rng, good)),
        6 => ("a strange first line", with_first_line(&mut rng, good)),
        7 => ("strange JSON", Draft::signed(json(&mut rng)).bytes()),
        8 => {
            let mut body = good;
            for _ in 0..rng.usize(1..20) {
                body.insert(rng.usize(..body.len()), rng.u8(0x80..));
            }
            ("bad UTF-8", Draft::signed(body).bytes())
        }
        9 => ("a wrong encoding", with_coding(&mut rng, &good)),
        10 => ("noise", (0..rng.usize(1..2_000)).map(|_| rng.u8(..)).collect()),
        _ => {
            let mut draft = Draft::signed(good);
            let kinds = [
                "text/html",
                "multipart/form-data; boundary=x",
                "application/x-www-form-urlencoded",
                "\"",
                "application/json; charset=utf-7",
                "",
            ];
            draft.set("content-type", rng.choice(kinds).unwrap());
            ("a wrong content type", draft.bytes())
        }
    }
}

fn chunked(rng: &mut fastrand::Rng, body: Vec<u8>) -> Vec<u8> {
    let mut draft = Draft::signed(body);
    draft.headers.retain(|(name, _)| name != "content-length" || rng.u8(..4) == 0);
    draft.set("transfer-encoding", rng.choice(["chunked", "chunked, chunked", "gzip, chunked", "xchunked", "identity"]).unwrap());
    let size =
        rng.choice(["ffffffffffffffff", "-1", "0x10", "zz", "", "10;ext=\"", "fffffffff", "5\n", "00000000000000000000000000001"]).unwrap();
    let body = std::mem::take(&mut draft.body);
    [&draft.bytes()[..], size.as_bytes(), b"\r\n", &body[..rng.usize(..body.len())], b"\r\n0\r\n\r\n"].concat()
}

fn with_length(rng: &mut fastrand::Rng, body: Vec<u8>) -> Vec<u8> {
    let (short, long) = ((body.len() / 2).to_string(), (body.len() * 2).to_string());
    let lengths = [
        "-1",
        "18446744073709551616",
        "9223372036854775807",
        "99999999999999999999999999",
        "+5",
        "0x10",
        "5, 6",
        " ",
        "1e3",
        &short,
        &long,
    ];
    let mut draft = Draft::signed(body);
    draft.set("content-length", rng.choice(lengths).unwrap());
    if rng.bool() {
        draft.headers.push(("content-length".to_owned(), rng.u32(..).to_string().into_bytes()));
    }
    draft.bytes()
}

fn with_headers(rng: &mut fastrand::Rng, body: Vec<u8>) -> Vec<u8> {
    let mut draft = Draft::signed(body);
    match rng.u8(..6) {
        0 => (0..rng.usize(100..2_000)).for_each(|number| draft.headers.push((format!("x-{number}"), b"y".to_vec()))),
        1 => draft.headers.push(("x".to_owned(), vec![b'y'; rng.usize(100_000..1_000_000)])),
        2 => draft.headers.push((String::from_utf8_lossy(&[rng.u8(..32)]).into_owned(), b"y".to_vec())),
        3 => draft.headers.push(("x".to_owned(), (0..rng.usize(1..50)).map(|_| rng.u8(..)).collect())),
        4 => draft.headers.push(("".to_owned(), b"no name".to_vec())),
        _ => draft.headers.insert(1, (" folded".to_owned(), b"line".to_vec())),
    }
    draft.bytes()
}

fn with_signature(rng: &mut fastrand::Rng, body: Vec<u8>) -> Vec<u8> {
    let right = sign(SECRET, &body);
    let broken: Vec<u8> = match rng.u8(..8) {
        0 => Vec::new(),
        1 => right[..rng.usize(..right.len())].into(),
        2 => format!("{right}{right}").into_bytes(),
        3 => format!("sha256={right}").into_bytes(),
        4 => b"zz".repeat(32),
        5 => vec![b'a'; rng.usize(1..10_000)],
        6 => sign("another secret", &body).into_bytes(),
        _ => (0..64).map(|_| rng.u8(0x80..)).collect(),
    };
    let mut draft = Draft::signed(body);
    let twice = rng.u8(..8) == 0;
    draft.set("x-webhook-signature", broken);
    if twice {
        draft.headers.push(("x-webhook-signature".to_owned(), right.into_bytes()));
    }
    draft.bytes()
}

fn with_first_line(rng: &mut fastrand::Rng, body: Vec<u8>) -> Vec<u8> {
    let mut draft = Draft::signed(body);
    match rng.u8(..5) {
        0 => draft.method = rng.choice(["GET", "DELETE", "TRACE", "CONNECT", "", "P\u{f6}ST", "POST POST"]).unwrap().to_owned(),
        1 => draft.path = format!("{PATH}{}", rng.choice(["/..", "%00", "%zz", "?", "#", "//", "\u{e9}", " x"]).unwrap()),
        2 => draft.path = format!("/{}", "x".repeat(rng.usize(1_000..100_000))),
        3 => draft.version = rng.choice(["HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/9", "http/1.1", ""]).unwrap().to_owned(),
        _ => draft.path = rng.choice(["*", "http://elsewhere/", "waypost:80", "\\", "/hooks/nobody"]).unwrap().to_owned(),
    }
    draft.bytes()
}

fn json(rng: &mut fastrand::Rng) -> Vec<u8> {
    let deep = rng.usize(100..100_000);
    let text = match rng.u8(..7) {
        0 => "[".repeat(deep) + &"]".repeat(deep),
        1 => "{\"a\":".repeat(deep) + "1" + &"}".repeat(deep),
        2 => format!("{{\"shipment_id\":{}}}", "9".repeat(deep)),
        3 => format!("{{\"shipment_id\":1e{}}}", "9".repeat(rng.usize(1..400))),
        4 => "{\"shipment_id\":\"\\ud800\",\"new_eta\":\"\\u0000\"}".to_owned(),
        5 => format!("{{{}}}", "\"shipment_id\":\"x\",".repeat(rng.usize(1..2_000)).trim_end_matches(',')),
        _ => ["", " ", "null", "[]", "\"\\", "{\"a\" 1}", "NaN", "\u{feff}{}", "{,}", "tru"][rng.usize(..10)].to_owned(),
    };
    text.into_bytes()
}

fn with_coding(rng: &mut fastrand::Rng, body: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    let is_bomb = rng.u8(..8) == 0;
    let plain = if is_bomb { vec![b' '; 16 << 20] } else { body.to_vec() };
    gzip.write_all(&plain).unwrap();
    let mut packed = gzip.finish().unwrap();
    match rng.u8(..4) {
        0 => packed.truncate(rng.usize(..packed.len())),
        1 => {
            let at = rng.usize(..packed.len());
            packed[at] ^= 1 << rng.u8(..8);
        }
        2 => packed.extend(body),
        _ => {}
    }
    let mut draft = Draft::signed(packed);
    draft.set("content-encoding", rng.choice(["gzip", "deflate", "br", "gzip, gzip", "x-gzip", "identity", ""]).unwrap());
    draft.bytes()
}

/// The status of the answer; 0 if the connection was closed without one.
async fn exchange(edge: &str, request: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(edge).await.unwrap();
    // The broker may answer, and hang up, before it read everything.
    let _ = stream.write_all(request).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        answer.extend_from_slice(&buffer[..count]);
    }
    if answer.is_empty() {
        return 0;
    }
    let text = String::from_utf8(answer).unwrap();
    assert!(text.starts_with("HTTP/1.1 ") || text.starts_with("HTTP/1.0 "), "{text}");
    assert!(!text.contains(SECRET), "{text}");
    text[9..12].parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_malformed_requests_are_answered_or_closed_and_all_good_ones_beside_them_are_accepted() {
    let stand = Stand::new();
    let edge = stand.edge();
    for number in 0..100 {
        assert_eq!(stand.carrier(SECRET).post(delay(1_000_000 + number)).await.unwrap().code, 202);
    }
    let before = stand.broker.peak_memory_kib();

    let (next, done) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let good = {
        let (carrier, done) = (stand.carrier(SECRET), Arc::clone(&done));
        tokio::spawn(async move {
            let mut posted = 0;
            while !done.load(Relaxed) {
                posted += 1;
                let answer = soon("an answer to a good one", carrier.post(delay(2_000_000 + posted))).await.unwrap();
                assert_eq!((answer.code, &*answer.json["status"].to_string()), (202, "\"accepted\""), "good one {posted}");
            }
            posted
        })
    };
    let mut senders = JoinSet::new();
    for _ in 0..SENDERS {
        let (edge, next) = (edge.clone(), Arc::clone(&next));
        senders.spawn(async move {
            let mut seen: BTreeMap<(&'static str, u16), u64> = BTreeMap::new();
            loop {
                let number = u64::from(next.fetch_add(1, Relaxed));
                if number >= REQUESTS {
                    return seen;
                }
                let (what, bytes) = malformed(number);
                let status = soon("an answer or an end", exchange(&edge, &bytes)).await;
                // Our own fault would be 5xx; what is left valid, or is verified and kept, is 202.
                assert!(matches!(status, 0 | 202 | 400..=499), "number {number} of seed {SEED:#x}, {what}: {status}");
                *seen.entry((what, status)).or_default() += 1;
            }
        });
    }
    let mut seen: BTreeMap<(&'static str, u16), u64> = BTreeMap::new();
    while let Some(of_one) = senders.join_next().await {
        of_one.unwrap().into_iter().for_each(|(key, count)| *seen.entry(key).or_default() += count);
    }
    done.store(true, Relaxed);
    let posted = good.await.unwrap();

    assert_eq!(seen.values().sum::<u64>(), REQUESTS);
    for expected in [
        ("bad headers", 431),
        ("bad headers", 400),
        ("a wrong length", 400),
        ("a broken signature", 401),
        ("a strange first line", 404),
        ("a strange first line", 405),
        ("a wrong encoding", 415),
        ("a wrong content type", 415),
        ("bad UTF-8", 202),
        ("strange JSON", 202),
        ("noise", 400),
    ] {
        assert!(seen.contains_key(&expected), "{expected:?} is not among {seen:?}");
    }
    assert!(posted > 100, "good ones beside them: {posted}");
    let grown = stand.broker.peak_memory_kib() - before;
    assert!(grown < MAX_GROWTH_KIB, "the broker grew by {grown} KiB");
    assert_eq!(stand.carrier(SECRET).post(delay(3_000_000)).await.unwrap().code, 202);
    let log = stand.log();
    assert!(!log.contains("panicked") && !log.contains(SECRET), "{log}");
}

/// Sends one byte after the other, each when the broker had time to say something, until it ends. The answer.
async fn trickle(edge: &str, head: &str, then: u8) -> String {
    let mut stream = TcpStream::connect(edge).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let ended = async {
        loop {
            let mut buffer = [0; 1024];
            match timeout(Duration::from_millis(20), stream.read(&mut buffer)).await {
                Ok(Ok(count @ 1..)) => answer.extend_from_slice(&buffer[..count]),
                Ok(_) => return,
                Err(_) => drop(stream.write_all(&[then]).await),
            }
        }
    };
    soon("an end of who trickles", ended).await;
    String::from_utf8(answer).unwrap()
}

/// Both HTTP/1.1 and HTTP/2 are spoken there, and told apart by what comes first.
#[tokio::test]
async fn who_begins_to_say_which_http_it_speaks_and_goes_silent_is_cut_by_the_agents_listener() {
    let stand = Stand::with("agents.keepalive_interval = '200ms'\nagents.keepalive_timeout = '200ms'");
    for begun in [&b"P"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
        let mut stream = TcpStream::connect(stand.broker.agents.trim_start_matches("http://")).await.unwrap();
        stream.write_all(begun).await.unwrap();
        let mut rest = Vec::new();
        // A reset is an end as well.
        let _ = soon("the end of the connection", stream.read_to_end(&mut rest)).await;
    }
}

#[tokio::test]
async fn who_sends_a_byte_now_and_then_is_cut_in_the_head_and_in_the_body() {
    let stand = Stand::with("edge.header_timeout = '500ms'");
    let edge = stand.edge();
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: w\r\ncontent-type: application/json\r\nx-webhook-signature: 00\r\n");
    let begun =
        ["x: ", "content-length: 1000000\r\n\r\n", "transfer-encoding: chunked\r\n\r\nfffff\r\n"].map(|rest| format!("{head}{rest}"));
    let (in_head, in_body, in_chunks) =
        tokio::join!(trickle(&edge, &begun[0], b'y'), trickle(&edge, &begun[1], b' '), trickle(&edge, &begun[2], b' '));
    assert!(in_head.is_empty() || in_head.starts_with("HTTP/1.1 408 "), "{in_head}");
    for answer in [in_body, in_chunks] {
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    assert_eq!(stand.carrier(SECRET).post(delay(1)).await.unwrap().code, 202);
}
