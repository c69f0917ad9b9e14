//! Every limit of the broker that is not configured, and every default of those that are.
//!
//! Constraint: a limit is a named constant here, or a key of the configuration whose default stands in `waypost.default.toml`; nothing is
//! unbounded, and no other file holds a number of this kind.

use std::{ops::RangeInclusive, time::Duration};

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
/// Webhooks of one HTTP/2 connection that are worked on at a time.
pub const EDGE_MAX_STREAMS: u32 = 128;
/// The most bytes of the head of a webhook. In HTTP/1.1 what is read at once may be as much again before it is seen.
pub const EDGE_MAX_HEAD_BYTES: u32 = 64 * 1024;
/// How long a browser may remember that an origin is allowed, in seconds: no browser heeds more than two hours.
pub const PREFLIGHT_SECONDS: u32 = 7_200;
/// The most bytes of a token, encoded.
pub const MAX_TOKEN_BYTES: usize = 128;
/// The most bytes of the outputs of one ack, so that they fit into one commit with what it settles.
pub const MAX_OUTPUT_BYTES_PER_ACK: usize = 3 * 1024 * 1024;
/// The most bytes of a subscription's name.
pub const MAX_SUBSCRIPTION_NAME_BYTES: usize = 128;
/// The most bytes of a client's name for itself.
pub const MAX_CLIENT_BYTES: usize = 128;
/// The most bytes that are kept of a reason given by an agent or an operator.
pub const MAX_REASON_BYTES: usize = 1024;
/// The most bytes of a text in an error. With [`MAX_VIOLATIONS`] it keeps a status below the 8 KiB of headers that gRPC clients take:
/// beyond that they see a broken stream instead of the error.
pub const MAX_ERROR_TEXT_BYTES: usize = 512;
/// The most fields that an error names; the first ones are what a caller mends first.
pub const MAX_VIOLATIONS: usize = 6;
/// The most tokens that a returning session may name.
pub const MAX_HELD_TOKENS: usize = 10_000;
/// The most entries of a filter.
pub const MAX_FILTER_ENTRIES: usize = 256;
/// The most bytes of a filter's subject prefix or attribute value.
pub const MAX_FILTER_TEXT_BYTES: usize = 1024;
/// The most items of a page of a list, and how many there are by default.
pub const MAX_PAGE: u32 = 1_000;
/// The items of a page when none are asked for.
pub const DEFAULT_PAGE: u32 = 100;
/// The most events of a page of a story.
pub const MAX_LINEAGE_PAGE: u32 = 500;
/// What a stream says at least this often when nothing else is to be said, by default; and between which bounds it may be asked for.
pub const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(15);
/// The shortest interval of heartbeats.
pub const MIN_HEARTBEAT: Duration = Duration::from_secs(1);
/// The longest interval of heartbeats.
pub const MAX_HEARTBEAT: Duration = Duration::from_secs(300);
/// Bytes of deliveries that wait for one stream to take them: beyond it, the stream is handed nothing (P12).
pub const STREAM_QUEUE_BYTES: usize = 1024 * 1024;
/// Deliveries that wait for one stream.
pub const STREAM_QUEUE_DELIVERIES: usize = 4096;
/// Calls that wait for one subscription's dispatcher.
pub const DISPATCHER_QUEUE: usize = 256;
/// Bytes of one message of a backup.
pub const BACKUP_PIECE_BYTES: usize = 1024 * 1024;
/// Messages of a verification or a backup that wait for their client: beyond it, the disk is read no further.
pub const UPKEEP_QUEUE: usize = 4;
/// What a dispatcher reads from the store at a time.
pub const READ_BYTES: usize = 2 * 1024 * 1024;
/// Events that a dispatcher reads from the store at a time.
pub const READ_EVENTS: usize = 1024;
/// How long a dispatcher that nobody uses any more waits before it ends.
pub const DISPATCHER_LINGER: Duration = Duration::from_secs(5);
/// How long the broker waits before it asks the store again after a failure of its own asking.
pub const STORE_RETRY: Duration = Duration::from_millis(250);
/// Appends of one publish stream under way at a time.
pub const PUBLISH_WINDOW: usize = 16;
/// Bytes of requests that these have together, before another is begun.
pub const PUBLISH_WINDOW_BYTES: usize = 4 * 1024 * 1024;
/// Requests of a publish stream that are ready go into one append up to here: the store syncs it while the next is put together.
pub const PUBLISH_APPEND_BYTES: usize = 64 * 1024;
/// How long a publisher or settler should wait before it tries again when the store is full or recovering.
pub const RETRY_DELAY: Duration = Duration::from_millis(500);
/// The pause after a connection could not be accepted.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The most bytes of the name of a token.
pub const MAX_TOKEN_NAME_BYTES: usize = 64;
/// How long a TLS handshake may take.
pub const TLS_HANDSHAKE: Duration = Duration::from_secs(5);
/// Log lines a second about what anybody can do, of each kind: nobody fills a disk with them.
pub const LINES_PER_SECOND: u32 = 10;
/// How often files that are read again are looked at: certificates and tokens.
pub const RENEWAL_INTERVAL: Duration = Duration::from_secs(2);
/// The most bytes that a program may print as a secret.
pub const MAX_SECRET_BYTES: usize = 64 * 1024;
/// Variables of the environment that a program sees which prints a secret.
pub const KEPT_ENVIRONMENT: [&str; 4] = ["PATH", "HOME", "LANG", "TMPDIR"];
/// The most connections of administrators at a time.
pub const MAX_ADMIN_CONNECTIONS: u32 = 256;
/// How many of these one address may have: half, so that others can look at what it does.
pub const MAX_ADMIN_CONNECTIONS_PER_ADDRESS: u32 = 128;
/// How long calls may go on after their listener was told to stop.
pub const CLOSE_GRACE: Duration = Duration::from_secs(2);
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
/// How many requests that were refused are journalled in a second, and how many others; a second's worth may come at once. What is beyond is
/// counted as dropped.
pub const JOURNAL_NOTES_PER_SECOND: u32 = 500;
/// Notes that wait for the journal of webhooks: a second's worth of both kinds. Beyond it they are dropped.
pub const JOURNAL_QUEUE: usize = 1024;
/// Bytes that these have together.
pub const JOURNAL_QUEUE_BYTES: usize = 16 * 1024 * 1024;
/// The most notes of one write of the journal, and of one step of letting go.
pub const JOURNAL_BATCH: usize = 256;
/// How long who asks the journal waits for what was handed in before.
pub const JOURNAL_FLUSH: Duration = Duration::from_secs(1);
/// How often a journal to which nothing comes lets go of what is too old.
pub const JOURNAL_PRUNE_INTERVAL: Duration = Duration::from_secs(60);
/// How long a journal that could not be written is left alone.
pub const JOURNAL_RETRY: Duration = Duration::from_secs(10);
/// The most bytes of SQLite's own log of the journal, between two writes.
pub const JOURNAL_LOG_BYTES: u32 = 4 * 1024 * 1024;
/// Pages that are given back to the disk with each write of the journal.
pub const JOURNAL_VACUUM_PAGES: u32 = 512;
/// How many signatures a second that do not fit are looked into for the journal: each is verified some hundred times.
pub const JOURNAL_FINDINGS_PER_SECOND: u32 = 2;
/// The most bytes of a body of such.
pub const MAX_JOURNAL_FINDING_BYTES: usize = 64 * 1024;
/// The most bytes that the journal keeps of a header, an address or an explanation.
pub const MAX_JOURNAL_TEXT_BYTES: usize = 2048;
/// How many quarantined webhooks of a fingerprint one call retries or discards: each is a commit.
pub const QUARANTINE_PER_CALL: usize = 200;
/// How long a sender should wait when the store is full: until retention or settling made room.
pub const RETRY_AFTER_FULL: Duration = Duration::from_secs(30);
/// How long a sender should wait when the store did not answer: until it reopened.
pub const RETRY_AFTER_UNAVAILABLE: Duration = Duration::from_secs(2);
/// How long a subscription may take to say how it is doing. What waits for that holds up others: retention, creations, changes (P12).
pub const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long a sender should wait when its provider's keys could not be fetched.
pub const RETRY_AFTER_KEYS: Duration = Duration::from_secs(10);
/// When a sender should try again whose source has no room for more requests: they take milliseconds.
pub const RETRY_AFTER_BUSY: Duration = Duration::from_secs(1);
/// How many requests of one source are worked on at a time, unless it says otherwise: a quarter of the connections of the edge, so that
/// no source has all of them.
pub const MAX_CONCURRENT_WEBHOOKS: u32 = 1_024;
/// How far a token's times may be off, since no scheme says so.
pub const CLOCK_LEEWAY: Span = Span::from_millis(60_000);
/// The most bytes of a challenge that is signed for whoever asks.
pub const MAX_CHALLENGE_BYTES: usize = 256;
/// How long a source learns the secret that its provider gives it.
pub const PAIRING_OPEN: Span = Span::from_millis(600_000);
/// How many bytes such a secret has: what is shorter could be guessed.
pub const PAIRED_SECRET_BYTES: RangeInclusive<usize> = 16..=256;
/// The most undecodable items of one webhook that are kept each on its own.
pub const MAX_ITEMS_SET_ASIDE: usize = 16;
/// The most bytes of a set of keys, a certificate or an answer that is fetched.
pub const MAX_FETCHED_BYTES: usize = 256 * 1024;
/// How long fetching one may take: well below what providers wait for an answer.
pub const FETCH_WITHIN: Duration = Duration::from_secs(4);
/// How many are fetched at a time.
pub const MAX_FETCHES: usize = 8;
/// How many addresses of keys are remembered.
pub const MAX_KEY_ADDRESSES: usize = 64;
/// How long fetched keys hold if the provider does not say; and at least and at most, whatever it says.
pub const KEYS_HOLD: Span = Span::from_millis(3_600_000);
/// The shortest time for which fetched keys hold.
pub const KEYS_HOLD_AT_LEAST: Span = Span::from_millis(60_000);
/// The longest time for which fetched keys hold, and for which old ones are used while new ones cannot be had.
pub const KEYS_HOLD_AT_MOST: Span = Span::from_millis(86_400_000);
/// How many keys a second are asked for with what a source may show its provider, of those that nobody had yet: anybody can make up their ids.
pub const KEYS_ASKED_PER_SECOND: u32 = 5;
/// How long keys that could not be fetched are not asked for again; nor for a key that is not among those that hold.
pub const KEYS_RETRY: Span = Span::from_millis(10_000);
/// How long one subscription may take to say how far it is with a story: another one must not wait for it.
pub const INSPECT_WITHIN: Duration = Duration::from_secs(1);
/// Subscriptions that one scrape of the metrics asks for, of those that were not loaded since the start: each is a commit.
pub const LOADED_BY_A_SCRAPE: usize = 64;
/// How often a page that is open is brought up to date, if something changed.
pub const PAGE_LIVE_INTERVAL: Duration = Duration::from_secs(1);
/// How many pages are kept up to date at a time; others are as they were when they were opened.
pub const MAX_PAGE_VIEWERS: usize = 16;
/// How often the end of the log is noted for the page.
pub const PAGE_SAMPLE_INTERVAL: Duration = Duration::from_secs(5);
/// How many of these are kept: five minutes.
pub const PAGE_SAMPLES: usize = 60;
/// How many notes of what was done wait to be shown.
pub const MAX_PAGE_NOTES: usize = 64;
/// Dead letters that a subscription is asked about in one step: fewer than its machine decides in one commit.
pub const DEAD_LETTERS_PER_STEP: usize = 500;
/// How many dead letters a button of the page redrives at a time: each is a row to read and a line of the audit log.
pub const MAX_PAGE_REDRIVES: usize = 10_000;
/// How many quarantined webhooks a button of the page retries or discards at a time.
pub const MAX_PAGE_RETRIES: usize = 2_000;
/// The most bytes of a form: the ids of a page of dead letters.
pub const MAX_FORM_BYTES: usize = 64 * 1024;
/// The items of a list in the browser.
pub const PAGE_ROWS: u32 = 50;
/// The subscriptions, and the latest events, of the overview.
pub const PAGE_OVERVIEW_ROWS: u32 = 20;
/// The events of a story that are shown at a time.
pub const PAGE_STORY_EVENTS: u32 = 100;
/// The most bytes that are shown of a payload.
pub const MAX_SHOWN_PAYLOAD_BYTES: usize = 64 * 1024;
/// The most bytes that are shown of each payload of a story.
pub const MAX_SHOWN_STORY_PAYLOAD_BYTES: usize = 8 * 1024;
/// The most bytes of a `tracestate` that is passed on, which is what others are bound to pass on at least.
pub const MAX_TRACESTATE_BYTES: usize = 512;
/// Finished spans that wait for the collector; beyond it they are dropped.
pub const SPAN_QUEUE: usize = 8192;
/// The most spans of one call to the collector.
pub const SPANS_PER_EXPORT: usize = 512;
/// How long a span waits for others to be sent with.
pub const SPAN_DELAY: Duration = Duration::from_secs(1);
/// How long the collector may take for one call.
pub const SPAN_EXPORT: Duration = Duration::from_secs(10);
/// How long it may take to connect to it.
pub const SPAN_CONNECT: Duration = Duration::from_secs(5);
/// How long the end of the broker waits for what is left of the spans.
pub const SPAN_FLUSH: Duration = Duration::from_secs(2);
/// How often it is told that spans are being lost.
pub const SPAN_TROUBLE: Duration = Duration::from_secs(60);
/// Spans a second of requests that were refused: anybody can make those, and they must not crowd out the others.
pub const REFUSED_SPANS_PER_SECOND: u32 = 10;
/// From how many webhooks, and after how long, it is learned how long a source may be quiet.
pub const LEARNED_FROM: u64 = 20;
/// See [`LEARNED_FROM`].
pub const LEARNED_AFTER: Span = Span::from_millis(86_400_000);
/// The shortest silence of a source that is told, unless it is configured.
pub const LEARNED_SILENCE_AT_LEAST: Span = Span::from_millis(3_600_000);
/// How often what was heard of a source is kept, if it is not needed at once.
pub const HEARD_KEPT_EVERY: Span = Span::from_millis(600_000);
/// How many requests of a source that cannot be verified are told of as a burst.
pub const BURST_OF_REFUSALS: u64 = 10;
/// And within how long.
pub const BURST_WINDOW: Span = Span::from_millis(300_000);
/// The most bodies whose first delivery is remembered, to recognise that they come again under another id: some megabytes.
pub const MAX_REMEMBERED_BODIES: usize = 100_000;
/// How much of the newest part of the log is read for them at a start.
pub const RECALLED_BYTES: u64 = 64 << 20;
/// How often a provider is asked for what was missed, if nothing else is configured.
pub const POLL_EVERY: Span = Span::from_millis(900_000);
/// How often at most.
pub const POLL_EVERY_AT_LEAST: Span = Span::from_millis(60_000);
/// How often is looked which sources are to be polled.
pub const POLL_LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long after a round that broke off the next one begins at the earliest.
pub const POLL_RETRY: Duration = Duration::from_secs(60);
/// How long a provider can make the broker wait at most.
pub const POLL_WAIT_AT_MOST: Duration = Duration::from_secs(86_400);
/// How long an answer to a poll may take.
pub const POLL_WITHIN: Duration = Duration::from_secs(30);
/// The most bytes of such an answer.
pub const MAX_POLLED_BYTES: usize = 16 * 1024 * 1024;
/// The most pages of one round; the next one goes on.
pub const MAX_POLL_PAGES: usize = 100;
/// How many deliveries of a source wait at a time to be made again.
pub const MAX_REDELIVERIES: usize = 1_000;
/// How often one is asked for.
pub const MAX_REDELIVERY_TRIES: u32 = 5;
/// How long one is waited for: as long as GitHub lists deliveries.
pub const REDELIVERY_WITHIN: Span = Span::from_millis(3 * 86_400_000);
