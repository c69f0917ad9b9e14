//! Every limit of the broker that is not configured, and every default of those that are.
//!
//! Constraint: a limit is a named constant here, or a key of the configuration whose default stands in `waypost.default.toml`; nothing is
//! unbounded, and no other file holds a number of this kind.

use crate::config::Span;

/// The most bytes of an encoded event.
pub const MAX_EVENT_BYTES: usize = 1024 * 1024;
/// The most bytes of an id, source, type, ordering key, correlation id or causation id.
pub const MAX_NAME_BYTES: usize = 256;
/// The most bytes of a subject.
pub const MAX_SUBJECT_BYTES: usize = 1024;
/// The most extension attributes of an event.
pub const MAX_ATTRIBUTES: usize = 64;
/// The most bytes of an extension attribute's name.
pub const MAX_ATTRIBUTE_NAME_BYTES: usize = 64;
/// The most bytes of an extension attribute's value.
pub const MAX_ATTRIBUTE_VALUE_BYTES: usize = 4096;
/// The most items in one Publish or Settle call.
pub const MAX_ITEMS_PER_CALL: usize = 1_000;
/// The most outputs of one ack.
pub const MAX_OUTPUTS_PER_ACK: usize = 100;
/// The most bytes of one gRPC request.
pub const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;
/// The most bytes of one response message; other languages refuse 4 MiB.
pub const MAX_RESPONSE_BYTES: usize = 3 * 1024 * 1024;
/// A subscribe response is filled up to here when more is ready: beyond it, larger messages are no faster.
pub const DELIVERIES_TARGET_BYTES: usize = 256 * 1024;
/// HTTP/2 frames on both sides.
pub const HTTP2_MAX_FRAME_BYTES: u32 = 1024 * 1024;
/// The most bytes of a token, encoded.
pub const MAX_TOKEN_BYTES: usize = 128;
/// The pause after a connection could not be accepted.
pub const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);
/// The most connections of administrators at a time.
pub const MAX_ADMIN_CONNECTIONS: u32 = 256;
/// How long calls may go on after their listener was told to stop.
pub const CLOSE_GRACE: std::time::Duration = std::time::Duration::from_secs(2);
/// The most bytes of a webhook's body: what is kept of one, as an event or in quarantine, fits into the store whole.
pub const MAX_WEBHOOK_BYTES: usize = 1024 * 1024;
/// How long a body's hash is remembered as the identity of a webhook, unless the source says otherwise.
pub const BODY_HASH_WINDOW: Span = Span::from_millis(600_000);
/// The most headers that are kept with a quarantined webhook.
pub const MAX_KEPT_HEADERS: usize = 64;
/// The most bytes of a header that are kept with a quarantined webhook.
pub const MAX_KEPT_HEADER_BYTES: usize = 1024;
/// The most quarantined webhooks that are remembered, so that the same one again is recognised.
pub const MAX_REMEMBERED_QUARANTINE: usize = 4096;
/// The most rows that are read at once from the quarantine: each may hold a body.
pub const QUARANTINE_SCAN_ROWS: usize = 32;
/// How long a sender should wait when the store is full: until retention or settling made room.
pub const RETRY_AFTER_FULL: std::time::Duration = std::time::Duration::from_secs(30);
/// How long a sender should wait when the store did not answer: until it reopened.
pub const RETRY_AFTER_UNAVAILABLE: std::time::Duration = std::time::Duration::from_secs(2);
