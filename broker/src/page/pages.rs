//! What all pages share, and who looks at one.
//!
//! Constraint: nothing about a visitor is kept but the notes of what was done, of which there are few.

use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use axum::extract::FromRequestParts;
use http::{Extensions, request::Parts};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use tonic::{Request, metadata::MetadataMap};
use waypost_store::Micros;

use super::flow::Flow;
use crate::{
    access::{Authority, Caller},
    broker::Broker,
    entropy::{self, NoEntropy},
    grpc::{Agent, DeadLetterAdmin, QuarantineAdmin, SessionAdmin, SourceAdmin, SubscriptionAdmin, WebhookAdmin},
    ingress::LiveSources,
    limits,
};

/// The services behind the pages, and what the pages remember.
pub struct Pages {
    pub(super) broker: Arc<Broker>,
    /// Who is asked about tokens; nobody, where none are configured.
    pub(super) authority: Option<Arc<Authority>>,
    pub(super) agent: Agent,
    pub(super) subscriptions: SubscriptionAdmin,
    pub(super) dead_letters: DeadLetterAdmin,
    pub(super) sessions: SessionAdmin,
    pub(super) sources: SourceAdmin,
    pub(super) quarantine: QuarantineAdmin,
    pub(super) webhooks: WebhookAdmin,
    pub(super) flow: Arc<Flow>,
    /// Those whose page is kept up to date.
    pub(super) viewers: Arc<Semaphore>,
    /// What a form of this process carries.
    form_key: Arc<str>,
    notes: Mutex<VecDeque<(String, Note)>>,
}

/// What somebody did, told once they are back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) is_good: bool,
    pub(super) text: String,
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pages")
    }
}

impl Pages {
    /// For this broker. It begins to watch how much flows.
    ///
    /// # Errors
    /// When the operating system has no random numbers.
    pub fn new(broker: &Arc<Broker>, sources: LiveSources, authority: Option<Arc<Authority>>) -> Result<Self, NoEntropy> {
        Ok(Self {
            authority,
            agent: Agent::new(Arc::clone(broker)),
            subscriptions: SubscriptionAdmin::new(Arc::clone(broker)),
            dead_letters: DeadLetterAdmin::new(Arc::clone(broker)),
            sessions: SessionAdmin::new(Arc::clone(broker)),
            sources: SourceAdmin::new(sources.clone()),
            quarantine: QuarantineAdmin::new(Arc::clone(broker), sources),
            webhooks: WebhookAdmin::new(broker.journal.clone()),
            flow: Flow::watch(broker),
            viewers: Arc::new(Semaphore::new(limits::MAX_PAGE_VIEWERS)),
            form_key: hex::encode(entropy::key()?).into(),
            notes: Mutex::default(),
            broker: Arc::clone(broker),
        })
    }

    /// What every form that changes something carries, so that no other site can make one.
    pub(super) fn form_key(&self) -> &str {
        &self.form_key
    }

    pub(super) fn is_form_key(&self, key: &str) -> bool {
        self.form_key.as_bytes().ct_eq(key.as_bytes()).into()
    }

    /// Keeps a note, and answers what names it in a link.
    pub(super) fn note(&self, note: Note) -> String {
        let name = format!("{:016x}", self.broker.entropy.number());
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.len() >= limits::MAX_PAGE_NOTES {
            notes.pop_front();
        }
        notes.push_back((name.clone(), note));
        name
    }

    fn noted(&self, name: &str) -> Option<Note> {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.iter().find(|(kept, _)| kept == name).map(|(_, note)| note.clone())
    }
}

/// Somebody who looks.
#[derive(Clone, Debug)]
pub(super) struct Visit {
    extensions: Extensions,
    /// What they did just before.
    pub(super) note: Option<Note>,
    /// When they came.
    pub(super) now: Micros,
    /// The key of forms.
    pub(super) form_key: Arc<str>,
}

impl Visit {
    /// Who it is.
    pub(super) fn caller(&self) -> Caller {
        Caller::of(&self.extensions)
    }

    /// Asks a service on their behalf.
    pub(super) fn asks<T>(&self, message: T) -> Request<T> {
        Request::from_parts(MetadataMap::new(), self.extensions.clone(), message)
    }

    /// The same, at another time.
    pub(super) fn at(&self, now: Micros) -> Self {
        Self { now, ..self.clone() }
    }
}

impl FromRequestParts<Arc<Pages>> for Visit {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, pages: &Arc<Pages>) -> Result<Self, Infallible> {
        let query = parts.uri.query().unwrap_or_default();
        let note = query.split('&').find_map(|pair| pair.strip_prefix("note=")).and_then(|name| pages.noted(name));
        let form_key = Arc::clone(&pages.form_key);
        Ok(Self { extensions: parts.extensions.clone(), note, now: pages.broker.clock.now(), form_key })
    }
}
