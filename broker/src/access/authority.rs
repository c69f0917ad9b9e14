//! From a token to its caller.
//!
//! Constraints: a file that cannot be used changes nothing; a token whose entry is as it was keeps its streams and what it has spent; one that is
//! gone, or allows something else now, loses its streams at once.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use http::{HeaderMap, header::AUTHORIZATION};
use waypost_proto::v1::ErrorReason;

use super::{
    audit,
    caller::{Caller, Grant},
    tokens::{Entry, TokenHash, TokensError, TokensFile},
};
use crate::{error::Fault, renewal::Renew, telemetry::Sparse};

/// Knows the tokens of a file.
#[derive(Debug)]
pub struct Authority {
    path: PathBuf,
    /// What a token may use up that says nothing of it.
    quota: Quota,
    known: RwLock<Arc<Known>>,
    /// For the log lines that whoever calls can cause.
    refusals: Sparse,
}

/// What the bearers of one token may use up together; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Events published in a second.
    pub events_per_second: u32,
    /// Streams open at a time.
    pub streams: u32,
}

/// By where to look for their hashes.
type Known = BTreeMap<u64, (Entry, Arc<Grant>)>;

impl Authority {
    /// Reads the file.
    ///
    /// # Errors
    /// [`TokensError`].
    pub fn load(path: PathBuf, quota: Quota) -> Result<Self, TokensError> {
        let file = TokensFile::read(&path)?;
        let authority = Self { path, quota, known: RwLock::default(), refusals: Sparse::new() };
        authority.take_over(file);
        Ok(authority)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many tokens there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.known().len()
    }

    /// Whose token a request carries.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` if it carries none, or one that is not known.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, Fault> {
        let refuse = |text: &str| Err(Fault::new(ErrorReason::Unauthenticated, text));
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return refuse("this broker asks who calls: send one `authorization: Bearer TOKEN`; `waypost token create` makes a token");
        };
        let parts = value.as_bytes().split_at_checked(b"Bearer ".len());
        let Some((_, token)) = parts.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer ")) else {
            return refuse("the authorization is no bearer token: send `authorization: Bearer TOKEN`");
        };
        let hash = TokenHash::of(token.trim_ascii());
        match self.known().get(&hash.place()) {
            Some((entry, grant)) if entry.hash == hash => Ok(Caller::Known(Arc::clone(grant))),
            _ => refuse("the token is not one of this broker's, or was revoked"),
        }
    }

    /// Whether one more refusal is to be told.
    #[must_use]
    pub fn tells(&self) -> bool {
        self.refusals.is_due()
    }

    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts what a file says in force. What is new about it, or nothing.
    fn take_over(&self, file: TokensFile) -> Option<String> {
        let old = self.known();
        let mut new = Known::new();
        for entry in file.tokens {
            let kept = old.get(&entry.hash.place()).filter(|(before, _)| *before == entry);
            let grant = kept.map_or_else(|| Arc::new(self.grant(&entry)), |(_, grant)| Arc::clone(grant));
            new.insert(entry.hash.place(), (entry, grant));
        }
        let named = |known: &Known, other: &Known| {
            let differs = |(place, (entry, _)): &(&u64, &(Entry, _))| other.get(place).is_none_or(|(same, _)| same != entry);
            known.iter().filter(differs).map(|(_, (entry, _))| entry.name.clone()).collect::<Vec<_>>()
        };
        let (gone, come) = (named(&old, &new), named(&new, &old));
        let new = Arc::new(new);
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&new);
        // After the change is in force: who is ended and comes back at once meets it.
        for (place, (entry, grant)) in old.iter() {
            match new.get(place) {
                Some((same, _)) if same == entry => {}
                Some(_) => grant.end(Fault::new(ErrorReason::Draining, "what the token allows has changed; connect again")),
                None => grant.end(Fault::new(ErrorReason::Unauthenticated, "the token was revoked")),
            }
        }
        let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        (gone != come || !gone.is_empty()).then(|| format!("in force: {}; ended: {}", list(&come), list(&gone)))
    }

    fn grant(&self, entry: &Entry) -> Grant {
        let quota = Quota {
            events_per_second: entry.max_events_per_second.unwrap_or(self.quota.events_per_second),
            streams: entry.max_streams.unwrap_or(self.quota.streams),
        };
        Grant::new(entry.name.clone(), entry.scopes.clone(), quota)
    }
}

impl Renew for Authority {
    fn name(&self) -> &str {
        "auth.tokens_file"
    }

    fn renew(&self) -> Result<Option<String>, String> {
        let file = TokensFile::read(&self.path).map_err(|error| error.to_string())?;
        let news = self.take_over(file);
        if let Some(news) = &news {
            audit::noticed("change_tokens", &self.path.display().to_string(), news);
        }
        Ok(news)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::access::tokens::Token;

    fn entry(name: &str, token: &Token, scopes: &[&str]) -> Entry {
        let scopes = scopes.iter().map(|scope| scope.parse().unwrap()).collect();
        Entry { name: name.to_owned(), hash: token.hash(), scopes, max_events_per_second: None, max_streams: None, created: String::new() }
    }

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())])
    }

    fn bearer(token: &Token) -> HeaderMap {
        headers(&format!("Bearer {}", token.expose()))
    }

    #[test]
    fn only_the_bearer_of_a_known_token_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.toml");
        let (token, other) = (Token::generate().unwrap(), Token::generate().unwrap());
        TokensFile::edit(&path, |file| file.add(entry("one", &token, &["read"]))).unwrap();
        let authority = Authority::load(path, Quota::default()).unwrap();
        assert_eq!(authority.authenticate(&bearer(&token)).unwrap().name(), "one");
        assert_eq!(authority.authenticate(&headers(&format!("bearer  {} ", token.expose()))).unwrap().name(), "one");
        let mut twice = bearer(&token);
        twice.append(AUTHORIZATION, "Bearer x".parse().unwrap());
        let hash = format!("Bearer {}", token.hash());
        for refused in [HeaderMap::new(), bearer(&other), headers("Basic YTpi"), headers("Bear"), headers(&hash), twice] {
            assert_eq!(authority.authenticate(&refused).unwrap_err().reason, ErrorReason::Unauthenticated, "{refused:?}");
        }
    }

    #[test]
    fn a_change_ends_who_it_concerns_and_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.toml");
        let tokens = [Token::generate().unwrap(), Token::generate().unwrap(), Token::generate().unwrap()];
        for (name, token) in ["kept", "changed", "revoked"].iter().zip(&tokens) {
            TokensFile::edit(&path, |file| file.add(entry(name, token, &["read"]))).unwrap();
        }
        let authority = Authority::load(path.clone(), Quota::default()).unwrap();
        assert_eq!(authority.renew(), Ok(None));
        let grants = tokens.each_ref().map(|token| match authority.authenticate(&bearer(token)).unwrap() {
            Caller::Known(grant) => grant,
            Caller::Anybody => panic!("a token is asked for"),
        });
        TokensFile::edit(&path, |file| {
            file.remove("revoked")?;
            file.remove("changed")?;
            file.add(entry("changed", &tokens[1], &["inspect"]))
        })
        .unwrap();
        assert_eq!(authority.renew().unwrap().unwrap().split("; ended").next(), Some("in force: changed"));
        assert_eq!(grants.each_ref().map(|grant| grant.ended().is_cancelled()), [false, true, true]);
        assert_eq!(grants[1].why().code(), tonic::Code::Unavailable, "it may come back");
        assert_eq!(grants[2].why().code(), tonic::Code::Unauthenticated);
        assert!(authority.authenticate(&bearer(&tokens[2])).is_err());

        std::fs::write(&path, "tokens = 1").unwrap();
        assert!(authority.renew().is_err());
        assert!(authority.authenticate(&bearer(&tokens[0])).is_ok(), "a file that cannot be used changes nothing");
    }
}
