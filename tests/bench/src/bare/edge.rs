//! A bare webhook handler: axum, HMAC-SHA256 over the raw body, 202. Nothing is typed, stored or handed on.

use std::net::Ipv4Addr;

use axum::{
    Router,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
    routing::post,
    serve::ListenerExt,
};
use bytes::Bytes;
use tokio::net::TcpListener;

use crate::{Error, webhook};

/// Serves until the process is killed.
pub(crate) async fn serve(port: u16) -> Result<(), Error> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?.tap_io(|stream| {
        // Without it every answer waits for the client's delayed ACK; the broker sets it too.
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, Router::new().route(webhook::PATH, post(accept))).await?)
}

async fn accept(headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let signature = headers.get("x-hub-signature-256").and_then(|value| value.to_str().ok());
    if signature.is_some_and(|signature| webhook::is_signed(&body, signature)) {
        let answer = r#"{"status":"accepted","message":"","event_id":"01890a5d-ac96-774b-bcce-b302099a8057"}"#;
        (StatusCode::ACCEPTED, [(header::CONTENT_TYPE, "application/json")], answer).into_response()
    } else {
        StatusCode::UNAUTHORIZED.into_response()
    }
}
