//! Looking after dead letters.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use tonic::{Request, Response, Status};
use waypost_delivery::Candidate;
use waypost_proto::v1::{self, dead_letter_admin_service_server::DeadLetterAdminService};
use waypost_store::{Commit, RowChange, Table};

use super::{
    convert::{decoded_event, incarnation, timestamp},
    page::Page,
    publish::check_count,
};
use crate::{
    access::By,
    broker::Broker,
    dead_letters::{self, DeadLetterKey, DeadLetterRow},
    dispatcher::{Change, candidate},
    error::Fault,
    limits,
};

/// Serves the administration of dead letters.
#[derive(Debug)]
pub struct DeadLetterAdmin {
    broker: Arc<Broker>,
}

/// What is to be done with dead letters.
#[derive(Clone, Copy)]
enum Fate {
    Redrive,
    Discard,
}

impl Fate {
    const fn action(self) -> &'static str {
        match self {
            Self::Redrive => "redrive_dead_letters",
            Self::Discard => "discard_dead_letters",
        }
    }
}

impl DeadLetterAdmin {
    /// For this broker.
    #[must_use]
    pub fn new(broker: Arc<Broker>) -> Self {
        Self { broker }
    }

    fn show(&self, row: &DeadLetterRow) -> v1::DeadLetter {
        let event = row.event();
        let text = |of: fn(&waypost_store::EventHead) -> &str| event.as_ref().map_or_else(String::new, |event| of(&event.head).to_owned());
        let expires = row.dead_lettered_at.saturating_add(micros(self.broker.retention.dead_letters));
        v1::DeadLetter {
            id: row.key().id(),
            subscription: row.subscription.clone(),
            incarnation: incarnation(row.incarnation),
            offset: row.offset,
            event_source: text(waypost_store::EventHead::source),
            event_id: text(waypost_store::EventHead::id),
            event_type: text(waypost_store::EventHead::event_type),
            reason: row.reason,
            detail: row.history.last().map_or_else(String::new, |attempt| attempt.reason.clone()),
            attempts: row.attempts,
            losses: row.losses,
            dead_lettered_at: Some(timestamp(row.dead_lettered_at)),
            expires_at: Some(timestamp(expires)),
            acked_late_at: row.acked_late_at.map(timestamp),
            redrives: row.redrives,
            redriving: row.redriving,
        }
    }

    /// Decides, and tells the audit log of each.
    async fn decide(&self, by: &By, ids: &[String], fate: Fate) -> Result<Vec<v1::DeadLetterResult>, Status> {
        let action = fate.action();
        let results = by.does(action, &format!("{} dead letters", ids.len()), self.decide_each(ids, fate)).await?;
        results.iter().for_each(|result| by.did_one(action, &result.id, result.refusal.as_ref()));
        Ok(results)
    }

    /// Asks each subscription, in steps that one commit has room for; results are in the order of the ids.
    async fn decide_each(&self, ids: &[String], fate: Fate) -> Result<Vec<v1::DeadLetterResult>, Fault> {
        check_count("ids", ids.len())?;
        let mut results: Vec<_> = ids.iter().map(|id| v1::DeadLetterResult { id: id.clone(), refusal: None }).collect();
        let mut groups: BTreeMap<u64, Vec<(usize, DeadLetterRow)>> = BTreeMap::new();
        for (index, id) in ids.iter().enumerate() {
            let row = match DeadLetterKey::parse(id) {
                Some(key) => dead_letters::find(&*self.broker.store, key).await?,
                None => None,
            };
            match row {
                Some(row) => groups.entry(row.incarnation).or_default().push((index, row)),
                None => results[index].refusal = Some(Fault::not_found(format!("there is no dead letter {id:?}")).refusal()),
            }
        }
        for (incarnation, rows) in groups {
            for step in rows.chunks(limits::DEAD_LETTERS_PER_STEP) {
                let refusals = self.decide_about(incarnation, step, fate).await;
                for ((index, _), refusal) in step.iter().zip(refusals) {
                    results[*index].refusal = refusal.map(Fault::refusal);
                }
            }
        }
        Ok(results)
    }

    async fn decide_about(&self, incarnation: u64, rows: &[(usize, DeadLetterRow)], fate: Fate) -> Vec<Option<Fault>> {
        let Some(handle) = self.broker.registry.by_incarnation(incarnation) else {
            return self.without_subscription(rows, fate).await;
        };
        let offsets = || rows.iter().map(|(_, row)| row.offset);
        let change = match fate {
            Fate::Discard => Change::Discard(offsets().collect()),
            Fate::Redrive => Change::Redrive(rows.iter().map(|(_, row)| candidate_of(row)).collect()),
        };
        match handle.change(self.broker.registry.shared(), change).await {
            Err(fault) => rows.iter().map(|_| Some(fault.clone())).collect(),
            Ok(done) => rows.iter().map(|(_, row)| (!done.contains(&row.offset)).then(|| passed_over(row, fate))).collect(),
        }
    }

    /// Of a subscription that is gone, dead letters can only be discarded.
    async fn without_subscription(&self, rows: &[(usize, DeadLetterRow)], fate: Fate) -> Vec<Option<Fault>> {
        let refuse = |fault: &Fault| rows.iter().map(|_| Some(fault.clone())).collect();
        match fate {
            Fate::Redrive => refuse(&Fault::not_found("the subscription of the dead letter is gone; it can only be discarded")),
            Fate::Discard => {
                let rows_gone = rows.iter().map(|(_, row)| RowChange::Delete(Table::DeadLetters, row.key().bytes())).collect();
                let commit = Commit { rows: rows_gone, ..Commit::default() };
                match self.broker.store.commit(self.broker.clock.now(), commit).await {
                    Ok(_) => rows.iter().map(|_| None).collect(),
                    Err(error) => refuse(&error.into()),
                }
            }
        }
    }
}

fn candidate_of(row: &DeadLetterRow) -> Candidate {
    row.event().map_or(Candidate { offset: row.offset, bytes: 0, key: None }, |event| candidate(&event))
}

/// A redrive or discard made twice is harmless.
fn passed_over(row: &DeadLetterRow, fate: Fate) -> Fault {
    let what = match fate {
        Fate::Redrive if row.redriving => "is on its way already",
        Fate::Redrive => "is on its way already, or there is no room for it now; try again later",
        Fate::Discard => "is being redriven; settle it, or wait until it is a dead letter again",
    };
    Fault::not_found(format!("dead letter {} {what}", row.key().id()))
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// Newest first.
fn order(row: &DeadLetterRow) -> [u8; 24] {
    let mut key = [0; 24];
    key[..8].copy_from_slice(&(u64::MAX - row.dead_lettered_at).to_be_bytes());
    key[8..].copy_from_slice(&row.key().bytes());
    key
}

#[tonic::async_trait]
impl DeadLetterAdminService for DeadLetterAdmin {
    async fn list_dead_letters(
        &self,
        request: Request<v1::ListDeadLettersRequest>,
    ) -> Result<Response<v1::ListDeadLettersResponse>, Status> {
        let request = request.into_inner();
        let query = v1::ListDeadLettersRequest { page_size: None, page_token: String::new(), ..request.clone() };
        let page = Page::new(request.page_size, limits::MAX_PAGE, &request.page_token, &query)?;
        v1::DeadLetterReason::try_from(request.reason).map_err(|_| Fault::unknown_enum("reason", request.reason, "DeadLetterReason"))?;
        // The newest that are asked for, one more to know whether there are more.
        let mut found: BTreeMap<[u8; 24], DeadLetterRow> = BTreeMap::new();
        let visit = |row: DeadLetterRow| {
            let key = order(&row);
            let is_wanted = (request.subscription.is_empty() || request.subscription == row.subscription)
                && (request.reason == 0 || request.reason == row.reason)
                && (request.event_type.is_empty() || row.event().is_some_and(|event| event.head.event_type() == request.event_type))
                && page.after.as_ref().is_none_or(|after| key[..] > after[..]);
            if is_wanted {
                found.insert(key, DeadLetterRow { body: Bytes::new(), ..row });
                if found.len() > page.size + 1 {
                    found.pop_last();
                }
            }
        };
        dead_letters::for_each(&*self.broker.store, visit).await.map_err(Fault::from)?;
        let (rows, next_page_token) = page.take(found.into_values(), |row| order(row).to_vec());
        let dead_letters = rows.iter().map(|row| self.show(row)).collect();
        Ok(Response::new(v1::ListDeadLettersResponse { dead_letters, next_page_token }))
    }

    async fn get_dead_letter(&self, request: Request<v1::GetDeadLetterRequest>) -> Result<Response<v1::GetDeadLetterResponse>, Status> {
        let id = request.into_inner().id;
        Fault::require("id", &id)?;
        let gone = || Fault::not_found(format!("there is no dead letter {id:?}"));
        let key = DeadLetterKey::parse(&id).ok_or_else(gone)?;
        let row = dead_letters::find(&*self.broker.store, key).await.map_err(Fault::from)?.ok_or_else(gone)?;
        let first = row.attempts + row.losses - u32::try_from(row.history.len()).unwrap_or(0).min(row.attempts + row.losses);
        let history = row.history.iter().zip(first + 1..).map(|(line, attempt)| v1::AttemptRecord {
            attempt,
            ended_at: Some(timestamp(line.at)),
            outcome: line.outcome,
            reason: line.reason.clone(),
            ..v1::AttemptRecord::default()
        });
        Ok(Response::new(v1::GetDeadLetterResponse {
            dead_letter: Some(self.show(&row)),
            event: row.event().as_ref().map(decoded_event),
            history: history.collect(),
        }))
    }

    async fn redrive_dead_letters(
        &self,
        request: Request<v1::RedriveDeadLettersRequest>,
    ) -> Result<Response<v1::RedriveDeadLettersResponse>, Status> {
        let results = self.decide(&By::of(&request), &request.get_ref().ids, Fate::Redrive).await?;
        Ok(Response::new(v1::RedriveDeadLettersResponse { results }))
    }

    async fn discard_dead_letters(
        &self,
        request: Request<v1::DiscardDeadLettersRequest>,
    ) -> Result<Response<v1::DiscardDeadLettersResponse>, Status> {
        let results = self.decide(&By::of(&request), &request.get_ref().ids, Fate::Discard).await?;
        Ok(Response::new(v1::DiscardDeadLettersResponse { results }))
    }
}
