//! The limits of the contract that this side keeps to by itself.

/// Settlements in one call.
pub(crate) const MAX_SETTLEMENTS: usize = 1_000;
/// Bytes of settlements in one call: 4 MiB, less room for the frame.
pub(crate) const MAX_SETTLE_BYTES: usize = (4 << 20) - 1_024;
/// Items in one publish call, or one request on a publish stream.
pub(crate) const MAX_ITEMS: usize = 1_000;
/// Bytes of items in one publish call: 4 MiB, less room for the frame.
pub(crate) const MAX_PUBLISH_BYTES: usize = (4 << 20) - 1_024;
/// Deliveries that a session may hold.
pub(crate) const MAX_OUTSTANDING: u32 = 10_000;
/// How often the broker gives a sign of life, unless asked otherwise.
pub(crate) const HEARTBEAT: std::time::Duration = std::time::Duration::from_secs(15);
/// Silent for this many heartbeats, a stream counts as broken.
pub(crate) const PATIENCE: u32 = 3;
/// As long as anybody waits: a century, so that every instant can be reckoned with.
pub(crate) const FOREVER: std::time::Duration = std::time::Duration::from_secs(100 * 365 * 86_400);
/// Deliveries that a session holds, unless asked otherwise.
pub(crate) const DEFAULT_OUTSTANDING: usize = 32;
/// How long handlers may go on after a shutdown, unless asked otherwise. With the farewell it is less than the 30 s after
/// which an orchestrator kills.
pub(crate) const GRACE: std::time::Duration = std::time::Duration::from_secs(20);
/// How long a leaving agent waits for answers to its last settlements.
pub(crate) const FAREWELL: std::time::Duration = std::time::Duration::from_secs(5);
