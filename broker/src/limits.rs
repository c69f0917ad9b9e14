//! Every limit of the broker that is not configured, and every default of those that are.
//!
//! Constraint: a limit is a named constant here, or a key of the configuration whose default stands in `waypost.default.toml`; nothing is
//! unbounded, and no other file holds a number of this kind.

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
