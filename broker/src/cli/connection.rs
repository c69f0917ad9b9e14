//! To a running broker.

use std::time::Duration;

use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use super::failure::Failure;
use crate::limits;

/// Connects to one of a broker's gRPC listeners.
///
/// # Errors
/// When the URL is none, or nobody answers there.
pub async fn open(url: &str, option: &str) -> Result<Channel, Failure> {
    let endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(|error| Failure::Failed(format!("{option} {url}: {error}; give a URL such as http://127.0.0.1:8481")))?;
    let endpoint = endpoint.connect_timeout(Duration::from_secs(5)).tcp_nodelay(true).max_frame_size(limits::HTTP2_MAX_FRAME_BYTES);
    endpoint
        .connect()
        .await
        .map_err(|_| Failure::Failed(format!("no broker answers at {url}; start one with `waypost serve`, or name it with {option}")))
}

/// What the broker said, for people.
pub fn refused(status: Status) -> Failure {
    Failure::Failed(format!("the broker refuses: {} ({:?})", status.message(), status.code()))
}
