//! Durable facts, taken into the ledger as they happen, and judged by what was asked.
//!
//! Constraint: each is judged by the promises alone: nothing is settled that nobody acked, nothing is a dead letter twice, nothing is
//! told as lost that is there.

use prost::Message;
use waypost_broker::dead_letters::DeadLetterKey;
use waypost_delivery::{
    Record,
    record::{AttemptOutcome, DeadLetter, DeadLetterCause, Failure, Snapshot},
};
use waypost_proto::wire;
use waypost_store::{Appended, Claimed, Commit, NewEvent, RowChange, Table};

use crate::{
    coverage::Seen,
    interest::{Failures, Fate, Interest, decode_filter},
    ledger::Ledger,
};

impl Ledger {
    /// A commit begins: after a crash it may be there or not.
    pub(crate) fn begun(&mut self, commit: &Commit) {
        if let Some(claim) = &commit.claim {
            self.owners.entry(claim.owner.to_string()).or_default().in_flight = Some(commit.clone());
        }
    }

    /// A commit ended. Which of its events are new is known.
    pub(crate) fn committed(&mut self, commit: &Commit, appended: Option<&[Appended]>) {
        if let Some(claim) = &commit.claim
            && let Some(owner) = self.owners.get_mut(&*claim.owner)
        {
            owner.in_flight = None;
        }
        let Some(appended) = appended else { return };
        for (event, place) in commit.events.iter().zip(appended) {
            if place.duplicate.is_none() {
                self.stored(place.offset, place.accepted_at, event);
            }
        }
        self.take_in(commit);
    }

    /// The records and outputs of a commit that is durable.
    fn take_in(&mut self, commit: &Commit) {
        let records: Vec<Record> =
            commit.records.iter().map(|bytes| Record::decode(bytes).expect("a record as the broker wrote it")).collect();
        commit.events.iter().for_each(|event| self.output(event, &records, is_deletion(commit)));
        let Some(claim) = &commit.claim else { return };
        let owner = self.owners.entry(claim.owner.to_string()).or_default();
        if commit.supersede {
            owner.records.clear();
        }
        owner.records.extend(commit.records.iter().cloned());
        // A deletion leaves no record behind.
        if is_deletion(commit) {
            self.fact(&claim.owner, &Record::Deleted, commit);
        }
        for record in &records {
            self.trace(&record.encode());
            self.log(|| format!("durable  {} {}", claim.owner, brief(record)));
            self.fact(&claim.owner, record, commit);
        }
    }

    /// P9: an output is published by the step that settles its input.
    fn output(&mut self, event: &NewEvent, records: &[Record], is_deletion: bool) {
        let Some((incarnation, offset)) = input_of(event.head.subject()) else { return };
        let named = self.interests.get(&incarnation).is_some_and(Interest::is_named);
        let settles = records.iter().any(|record| matches!(record, Record::Settled(offsets) if offsets.contains(&offset)));
        self.hold("P9", !named || settles || is_deletion, || {
            format!("an output of event {offset} is stored by a step that does not settle it")
        });
        let decode = |bytes| wire::Event::decode(bytes).expect("an event as the broker wrote it");
        let (Some(input), body) = (self.event_bytes(offset).map(decode), decode(waypost_broker::envelope::event(&event.body).0)) else {
            return;
        };
        let (cause, effect) = (input.lineage.unwrap_or_default(), body.lineage.unwrap_or_default());
        let follows = effect.causation_id == input.id && effect.correlation_id == cause.correlation_id && effect.hops == cause.hops + 1;
        self.hold("P10", follows, || format!("the lineage {effect:?} does not follow from {cause:?} of {}", input.id));
        self.hit(Seen::OutputsPublished);
    }

    fn fact(&mut self, name: &str, record: &Record, commit: &Commit) {
        if let Record::Created { incarnation, start, config, filter } = record {
            let seen = if self.interests.values().any(|interest| interest.name == name) { Seen::Recreated } else { Seen::Created };
            self.hit(seen);
            // A creation of unknown outcome may have been made again: nobody was told of the first.
            self.interests.values_mut().filter(|interest| interest.name == name).for_each(|interest| interest.deleted = true);
            let interest = Interest::new(name, *incarnation, *start, decode_filter(filter), Some(config.clone()));
            self.interests.insert(*incarnation, interest);
            self.present.insert(*incarnation, self.now());
            self.owners.entry(name.to_owned()).or_default().incarnation = Some(*incarnation);
            return;
        }
        let Some(incarnation) = self.owners.get(name).and_then(|owner| owner.incarnation) else {
            return self.hold("P2", matches!(record, Record::Deleted), || format!("{record:?} of {name:?}, which does not exist"));
        };
        // Taken out while it is looked at beside the rest of the ledger.
        let Some(mut interest) = self.interests.remove(&incarnation) else { return };
        match record {
            Record::Settled(offsets) => offsets.iter().for_each(|&offset| self.settled(&mut interest, offset)),
            Record::Failed(failure) => self.failed(&mut interest, failure),
            Record::DeadLettered(dead) => self.dead_lettered(&mut interest, dead, commit),
            Record::Gap { from, to } => self.gap(&mut interest, *from, *to),
            Record::Snapshot(snapshot) => self.snapshot(&interest, snapshot),
            other => self.administered(&mut interest, other),
        }
        self.interests.insert(incarnation, interest);
    }

    fn settled(&mut self, interest: &mut Interest, offset: u64) {
        let key = (interest.incarnation, interest.seek, offset);
        let asked = self.asked.get(&key).copied().unwrap_or_default();
        self.hold("P2", asked.acks > 0, || format!("event {offset} of {} is settled, and nobody acked it", interest.name));
        let before = interest.fates.insert(offset, Fate::Settled);
        self.hold("P4", before.is_none(), || format!("event {offset} of {} is settled again; it was {before:?}", interest.name));
        interest.redriven.remove(&offset);
    }

    fn failed(&mut self, interest: &mut Interest, failure: &Failure) {
        let offset = failure.offset;
        self.hit(Seen::Failed);
        let fate = interest.fates.get(&offset).copied();
        self.hold("P5", fate.is_none(), || format!("event {offset} of {} fails, and it was {fate:?}", interest.name));
        let failures = interest.failures.entry(offset).or_default();
        count(failures, failure.attempt.outcome);
        self.ended(interest, offset, failure.attempt.outcome, failure.attempt.at.as_micros());
    }

    /// What a failure says about the lease that ended.
    fn ended(&mut self, interest: &Interest, offset: u64, outcome: AttemptOutcome, at: u64) {
        let handed = self.handed.get(&(interest.incarnation, offset)).copied().filter(|handed| handed.token.seek == interest.seek);
        self.ended.extend(handed.map(|handed| handed.token));
        match outcome {
            AttemptOutcome::Nacked => {
                let asked = self.asked.get(&(interest.incarnation, interest.seek, offset)).copied().unwrap_or_default();
                self.hold("P4", asked.nacks > 0, || format!("event {offset} of {} was nacked by nobody", interest.name));
            }
            AttemptOutcome::Lost => {
                self.hit(Seen::Lost);
                let since = self.draining_since;
                self.hold("P6", since.is_none_or(|since| at <= since), || {
                    format!("event {offset} is lost at {at} while the broker drains")
                });
                let grace = interest.config.as_ref().map_or(0, |config| micros(config.resume_grace));
                if let Some(handed) = handed.filter(|handed| handed.deadline > at)
                    && let Some(parting) = self.partings.get(&handed.session).copied().filter(|parting| parting.at <= at)
                {
                    self.hold("P6", at >= parting.at + grace, || {
                        format!(
                            "event {offset} of {} is lost {} µs after its stream broke, the grace is {grace}",
                            interest.name,
                            at - parting.at
                        )
                    });
                }
            }
            AttemptOutcome::Expired => {
                let epoch = self.owners.get(&interest.name).map_or(0, |owner| owner.epoch);
                if let Some(handed) = handed.filter(|handed| handed.is_certain && handed.token.epoch == epoch) {
                    self.hold("P3", at >= handed.deadline, || {
                        format!("the lease on event {offset} of {} expires at {at}, promised until {}", interest.name, handed.deadline)
                    });
                }
            }
            AttemptOutcome::Rejected => {}
        }
    }

    fn dead_lettered(&mut self, interest: &mut Interest, dead: &DeadLetter, commit: &Commit) {
        let (offset, name) = (dead.offset, interest.name.clone());
        let before = interest.fates.insert(offset, Fate::Dead);
        self.hold("P5", before.is_none(), || format!("event {offset} of {name} becomes a dead letter again; it was {before:?}"));
        let Some(config) = interest.config.clone() else { return };
        let mut failures = interest.failures.get(&offset).copied().unwrap_or_default();
        let last = dead.history.last();
        self.hold("P5", last.is_some(), || format!("dead letter {offset} of {name} has no history"));
        if let Some(last) = last {
            count(&mut failures, last.outcome);
            self.ended(interest, offset, last.outcome, last.at.as_micros());
        }
        let (seen, is_due) = match dead.cause {
            DeadLetterCause::Attempts => (Seen::DeadByAttempts, failures.attempts >= config.retry.max_attempts),
            DeadLetterCause::Losses => (Seen::DeadByLosses, failures.losses >= config.retry.max_losses),
            DeadLetterCause::Rejected => {
                let asked = self.asked.get(&(interest.incarnation, interest.seek, offset)).copied().unwrap_or_default();
                (Seen::DeadByRejection, asked.rejects > 0)
            }
        };
        self.hit(seen);
        self.hold("P5", is_due, || format!("event {offset} of {name} becomes a dead letter by {:?} after {failures:?}", dead.cause));
        self.hold("P5", (dead.attempts, dead.losses) == (failures.attempts, failures.losses), || {
            format!("dead letter {offset} of {name} says {} attempts and {} losses, it had {failures:?}", dead.attempts, dead.losses)
        });
        let key = DeadLetterKey { incarnation: interest.incarnation, offset }.bytes();
        let has_row = commit.rows.iter().any(|change| matches!(change, RowChange::Put(Table::DeadLetters, row) if row.key == key));
        self.hold("P5", has_row, || format!("dead letter {offset} of {name} is recorded without its row"));
        interest.dead.insert(offset);
        interest.redriven.remove(&offset);
    }

    fn gap(&mut self, interest: &mut Interest, from: u64, to: u64) {
        self.hit(Seen::GapRecorded);
        self.gap_by_policy(interest, from, to);
        interest.gaps.push((from, to));
    }

    /// P2, P5: a snapshot forgets nothing.
    fn snapshot(&mut self, interest: &Interest, snapshot: &Snapshot) {
        self.hit(Seen::Snapshot);
        let listed = |offset: u64| snapshot.unsettled.iter().find(|event| event.offset == offset);
        let open = self.events.range(interest.from..snapshot.frontier.max(interest.from));
        let forgotten = open.filter(|(offset, stored)| interest.is_open(**offset, &stored.head) && listed(**offset).is_none());
        let forgotten: Vec<_> = forgotten.map(|(&offset, _)| offset).take(5).collect();
        self.hold("P2", forgotten.is_empty(), || format!("the snapshot of {} forgets events {forgotten:?}", interest.name));
        for (&offset, failures) in &interest.failures {
            let Some(stored) = self.events.get(&offset) else { continue };
            if interest.is_open(offset, &stored.head) {
                let kept = listed(offset).map(|event| (event.attempts, event.losses));
                self.hold("P5", kept == Some((failures.attempts, failures.losses)), || {
                    format!("the snapshot of {} has {kept:?} for event {offset}, which had {failures:?}", interest.name)
                });
            }
        }
        let ahead = |offset: u64| snapshot.settled_ahead.iter().any(|&(from, to)| (from..to).contains(&offset));
        let open = |offset: &u64| self.events.get(offset).is_some_and(|stored| interest.wants(*offset, &stored.head));
        let revived = interest.fates.keys().copied().find(|offset| *offset >= snapshot.frontier && open(offset) && !ahead(*offset));
        self.hold("P4", revived.is_none(), || format!("the snapshot of {} forgets that event {revived:?} is settled", interest.name));
    }

    fn administered(&mut self, interest: &mut Interest, record: &Record) {
        let kind = match record {
            Record::Updated { from, config, filter } => {
                self.hit(Seen::Updated);
                let filter = decode_filter(filter);
                if *interest.filter() != filter {
                    self.hit(Seen::FilterChanged);
                    interest.filters.push((*from, filter));
                }
                interest.config = Some(config.clone());
                "update"
            }
            Record::Paused(paused) => {
                self.hit(Seen::Paused);
                interest.paused = *paused;
                if *paused { "pause" } else { "resume" }
            }
            Record::Sought { seek, to } => {
                self.hit(Seen::Sought);
                interest.seek = *seek;
                interest.from = *to;
                interest.filters = vec![(*to, interest.filter().clone())];
                interest.fates.clear();
                interest.gaps.clear();
                interest.confirmed.clear();
                let redriven = &interest.redriven;
                interest.failures.retain(|offset, _| redriven.contains(offset));
                "seek"
            }
            Record::Redriven(events) => {
                self.hit(Seen::RedriveDone);
                for event in events {
                    self.hold("P5", interest.dead.remove(&event.offset), || format!("{} is redriven, and is no dead letter", event.offset));
                    interest.fates.remove(&event.offset);
                    interest.failures.remove(&event.offset);
                    interest.redriven.insert(event.offset);
                    interest.confirmed.remove(&event.offset);
                }
                "redrive"
            }
            Record::Discarded(offsets) => {
                self.hit(Seen::DiscardDone);
                for offset in offsets {
                    self.hold("P5", interest.dead.remove(offset), || format!("{offset} is discarded, and is no dead letter"));
                    interest.discarded.insert(*offset);
                    if interest.fates.get(offset) == Some(&Fate::Dead) {
                        interest.fates.insert(*offset, Fate::Discarded);
                    }
                }
                "discard"
            }
            Record::Deleted => {
                self.hit(Seen::Deleted);
                self.expired(interest);
                interest.deleted = true;
                if let Some(owner) = self.owners.get_mut(&interest.name) {
                    owner.incarnation = None;
                }
                "delete"
            }
            _ => return,
        };
        *interest.steps.entry(kind).or_default() += 1;
    }

    /// A claim: the records that it brings must be those that were committed; and it settles what became of a commit in flight.
    pub(crate) fn claimed(&mut self, name: &str, claimed: &Claimed) {
        let now = self.now();
        let owner = self.owners.entry(name.to_owned()).or_default();
        let (in_flight, known, before) = (owner.in_flight.take(), owner.records.clone(), owner.epoch);
        self.hold("P3", claimed.claim.epoch > before, || format!("the claim of {name:?} has an epoch that was there before"));
        let owner = self.owners.entry(name.to_owned()).or_default();
        (owner.epoch, owner.claimed_at) = (claimed.claim.epoch, now);
        self.hit(Seen::Restored);
        self.log(|| format!("claimed  {name} epoch {}", claimed.claim.epoch));
        if claimed.records == known && in_flight.is_none() {
            return;
        }
        if let Some(commit) = in_flight {
            let mut with = if commit.supersede { Vec::new() } else { known.clone() };
            with.extend(commit.records.iter().cloned());
            if claimed.records == with && with != known {
                self.hit(Seen::CommitResolvedDone);
                self.take_in(&commit);
                // Whoever was to tell of it may be gone.
                return self.retention_begins();
            }
            self.hit(Seen::CommitResolvedLost);
        }
        self.hold("P1", claimed.records == known, || {
            format!("{name:?} had {} records, and {} are found", known.len(), claimed.records.len())
        });
    }
}

/// A step that ends a subscription keeps no record of what else was in it.
fn is_deletion(commit: &Commit) -> bool {
    commit.supersede && commit.records.is_empty()
}

fn count(failures: &mut Failures, outcome: AttemptOutcome) {
    *(if outcome == AttemptOutcome::Lost { &mut failures.losses } else { &mut failures.attempts }) += 1;
    failures.nacks += u32::from(outcome == AttemptOutcome::Nacked);
}

fn micros(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// The input that an output names in its subject, as agents of the simulation write it.
fn input_of(subject: &str) -> Option<(u64, u64)> {
    let (incarnation, offset) = subject.strip_prefix("output/")?.split_once('/')?;
    Some((u64::from_str_radix(incarnation, 16).ok()?, offset.parse().ok()?))
}

/// A record without what is long in it.
fn brief(record: &Record) -> String {
    match record {
        Record::Snapshot(snapshot) => format!("Snapshot frontier {}, {} unsettled", snapshot.frontier, snapshot.unsettled.len()),
        other => format!("{other:?}"),
    }
}
