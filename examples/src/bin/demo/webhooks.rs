//! A carrier that reports delays: webhooks signed with HMAC-SHA256 over the raw body.

use std::{error::Error, fmt, time::Duration};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

/// What the carrier and the broker share.
pub(crate) const SECRET: &str = "the demo's secret, known to both";

/// A carrier that knows where to post.
pub(crate) struct Carrier {
    edge: String,
}

/// What the broker answered.
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) code: u16,
    /// `accepted`, `duplicate`, `quarantined` or `refused`.
    pub(crate) status: String,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.status)
    }
}

impl Carrier {
    pub(crate) fn new(edge: &str) -> Self {
        Self { edge: edge.to_owned() }
    }

    /// A delay, as it should be.
    pub(crate) async fn report(&self, shipment: usize) -> Result<Answer, Box<dyn Error>> {
        let body = delay(shipment).to_string();
        self.post(&body, &signature(&body)?).await
    }

    /// A delay that somebody changed on its way.
    pub(crate) async fn report_forged(&self) -> Result<Answer, Box<dyn Error>> {
        self.post(&delay(666).to_string(), &signature(&delay(1).to_string())?).await
    }

    /// A delay that lacks what its type requires.
    pub(crate) async fn report_incomplete(&self) -> Result<Answer, Box<dyn Error>> {
        let body = json!({ "event_type": "shipping_delay", "shipment_id": "SHIP-777", "new_eta": null }).to_string();
        self.post(&body, &signature(&body)?).await
    }

    /// Tries again while the broker is away, as every sender of webhooks does.
    async fn post(&self, body: &str, signature: &str) -> Result<Answer, Box<dyn Error>> {
        loop {
            match self.try_post(body, signature).await {
                Ok(answer) if answer.code != 503 => return Ok(answer),
                Ok(_) => {}
                Err(error) if error.downcast_ref::<std::io::Error>().is_none() => return Err(error),
                Err(_) => {}
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn try_post(&self, body: &str, signature: &str) -> Result<Answer, Box<dyn Error>> {
        let mut stream = TcpStream::connect(&self.edge).await?;
        let request = format!(
            "POST /hooks/carrier HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nX-Webhook-Signature: {signature}\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.edge,
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or("the broker's answer is no HTTP")?;
        let json = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        let json: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
        Ok(Answer { code, status: json["status"].as_str().unwrap_or("?").to_owned() })
    }
}

fn delay(shipment: usize) -> serde_json::Value {
    json!({
        "event_type": "shipping_delay",
        "shipment_id": format!("SHIP-{shipment:03}"),
        "carrier": "Global Freight",
        "original_eta": "2026-04-08T17:00:00Z",
        "new_eta": "2026-04-10T17:00:00Z",
        "reason": "Port strike at Rotterdam",
    })
}

fn signature(body: &str) -> Result<String, Box<dyn Error>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes())?;
    mac.update(body.as_bytes());
    Ok(hex::encode(mac.finalize().into_bytes()))
}
