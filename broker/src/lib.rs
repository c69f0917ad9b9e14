//! The Waypost broker: from a signed POST to a confirmed ack.
//!
//! Constraints:
//! - Every rule of delivery lives in `waypost-delivery`; the store remembers and never decides; this crate moves bytes between them and
//!   the outside.
//! - Time is read in [`clock`] only, random numbers are drawn in [`entropy`] only, limits stand in [`limits`] only.
//!
//! | module | what it holds |
//! |---|---|
//! | [`broker`] | the parts, put together |
//! | [`publisher`] | from what somebody publishes to a durable event |
//! | [`registry`] | every subscription, and who is woken by what |
//! | [`dispatcher`] | the shell around the delivery machine, one task for each subscription in use |
//! | [`grpc`] | the services |
//! | [`page`] | the page in the browser |
//! | [`retention`] | what goes, and when |
//! | [`spec`], [`filter`], [`token`], [`dead_letters`] | rules, what matches, delivery tokens, what was set aside |
//! | [`error`] | one table from what went wrong to gRPC and HTTP |
//! | [`access`] | who may do what, and who did what |
//! | [`renewal`] | what is read again while the broker runs |
//! | [`config`] | what an operator may set |
//! | [`system`] | the broker's own events |
//! | [`envelope`] | an event as it is stored: checked, completed, encoded once |
//! | [`metrics`] | what is counted and timed |
//! | [`trace`] | what happened to one event, as OpenTelemetry spans |
//! | [`schema`] | the registered message types, and what is checked against them |
//! | [`ingress`] | the edge: a signed POST becomes a typed event |
//! | [`journal`] | what came to the edge, and what became of it |
//! | `testing` | the whole of it inside of an agent's test, with the feature of that name |

pub mod access;
pub mod broker;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dead_letters;
pub mod defect;
pub mod dispatcher;
pub mod entropy;
pub mod envelope;
pub mod error;
pub mod filter;
pub mod grpc;
pub mod ingress;
pub mod journal;
pub mod limits;
pub mod metrics;
pub mod page;
pub mod publisher;
pub mod registry;
pub mod renewal;
pub mod retention;
pub mod schema;
pub mod server;
pub mod spec;
pub mod system;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod token;
pub mod trace;
