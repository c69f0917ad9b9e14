//! Sockets: three listeners that carry an axum router each, and the order in which they stop.
//!
//! Constraints: every connection is counted against a limit before it is accepted, must send something within the header time, and is
//! closed when its peer stops answering; TCP_NODELAY is set on all (without it a small answer waits for the peer's delayed ACK); a gRPC
//! service is a router like any other, so that there is one accept loop.
//!
//! | module | what it holds |
//! |---|---|
//! | [`listener`] | bind, accept, serve, drain |
//! | [`connections`] | how many there may be, in total and from one address |
//! | [`descriptors`] | what the operating system allows |
//! | `connection` | one connection: its first byte, its handshake, its requests |
//! | `preface` | which HTTP a connection speaks |
//! | [`tls`] | a listener's certificate, and its renewal |
//! | `expiry` | the warnings before it expires |
//! | [`health`] | `/healthz`, `/readyz` and what they go by |
//! | [`late`] | routes that are filled in once the store has recovered |
//! | [`origins`] | which web pages may call |
//! | [`running`] | all three, and the order in which they stop |
//! | [`start`] | from a configuration and a store to a broker with routes |
//! | `renewed_secrets` | secrets of sources, read again while the broker runs |
//! | [`reload`] | the configuration, read again while the broker runs |
//! | [`signals`] | SIGTERM and SIGINT drain, SIGHUP reads the configuration again |

mod connection;
pub mod connections;
pub mod descriptors;
mod expiry;
pub mod health;
pub mod late;
pub mod listener;
pub mod origins;
mod preface;
pub mod reload;
mod renewed_secrets;
pub mod running;
pub mod signals;
pub mod start;
pub mod tls;

pub use connections::Connections;
pub use health::{Health, Readiness};
pub use late::LateRouter;
pub use listener::{BindError, Listener, Protocol};
pub use origins::{AllowedOrigins, OwnPages};
pub use reload::{Reloaded, Reloader};
pub use renewed_secrets::RenewedSecrets;
pub use running::{Addresses, Listeners, Routes, Running};
pub use start::{Opened, StartError, start};
pub use tls::{Tls, TlsError};
