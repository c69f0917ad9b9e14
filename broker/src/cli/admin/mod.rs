//! Looking after a running broker: one file per group of commands.
//!
//! Constraints: tables for people, and with `--json` one object a line whose names are those of the protobuf JSON mapping, every field
//! included; what destroys is asked about, unless `--yes`; a list is asked for page by page.
//!
//! | module | what it holds |
//! |---|---|
//! | [`subscriptions`], [`dead_letters`], [`quarantine`], [`webhooks`], [`sources`], [`sessions`], [`events`] | the groups |
//! | [`call`] | what all of them are told, and how they ask |
//! | [`chosen`] | which items a command is about, and what becomes of each |

pub mod call;
pub mod chosen;
pub mod dead_letters;
pub mod events;
pub mod quarantine;
pub mod sessions;
pub mod sources;
pub mod subscriptions;
pub mod webhooks;
