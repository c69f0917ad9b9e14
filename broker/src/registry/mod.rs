//! Every subscription, by name and by incarnation.
//!
//! Constraints:
//! - A creation is durable before anybody is told of it: the row and the Created record are one commit.
//! - One that nobody uses costs its entry here: no task, and nothing per event.
//! - What is listed is sorted: no order of a hash map shows.
//!
//! | file | what it holds |
//! |---|---|
//! | [`handle`] | one subscription, running or not |
//! | [`hub`] | who is woken by what |
//! | [`row`] | what is kept beside the records |
//! | `store` | open, find, create, change, delete |

pub mod handle;
pub mod hub;
pub mod row;
mod store;

pub use handle::{Core, Handle};
pub use hub::{TailHub, Watch};
pub use row::Info;
pub use store::{OpenError, Registry, RegistryLimits};
