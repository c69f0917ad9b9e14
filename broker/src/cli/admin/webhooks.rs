//! `waypost webhooks`: what came to the edge, accepted or not, and why it was refused.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use waypost_proto::v1::{
    GetWebhookRequest, GetWebhookResponse, JournaledWebhook, ListWebhooksRequest, WebhookOutcome,
    webhook_admin_service_client::WebhookAdminServiceClient,
};

use super::call::{AdminArgs, Call, ListArgs, from_word, word};
use crate::{
    cli::{
        connection::refused,
        failure::Failure,
        output,
        table::{Table, clean_lines},
        tail::time,
    },
    clock::Clock,
    config::Span,
    envelope::timestamp,
    limits,
};

const OUTCOME: &str = "WEBHOOK_OUTCOME";
const STEP: &str = "WEBHOOK_STEP";

/// What to do.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum WebhooksCommand {
    /// List what came to the edge, newest first
    #[command(after_help = "\
Outcomes: accepted, duplicate, handshake, quarantined, refused, unavailable.

Examples:
  waypost webhooks list --outcome refused --since 1h
  waypost webhooks list --source github --delivery-id 72d3162e-cc78-11e3-81ab-4c9367dc0958
  waypost webhooks list --since 1d --json | jq -r '[.source, .reason] | @tsv' | sort | uniq -c    what is refused most often")]
    List {
        /// Only of this source
        #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
        source: String,
        /// Only with this outcome
        #[arg(long, value_parser = outcome)]
        outcome: Option<WebhookOutcome>,
        /// Only for this reason, such as signature_wrong
        #[arg(long, value_name = "REASON", default_value = "", hide_default_value = true)]
        reason: String,
        /// Only those since a time (2026-01-31T12:00:00Z), or since so long ago (10m, 2h, 7d)
        #[arg(long, value_name = "TIME")]
        since: Option<When>,
        /// Only those before a time, or so long ago
        #[arg(long, value_name = "TIME")]
        until: Option<When>,
        /// Only what was answered with this event id
        #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
        event_id: String,
        /// Only this delivery, as the provider names it
        #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
        delivery_id: String,
        /// How much.
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show one with its headers and its body
    #[command(after_help = "\
Signatures, secrets and card numbers are masked, and what the configuration says. With --json, the body is text, or base64 as
body_base64 if it is none; `waypost verify --capture` takes it.

Examples:
  waypost webhooks show 1795298400123456
  waypost webhooks show 1795298400123456 --json > capture.json")]
    Show {
        /// Its id
        id: String,
    },
}

/// A time, or how long ago.
#[derive(Clone, Copy, Debug)]
pub struct When(prost_types::Timestamp);

impl std::str::FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(span) = text.parse::<Span>() {
            return Ok(Self(timestamp(Clock::from_wall().now().saturating_sub(span.micros()))));
        }
        let time: jiff::Timestamp =
            text.parse().map_err(|_| "use a time such as 2026-01-31T12:00:00Z, or how long ago, such as 10m".to_owned())?;
        Ok(Self(prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }))
    }
}

fn outcome(text: &str) -> Result<WebhookOutcome, String> {
    use WebhookOutcome::{Accepted, Duplicate, Handshake, Quarantined, Refused, Unavailable};
    from_word(text, OUTCOME, &[Accepted, Duplicate, Handshake, Quarantined, Refused, Unavailable], |outcome| outcome.as_str_name())
}

/// Does it.
///
/// # Errors
/// What the broker refuses.
pub async fn run(args: AdminArgs, command: WebhooksCommand) -> Result<(), Failure> {
    let call = Call::open(&args).await?;
    let mut client = WebhookAdminServiceClient::new(call.channel.clone()).max_decoding_message_size(limits::MAX_REQUEST_BYTES);
    match command {
        WebhooksCommand::List { source, outcome, reason, since, until, event_id, delivery_id, list } => {
            let wanted = ListWebhooksRequest {
                source,
                outcome: outcome.unwrap_or_default().into(),
                reason,
                since: since.map(|When(time)| time),
                until: until.map(|When(time)| time),
                event_id,
                delivery_id,
                ..ListWebhooksRequest::default()
            };
            let page = async |size, page_token| {
                let request = ListWebhooksRequest { page_size: Some(size), page_token, ..wanted.clone() };
                let page = client.list_webhooks(request).await.map_err(refused)?.into_inner();
                Ok((page.webhooks, page.next_page_token))
            };
            call.list(&list, page, table).await
        }
        WebhooksCommand::Show { id } => {
            let answer = client.get_webhook(GetWebhookRequest { id }).await.map_err(refused)?.into_inner();
            if call.is_json() {
                output::line(json(&call, &answer)?);
            } else {
                output::line(facts(&answer));
            }
            Ok(())
        }
    }
}

/// As the mapping has it, except that a body which is text is shown as such.
fn json(call: &Call, answer: &GetWebhookResponse) -> Result<Value, Failure> {
    let mut shown = call.types.mapped(&GetWebhookResponse { body: Vec::new().into(), ..answer.clone() })?;
    match str::from_utf8(&answer.body) {
        Ok(text) => shown["body"] = json!(text),
        Err(_) => shown["body_base64"] = json!(STANDARD.encode(&answer.body)),
    }
    Ok(shown)
}

fn status(webhook: &JournaledWebhook) -> String {
    let outcome = word(webhook.outcome().as_str_name(), OUTCOME);
    if webhook.reason.is_empty() { outcome } else { format!("{outcome}: {}", webhook.reason) }
}

fn latency(webhook: &JournaledWebhook) -> String {
    let latency = webhook.latency.unwrap_or_default();
    let micros = latency.seconds * 1_000_000 + i64::from(latency.nanos / 1_000);
    format!("{}.{:03} ms", micros / 1_000, micros % 1_000)
}

fn table(webhooks: &[JournaledWebhook]) -> String {
    if webhooks.is_empty() {
        return "the journal has no such webhook".to_owned();
    }
    let mut table = Table::with_head(&["id", "received", "source", "peer", "status", "outcome", "delivery", "event", "size"]);
    for webhook in webhooks {
        table.row([
            webhook.id.clone(),
            time(webhook.received_at),
            webhook.source.clone(),
            webhook.peer.clone(),
            webhook.status.to_string(),
            status(webhook),
            webhook.delivery_id.clone(),
            webhook.event_id.clone(),
            webhook.body_size.to_string(),
        ]);
    }
    table.to_string()
}

fn facts(answer: &GetWebhookResponse) -> String {
    let webhook = answer.webhook.clone().unwrap_or_default();
    let mut table = Table::default();
    table.fact("id", &webhook.id);
    table.fact("received", time(webhook.received_at));
    table.fact("source", &webhook.source);
    table.fact("peer", &webhook.peer);
    table.fact("request", format_args!("{} {}", webhook.method, webhook.target));
    table.fact("answer", format_args!("{} {}, after {}", webhook.status, status(&webhook), latency(&webhook)));
    table.fact("decided by", word(webhook.step().as_str_name(), STEP));
    if !webhook.detail.is_empty() {
        table.fact("detail", &webhook.detail);
    }
    table.fact("delivery", &webhook.delivery_id);
    table.fact("event", &webhook.event_id);
    for header in &answer.headers {
        table.fact("header", format_args!("{}: {}", header.name, header.value));
    }
    let notes = [(answer.body_masked, "parts of it masked"), (answer.body_cut, "only its beginning is kept")];
    let notes: Vec<_> = notes.into_iter().filter(|(is_so, _)| *is_so).map(|(_, note)| note).collect();
    let notes = if notes.is_empty() { "as it was received".to_owned() } else { notes.join(", ") };
    table.fact("body", format_args!("{} bytes, {notes}", webhook.body_size));
    let body = match str::from_utf8(&answer.body) {
        Ok(text) => clean_lines(text),
        Err(_) => STANDARD.encode(&answer.body),
    };
    format!("{table}\n\n{body}")
}
