//! A broker for the tests of agents: the real one, inside of the test, without sockets, files or waiting.
//!
//! Constraints: everything but the network and the disk is what serves in production; nothing here reads the time but by tokio's clock, so
//! that a test that pauses it sees ten minutes pass at once; nothing is random, so that each run is the same.
//!
//! With the feature `testing`, as a dev-dependency beside `agent-client`, whose documentation has an example ("Testing your agent").
//!
//! | file | what it holds |
//! |---|---|
//! | `broker` | the broker, its lives and its troubles |
//! | `network` | listeners that are memory, and can be cut |
//! | `webhook` | signed posts, and their answers |

mod broker;
mod network;
mod webhook;

pub use broker::{StartError, TestBroker, WatchError};
pub use webhook::{Answer, PostError, Webhook};
