//! `waypost quarantine`: verified webhooks that could not become events.

use serde_json::{Value, json};
use waypost_proto::v1::{
    GetQuarantinedWebhookRequest, GetQuarantinedWebhookResponse, ListQuarantinedWebhooksRequest, QuarantineReason, QuarantinedWebhook,
    quarantine_admin_service_client::QuarantineAdminServiceClient,
};

use super::call::{AdminArgs, Call, ListArgs, from_word, word};
use crate::{
    cli::{connection::refused, failure::Failure, output, table::Table, tail::time},
    limits,
};

const PREFIX: &str = "QUARANTINE_REASON";

/// What to do.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum QuarantineCommand {
    /// List quarantined webhooks, newest first
    #[command(after_help = "\
Reasons: malformed_body, no_event_type, type_mismatch, required_field_missing, identity_conflict, no_identity, invalid_event.

Examples:
  waypost quarantine list
  waypost quarantine list --source github --reason type_mismatch
  waypost quarantine list --json | jq -r '[.source, .path, .message] | @tsv' | sort | uniq -c    what is wrong most often")]
    List {
        /// Only of this source
        #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
        source: String,
        /// Only for this reason
        #[arg(long, value_parser = reason)]
        reason: Option<QuarantineReason>,
        /// How much.
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show one with its headers and its body
    #[command(after_help = "\
The id is the event id that the sender was answered. A body that is JSON is shown as such, any other one as base64.

Examples:
  waypost quarantine show 0198c0de-0000-7000-8000-000000000001
  waypost quarantine show 0198c0de-0000-7000-8000-000000000001 --json | jq .body")]
    Show {
        /// Its id
        id: String,
    },
}

fn reason(text: &str) -> Result<QuarantineReason, String> {
    use QuarantineReason::{IdentityConflict, InvalidEvent, MalformedBody, NoEventType, NoIdentity, RequiredFieldMissing, TypeMismatch};
    let all = [MalformedBody, NoEventType, TypeMismatch, RequiredFieldMissing, IdentityConflict, NoIdentity, InvalidEvent];
    from_word(text, PREFIX, &all, |reason| reason.as_str_name())
}

/// Does it.
///
/// # Errors
/// What the broker refuses.
pub async fn run(args: AdminArgs, command: QuarantineCommand) -> Result<(), Failure> {
    let call = Call::open(&args).await?;
    let mut client = QuarantineAdminServiceClient::new(call.channel.clone()).max_decoding_message_size(limits::MAX_REQUEST_BYTES);
    match command {
        QuarantineCommand::List { source, reason, list } => {
            let page = async |size, page_token| {
                let reason = reason.unwrap_or_default().into();
                let request = ListQuarantinedWebhooksRequest { page_size: Some(size), page_token, source: source.clone(), reason };
                let page = client.list_quarantined_webhooks(request).await.map_err(refused)?.into_inner();
                Ok((page.webhooks, page.next_page_token))
            };
            call.list(&list, page, table).await
        }
        QuarantineCommand::Show { id } => {
            let answer = client.get_quarantined_webhook(GetQuarantinedWebhookRequest { id }).await.map_err(refused)?.into_inner();
            if call.is_json() {
                output::line(json(&call, &answer)?);
            } else {
                output::line(facts(&call, &answer)?);
            }
            Ok(())
        }
    }
}

/// As the mapping has it, except that a body of JSON is shown as JSON.
fn json(call: &Call, answer: &GetQuarantinedWebhookResponse) -> Result<Value, Failure> {
    let mut shown = call.types.mapped(answer)?;
    if let Ok(body) = serde_json::from_slice::<Value>(&answer.body) {
        shown["body"] = body;
    }
    Ok(shown)
}

fn table(webhooks: &[QuarantinedWebhook]) -> String {
    if webhooks.is_empty() {
        return "nothing is in quarantine".to_owned();
    }
    let mut table = Table::with_head(&["id", "received", "source", "event type", "reason", "path", "message"]);
    for webhook in webhooks {
        table.row([
            webhook.id.clone(),
            time(webhook.received_at),
            webhook.source.clone(),
            webhook.event_type.clone(),
            word(webhook.reason().as_str_name(), PREFIX),
            webhook.path.clone(),
            webhook.message.clone(),
        ]);
    }
    table.to_string()
}

fn facts(call: &Call, answer: &GetQuarantinedWebhookResponse) -> Result<String, Failure> {
    let webhook = answer.webhook.clone().unwrap_or_default();
    let mut table = Table::default();
    table.fact("id", &webhook.id);
    table.fact("source", &webhook.source);
    table.fact("received", time(webhook.received_at));
    table.fact("event type", &webhook.event_type);
    table.fact("reason", word(webhook.reason().as_str_name(), PREFIX));
    table.fact("path", &webhook.path);
    table.fact("message", &webhook.message);
    for (name, value) in &answer.headers {
        table.fact("header", format_args!("{name}: {value}"));
    }
    table.fact("body", format_args!("{} bytes", webhook.body_size));
    Ok(format!("{table}\n{}", json(call, answer)?.get("body").unwrap_or(&json!(null))))
}
