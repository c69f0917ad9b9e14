//! `/metrics`: all figures, as OpenMetrics text.
//!
//! Constraints:
//! - A scrape reads what is there: it waits for no subscription. One that was not loaded since the start has counters only; its gauges
//!   are asked for meanwhile, and come with the next scrape.
//! - Names, help and labels stand in `encode` of each part, in the order in which they are shown. `docs/metrics.md` has the same list, and a test
//!   compares them.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use axum::{Router, extract::State, http::header::CONTENT_TYPE, response::IntoResponse, routing::get};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};

use super::{Histogram, histogram::seconds};
use crate::{
    broker::Broker,
    config::{AllConnections, Certificates},
    ingress::{LiveSources, Outcome, Polled},
    limits,
    registry::Handle,
};

/// Where the figures are.
#[derive(Clone)]
pub struct Exposition {
    /// Of subscriptions, publishing and the store.
    pub broker: Arc<Broker>,
    /// Of webhooks.
    pub sources: LiveSources,
    /// Of the disk.
    pub syncs: Arc<Histogram>,
    /// Of the listeners.
    pub connections: AllConnections,
    /// What the listeners show.
    pub certificates: Certificates,
}

impl fmt::Debug for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exposition")
    }
}

/// `/metrics`.
pub fn router(figures: Exposition) -> Router {
    let mut registry = Registry::with_prefix("waypost");
    registry.register_collector(Box::new(figures.clone()));
    Router::new().route("/metrics", get(scrape)).with_state(Arc::new((figures, registry)))
}

async fn scrape(State(state): State<Arc<(Exposition, Registry)>>) -> impl IntoResponse {
    let (figures, registry) = &*state;
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = text::encode(&mut text, registry);
    figures.load_some();
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

/// One figure of a family.
type Sample<'a, T> = (Labels<'a>, T);

/// Writes families, each with its name, its help and its samples.
struct Writer<'e>(DescriptorEncoder<'e>);

impl Writer<'_> {
    fn counters<'a>(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = Sample<'a, u64>>) -> fmt::Result {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        each(encoder, samples, |encoder, value| encoder.encode_counter::<NoLabelSet, u64, f64>(&value, None))
    }

    fn gauges<'a>(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = Sample<'a, f64>>) -> fmt::Result {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        each(encoder, samples, |encoder, value| encoder.encode_gauge(&value))
    }

    fn histograms<'a>(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = Sample<'a, &'a Histogram>>) -> fmt::Result {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        each(encoder, samples, |encoder, histogram| {
            let (sum, buckets) = histogram.snapshot();
            let count = buckets.iter().map(|(_, count)| count).sum();
            encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
        })
    }
}

fn each<'a, T>(
    mut encoder: MetricEncoder<'_>,
    samples: impl IntoIterator<Item = Sample<'a, T>>,
    encode: impl Fn(&mut MetricEncoder<'_>, T) -> fmt::Result,
) -> fmt::Result {
    for (labels, value) in samples {
        match labels.is_empty() {
            true => encode(&mut encoder, value)?,
            false => encode(&mut encoder.encode_family(&labels)?, value)?,
        }
    }
    Ok(())
}

/// The one sample of a family without labels.
fn only<'a, T>(value: T) -> [Sample<'a, T>; 1] {
    [(Labels::new(), value)]
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn gauge(value: u64) -> f64 {
    value as f64
}

impl Collector for Exposition {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = Writer(encoder);
        writer.gauges("build_info", "The version that runs", [(vec![("version", env!("CARGO_PKG_VERSION"))], 1.0)])?;
        self.listeners(&mut writer)?;
        self.webhooks(&mut writer)?;
        self.journal(&mut writer)?;
        self.publishing(&mut writer)?;
        self.subscriptions(&mut writer)?;
        self.store(&mut writer)?;
        let spans = self.broker.publisher.tracer.counts().map(|(outcome, count)| (vec![("outcome", outcome)], count));
        writer.counters("spans", "Spans of traces, by what became of them; none when tracing is off", spans)
    }
}

impl Exposition {
    fn listeners(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let each = || self.connections.all().map(|connections| (vec![("listener", connections.listener())], connections));
        writer.gauges("connections", "Open connections", each().map(|(labels, connections)| (labels, gauge(connections.open()))))?;
        let max = each().map(|(labels, connections)| (labels, f64::from(connections.max())));
        writer.gauges("connections_max", "How many connections there may be; further ones wait", max)?;
        let refused = each().map(|(labels, connections)| (labels, connections.refused()));
        writer.counters("refused_connections", "Connections closed because their address had as many as it may", refused)?;
        let ends = self.certificates.all().map(|(listener, tls)| Some((vec![("listener", listener)], gauge(tls?.expires()?))));
        writer.gauges("certificate_expires_timestamp_seconds", "When the certificate of a listener expires", ends.into_iter().flatten())
    }

    fn webhooks(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let now = self.sources.current();
        let sources = || now.iter().map(|source| (vec![("source", &*source.name)], &source.counters));
        let outcomes = sources().flat_map(|(labels, counters)| {
            Outcome::ALL
                .iter()
                .map(move |&outcome| (and(&labels, [("outcome", outcome.kind()), ("reason", outcome.reason())]), counters.get(outcome)))
        });
        writer.counters("webhooks", "Requests to a source, by what became of them", outcomes)?;
        let verified = sources().filter_map(|(labels, counters)| Some((labels, seconds(counters.last_verified()?))));
        writer.gauges("source_last_verified_timestamp_seconds", "When the last verified webhook came", verified)?;
        let polled =
            || now.iter().filter(|source| source.poll.is_some()).map(|source| (vec![("source", &*source.name)], &source.counters.polled));
        let items = polled().flat_map(|(labels, counters)| {
            Polled::ALL.iter().map(move |&item| (and(&labels, [("outcome", item.name())]), counters.get(item)))
        });
        writer.counters("polled_webhooks", "What a provider's API listed, by what became of it", items)?;
        let failures = polled().map(|(labels, counters)| (labels, counters.failures()));
        writer.counters("poll_failures", "Rounds of asking a provider's API that broke off", failures)?;
        let last_polled = polled().filter_map(|(labels, counters)| Some((labels, seconds(counters.last()?))));
        writer.gauges("poll_last_timestamp_seconds", "When a provider's list was last seen to its end", last_polled)?;
        let under_way = now.iter().map(|source| (vec![("source", &*source.name)], f64::from(source.admission.under_way())));
        writer.gauges("webhooks_under_way", "Requests to a source that are being worked on", under_way)?;
        let times = sources().map(|(labels, counters)| (labels, &counters.times));
        writer.histograms("webhook_seconds", "From the head of a request to its answer", times)?;
        let mended = self.broker.mending.counts().map(|(outcome, count)| (vec![("outcome", outcome)], count));
        writer.counters("quarantine_webhooks", "Quarantined webhooks that were looked at again, by what became of them", mended)
    }

    fn journal(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let counts = self.broker.journal.counts().unwrap_or_default();
        let noted = [("written", counts.written), ("dropped", counts.dropped), ("failed", counts.failed)];
        let noted = noted.map(|(outcome, count)| (vec![("outcome", outcome)], count));
        writer.counters("journal_webhooks", "Requests to the edge, by what became of their entry in the journal", noted)?;
        writer.counters(
            "journal_damage",
            "How many times the file of the journal was set aside because it was damaged",
            only(counts.damage),
        )?;
        writer.gauges("journal_bytes", "Bytes that the file of the journal uses", only(gauge(counts.bytes)))
    }

    fn publishing(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let metrics = &self.broker.publisher.metrics;
        let outcomes = [("accepted", &metrics.accepted), ("duplicate", &metrics.duplicates), ("refused", &metrics.refused)];
        let outcomes = outcomes.map(|(outcome, count)| (vec![("outcome", outcome)], count.load(Relaxed)));
        writer.counters("published_events", "Events that agents and the broker itself published, by what became of them", outcomes)?;
        writer.histograms("append_seconds", "From complete to durable, for each append of published events", only(&metrics.append))
    }

    fn subscriptions(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let handles = self.broker.registry.list();
        let named = || handles.iter().map(|handle| (name(handle), handle));
        let deliveries = named().flat_map(|(labels, handle)| {
            let kinds = [("first", &handle.metrics.first_deliveries), ("again", &handle.metrics.redeliveries)];
            kinds.map(|(kind, count)| (and(&labels, [("delivery", kind)]), count.load(Relaxed)))
        });
        writer.counters("deliveries", "Deliveries handed to streams: the first of their event, and those that came again", deliveries)?;
        let latency = only(&self.broker.registry.shared().latency);
        writer.histograms("delivery_seconds", "From an event's acceptance until its first delivery is handed to a stream", latency)?;
        let attempts = named().flat_map(|(labels, handle)| {
            handle.metrics.outcomes().map(move |(outcome, count)| (and(&labels, [("outcome", outcome)]), count))
        });
        writer.counters("attempts", "Deliveries that ended, by how; each is durable", attempts)?;
        let dead = named()
            .flat_map(|(labels, handle)| handle.metrics.causes().map(move |(cause, count)| (and(&labels, [("cause", cause)]), count)));
        writer.counters("dead_lettered_events", "Events that became dead letters, by why", dead)?;
        let gaps = named().map(|(labels, handle)| (labels, handle.metrics.gap_offsets.load(Relaxed)));
        writer.counters("gap_offsets", "Offsets that a subscription was told it will never get", gaps)?;
        self.levels(writer, &handles)
    }

    /// What the machines say of themselves.
    fn levels(&self, writer: &mut Writer<'_>, handles: &[Arc<Handle>]) -> fmt::Result {
        let known: Vec<_> = handles.iter().filter_map(|handle| Some((handle, handle.metrics.level()?))).collect();
        let tail = *self.broker.store.tail().borrow();
        let lag = |handle: &Handle| gauge(tail.saturating_sub(handle.frontier.load(Relaxed)));
        let help = "Offsets between where a subscription stands and the end of the log, whether it wants them or not";
        writer.gauges("subscription_lag_offsets", help, known.iter().map(|(handle, _)| (name(handle), lag(handle))))?;
        let mut family = |suffix, help, of: &dyn Fn(&super::subscription::Level) -> f64| {
            writer.gauges(suffix, help, known.iter().map(|(handle, level)| (name(handle), of(level))))
        };
        family("subscription_outstanding_events", "Events under lease", &|level| gauge(level.outstanding))?;
        family("subscription_unsettled_events", "Events examined and not settled", &|level| gauge(level.unsettled))?;
        family("subscription_dead_letters", "Dead letters that are kept and not on their way again", &|level| gauge(level.dead_letters))?;
        family("subscription_sessions", "Sessions, those whose stream is broken included", &|level| gauge(level.sessions))?;
        family("subscription_full", "1 if it reads no further because too much is unsettled", &|level| f64::from(level.is_full))?;
        family("subscription_paused", "1 if an operator stopped it", &|level| f64::from(level.is_paused))?;
        let failed = handles.iter().map(|handle| (name(handle), f64::from(handle.failure().is_some())));
        writer.gauges("subscription_failed", "1 if its state cannot be read: it needs an operator", failed)
    }

    fn store(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let disk = self.broker.store.disk();
        let now = self.broker.clock.now();
        let window = self.broker.publisher.dedup_window().min(now.saturating_sub(disk.dedup_since));
        for (name, help, value) in [
            ("store_used_bytes", "Bytes in use, of everything in the data directory", gauge(disk.used)),
            ("store_cap_bytes", "Bytes that may be used", gauge(disk.cap)),
            ("store_reserve_bytes", "Bytes of the cap that only settling may use", gauge(disk.reserve)),
            ("store_full", "1 if publishing is refused for want of space", f64::from(disk.full)),
            ("store_first_offset", "The first offset that may be read", gauge(disk.first)),
            ("store_next_offset", "The offset after the newest event", gauge(disk.next)),
            ("store_segments", "Segments of the log", gauge(disk.segments.len() as u64)),
            ("store_dedup_window_seconds", "How far back duplicates are recognised now", seconds(window)),
        ] {
            writer.gauges(name, help, only(value))?;
        }
        writer.counters("store_damage", "How many times damage was found since the store was opened", only(disk.damage))?;
        writer.histograms("store_sync_seconds", "How long durable writes of the log took", only(&*self.syncs))
    }

    /// Asks for some of the subscriptions that were not loaded since the start.
    fn load_some(&self) {
        let handles = self.broker.registry.list();
        for handle in handles.into_iter().filter(|handle| handle.metrics.level().is_none()).take(limits::LOADED_BY_A_SCRAPE) {
            let broker = Arc::clone(&self.broker);
            // What cannot be loaded now is asked for again by the next scrape.
            self.broker.spawn(async move { drop(handle.inspect(broker.registry.shared()).await) });
        }
    }
}

fn name(handle: &Handle) -> Labels<'_> {
    vec![("subscription", &*handle.name)]
}

fn and<'a, const N: usize>(labels: &[(&'static str, &'a str)], more: [(&'static str, &'a str); N]) -> Labels<'a> {
    labels.iter().copied().chain(more).collect()
}
