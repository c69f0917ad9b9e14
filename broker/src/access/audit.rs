//! What administrators did.
//!
//! Constraints: one line for each thing that was changed, or was to be, with who, what, to what, and how it ended; written before the answer
//! goes out; always logged, whatever the level of the rest, under the target `audit`, so that it can be kept in a file of its own.

use std::future::Future;

use http::Extensions;
use tonic::{Request, Status, transport::server::TcpConnectInfo};
use tracing::{info, warn};
use waypost_proto::v1::Refusal;

use super::Caller;
use crate::error::Fault;

/// The target of the lines.
pub const TARGET: &str = "audit";

/// Who does something, and from where.
#[derive(Clone, Debug)]
pub struct By {
    caller: Caller,
    peer: String,
}

impl By {
    /// Who made a request.
    #[must_use]
    pub fn of<T>(request: &Request<T>) -> Self {
        Self::of_parts(Caller::of(request.extensions()), request.extensions())
    }

    /// A caller, with what a listener knows of the connection.
    #[must_use]
    pub fn of_parts(caller: Caller, connection: &Extensions) -> Self {
        let peer = connection.get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
        Self { caller, peer: peer.map_or_else(String::new, |address| address.to_string()) }
    }

    /// The name of the token; `anybody` without one.
    #[must_use]
    pub fn name(&self) -> &str {
        match self.caller.name() {
            "" => "anybody",
            name => name,
        }
    }

    /// Who.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Where from.
    #[must_use]
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// Does it, and tells.
    ///
    /// Cancel safety: dropped, it may have been done or not, and that is told.
    ///
    /// # Errors
    /// As the work.
    pub async fn does<T>(&self, action: &'static str, object: &str, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Status> {
        let mut under_way = UnderWay { by: self, action, object, is_told: false };
        let done = work.await;
        under_way.is_told = true;
        self.did(action, object, done.as_ref().err());
        Ok(done?)
    }

    /// Tells what was done, or why not.
    pub fn did(&self, action: &'static str, object: &str, refused: Option<&Fault>) {
        let (caller, peer) = (self.name(), self.peer());
        match refused {
            None => info!(target: TARGET, caller, peer, action, object, outcome = "done"),
            Some(fault) => {
                warn!(target: TARGET, caller, peer, action, object, outcome = "failed", code = ?fault.code(), reason = fault.message);
            }
        }
    }

    /// Tells what became of one thing of several that were asked for at once.
    pub fn did_one(&self, action: &'static str, object: &str, refused: Option<&Refusal>) {
        let (caller, peer) = (self.name(), self.peer());
        match refused {
            None => info!(target: TARGET, caller, peer, action, object, outcome = "done"),
            Some(refusal) => warn!(target: TARGET, caller, peer, action, object, outcome = "failed", reason = refusal.message),
        }
    }

    /// Tells what nobody waited for to its end.
    fn left(&self, action: &str, object: &str) {
        let (caller, peer) = (self.name(), self.peer());
        warn!(target: TARGET, caller, peer, action, object, outcome = "unknown", reason = "the caller went away meanwhile");
    }

    /// Tells what somebody may not do.
    pub fn was_denied(&self, action: &str, fault: &Fault) {
        let (caller, peer) = (self.name(), self.peer());
        warn!(target: TARGET, caller, peer, action, object = "", outcome = "denied", code = ?fault.code(), reason = fault.message);
    }
}

/// Tells what was changed beside the broker, in its files: by whom is not known.
pub fn noticed(action: &str, object: &str, what: &str) {
    info!(target: TARGET, caller = "", peer = "", action, object, outcome = "done", reason = what);
}

/// Something whose caller may go away: then it was begun all the same.
struct UnderWay<'a> {
    by: &'a By,
    action: &'static str,
    object: &'a str,
    is_told: bool,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if !self.is_told {
            self.by.left(self.action, self.object);
        }
    }
}
