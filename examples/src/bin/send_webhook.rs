//! Posts a webhook as a carrier would: signed over the exact bytes of its body.
//!
//! ```sh
//! export CARRIER_SECRET=correct-horse-battery-staple
//! cargo run -p waypost-examples --bin send_webhook
//! ```
//!
//! The broker needs the source `carrier` and the same secret: see "By hand" in the README. Run it twice with the same
//! shipment (`-- SHIP-1`): the second one is a duplicate where the source says what identifies a webhook.

use std::error::Error;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let secret = std::env::var("CARRIER_SECRET").map_err(|_| "set CARRIER_SECRET to the secret that the broker has")?;
    let shipment = std::env::args().nth(1).unwrap_or_else(|| "SHIP-XYZ-789".to_owned());
    let body = json!({
        "event_type": "shipping_delay",
        "shipment_id": shipment,
        "carrier": "Global Logistics",
        "new_eta": "2026-04-10T17:00:00Z",
        "reason": "Port congestion",
    })
    .to_string();

    // The signature covers the bytes as they are sent. Whoever parses and prints them again before checking gets it wrong.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())?;
    mac.update(body.as_bytes());
    let signature = hex::encode(mac.finalize().into_bytes());

    let edge = waypost_examples::edge();
    let head = format!(
        "POST /hooks/carrier HTTP/1.1\r\nHost: {edge}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         X-Webhook-Signature: {signature}\r\nConnection: close\r\n\r\n",
        body.len(),
    );
    let mut connection = TcpStream::connect(&edge).await.map_err(|error| format!("no broker at {edge}: {error}"))?;
    connection.write_all((head + &body).as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    let status = answer.lines().next().unwrap_or("no answer");
    println!("{status}\n{}", answer.split("\r\n\r\n").nth(1).unwrap_or_default());
    Ok(())
}
