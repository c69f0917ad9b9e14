//! Sources that fall quiet, and bursts of what cannot be verified: the broker tells of both (`waypost.source.*`).
//!
//! Constraints: what is decided is a function of what was heard and the time ([`Heard`], [`Burst`]); what was heard outlives a restart;
//! each silence and each burst is told once.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message;
use serde::{Deserialize, Deserializer};
use serde_json::json;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use waypost_store::{Commit, EventStore, Micros, Row, RowChange, Table};

use super::{LiveSources, Outcome, Source};
use crate::{
    clock::Clock,
    config::Span,
    limits::{BURST_OF_REFUSALS, BURST_WINDOW, HEARD_KEPT_EVERY, LEARNED_AFTER, LEARNED_FROM, LEARNED_SILENCE_AT_LEAST},
    publisher::Publisher,
    system::{Topic, Untold},
};

/// After how long a quiet source is told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SilentAfter {
    /// Three times the longest silence of the last eight days, and an hour at the least.
    #[default]
    Learned,
    /// Never.
    Never,
    /// After this.
    Span(Span),
}

impl<'de> Deserialize<'de> for SilentAfter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match &*String::deserialize(deserializer)? {
            "learned" => Ok(Self::Learned),
            "never" => Ok(Self::Never),
            text => {
                text.parse().map(Self::Span).map_err(|error| serde::de::Error::custom(format!("{error}; or \"learned\", or \"never\"")))
            }
        }
    }
}

const DAY: Micros = 86_400_000_000;

/// How many days are remembered: a week, and the day that it is.
const DAYS: usize = 8;

/// What was heard of a source. Field numbers are on disk and frozen.
#[derive(Clone, PartialEq, Eq, Message)]
struct Heard {
    /// When the first verified webhook came.
    #[prost(uint64, tag = "1")]
    first: Micros,
    /// When the last did.
    #[prost(uint64, tag = "2")]
    last: Micros,
    /// How often it was heard, as far as that matters.
    #[prost(uint64, tag = "3")]
    times: u64,
    /// The longest silence that ended on each of the last days; the newest first.
    #[prost(uint64, repeated, tag = "4")]
    silences: Vec<Micros>,
    /// The newest of these days, since the Unix epoch.
    #[prost(uint64, tag = "5")]
    day: u64,
    /// Whether its silence was told.
    #[prost(bool, tag = "6")]
    told: bool,
}

impl Heard {
    /// A verified webhook came at `last`. Answers how long it was silent, if that was told. `started` is when the broker was: what was before
    /// is not the source's silence.
    fn hear(&mut self, last: Micros, started: Micros) -> Option<Micros> {
        if last <= self.last {
            return None;
        }
        let silence = last.saturating_sub(self.last.max(started));
        if self.first == 0 {
            self.first = last;
        } else {
            self.turn(last / DAY);
            self.silences[0] = self.silences[0].max(silence);
        }
        self.times = self.times.saturating_add(1);
        let was_silent = last - self.last;
        self.last = last;
        std::mem::take(&mut self.told).then_some(was_silent)
    }

    /// Makes `day` the newest.
    fn turn(&mut self, day: u64) {
        let new = usize::try_from(day.saturating_sub(self.day)).unwrap_or(DAYS).min(DAYS);
        self.day = self.day.max(day);
        self.silences.splice(0..0, std::iter::repeat_n(0, new));
        self.silences.resize(DAYS, 0);
    }

    /// How long it may be quiet; `None` if that is not known, or is not to be told.
    fn limit(&self, after: SilentAfter, now: Micros) -> Option<Micros> {
        let known = self.times >= LEARNED_FROM && now.saturating_sub(self.first) >= LEARNED_AFTER.micros();
        match after {
            SilentAfter::Never => None,
            SilentAfter::Span(span) => Some(span.micros()),
            SilentAfter::Learned => {
                let longest = self.silences.iter().copied().max().unwrap_or_default();
                known.then(|| longest.saturating_mul(3).max(LEARNED_SILENCE_AT_LEAST.micros()))
            }
        }
    }

    /// How long it has been quiet for, if that is to be told now.
    fn silence(&mut self, after: SilentAfter, now: Micros, started: Micros) -> Option<Micros> {
        // What was never heard is not configured at its provider yet.
        let limit = self.limit(after, now).filter(|_| self.first > 0 && !self.told)?;
        self.told = now.saturating_sub(self.last.max(started)) > limit;
        self.told.then(|| now - self.last)
    }
}

/// Refusals within a window.
#[derive(Clone, Debug, Default)]
struct Burst {
    since: Micros,
    /// How many the source had counted when the window began.
    before: u64,
    told: bool,
}

impl Burst {
    fn starting_at(since: Micros) -> Self {
        Self { since, ..Self::default() }
    }

    /// The number of refusals of this window and how long it is, if it is to be told now. `refused` is how many the source counts.
    fn look(&mut self, refused: u64, now: Micros) -> Option<(u64, Micros)> {
        // A source that was taken out of the configuration and is there again counts anew.
        self.before = if refused < self.before { 0 } else { self.before };
        let (count, within) = (refused - self.before, now.saturating_sub(self.since));
        let is_burst = count >= BURST_OF_REFUSALS;
        let tells = is_burst && !self.told;
        self.told |= is_burst;
        if within >= BURST_WINDOW.micros() {
            // It goes on as long as each window is one.
            *self = Self { since: now, before: refused, told: is_burst };
        }
        tells.then_some((count, within))
    }
}

/// What is remembered of one source.
struct Watched {
    heard: Heard,
    burst: Burst,
    /// What is kept on disk, and since when.
    kept: Option<(Heard, Micros)>,
}

struct Watch {
    sources: LiveSources,
    store: Arc<dyn EventStore>,
    clock: Clock,
    publisher: Arc<Publisher>,
    started: Micros,
    known: BTreeMap<Arc<str>, Watched>,
    untold: Untold,
}

/// Watches the sources until the broker ends, at an interval.
pub(crate) async fn watch(
    sources: LiveSources,
    store: Arc<dyn EventStore>,
    clock: Clock,
    publisher: Arc<Publisher>,
    interval: Duration,
    stop: CancellationToken,
) {
    let (started, known, untold) = (clock.now(), BTreeMap::new(), Untold::default());
    let mut watch = Watch { sources, store, clock, publisher, started, known, untold };
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = async {
                sleep(interval).await;
                watch.look().await;
            } => {}
        }
    }
}

impl Watch {
    async fn look(&mut self) {
        let sources = self.sources.current();
        for source in sources.iter() {
            if let Err(error) = self.source(source).await {
                tracing::warn!(source = &*source.name, error, "what was heard of a source cannot be kept; it is tried again");
            }
        }
        self.untold.tell(&self.publisher).await;
    }

    async fn source(&mut self, source: &Source) -> Result<(), String> {
        let (now, started) = (self.clock.now(), self.started);
        let key = Bytes::from(format!("source/{}", source.name));
        if !self.known.contains_key(&source.name) {
            let rows = self.store.scan(Table::Broker, &key, 1).await.map_err(|error| error.to_string())?;
            let kept = rows.into_iter().find(|row| row.key == key).and_then(|row| Heard::decode(row.value).ok());
            let heard = kept.clone().unwrap_or_default();
            let watched = Watched { heard, burst: Burst::starting_at(now), kept: kept.map(|kept| (kept, now)) };
            self.known.insert(Arc::clone(&source.name), watched);
        }
        let Some(watched) = self.known.get_mut(&source.name) else { return Ok(()) };
        let Watched { heard, burst, kept } = watched;
        if let Some(silence) = source.counters.last_verified().and_then(|last| heard.hear(last, started)) {
            self.untold.add(Topic::SourceResumed, &source.name, json!({ "source": &*source.name, "silent_seconds": silence / 1_000_000 }));
        }
        if let Some(silence) = heard.silence(source.silent_after, now, started) {
            let facts = json!({
                "source": &*source.name,
                "last_verified_at": jiff::Timestamp::from_microsecond(heard.last.cast_signed()).map(|at| at.to_string()).unwrap_or_default(),
                "silent_seconds": silence / 1_000_000,
                "limit_seconds": heard.limit(source.silent_after, now).unwrap_or_default() / 1_000_000,
            });
            self.untold.add(Topic::SourceSilent, &source.name, facts);
        }
        if let Some((count, within)) = burst.look(source.counters.sum(Outcome::is_unverified), now) {
            let reasons = Outcome::ALL.iter().filter(|outcome| outcome.is_unverified() && source.counters.get(**outcome) > 0);
            let reasons: BTreeMap<_, _> = reasons.map(|outcome| (outcome.reason(), source.counters.get(*outcome))).collect();
            let facts = json!({
                "source": &*source.name,
                "refused": count,
                "within_seconds": within / 1_000_000,
                "refused_since_start": reasons,
            });
            self.untold.add(Topic::SourceRejecting, &source.name, facts);
        }
        let is_due = |(kept, at): &(Heard, Micros)| {
            kept.told != heard.told || (kept != heard && now.saturating_sub(*at) >= HEARD_KEPT_EVERY.micros())
        };
        if heard.first > 0 && kept.as_ref().is_none_or(is_due) {
            let row = RowChange::Put(Table::Broker, Row { key, value: heard.encode_to_vec().into() });
            self.store.commit(now, Commit { rows: vec![row], ..Commit::default() }).await.map_err(|error| error.to_string())?;
            *kept = Some((heard.clone(), now));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Micros = 3_600_000_000;

    /// One that spoke every hour by day and not by night, for so many days.
    fn speaker(days: u64) -> Heard {
        let mut heard = Heard::default();
        for day in 0..days {
            for hour in 8..20 {
                assert_eq!(heard.hear(day * DAY + hour * HOUR, 0), None);
            }
        }
        heard
    }

    #[test]
    fn a_source_that_used_to_speak_is_told_of_once_when_it_falls_quiet() {
        let mut heard = speaker(3);
        let last = 2 * DAY + 19 * HOUR;
        let silence = |heard: &mut Heard, now| heard.silence(SilentAfter::Learned, now, 0);
        assert_eq!(silence(&mut heard, last + 39 * HOUR), None, "its nights have thirteen hours");
        assert_eq!(silence(&mut heard, last + 40 * HOUR), Some(40 * HOUR));
        assert_eq!(silence(&mut heard, last + 50 * HOUR), None, "once");
        assert_eq!(heard.hear(last + 60 * HOUR, 0), Some(60 * HOUR), "and when it speaks again");
        assert_eq!(silence(&mut heard, last + 239 * HOUR), None, "what was once is learned");
    }

    #[test]
    fn a_week_later_an_exception_is_forgotten() {
        let mut heard = speaker(3);
        heard.hear(9 * DAY, 0);
        for day in 9..18 {
            for hour in 1..24 {
                heard.hear(day * DAY + hour * HOUR, 0);
            }
        }
        assert_eq!(heard.limit(SilentAfter::Learned, 18 * DAY), Some(6 * HOUR), "three times the two hours around midnight");
    }

    #[test]
    fn what_is_configured_goes_before_what_is_learned() {
        let hour = SilentAfter::Span(Span::from_millis(3_600_000));
        let mut heard = Heard::default();
        assert_eq!(heard.silence(hour, 9 * HOUR, 0), None, "what was never heard is not silent");
        heard.hear(10 * HOUR, 0);
        assert_eq!(heard.silence(SilentAfter::Never, 99 * HOUR, 0), None);
        assert_eq!(heard.silence(SilentAfter::Learned, 99 * HOUR, 0), None, "nothing is learned from one webhook");
        assert_eq!(heard.silence(hour, 11 * HOUR, 0), None);
        assert_eq!(heard.silence(hour, 11 * HOUR + 1, 0), Some(HOUR + 1));
    }

    #[test]
    fn the_brokers_own_absence_is_not_the_sources_silence() {
        let hour = SilentAfter::Span(Span::from_millis(3_600_000));
        let mut heard = Heard::default();
        heard.hear(10 * HOUR, 0);
        let started = 20 * HOUR;
        assert_eq!(heard.silence(hour, started + HOUR, started), None);
        heard.hear(started + 60, started);
        assert_eq!(heard.silences[0], 60);
    }

    #[test]
    fn a_burst_of_refusals_is_told_once_until_there_was_calm() {
        let (start, window) = (1_000_000, BURST_WINDOW.micros());
        let mut burst = Burst::starting_at(start);
        assert_eq!(burst.look(9, start + 1), None);
        assert_eq!(burst.look(10, start + 2), Some((10, 2)));
        assert_eq!(burst.look(500, start + window), None, "the same burst");
        assert_eq!(burst.look(900, start + 2 * window), None, "it goes on");
        assert_eq!(burst.look(901, start + 3 * window), None, "calm");
        assert_eq!(burst.look(911, start + 4 * window), Some((10, window)), "also at the end of its window");
    }

    #[test]
    fn a_source_that_was_away_counts_its_refusals_anew() {
        let mut burst = Burst::starting_at(0);
        burst.look(900, BURST_WINDOW.micros());
        assert_eq!(burst.look(3, BURST_WINDOW.micros() + 1), None);
        let mut burst = Burst { before: 900, ..Burst::starting_at(0) };
        assert_eq!(burst.look(12, 5), Some((12, 5)));
    }

    #[test]
    fn the_setting_is_a_time_or_a_word() {
        #[derive(Deserialize)]
        struct Setting {
            silent_after: SilentAfter,
        }
        let read = |text: &str| toml::from_str::<Setting>(&format!("silent_after = {text:?}")).map(|read| read.silent_after);
        assert_eq!(read("learned"), Ok(SilentAfter::Learned));
        assert_eq!(read("never"), Ok(SilentAfter::Never));
        assert_eq!(read("6h"), Ok(SilentAfter::Span(Span::from_millis(6 * 3_600_000))));
        assert!(read("soon").is_err_and(|error| error.to_string().contains("\"never\"")));
    }
}
