//! Traces: what happened to one event from its webhook to its last settlement, as OpenTelemetry spans.
//!
//! Constraints:
//! - Off, a hop costs one branch: nothing is allocated, drawn or read. On, what is not sampled costs its `traceparent` and no more.
//! - Nothing waits for the collector: what its queue has no room for is dropped, and counted.
//! - No payload, subject, reason, header or secret is in a span: ids, types, names and outcomes are.
//! - Ids of traces come from an entropy of their own, so that tracing changes no other choice of the broker (P13).
//!
//! ```text
//!   traceparent of the request ┄┐
//!                               ▼
//!   POST /hooks/carrier ─▶ append logistics.v1.ShippingDelayed ── its context is the event's `traceparent` ──┐
//!        ┌───────────────────────────────────────────────────────────────────────────────────────────────────┘
//!        ├─▶ deliver routing ── its context is the delivery's `traceparent` ─▶ (the agent's own spans)
//!        │      └─▶ ack routing ─▶ publish logistics.v1.RouteChanged ─▶ deliver fulfilment ─▶ …
//!        └─▶ deliver support
//! ```
//!
//! The ids of the spans of a delivery and of its settlement are made of its token ([`ids`]), so that whoever has the token knows them: the
//! outputs of an ack find their parent without asking the dispatcher, also after a restart.
//!
//! | file | what it holds |
//! |---|---|
//! | [`context`] | `traceparent` and `tracestate`, read and written |
//! | [`ids`] | the spans of a delivery, by its token |
//! | [`tracer`] | begins traces, decides what is sampled, and hands spans over |
//! | [`span`] | what a span says |
//! | [`arrival`] | of a request at the edge |
//! | [`emission`] | of an event that is made durable |
//! | [`deliveries`] | of what a subscription has handed out |
//! | [`export`] | to the collector |

pub mod arrival;
pub mod context;
pub mod deliveries;
pub mod emission;
pub mod export;
pub mod ids;
pub mod span;
pub mod tracer;

pub use arrival::Arrival;
pub use context::{Incoming, TraceContext};
pub use deliveries::{Deliveries, Resumed};
pub use emission::Emission;
pub use export::{Collector, Export};
pub use tracer::Tracer;
