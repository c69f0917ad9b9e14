//! Agents: what handles the deliveries of a subscription, and when it stops.
//!
//! Constraints: a handler never settles by itself, what it returns decides; one handler's failure never ends the agent;
//! leaving takes a bounded time, and gives back what was not finished.

mod handler;
mod outcome;
mod router;
mod run;
mod signals;

pub use handler::{Handled, Handler};
pub use outcome::{HandlerError, Outputs};
pub use router::Router;
pub use run::{Agent, RunError};
