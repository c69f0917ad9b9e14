//! Bad input at the edge: a specific answer each, and the broker lives on.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use waypost_tests::webhook::sign;

use crate::stand::{PATH, SECRET, Stand, delay, soon};

/// Sends bytes as they are, and gives the status and the text of the answer.
pub(crate) async fn exchange(stand: &Stand, request: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(stand.edge()).await.unwrap();
    // The broker may answer, and hang up, before it read everything.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    soon("an answer", async {
        let mut buffer = [0; 4096];
        while let Ok(count) = stream.read(&mut buffer).await {
            answer.extend_from_slice(&buffer[..count]);
            if count == 0 {
                break;
            }
        }
    })
    .await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.split_whitespace().nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    (status, text)
}

fn request(method: &str, path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let signature = sign(SECRET, body);
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: waypost\r\nconnection: close\r\ncontent-type: {content_type}\r\n\
         x-webhook-signature: {signature}\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn chunked(chunks: usize, ends: bool) -> Vec<u8> {
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: waypost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         x-webhook-signature: 00\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let chunk = [format!("{:x}\r\n", 64 * 1024).as_bytes(), &vec![b'x'; 64 * 1024], b"\r\n"].concat();
    [head.as_bytes(), &chunk.repeat(chunks), if ends { b"0\r\n\r\n" } else { b"" }].concat()
}

#[tokio::test]
async fn each_bad_request_has_its_own_answer_and_the_edge_lives_on() {
    let stand = Stand::new();
    let json = "application/json";
    let unsigned = b"POST /agent/logistics-anomaly-webhook HTTP/1.1\r\nhost: w\r\nconnection: close\r\ncontent-type: application/json\r\n\
                     content-length: 2\r\n\r\n{}";
    let huge_header = format!("POST {PATH} HTTP/1.1\r\nhost: w\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    let large_head = format!("POST {PATH} HTTP/1.1\r\nhost: w\r\nx: {}\r\n\r\n", "y".repeat(300_000));
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("malformed JSON", request("POST", PATH, json, b"{\"shipment_id\":"), 202, "\"quarantined\""),
        ("malformed UTF-8", request("POST", PATH, json, b"{\"shipment_id\":\"\xff\"}"), 202, "\"quarantined\""),
        (
            "no required field",
            request("POST", PATH, json, b"{\"event_type\":\"shipping_delay\",\"new_eta\":\"2026-04-10T17:00:00Z\"}"),
            202,
            "quarantined",
        ),
        ("wrong content type", request("POST", PATH, "text/html", b"{}"), 415, "send application/json"),
        ("oversized", request("POST", PATH, json, &vec![b' '; (1 << 20) + 1]), 413, "1048576"),
        ("oversized in chunks", chunked(17, true), 413, "1048576"),
        ("endless in chunks", chunked(64, false), 413, "1048576"),
        ("a body that never comes", chunked(1, false), 408, ""),
        ("unknown source", request("POST", "/hooks/nobody", json, b"{}"), 404, ""),
        ("wrong method", request("PUT", PATH, json, b"{}"), 405, "allow: POST"),
        ("no signature", unsigned.to_vec(), 401, "signature"),
        ("no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00".to_vec(), 400, ""),
        ("a head beyond its limit", large_head.into_bytes(), 431, ""),
        ("a huge header", huge_header.into_bytes(), 431, ""),
    ];
    for (what, bytes, status, says) in cases {
        let (code, text) = exchange(&stand, &bytes).await;
        assert!(code == status && text.contains(says), "{what}: {status} with {says:?} is due, not {text}");
        assert!(!text.contains(SECRET), "{what}: the answer tells the secret");
        assert_eq!(stand.carrier(SECRET).post(delay(1)).await.unwrap().code, 202, "after {what}");
    }
    let log = std::fs::read_to_string(stand.folder.path().join("waypost.log")).unwrap();
    assert!(!log.contains(SECRET), "the log tells the secret");
    assert!(!log.contains("panicked"), "{log}");
}
