//! How many files and sockets the process may have open.
//!
//! Constraint: a limit of connections that the operating system undercuts is none: the lower of its two limits is raised to the higher, and
//! where that is too low it is told before the first agent finds out.

use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::warn;

/// What the store and the runtime have open, generously.
const OTHERS: u64 = 512;

/// Raises the limit as far as the process may, and warns if connections are allowed that it does not allow.
pub fn raise(connections: u64) {
    let mut limit = getrlimit(Resource::Nofile);
    let needed = connections.saturating_add(OTHERS);
    // Without a maximum there is no limit.
    let most = limit.maximum.unwrap_or(u64::MAX);
    if limit.current.is_some_and(|current| current < needed.min(most)) {
        limit.current = Some(needed.min(most));
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            warn!(%error, "the limit of open files could not be raised");
        }
    }
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if allowed < needed {
        warn!(
            allowed,
            needed,
            "the process may open fewer files than its max_connections ask for: raise the limit (LimitNOFILE of systemd, ulimit -n), or lower them"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_as_far_as_it_goes() {
        let most = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        raise(600);
        let now = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        assert!(now >= most.min(600 + OTHERS), "{now}");
        // Never lowered.
        raise(1);
        assert!(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) >= now);
    }
}
