//! What happens, as inputs of the machine: what is asked, what streams tell, what became of writes.
//!
//! Constraint: nothing is decided here about an event; what can be answered without the machine is answered at once.

use waypost_delivery::{Commit, Input, Refusal, SessionId, StreamId};
use waypost_proto::v1::ErrorReason;

use super::{Change, Command, Connect, Inspection, SessionInfo, outbox::Signal, turn::Dispatcher, writer::Written};
use crate::error::Fault;

impl Dispatcher {
    /// What a stream tells.
    pub(super) fn signal(&mut self, signal: Signal) {
        match signal {
            Signal::Writable(session, stream) if self.sessions.is_open(session, stream) => {
                self.input(Input::Writable { session, writable: true });
            }
            Signal::Writable(..) => {}
            Signal::Gone(session, stream) => self.gone(session, stream),
        }
    }

    pub(super) fn gone(&mut self, session: SessionId, stream: StreamId) {
        if self.sessions.gone(session, stream) {
            self.input(Input::Disconnect { session, stream });
        }
    }

    /// What is asked.
    pub(super) fn command(&mut self, command: Command) {
        match command {
            Command::Settle { settlements, reply } => {
                if self.traced.is_watching() {
                    settlements.iter().for_each(|item| self.traced.asked(&item.token, &item.action));
                }
                let (request, settlements) = self.requests.settle(settlements, reply);
                self.input(Input::Settle { request, settlements });
            }
            Command::Connect(connect) => self.connect(connect),
            Command::Admin { change, reply } => {
                let info = match &change {
                    Change::Pause { info, .. } | Change::Update { info, .. } => Some(info.clone()),
                    _ => None,
                };
                let request = self.requests.admin(info, reply);
                self.input(match change {
                    Change::Pause { paused, .. } => Input::Pause { request, paused },
                    Change::Seek(to) => Input::Seek { request, to },
                    Change::Update { from, config, info } => Input::Update { request, from, config, filter: info.spec.filter_bytes() },
                    Change::Redrive(events) => Input::Redrive { request, events },
                    Change::Discard(offsets) => Input::Discard { request, offsets },
                    Change::Delete => Input::Delete { request },
                });
            }
            Command::Inspect { events, reply } => {
                let inspection = Inspection::of(&self.handle.name, &self.machine, self.sessions.infos(), &events);
                let _ = reply.send(Ok(inspection));
            }
            Command::End { session, reply } => {
                let _ = reply.send(self.end(session));
            }
            Command::Gap { from, to } => {
                self.reader.let_go(from, to);
                self.input(Input::Gap { from, to });
            }
            Command::Seen => self.note_last_session(),
            Command::Drain(grace) => {
                self.draining = true;
                self.sessions.drain(grace);
                self.input(Input::Drain { session: None });
            }
            Command::Close => self.close_all(&draining()),
        }
    }

    fn connect(&mut self, mut connect: Box<Connect>) {
        let fault = if self.draining || self.shared.is_draining() {
            draining()
        } else if !self.sessions.has_room(connect.session, connect.max_sessions) {
            let text =
                format!("the subscription has {} sessions, which is the most (limits.max_sessions_per_subscription)", connect.max_sessions);
            Fault::new(ErrorReason::LimitReached, text)
        } else {
            let (session, stream, limits) = (connect.session, connect.stream, connect.limits);
            let held = connect.held.iter().map(|(held, _)| *held).collect();
            connect.opened.spec = Some(self.handle.info().spec.proto().clone());
            connect.opened.paused = self.machine.status().paused;
            self.traced.brought(std::mem::take(&mut connect.resumed));
            self.sessions.opening(connect);
            return self.input(Input::Connect { session, stream, limits, held });
        };
        let _ = connect.reply.send(Err(fault));
    }

    /// Ends every stream; what they hold is given back as the machine sees fit.
    pub(super) fn close_all(&mut self, fault: &Fault) {
        let streams: Vec<_> = self.sessions.streams();
        self.sessions.end_all(fault);
        for (session, stream) in streams {
            self.input(Input::Disconnect { session, stream });
        }
    }

    /// Ends one stream as a goodbye of its session does: what it holds is free again at once. Answers who it was.
    fn end(&mut self, session: SessionId) -> Option<SessionInfo> {
        let holding = self.machine.holding(session);
        let fault = Fault::new(
            ErrorReason::Draining,
            "an operator has ended this session: what it held was given back; connect again if you are well",
        );
        let (stream, info) = self.sessions.end_one(session, fault)?;
        self.input(Input::Drain { session: Some(session) });
        self.input(Input::Disconnect { session, stream });
        Some(SessionInfo { holding, ..info })
    }

    /// What became of a write.
    pub(super) fn written(&mut self, written: Written) {
        match written {
            Written::Plan(fate) => {
                if !matches!(fate, Commit::Committed) {
                    self.deleted = false;
                }
                self.input(Input::Commit(fate));
            }
            Written::Conflict { completion, index, output, first } => {
                self.requests.conflict(&completion, output, first);
                self.input(Input::Commit(Commit::Refused(Refusal::Output { completion: index })));
            }
            Written::Aside => {}
            Written::Lost(why) => self.lost = Some(why),
        }
    }
}

/// The broker ends.
pub(super) fn draining() -> Fault {
    Fault::new(ErrorReason::Draining, "the broker is draining; reconnect at once, then with backoff")
}
