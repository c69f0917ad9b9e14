//! What is kept about a subscription beside its records: what must be known without claiming it.
//!
//! Constraint: the field numbers are on disk and frozen.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use waypost_proto::v1;
use waypost_store::{Micros, Row, RowChange, Table};

use crate::{error::Violation, spec::Spec};

/// What is kept, in memory.
#[derive(Clone, Debug)]
pub struct Info {
    /// The rules in force.
    pub spec: Arc<Spec>,
    /// When the subscription was created.
    pub created_at: Micros,
    /// When it last had a session.
    pub last_session_at: Option<Micros>,
    /// Whether an operator stopped it.
    pub paused: bool,
    /// Why.
    pub pause_reason: String,
}

#[derive(Clone, PartialEq, Message)]
struct SubscriptionRow {
    #[prost(fixed64, tag = "1")]
    incarnation: u64,
    #[prost(message, optional, tag = "2")]
    spec: Option<v1::SubscriptionSpec>,
    #[prost(uint64, tag = "3")]
    created_at: Micros,
    #[prost(uint64, optional, tag = "4")]
    last_session_at: Option<Micros>,
    #[prost(bool, tag = "5")]
    paused: bool,
    #[prost(string, tag = "6")]
    pause_reason: String,
}

/// Why a row is not a subscription.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// Its bytes are no row.
    #[error("the row does not decode: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// Its name is not UTF-8.
    #[error("the name is not UTF-8")]
    Name,
    /// Its rules are not valid, or not any more.
    #[error("the rules are not valid: {0:?}")]
    Spec(Vec<Violation>),
}

impl Info {
    /// As the row of a name.
    #[must_use]
    pub fn put(&self, name: &str, incarnation: u64) -> RowChange {
        let row = SubscriptionRow {
            incarnation,
            spec: Some(self.spec.proto().clone()),
            created_at: self.created_at,
            last_session_at: self.last_session_at,
            paused: self.paused,
            pause_reason: self.pause_reason.clone(),
        };
        let key = Bytes::copy_from_slice(name.as_bytes());
        RowChange::Put(Table::Subscriptions, Row { key, value: row.encode_to_vec().into() })
    }

    /// From a row: the name and incarnation with it.
    ///
    /// # Errors
    /// See [`RowError`].
    pub fn read(row: &Row) -> Result<(Arc<str>, u64, Self), RowError> {
        let name = str::from_utf8(&row.key).map_err(|_| RowError::Name)?;
        let SubscriptionRow { incarnation, spec, created_at, last_session_at, paused, pause_reason } =
            SubscriptionRow::decode(row.value.clone())?;
        let spec = Arc::new(Spec::new(&spec.unwrap_or_default()).map_err(RowError::Spec)?);
        Ok((name.into(), incarnation, Self { spec, created_at, last_session_at, paused, pause_reason }))
    }
}

/// The row of a name, gone.
#[must_use]
pub fn delete(name: &str) -> RowChange {
    RowChange::Delete(Table::Subscriptions, Bytes::copy_from_slice(name.as_bytes()))
}
