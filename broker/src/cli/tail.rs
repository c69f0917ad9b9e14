//! `waypost tail`: events as they arrive.

use std::str::FromStr;

use jiff::Timestamp;
use serde_json::{Value, json};
use waypost_proto::v1::{
    Filter, ReadEventsRequest, ReadMode, StartPoint, StartPosition, StoredEvent, agent_service_client::AgentServiceClient,
    read_events_response::Response, start_position::Position,
};

use super::{args::BrokerArgs, connection, failure::Failure, output, types::Types};
use crate::{clock::Clock, config::Span, envelope, limits};

/// What `tail` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct TailArgs {
    /// Where the broker is.
    #[command(flatten)]
    pub broker: BrokerArgs,
    /// Only events of this type, or of types with this prefix (`logistics.v1.*`); may be repeated
    #[arg(long = "type", value_name = "TYPE")]
    pub types: Vec<String>,
    /// Only events of this source, or of sources with this prefix (`agents.*`); may be repeated
    #[arg(long = "source", value_name = "SOURCE")]
    pub sources: Vec<String>,
    /// Where to begin: new, earliest, an offset (42), a time (2026-01-31T12:00:00Z), or how long ago (10m, 2h, 7d)
    #[arg(long, default_value = "new")]
    pub from: From,
    /// End at the last event there is, instead of waiting for more
    #[arg(long)]
    pub once: bool,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// After the last event.
    New,
    /// At the first that is kept.
    Earliest,
    /// At an offset.
    Offset(u64),
    /// At a time.
    Time(Timestamp),
    /// This long ago.
    Ago(Span),
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "new" => return Ok(Self::New),
            "earliest" => return Ok(Self::Earliest),
            _ => {}
        }
        let offset = text.parse().map(Self::Offset).ok();
        let ago = || text.parse().map(Self::Ago).ok();
        let time = || text.parse().map(Self::Time).ok();
        let help = "use new, earliest, an offset such as 42, a time such as 2026-01-31T12:00:00Z, or how long ago, such as 10m";
        offset.or_else(ago).or_else(time).ok_or_else(|| help.to_owned())
    }
}

impl From {
    /// As the contract says it.
    pub(super) fn position(self, now: u64) -> Position {
        match self {
            Self::New => Position::Point(StartPoint::New.into()),
            Self::Earliest => Position::Point(StartPoint::Earliest.into()),
            Self::Offset(offset) => Position::Offset(offset),
            Self::Time(time) => Position::Time(prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }),
            Self::Ago(span) => Position::Time(envelope::timestamp(now.saturating_sub(span.micros()))),
        }
    }
}

/// Prints events until the end, or until it is interrupted.
///
/// # Errors
/// When the broker cannot be reached, refuses, or goes away.
pub async fn run(args: TailArgs) -> Result<(), Failure> {
    let channel = connection::agents(&args.broker).await?;
    let mut client = AgentServiceClient::new(channel).max_decoding_message_size(limits::MAX_REQUEST_BYTES);
    let mode = if args.once { ReadMode::Bounded } else { ReadMode::Follow };
    let request = ReadEventsRequest {
        start_position: Some(StartPosition { position: Some(args.from.position(Clock::from_wall().now())) }),
        filter: Some(Filter { types: args.types, sources: args.sources, ..Filter::default() }),
        mode: mode.into(),
        ..ReadEventsRequest::default()
    };
    let mut stream = client.read_events(request).await.map_err(connection::refused)?.into_inner();
    let mut types = Types::built_in(&args.broker)?;
    while let Some(message) = stream.message().await.map_err(connection::refused)? {
        match message.response {
            Some(Response::Events(events)) => {
                for event in events.events {
                    let shown = Shown::of(event, &mut types).await;
                    let line = if args.json { shown.json().to_string() } else { shown.text() };
                    if !output::line(line) {
                        return Ok(());
                    }
                }
            }
            Some(Response::Gap(gap)) => eprintln!("offsets {} to {} are gone", gap.from_offset, gap.to_offset),
            Some(Response::Progress(_)) | None => {}
        }
    }
    Ok(())
}

/// An event, ready to be shown.
struct Shown {
    stored: StoredEvent,
    data: Value,
}

impl Shown {
    async fn of(stored: StoredEvent, types: &mut Types) -> Self {
        let data = match stored.event.as_ref().and_then(|event| event.data.as_ref()) {
            Some(data) => types.to_json(data).await,
            None => Value::Null,
        };
        Self { stored, data }
    }

    fn json(&self) -> Value {
        let event = self.stored.event.clone().unwrap_or_default();
        let lineage = event.lineage.unwrap_or_default();
        json!({
            "offset": self.stored.offset,
            "accepted_at": time(self.stored.accepted_at),
            "id": event.id,
            "source": event.source,
            "type": event.r#type,
            "subject": event.subject,
            "time": time(event.time),
            "ordering_key": event.ordering_key,
            "correlation_id": lineage.correlation_id,
            "causation_id": lineage.causation_id,
            "hops": lineage.hops,
            "attributes": event.attributes,
            "data": self.data,
        })
    }

    fn text(&self) -> String {
        let event = self.stored.event.clone().unwrap_or_default();
        let subject = if event.subject.is_empty() { String::new() } else { format!("  {}", event.subject) };
        let accepted_at = time(self.stored.accepted_at);
        let head = format!("{:>8}  {accepted_at}  {}  from {}{subject}  id {}", self.stored.offset, event.r#type, event.source, event.id);
        if self.data.is_null() { head } else { format!("{head}\n          {}", self.data) }
    }
}

/// A time for people; `-` if there is none.
pub(super) fn time(time: Option<prost_types::Timestamp>) -> String {
    let time = time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok());
    time.map_or_else(|| "-".to_owned(), |time| format!("{time:.3}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn a_beginning_is_said_in_five_ways() {
        let now = 100_000_000;
        for (text, position) in [
            ("new", Position::Point(StartPoint::New.into())),
            ("earliest", Position::Point(StartPoint::Earliest.into())),
            ("42", Position::Offset(42)),
            ("1970-01-01T00:00:05Z", Position::Time(prost_types::Timestamp { seconds: 5, nanos: 0 })),
            ("10s", Position::Time(prost_types::Timestamp { seconds: 90, nanos: 0 })),
        ] {
            assert_eq!(text.parse::<From>().unwrap().position(now), position);
        }
        assert!("yesterday".parse::<From>().unwrap_err().contains("10m"));
    }
}
