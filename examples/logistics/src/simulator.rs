//! The outside systems: they post signed webhooks, and write down what they were answered.
//!
//! Constraints: a webhook is posted until there is an answer, as every sender does; the answer is in the ledger before the next
//! webhook is posted.

use std::error::Error;
use std::io;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::ledger::{Fact, Ledger, Seen, Status, micros_now};
use crate::scenario::{Twist, Webhook};

/// What the broker knows every source by.
pub(crate) const SECRET: &str = "known to the outside systems and the broker";

/// Before a webhook that had no answer is posted again.
const AGAIN: Duration = Duration::from_millis(100);

/// All the outside systems.
#[derive(Debug, Clone)]
pub(crate) struct Simulator {
    /// Host and port of the broker's edge.
    pub(crate) edge: String,
    pub(crate) ledger: Ledger,
}

impl Simulator {
    /// Posts a webhook, with its twist.
    pub(crate) async fn post(&self, webhook: &Webhook) -> Result<(), Box<dyn Error>> {
        self.post_once(webhook).await?;
        if webhook.twist == Twist::Twice {
            self.post_once(webhook).await?;
        }
        Ok(())
    }

    async fn post_once(&self, webhook: &Webhook) -> Result<(), Box<dyn Error>> {
        let body = webhook.body.to_string();
        let secret = if webhook.twist == Twist::Forged { "a guess" } else { SECRET };
        let request = request(&self.edge, webhook.source, &body, &signature(secret, &body)?);
        let since = micros_now();
        let answer = loop {
            match exchange(&self.edge, &request).await {
                Ok(answer) if answer.code != 503 => break answer,
                Ok(_) | Err(_) => sleep(AGAIN).await,
            }
        };
        let status = match (answer.code, answer.json["status"].as_str()) {
            (202, Some("accepted")) => Status::Accepted,
            (202, Some("duplicate")) => Status::Duplicate,
            (202, Some("quarantined")) => Status::Quarantined,
            (401, _) => Status::Refused,
            (code, _) => return Err(format!("the broker answers {code} to a webhook: {}", answer.json).into()),
        };
        let id = answer.json["event_id"].as_str().unwrap_or_default().to_owned();
        let event = Seen { id, r#type: webhook.event_type.to_owned(), subject: webhook.subject.clone(), cause: String::new() };
        let poison_for = match webhook.twist {
            Twist::PoisonFor(agent) => Some(agent.to_owned()),
            _ => None,
        };
        Ok(self.ledger.note(Fact::Posted { since, status, event, poison_for }).await?)
    }
}

struct Answer {
    code: u16,
    json: Value,
}

/// HMAC-SHA256 of the body, in hex.
fn signature(secret: &str, body: &str) -> Result<String, Box<dyn Error>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())?;
    mac.update(body.as_bytes());
    Ok(hex::encode(mac.finalize().into_bytes()))
}

fn request(host: &str, source: &str, body: &str, signature: &str) -> String {
    let length = body.len();
    format!(
        "POST /hooks/{source} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nX-Webhook-Signature: {signature}\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// One request, one answer.
async fn exchange(edge: &str, request: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(edge).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let cut_off = || io::Error::new(io::ErrorKind::UnexpectedEof, "the broker went away in the middle of its answer");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(cut_off)?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(cut_off)?;
    let json = serde_json::from_str(body).map_err(|_| cut_off())?;
    Ok(Answer { code, json })
}
