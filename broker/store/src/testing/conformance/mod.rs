//! One suite for every engine: what [`contract`](crate::contract) says, checked.
//!
//! Constraints:
//! - A check knows the trait alone. It works on any engine that a [`StoreFactory`] can make, and never sleeps for luck.
//! - A check returns what is broken instead of panicking, so that a deliberate defect can be shown to be found.
//!
//! An engine runs all of them with one line in a test module: `waypost_store::conformance_tests!(MyFactory::default());`
//!
//! | module | what it checks |
//! |---|---|
//! | [`order`] | offsets, times, the tail, many appenders at once |
//! | [`dedup`] | duplicates in every variation |
//! | [`commit`] | all or nothing; conflicts |
//! | [`claim`] | epochs, fencing, records and supersede |
//! | [`read`] | selections, limits, where to go on, times |
//! | [`rows`] | tables |
//! | [`room`] | a full store, and writes that are too large |
//! | [`trim`] | letting go, and gaps |
//! | [`random`] | random histories with reopenings and crashes, against a naive model |

pub mod claim;
pub mod commit;
pub mod dedup;
mod engine;
mod list;
pub mod memory;
mod model;
pub mod order;
pub mod random;
pub mod read;
pub mod room;
pub mod rows;
mod sample;
mod stand;
#[cfg(test)]
mod tests;
pub mod trim;

pub use engine::{Broken, Place, Sizes, StoreFactory};
pub use list::{CHECKS, Check};
