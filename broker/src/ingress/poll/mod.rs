//! Reconciliation: the provider's API is asked, seldom, for what never came as a webhook.
//!
//! Constraints:
//! - Providers are data ([`PollRule`], in the table of providers or in a source's own words); what differs from one to another is no code.
//! - What is found goes through the identity, the mapping and the store's dedup of its source: what came as a webhook is not stored again.
//! - Nothing is asked but the address of the rule and pages at the same host; waits that the provider asks for are kept.
//!
//! | module | what it holds |
//! |---|---|
//! | `rule` | how a provider is asked, as data |
//! | `address` | addresses with places to be filled in |
//! | `plan` | the rule of one source, filled in and ready |
//! | `page` | one answer: its items, their times, where it goes on |
//! | `state` | how far a source is, over a restart |
//! | `round` | one round of a source, page by page |
//! | `redelivery` | deliveries that the provider is asked to make again |
//! | `pacing` | when it is asked next |
//! | `counters` | what the rounds brought |
//! | `task` | all sources, until the broker ends |

mod address;
mod counters;
mod pacing;
mod page;
mod plan;
mod redelivery;
mod round;
mod rule;
mod state;
mod task;

use address::Address;
pub use counters::{PollCounters, Polled};
pub(crate) use plan::PollPlan;
#[cfg(test)]
pub(crate) use round::PollError;
pub(crate) use round::Poller;
pub use rule::PollRule;
use rule::Redelivery;
pub(crate) use task::run;
