//! What is counted and timed for `/metrics`.
//!
//! Constraints:
//! - Counting decides nothing and waits for nobody: plain atomics, gathered per turn where there is much to count.
//! - A fact of a subscription is counted once it is durable, where its commit is answered; so the counters agree with the log.
//! - Everything that Prometheus sees is named in `exposition`, and nowhere else. Labels are names of configured sources, of
//!   subscriptions and of fixed lists: nothing that a sender can choose.
//!
//! | file | what it holds |
//! |---|---|
//! | [`histogram`] | how long things take |
//! | [`publishing`] | what is counted of publishing |
//! | [`subscription`] | what is counted for each subscription |
//! | `exposition` | all of it as text |

mod exposition;
pub mod histogram;
pub mod publishing;
pub mod subscription;

pub use exposition::{Exposition, router};
pub use histogram::{Batch, Histogram};
pub use publishing::PublishMetrics;
pub use subscription::{Facts, SubscriptionMetrics};
