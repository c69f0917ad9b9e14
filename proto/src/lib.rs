//! The Waypost contract: what `proto/` defines, as Rust.
//!
//! Constraints: the `.proto` files are the only source, for every language; generated code is not committed; what is
//! written by hand here only makes events easier to make and read.
//!
//! - [`v1`]: events, the agent API and the admin API, as clients use them.
//! - [`wire`]: the agent service for the server, which hands stored events on as bytes.
//! - [`codec`]: how the server writes and reads them.
//! - [`logistics`], [`commerce`], [`support`], [`ops`], [`tasks`]: payloads of one's own systems.
//! - [`github`], [`stripe`], [`shopify`], [`slack`], [`linear`], [`jira`], [`pagerduty`], [`sentry`]: what providers send.
//! - [`rpc`]: the google.rpc messages of error details.
//! - [`FILE_DESCRIPTOR_SET`] and [`PROTO_SOURCES`]: the contract as data.

pub mod codec;
#[cfg(test)]
mod contract_tests;
mod encoded;
mod event;
mod generated;
pub mod rpc;
pub mod wire;

pub use event::{DataError, full_name};
pub use generated::waypost::v1;
pub use generated::{commerce, github, jira, linear, logistics, ops, pagerduty, sentry, shopify, slack, stripe, support, tasks};

/// What stands before the `/` in the type URL of a message.
pub const TYPE_URL_PREFIX: &str = "type.googleapis.com";

/// Every file of the contract with its imports, as an encoded `google.protobuf.FileDescriptorSet`, for reflection.
///
/// Custom options such as `(waypost.v1.required)` are kept. Decode it with prost-reflect to see them: `prost_types` drops
/// them.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/waypost.binpb"));

/// Every `.proto` file as (import path, text), sorted by path, so that a user's own files can import them.
pub const PROTO_SOURCES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sources.rs"));
