//! A small HTTP/1.1 client for loads: keep-alive, no pipelining.
//!
//! Constraint: one connection is one task; the next request goes out when the answer to the last has been read whole.

use std::net::Ipv4Addr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::{Error, webhook};

/// A kept-alive connection that posts webhooks.
pub(crate) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    host: String,
}

impl Connection {
    pub(crate) async fn open(port: u16) -> Result<Self, Error> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // An error of the connection is seen by the request that it breaks.
        tokio::spawn(connection);
        Ok(Self { sender, host: format!("127.0.0.1:{port}") })
    }

    /// Posts one webhook and reads the answer, which must be 202.
    pub(crate) async fn post(&mut self, body: Bytes, signature: &str, delivery: &str) -> Result<(), Error> {
        let request = Request::post(webhook::PATH)
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, "GitHub-Hookshot/044aadd")
            .header("x-github-event", "push")
            .header("x-github-delivery", delivery)
            .header("x-hub-signature-256", signature)
            .body(Full::new(body))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let answer = response.into_body().collect().await?.to_bytes();
        if status == StatusCode::ACCEPTED {
            Ok(())
        } else {
            Err(format!("a webhook was answered {status}: {}", String::from_utf8_lossy(&answer)).into())
        }
    }
}
