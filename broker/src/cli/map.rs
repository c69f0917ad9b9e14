//! `waypost map test`: what a payload would become, without a broker.
//!
//! Constraint: the edge's own code decides; what is printed here is only put into lines.

use std::{fs, path::PathBuf};

use bytes::Bytes;
use http::HeaderMap;
use prost::Message;
use serde_json::{Value, json};
use waypost_proto::{v1::JsonPayload, wire};

use super::{args::ConfigArgs, check, failure::Failure, output, send, table::Table};
use crate::{
    clock::Clock,
    ingress::{
        Rehearsal, Rehearsed, Source,
        decode::Origin,
        verify::{Sample, SampleProblem},
    },
};

/// What to do.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum MapCommand {
    /// Show the event that a payload in a file would become, field by field
    #[command(after_help = "\
Goes the way of the edge, without a broker and without a signature: identity, event type, mapping, and what the event is about. Of what
does not fit it says where in the payload, and what would be right; the exit code is then 1, as the webhook would go to quarantine.

Examples:
  waypost map test carrier delay.json --config waypost.toml
  waypost map test github push.json -c waypost.toml --event-type push
  waypost map test shop order.json -c waypost.toml --header 'X-Shopify-Topic: orders/paid' --json | jq .fields")]
    Test(MapTestArgs),
}

/// What `map test` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct MapTestArgs {
    /// The configuration that the broker has.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The name of the source
    pub source: String,
    /// The body of a webhook
    pub file: PathBuf,
    /// The provider's event type, for providers that name it in a header
    #[arg(long, value_name = "TYPE")]
    pub event_type: Option<String>,
    /// A header that the webhook has; may be repeated
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// JSON for programs: one object for each event
    #[arg(long)]
    pub json: bool,
}

/// Does it.
///
/// # Errors
/// When there is no such source or file, and when the payload does not fit.
pub fn run(command: &MapCommand) -> Result<(), Failure> {
    let MapCommand::Test(args) = command;
    let setup = check::load(&args.config)?;
    let source = send::source(&setup, &args.source)?;
    let body = fs::read(&args.file).map_err(|error| Failure::Failed(format!("{} cannot be read: {error}", args.file.display())))?;
    let headers = as_sent(source, args, &body)?;
    match source.rehearse(headers, Bytes::from(body)) {
        Rehearsal::Greeting => {
            output::line("only asks whether somebody is there: it is answered, and becomes no event");
            Ok(())
        }
        Rehearsal::Refused(why) => Err(Failure::Failed(format!("{} would refuse it: {why}", source.name))),
        Rehearsal::Payloads(payloads) => {
            let unfit = payloads.iter().filter(|payload| matches!(payload, Rehearsed::Aside { .. })).count();
            for (number, payload) in payloads.iter().enumerate() {
                if number > 0 && !args.json {
                    output::line("");
                }
                show(payload, args.json);
            }
            match unfit {
                0 => Ok(()),
                _ if payloads.len() == 1 => Err(Failure::Failed("it does not fit; as a webhook it would go to quarantine".to_owned())),
                _ => Err(Failure::Failed(format!("{unfit} of {} do not fit", payloads.len()))),
            }
        }
    }
}

/// The headers of a sample, with what the provider would add, where it can be made up.
fn as_sent(source: &Source, args: &MapTestArgs, body: &[u8]) -> Result<HeaderMap, Failure> {
    let given = send::headers(&args.headers)?;
    let Some(verifier) = source.verifier() else { return Ok(given) };
    let target = source.path.parse().map_err(Failure::failed)?;
    let wall = Clock::from_wall().wall();
    let sample = Sample { target: &target, body, delivery_id: SAMPLE_ID, event_type: args.event_type.as_deref(), wall };
    match verifier.sign(given.clone(), &sample) {
        // What was given is what holds, also where a sample would have another.
        Ok(mut headers) => {
            for (name, value) in &given {
                headers.insert(name, value.clone());
            }
            Ok(headers)
        }
        Err(problem @ SampleProblem::Missing { .. }) => Err(Failure::Usage(format!("{problem}; see --event-type and --header"))),
        // Nothing is verified here: a signature is not needed.
        Err(_) => Ok(given),
    }
}

/// What stands for the delivery id of a provider that sends it in a header.
const SAMPLE_ID: &str = "sample";

fn show(payload: &Rehearsed, json: bool) {
    match payload {
        Rehearsed::Event(event, fields) if json => drop(output::line(event_json(event, fields))),
        Rehearsed::Event(event, fields) => show_event(event, fields),
        Rehearsed::Aside { reason, event_type, path, problem } if json => {
            output::line(json!({ "aside": { "reason": reason, "event_type": event_type, "path": path, "problem": problem } }));
        }
        Rehearsed::Aside { reason, event_type, path, problem } => {
            let mut facts = Table::default();
            facts.fact("does not fit", reason);
            facts.fact("event type", event_type);
            facts.fact("at", path);
            facts.fact("problem", problem);
            output::line(facts);
        }
    }
}

fn show_event(event: &wire::Event, fields: &[Origin]) {
    let mut facts = Table::default();
    facts.fact("event type", &event.r#type);
    facts.fact("source", &event.source);
    facts.fact("id", &event.id);
    facts.fact("subject", &event.subject);
    facts.fact("ordering key", &event.ordering_key);
    facts.fact("correlation", correlation(event));
    for (name, value) in &event.attributes {
        facts.fact(name, value);
    }
    output::line(facts);
    output::line("");
    if let Some(sent) = as_it_was_sent(event) {
        output::line(format_args!("the payload as it was sent: {sent} bytes of JSON in waypost.v1.JsonPayload"));
        return;
    }
    let mut table = Table::with_head(&["from", "field"]);
    for Origin { from, field, value } in fields {
        table.row([from.clone(), format!("{field} = {value}")]);
    }
    output::line(table);
}

fn event_json(event: &wire::Event, fields: &[Origin]) -> Value {
    let fields: Vec<Value> = fields
        .iter()
        .map(|Origin { from, field, value }| json!({ "from": from, "field": field, "value": serde_json::from_str::<Value>(value).ok() }))
        .collect();
    json!({
        "type": event.r#type, "source": event.source, "id": event.id, "subject": event.subject, "ordering_key": event.ordering_key,
        "correlation_id": correlation(event), "attributes": event.attributes, "fields": fields, "as_sent": as_it_was_sent(event).is_some(),
    })
}

fn correlation(event: &wire::Event) -> &str {
    event.lineage.as_ref().map_or("", |lineage| &lineage.correlation_id)
}

/// How long the payload is, if the event is the payload.
fn as_it_was_sent(event: &wire::Event) -> Option<usize> {
    let data = event.data.as_ref().filter(|data| waypost_proto::full_name(&data.type_url) == <JsonPayload as prost::Name>::full_name())?;
    JsonPayload::decode(data.value.clone()).ok().map(|payload| payload.json.len())
}
