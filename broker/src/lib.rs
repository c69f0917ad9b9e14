//! The Waypost broker: from a signed POST to a confirmed ack.
//!
//! Constraints:
//! - Every rule of delivery lives in `waypost-delivery`; the store remembers and never decides; this crate moves bytes between them and
//!   the outside.
//! - Time is read in [`clock`] only, random numbers are drawn in [`entropy`] only, limits stand in [`limits`] only.
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | what an operator may set |
//! | [`envelope`] | an event as it is stored: checked, completed, encoded once |
//! | [`schema`] | the registered message types, and what is checked against them |
//! | [`ingress`] | the edge: a signed POST becomes a typed event |

pub mod cli;
pub mod clock;
pub mod config;
pub mod entropy;
pub mod envelope;
pub mod ingress;
pub mod limits;
pub mod schema;
pub mod server;
pub mod telemetry;
