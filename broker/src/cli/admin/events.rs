//! `waypost events`: one event, and the story that it belongs to.
//!
//! Constraint: these are questions to the agent API, which knows events: they go to the agents' listener.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use waypost_proto::v1::{
    Event, EventRef, GetLineageRequest, LineageEvent, OutcomeState, ReadEventsRequest, StartPosition, StoredEvent,
    agent_service_client::AgentServiceClient, get_lineage_request::Story, read_events_response::Response, start_position::Position,
};

use super::call::{AdminArgs, word};
use crate::{
    cli::{
        connection::{self, Connection, refused},
        failure::Failure,
        output,
        table::{Table, clean},
        tail::time,
        types::Types,
    },
    limits,
};

/// What to do.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum EventsCommand {
    /// Show one event, and which subscriptions are not done with it
    #[command(after_help = "\
Examples:
  waypost events show 42
  waypost events show --source github --id 72d3162e-cc78-11e3-81ab-4c9367dc0958
  waypost events show 42 --json | jq .event.event.data")]
    Show {
        /// Which.
        #[command(flatten)]
        which: WhichEvent,
    },
    /// Show the story of an event as a tree: what led to it, and what it led to
    #[command(after_help = "\
Examples:
  waypost events lineage 42
  waypost events lineage --correlation-id shipment-17
  waypost events lineage 42 --json | jq -r .event.event.type     in the order of the log")]
    Lineage {
        /// Which.
        #[command(flatten)]
        which: WhichEvent,
        /// The story itself
        #[arg(long, value_name = "ID", conflicts_with_all = ["offset", "source", "id"])]
        correlation_id: Option<String>,
    },
}

/// Which event.
#[derive(Clone, Debug, clap::Args)]
pub struct WhichEvent {
    /// Its offset
    #[arg(conflicts_with_all = ["source", "id"])]
    offset: Option<u64>,
    /// Its source, with --id
    #[arg(long, requires = "id")]
    source: Option<String>,
    /// Its id, with --source
    #[arg(long, requires = "source")]
    id: Option<String>,
}

/// Does it.
///
/// # Errors
/// What the broker refuses.
pub async fn run(args: AdminArgs, command: EventsCommand) -> Result<(), Failure> {
    let channel = connection::agents(&args.broker).await?;
    let mut log = Log(AgentServiceClient::new(channel).max_decoding_message_size(limits::MAX_REQUEST_BYTES));
    let mut types = Types::built_in(&args.broker)?;
    match command {
        EventsCommand::Show { which } => {
            let named = log.named(&which).await?;
            let story = log.story(Story::Event(named.clone())).await?;
            let found = story.into_iter().find(|item| reference(item) == named);
            let item = found.ok_or_else(|| Failure::NotFound(format!("event {} of {} is not kept (any more)", named.id, named.source)))?;
            if args.json {
                output::line(json(&mut types, item).await?);
            } else {
                output::line(facts(&mut types, item).await);
            }
        }
        EventsCommand::Lineage { which, correlation_id } => {
            let story = match correlation_id {
                Some(id) => Story::CorrelationId(id),
                None => Story::Event(log.named(&which).await?),
            };
            let events = log.story(story).await?;
            if args.json {
                for item in events {
                    if !output::line(json(&mut types, item).await?) {
                        break;
                    }
                }
            } else {
                output::line(tree(&events).trim_end());
            }
        }
    }
    Ok(())
}

struct Log(AgentServiceClient<Connection>);

impl Log {
    async fn named(&mut self, which: &WhichEvent) -> Result<EventRef, Failure> {
        match (which.offset, &which.source, &which.id) {
            (Some(offset), ..) => self.at(offset).await,
            (None, Some(source), Some(id)) => Ok(EventRef { source: source.clone(), id: id.clone() }),
            _ => Err(Failure::Usage("name an event by its offset, or by --source and --id".to_owned())),
        }
    }

    async fn at(&mut self, offset: u64) -> Result<EventRef, Failure> {
        let request = ReadEventsRequest {
            start_position: Some(StartPosition { position: Some(Position::Offset(offset)) }),
            end_offset: Some(offset.saturating_add(1)),
            // The broker's own events come only where they are named.
            filter: None,
            ..ReadEventsRequest::default()
        };
        let mut stream = self.0.read_events(request).await.map_err(refused)?.into_inner();
        while let Some(message) = stream.message().await.map_err(refused)? {
            if let Some(Response::Events(events)) = message.response
                && let Some(event) = events.events.into_iter().find(|event| event.offset == offset).and_then(|stored| stored.event)
            {
                return Ok(EventRef { source: event.source, id: event.id });
            }
        }
        Err(Failure::NotFound(format!("no event is kept at offset {offset}; the broker's own are named by --source and --id")))
    }

    async fn story(&mut self, story: Story) -> Result<Vec<LineageEvent>, Failure> {
        let mut events = Vec::new();
        let mut page_token = String::new();
        loop {
            let page_size = Some(limits::MAX_LINEAGE_PAGE);
            let request = GetLineageRequest { page_size, page_token, story: Some(story.clone()) };
            let page = self.0.get_lineage(request).await.map_err(refused)?.into_inner();
            events.extend(page.events);
            if page.next_page_token.is_empty() {
                return Ok(events);
            }
            page_token = page.next_page_token;
        }
    }
}

fn parts(item: &LineageEvent) -> (StoredEvent, Event) {
    let stored = item.event.clone().unwrap_or_default();
    let event = stored.event.clone().unwrap_or_default();
    (stored, event)
}

fn reference(item: &LineageEvent) -> EventRef {
    let event = item.event.as_ref().and_then(|stored| stored.event.as_ref());
    event.map_or_else(EventRef::default, |event| EventRef { source: event.source.clone(), id: event.id.clone() })
}

async fn json(types: &mut Types, mut item: LineageEvent) -> Result<Value, Failure> {
    let event = types.event(item.event.take().unwrap_or_default()).await?;
    let mut shown = types.mapped(&item)?;
    shown["event"] = event;
    Ok(shown)
}

fn outcomes(item: &LineageEvent) -> Vec<String> {
    let told = item.outcomes.iter().map(|outcome| {
        let state = word(OutcomeState::as_str_name(&outcome.state()), "OUTCOME_STATE").replace('_', " ");
        let by = if outcome.client.is_empty() { String::new() } else { format!(" by {}", outcome.client) };
        format!("{}: {state}{by}, {} attempts", outcome.subscription, outcome.attempts)
    });
    told.collect()
}

async fn facts(types: &mut Types, item: LineageEvent) -> String {
    let (stored, event) = parts(&item);
    let lineage = event.lineage.clone().unwrap_or_default();
    let mut table = Table::default();
    table.fact("offset", stored.offset);
    table.fact("accepted", time(stored.accepted_at));
    table.fact("source", &event.source);
    table.fact("id", &event.id);
    table.fact("type", &event.r#type);
    table.fact("subject", &event.subject);
    table.fact("time", time(event.time));
    table.fact("ordering key", &event.ordering_key);
    table.fact("correlation id", &lineage.correlation_id);
    table.fact("causation id", &lineage.causation_id);
    table.fact("hops", lineage.hops);
    for (name, value) in &event.attributes {
        table.fact(&format!("attribute {}", clean(name)), value);
    }
    for outcome in outcomes(&item) {
        table.fact("not settled", outcome);
    }
    let data = match &event.data {
        Some(data) => types.to_json(data).await,
        None => Value::Null,
    };
    format!("{table}\n\n{data}")
}

/// The events of a story below those that led to them. Whatever their causes say, each is there once.
fn tree(events: &[LineageEvent]) -> String {
    let ids: BTreeMap<String, usize> = events.iter().enumerate().rev().map(|(index, item)| (parts(item).1.id, index)).collect();
    let mut below: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
    for (index, item) in events.iter().enumerate() {
        let cause = parts(item).1.lineage.unwrap_or_default().causation_id;
        below.entry(ids.get(&cause).copied().filter(|cause| *cause != index)).or_default().push(index);
    }
    let mut drawing = Drawing { events, below, drawn: BTreeSet::new(), text: String::new() };
    drawing.draw(None);
    // Causes that go round in a circle have no beginning.
    for index in 0..events.len() {
        drawing.item(index, "", "");
    }
    drawing.text
}

struct Drawing<'a> {
    events: &'a [LineageEvent],
    below: BTreeMap<Option<usize>, Vec<usize>>,
    drawn: BTreeSet<usize>,
    text: String,
}

impl Drawing<'_> {
    /// Depth first with a stack of its own: a story may be as deep as it is long.
    fn draw(&mut self, root: Option<usize>) {
        let mut stack: Vec<(usize, String, String)> = Vec::new();
        let push = |stack: &mut Vec<_>, below: &BTreeMap<Option<usize>, Vec<usize>>, parent: Option<usize>, indent: &str| {
            let children = below.get(&parent).map_or(&[][..], Vec::as_slice);
            for (number, child) in children.iter().enumerate().rev() {
                let is_last = number + 1 == children.len();
                let (branch, rest) = match parent {
                    None => ("", ""),
                    Some(_) if is_last => ("└─ ", "   "),
                    Some(_) => ("├─ ", "│  "),
                };
                stack.push((*child, format!("{indent}{branch}"), format!("{indent}{rest}")));
            }
        };
        push(&mut stack, &self.below, root, "");
        while let Some((index, branch, indent)) = stack.pop() {
            if self.item(index, &branch, &indent) {
                push(&mut stack, &self.below, Some(index), &indent);
            }
        }
    }

    /// Draws one, unless it was.
    fn item(&mut self, index: usize, branch: &str, indent: &str) -> bool {
        if !self.drawn.insert(index) {
            return false;
        }
        let (stored, event) = parts(&self.events[index]);
        let subject = if event.subject.is_empty() { String::new() } else { format!("  {}", clean(&event.subject)) };
        self.text += &format!("{branch}{}{subject}  from {}  offset {}\n", clean(&event.r#type), clean(&event.source), stored.offset);
        for outcome in outcomes(&self.events[index]) {
            self.text += &format!("{indent}   · {}\n", clean(&outcome));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use waypost_proto::v1::Lineage;

    use super::*;

    fn event(offset: u64, id: &str, cause: &str) -> LineageEvent {
        let lineage = Some(Lineage { causation_id: cause.to_owned(), ..Lineage::default() });
        let event = Some(Event { id: id.to_owned(), r#type: id.to_uppercase(), source: "s".to_owned(), lineage, ..Event::default() });
        LineageEvent { event: Some(StoredEvent { offset, accepted_at: None, event }), outcomes: Vec::new() }
    }

    #[test]
    fn a_story_is_a_tree() {
        let story = [event(1, "a", ""), event(2, "b", "a"), event(3, "c", "a"), event(4, "d", "b")];
        let lines: Vec<String> = tree(&story).lines().map(|line| line.replace("  from s  offset", "")).collect();
        assert_eq!(lines, ["A 1", "├─ B 2", "│  └─ D 4", "└─ C 3"]);
    }

    #[test]
    fn a_story_whose_causes_go_round_ends_and_lacks_nothing() {
        let story = [event(1, "a", "b"), event(2, "b", "a"), event(3, "c", "c"), event(4, "d", "gone")];
        assert_eq!(tree(&story).lines().count(), 4);
    }
}
