//! Who calls, and whether they may.
//!
//! Constraint: all that is decided about rights is decided here, in [`Caller::may`] and, before the content of a call is known, in
//! [`Caller::may_call`].

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use http::Extensions;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use waypost_proto::v1::ErrorReason;

use super::{
    Need, Quota,
    rate::Rate,
    scope::{self, Scope},
};
use crate::{error::Fault, filter::Filter};

/// Who calls.
#[derive(Clone, Debug, Default)]
pub enum Caller {
    /// Anybody: no tokens are configured, or the call comes from within the process.
    #[default]
    Anybody,
    /// The bearer of a token.
    Known(Arc<Grant>),
}

/// What the bearer of a token is granted.
pub struct Grant {
    /// The name of the token.
    pub name: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// How much it may publish.
    pub rate: Rate,
    /// Room for streams, and for how many.
    streams: Arc<Semaphore>,
    max_streams: u32,
    ended: CancellationToken,
    why: OnceLock<Fault>,
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug)]
pub enum Act<'a> {
    /// Publish an event.
    Publish {
        /// Its source.
        source: &'a str,
        /// Its type.
        event_type: &'a str,
    },
    /// Use a subscription: open sessions, settle.
    Use {
        /// Its name; empty for an ephemeral one.
        name: &'a str,
    },
    /// Receive what its filter lets through.
    Receive {
        /// Its name; empty for an ephemeral one.
        name: &'a str,
        /// Its filter.
        filter: &'a Filter,
    },
    /// Read the events of a filter.
    Read {
        /// The filter.
        filter: &'a Filter,
    },
    /// Read whole stories.
    ReadStories,
    /// See what administrators see.
    Inspect,
    /// Change what only administrators change.
    Administer,
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant").field("name", &self.name).field("scopes", &self.scopes).finish_non_exhaustive()
    }
}

impl Grant {
    /// To the bearer of the token of this name.
    #[must_use]
    pub fn new(name: String, scopes: Vec<Scope>, quota: Quota) -> Self {
        let rate = Rate::new(quota.events_per_second);
        let room = if quota.streams == 0 { Semaphore::MAX_PERMITS } else { usize::try_from(quota.streams).unwrap_or(usize::MAX) };
        let streams = Arc::new(Semaphore::new(room.min(Semaphore::MAX_PERMITS)));
        let (ended, why) = (CancellationToken::new(), OnceLock::new());
        Self { name, scopes, rate, streams, max_streams: quota.streams, ended, why }
    }

    /// Room for one more stream, until it is dropped.
    ///
    /// # Errors
    /// `LIMIT_REACHED`, with the limit and what would be right.
    pub fn open_stream(&self) -> Result<OwnedSemaphorePermit, Fault> {
        Arc::clone(&self.streams).try_acquire_owned().map_err(|_| {
            let text = format!(
                "the token {:?} has {} streams open, as many as it may (limits.max_streams_per_token, or max_streams of its entry): end some, \
                 give each agent a token of its own, or raise the limit",
                self.name, self.max_streams
            );
            Fault::new(ErrorReason::LimitReached, text)
        })
    }

    /// Ends it, and every stream that was opened with it.
    pub fn end(&self, why: Fault) {
        self.why.get_or_init(|| why);
        self.ended.cancel();
    }

    /// Cancelled when it ends. Each gets a token of its own: who shares one waits for its lock.
    #[must_use]
    pub fn ended(&self) -> CancellationToken {
        self.ended.child_token()
    }

    /// Why it ended.
    #[must_use]
    pub fn why(&self) -> Fault {
        self.why.get().cloned().unwrap_or_else(|| Fault::new(ErrorReason::Unauthenticated, "the token was revoked"))
    }
}

impl Caller {
    /// As the guard has found out. Without a guard in front there are no tokens.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or_default()
    }

    /// What it is called; empty for anybody.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Anybody => "",
            Self::Known(grant) => &grant.name,
        }
    }

    /// Whether it may.
    ///
    /// # Errors
    /// `SCOPE_MISSING`, with the scope that would be enough.
    pub fn may(&self, act: &Act<'_>) -> Result<(), Fault> {
        match self {
            Self::Anybody => Ok(()),
            Self::Known(grant) if allows(&grant.scopes, act) => Ok(()),
            Self::Known(grant) => Err(lacking(grant, needed(act))),
        }
    }

    /// Whether a call is of any use to it, before what is in the call is known.
    ///
    /// # Errors
    /// As [`may`](Self::may).
    pub fn may_call(&self, need: Need) -> Result<(), Fault> {
        let Self::Known(grant) = self else { return Ok(()) };
        let has = |of: fn(&Scope) -> bool| grant.scopes.iter().any(of);
        let (is_enough, lacks) = match need {
            Need::Nothing | Need::Token => return Ok(()),
            Need::Publish => (has(|scope| matches!(scope, Scope::Publish { .. })), "publish"),
            Need::Subscribe => (has(|scope| matches!(scope, Scope::Subscribe { .. })), "subscribe"),
            Need::Read => (has(|scope| matches!(scope, Scope::Read { .. } | Scope::Admin)), "read"),
            Need::ReadStories => return self.may(&Act::ReadStories),
            Need::Inspect => return self.may(&Act::Inspect),
            Need::Admin => return self.may(&Act::Administer),
        };
        if is_enough { Ok(()) } else { Err(lacking(grant, lacks)) }
    }

    /// Counts so many events against what it may publish.
    ///
    /// # Errors
    /// `QUOTA_EXCEEDED`, with how long to wait.
    pub fn spend(&self, now: u64, events: usize) -> Result<(), Fault> {
        let Self::Known(grant) = self else { return Ok(()) };
        grant.rate.spend(now, events).map_err(|wait| {
            let text = format!("the token {:?} may publish {} events a second; try again in {wait:?}", grant.name, grant.rate.per_second());
            Fault { retry: Some(wait), ..Fault::new(ErrorReason::QuotaExceeded, text) }
        })
    }
}

fn lacking(grant: &Grant, scope: impl fmt::Display) -> Fault {
    Fault::new(ErrorReason::ScopeMissing, format!("the token {:?} lacks the scope \"{scope}\"", grant.name))
}

fn allows(scopes: &[Scope], act: &Act<'_>) -> bool {
    let admin = scopes.contains(&Scope::Admin);
    match *act {
        Act::Publish { source, event_type } => scopes.iter().any(|scope| match scope {
            Scope::Publish { sources, types } => sources.fit(source) && types.fit_type(event_type),
            _ => false,
        }),
        Act::Use { name } => subscriptions(scopes, name).next().is_some(),
        Act::Receive { name, filter } => scope::cover(subscriptions(scopes, name), filter.types()),
        Act::Read { filter } => {
            let types = scopes.iter().filter_map(|scope| match scope {
                Scope::Read { types } => Some(types),
                _ => None,
            });
            admin || scope::cover(types, filter.types())
        }
        Act::ReadStories => {
            let reads_all = |scope: &Scope| matches!(scope, Scope::Read { types } if types.cover_types(""));
            admin || scopes.iter().any(reads_all)
        }
        Act::Inspect => admin || scopes.contains(&Scope::Inspect),
        Act::Administer => admin,
    }
}

/// The types that may be received through a subscription of this name, for each scope that allows it.
fn subscriptions<'a>(scopes: &'a [Scope], name: &'a str) -> impl Iterator<Item = &'a scope::Patterns> + Clone {
    scopes.iter().filter_map(move |scope| match scope {
        // An ephemeral one takes nothing from others, and shows nothing that a subscription of a name would not.
        Scope::Subscribe { names, types } if name.is_empty() || names.fit(name) => Some(types),
        _ => None,
    })
}

/// The scope that would be enough, and no more.
fn needed(act: &Act<'_>) -> Scope {
    let name = |name: &str| if name.is_empty() { scope::Patterns::default() } else { scope::only(name) };
    match *act {
        Act::Publish { source, event_type } => Scope::Publish { sources: scope::only(source), types: scope::only(event_type) },
        Act::Use { name: used } => Scope::Subscribe { names: name(used), types: scope::Patterns::default() },
        Act::Receive { name: used, filter } => Scope::Subscribe { names: name(used), types: scope::asked(filter.types()) },
        Act::Read { filter } => Scope::Read { types: scope::asked(filter.types()) },
        Act::ReadStories => Scope::Read { types: scope::Patterns::default() },
        Act::Inspect => Scope::Inspect,
        Act::Administer => Scope::Admin,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use waypost_proto::v1;

    use super::*;

    fn caller(scopes: &[&str]) -> Caller {
        let scopes = scopes.iter().map(|scope| scope.parse().unwrap()).collect();
        Caller::Known(Arc::new(Grant::new("routing".to_owned(), scopes, Quota { events_per_second: 10, streams: 2 })))
    }

    fn filter(types: &[&str]) -> Filter {
        Filter::compile(&v1::Filter { types: types.iter().map(|&name| name.to_owned()).collect(), ..v1::Filter::default() }).unwrap()
    }

    #[test]
    fn what_is_missing_is_named_as_the_scope_that_would_be_enough() {
        let nobody = caller(&[]);
        let logistics = filter(&["logistics.v1.*"]);
        for (act, scope) in [
            (Act::Publish { source: "agents/a", event_type: "a.B" }, "publish source=agents/a type=a.B"),
            (Act::Use { name: "routing" }, "subscribe name=routing"),
            (Act::Receive { name: "routing", filter: &logistics }, "subscribe name=routing type=logistics.v1.*"),
            (Act::Receive { name: "", filter: &logistics }, "subscribe type=logistics.v1.*"),
            (Act::Read { filter: &logistics }, "read type=logistics.v1.*"),
            (Act::ReadStories, "read"),
            (Act::Inspect, "inspect"),
            (Act::Administer, "admin"),
        ] {
            let fault = nobody.may(&act).unwrap_err();
            assert_eq!(fault.reason, ErrorReason::ScopeMissing);
            assert!(fault.message.ends_with(&format!("lacks the scope \"{scope}\"")), "{}", fault.message);
            // And it is enough.
            caller(&[scope]).may(&act).unwrap();
            Caller::Anybody.may(&act).unwrap();
        }
    }

    #[test]
    fn a_scope_allows_nothing_beyond_its_patterns() {
        let routing = caller(&["publish source=agents/routing* type=logistics.v1.*", "subscribe name=routing type=logistics.v1.*"]);
        for (source, event_type, may) in [
            ("agents/routing-2", "logistics.v1.PackageRerouted", true),
            ("agents/billing", "logistics.v1.PackageRerouted", false),
            ("agents/routing", "commerce.v1.OrderPlaced", false),
        ] {
            assert_eq!(routing.may(&Act::Publish { source, event_type }).is_ok(), may, "{source} {event_type}");
        }
        for (name, types, may) in [
            ("routing", &["logistics.v1.ShippingDelayed"][..], true),
            ("", &["logistics.v1.ShippingDelayed"], true),
            ("billing", &["logistics.v1.ShippingDelayed"], false),
            ("routing", &["logistics.v1.*", "commerce.v1.*"], false),
            ("routing", &[], false),
        ] {
            assert_eq!(routing.may(&Act::Receive { name, filter: &filter(types) }).is_ok(), may, "{name} {types:?}");
        }
        assert!(routing.may(&Act::Administer).is_err() && routing.may(&Act::ReadStories).is_err());
    }

    #[test]
    fn a_stream_that_ends_makes_room_for_another() {
        let Caller::Known(grant) = caller(&[]) else { panic!("it is known") };
        let held = [grant.open_stream().unwrap(), grant.open_stream().unwrap()];
        let refused = grant.open_stream().unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert!(refused.message.contains("2 streams") && refused.message.contains("max_streams_per_token"), "{refused}");
        drop(held);
        drop(grant.open_stream().unwrap());
        let free = Grant::new("a".to_owned(), Vec::new(), Quota::default());
        let many: Vec<_> = (0..100_000).map(|_| free.open_stream().unwrap()).collect();
        assert_eq!(many.len(), 100_000);
    }

    #[test]
    fn an_administrator_reads_and_inspects_and_does_no_agents_work() {
        let admin = caller(&["admin"]);
        let own = filter(&["waypost.*"]);
        for act in [Act::Administer, Act::Inspect, Act::ReadStories, Act::Read { filter: &own }] {
            admin.may(&act).unwrap();
        }
        assert!(admin.may(&Act::Use { name: "routing" }).is_err());
        assert!(caller(&["inspect"]).may(&Act::Administer).is_err());
    }
}
