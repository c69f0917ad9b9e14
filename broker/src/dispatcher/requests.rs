//! Who waits for what of one dispatcher.
//!
//! Constraint: each request is answered once; dropping this drops the answers' senders, which tells those who wait that the outcome is not
//! known.

use std::collections::BTreeMap;

use tokio::sync::oneshot;
use waypost_delivery::{Action, Completion, RequestId, SettleOutcome, Settlement, Token};
use waypost_store::{NewEvent, Offset};

use super::{SettleItem, Settled};
use crate::{error::Fault, registry::Info};

/// The open requests.
#[derive(Debug, Default)]
pub(super) struct Requests {
    next: u64,
    open: BTreeMap<RequestId, Request>,
}

#[derive(Debug)]
enum Request {
    Settle { waiting: usize, items: Vec<Item>, reply: oneshot::Sender<Vec<Settled>> },
    Admin { info: Option<Info>, reply: oneshot::Sender<Result<Vec<Offset>, Fault>> },
}

#[derive(Debug)]
struct Item {
    token: Token,
    is_ack: bool,
    outputs: Vec<NewEvent>,
    settled: Option<Settled>,
}

impl Requests {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// A batch of settlements, as the machine takes them.
    pub(super) fn settle(&mut self, items: Vec<SettleItem>, reply: oneshot::Sender<Vec<Settled>>) -> (RequestId, Vec<Settlement>) {
        let split = |SettleItem { token, action, outputs }| {
            let is_ack = matches!(action, Action::Ack { .. });
            (Settlement { token, action }, Item { token, is_ack, outputs, settled: None })
        };
        let (settlements, items): (Vec<_>, Vec<_>) = items.into_iter().map(split).unzip();
        (self.add(Request::Settle { waiting: items.len(), items, reply }), settlements)
    }

    /// An administrative change; `info` is what will be known about the subscription when it is done.
    pub(super) fn admin(&mut self, info: Option<Info>, reply: oneshot::Sender<Result<Vec<Offset>, Fault>>) -> RequestId {
        self.add(Request::Admin { info, reply })
    }

    fn add(&mut self, request: Request) -> RequestId {
        let id = RequestId(self.next);
        self.next += 1;
        self.open.insert(id, request);
        id
    }

    /// The outputs of a completion.
    pub(super) fn outputs(&self, completion: &Completion) -> &[NewEvent] {
        match self.open.get(&completion.request) {
            Some(Request::Settle { items, .. }) => items.get(completion.index).map_or(&[], |item| &item.outputs),
            _ => &[],
        }
    }

    /// What will be known about the subscription once the administrative change that is being made is done.
    pub(super) fn pending_info(&self) -> Option<&Info> {
        self.open.values().find_map(|request| match request {
            Request::Admin { info, .. } => info.as_ref(),
            Request::Settle { .. } => None,
        })
    }

    /// Why an output was refused, ahead of the machine's answer that it was.
    pub(super) fn conflict(&mut self, completion: &Completion, output: usize, first: Offset) {
        if let Some(Request::Settle { items, .. }) = self.open.get_mut(&completion.request)
            && let Some(item) = items.get_mut(completion.index)
        {
            item.settled = Some(Settled::OutputConflict { output, first });
        }
    }

    /// Which delivery a settlement is about.
    pub(super) fn token(&self, request: RequestId, index: usize) -> Option<Token> {
        match self.open.get(&request) {
            Some(Request::Settle { items, .. }) => items.get(index).map(|item| item.token),
            _ => None,
        }
    }

    /// One settlement is known. Gives the offset back if it is a dead letter that was acked, to be noted there.
    pub(super) fn settled(&mut self, request: RequestId, index: usize, outcome: SettleOutcome) -> Option<Offset> {
        let Some(Request::Settle { waiting, items, .. }) = self.open.get_mut(&request) else { return None };
        let item = items.get_mut(index)?;
        if outcome != SettleOutcome::OutputRefused || item.settled.is_none() {
            item.settled = Some(Settled::Outcome(outcome));
        }
        let late = (item.is_ack && outcome == SettleOutcome::DeadLettered).then_some(item.token.offset);
        *waiting -= 1;
        if *waiting == 0
            && let Some(Request::Settle { items, reply, .. }) = self.open.remove(&request)
        {
            // Who asked may be gone.
            let _ = reply.send(items.into_iter().map(|item| item.settled.unwrap_or(Settled::Unknown)).collect());
        }
        late
    }

    /// An administrative change is known. Gives back what is now known about the subscription, if it is something else.
    pub(super) fn done(&mut self, request: RequestId, result: Result<Vec<Offset>, Fault>) -> Option<Info> {
        let Some(Request::Admin { info, reply }) = self.open.remove(&request) else { return None };
        let info = info.filter(|_| result.is_ok());
        let _ = reply.send(result);
        info
    }
}
