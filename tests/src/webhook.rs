//! Webhooks as an outside system sends them.

use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use sha2::Sha256;

/// The configuration of a source that is signed as [`sign`] does, with the secret in the file `secret`, for webhooks like
/// `payloads/shipping_delay.json`. More keys of the source may follow.
pub const CARRIER: &str = "
[sources.carrier]
scheme = 'hmac'
secrets = ['file:secret']
identity = { template = '{/shipment_id}:{/new_eta}' }
event_type = ['{/event_type}']
types.shipping_delay = 'logistics.v1.ShippingDelayed'
subject = 'shipments/{/shipment_id}'
";

/// HMAC-SHA256 in hex, as most providers sign.
///
/// # Panics
/// Never: HMAC takes keys of any length.
#[must_use]
pub fn sign(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

/// An outside system.
#[derive(Clone, Debug)]
pub struct Sender {
    client: Client<hyper_util::client::legacy::connect::HttpConnector, Full<Bytes>>,
    url: String,
    secret: String,
    headers: Vec<(String, String)>,
}

/// What the edge answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub code: u16,
    /// The JSON that came with it.
    pub json: serde_json::Value,
}

impl Sender {
    /// Posts to a URL, signed with a secret.
    #[must_use]
    pub fn new(url: String, secret: &str) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), url, secret: secret.to_owned(), headers: Vec::new() }
    }

    /// The same, with one more header in every request.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Posts a JSON body with the signature in `X-Webhook-Signature`. `None` if there was no answer.
    ///
    /// # Panics
    /// When the answer is not JSON.
    pub async fn post(&self, body: Vec<u8>) -> Option<Answer> {
        let signature = sign(&self.secret, &body);
        let request = Request::post(&self.url).header("content-type", "application/json").header("x-webhook-signature", signature);
        let request = self
            .headers
            .iter()
            .fold(request, |request, (name, value)| request.header(name, value))
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let response = self.client.request(request).await.ok()?;
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.ok()?.to_bytes();
        Some(Answer { code, json: serde_json::from_slice(&body).unwrap_or_else(|_| panic!("{code} without JSON: {body:?}")) })
    }
}
