//! A supply chain on Waypost: outside systems post webhooks, agents work together by events, and a ledger proves what came of it.
//!
//! Constraints: each agent is a process of its own and knows the broker only; what is said about the run is computed from the
//! ledgers of the simulator and the agents, never from what the broker says about itself.
//!
//! Read [`agents`] first: one file each. The rest is what makes a show and a proof of them.

mod account;
mod agents;
mod broker;
pub mod cli;
mod crew;
mod flow;
mod ledger;
mod run;
mod scenario;
mod simulator;
mod story;
mod verdict;
mod view;
