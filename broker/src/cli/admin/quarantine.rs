//! `waypost quarantine`: verified webhooks that could not become events.

use serde_json::{Value, json};
use waypost_proto::v1::{
    DiscardQuarantinedWebhooksRequest, GetQuarantinedWebhookRequest, GetQuarantinedWebhookResponse, ListQuarantinedWebhooksRequest,
    QuarantineOutcome, QuarantineReason, QuarantineResult, QuarantinedWebhook, Refusal, RetryQuarantinedWebhooksRequest,
    quarantine_admin_service_client::QuarantineAdminServiceClient,
};

use super::{
    call::{AdminArgs, Call, ListArgs, from_word, word},
    chosen::{Chosen, Outcome, confirm_discard, decide},
};
use crate::{
    cli::{
        connection::{Connection, refused},
        failure::Failure,
        output,
        table::Table,
        tail::time,
    },
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
  waypost quarantine list --json | jq -r '[.fingerprint, .source, .path, .message] | @tsv' | sort | uniq -c    what is wrong most often")]
    List {
        /// Which.
        #[command(flatten)]
        which: Which,
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
    /// Understand webhooks again, with the sources as the broker has them configured now
    #[command(after_help = "\
What fits becomes its event and leaves the quarantine; what does not fit yet stays, with its new reason. Doing it twice is
harmless. Of several, the oldest come first. Exit code 1 if one still does not fit, or was refused.

Examples:
  waypost quarantine retry 0198c0de00000000000000000000000a
  waypost quarantine retry --all --fingerprint 5bd1e995a3c10f77      all that failed in the same way
  waypost quarantine retry --all --source github                     once its mapping is mended")]
    Retry {
        /// Which.
        #[command(flatten)]
        chosen: Chosen<Which>,
    },
    /// Throw webhooks away, for good
    #[command(after_help = "\
Exit code 1 if one was refused, which is told on standard error.

Examples:
  waypost quarantine discard 0198c0de00000000000000000000000a
  waypost quarantine discard --all --fingerprint 5bd1e995a3c10f77 --yes")]
    Discard {
        /// Which.
        #[command(flatten)]
        chosen: Chosen<Which>,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// Which webhooks.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub struct Which {
    /// Only of this source
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    source: String,
    /// Only for this reason
    #[arg(long, value_parser = reason)]
    reason: Option<QuarantineReason>,
    /// Only of this fingerprint, which all have that fail in the same way
    #[arg(long, value_name = "FINGERPRINT", default_value = "", hide_default_value = true)]
    fingerprint: String,
}

impl Which {
    fn request(&self, page_size: u32, page_token: String) -> ListQuarantinedWebhooksRequest {
        ListQuarantinedWebhooksRequest {
            page_size: Some(page_size),
            page_token,
            source: self.source.clone(),
            reason: self.reason.unwrap_or_default().into(),
            fingerprint: self.fingerprint.clone(),
        }
    }
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
    let mut client =
        Quarantine(QuarantineAdminServiceClient::new(call.channel.clone()).max_decoding_message_size(limits::MAX_REQUEST_BYTES));
    match command {
        QuarantineCommand::List { which, list } => {
            call.list(&list, async |size, token| client.page(which.request(size, token)).await, table).await
        }
        QuarantineCommand::Show { id } => {
            let answer = client.0.get_quarantined_webhook(GetQuarantinedWebhookRequest { id }).await.map_err(refused)?.into_inner();
            if call.is_json() {
                output::line(json(&call, &answer)?);
            } else {
                output::line(facts(&call, &answer)?);
            }
            Ok(())
        }
        QuarantineCommand::Retry { chosen } => {
            let ids = client.chosen(chosen).await?;
            decide(&call, &ids, "are events now", async |ids| client.retry(ids).await).await
        }
        QuarantineCommand::Discard { chosen, yes } => {
            let ids = client.chosen(chosen).await?;
            confirm_discard(yes, &ids, ("quarantined webhook", "webhooks"))?;
            decide(&call, &ids, "discarded", async |ids| client.discard(ids).await).await
        }
    }
}

struct Quarantine(QuarantineAdminServiceClient<Connection>);

impl Quarantine {
    async fn page(&mut self, request: ListQuarantinedWebhooksRequest) -> Result<(Vec<QuarantinedWebhook>, String), Failure> {
        let page = self.0.list_quarantined_webhooks(request).await.map_err(refused)?.into_inner();
        Ok((page.webhooks, page.next_page_token))
    }

    /// The oldest of all that fit come first: their events come in the order in which they arrived.
    async fn chosen(&mut self, chosen: Chosen<Which>) -> Result<Vec<String>, Failure> {
        let is_newest_first = chosen.all;
        let mut ids = chosen.ids(async |which, size, token| self.page(which.request(size, token)).await, |webhook| webhook.id).await?;
        if is_newest_first {
            ids.reverse();
        }
        Ok(ids)
    }

    async fn retry(&mut self, ids: Vec<String>) -> Result<Vec<QuarantineResult>, Failure> {
        let request = RetryQuarantinedWebhooksRequest { ids, ..Default::default() };
        Ok(self.0.retry_quarantined_webhooks(request).await.map_err(refused)?.into_inner().results)
    }

    async fn discard(&mut self, ids: Vec<String>) -> Result<Vec<QuarantineResult>, Failure> {
        let request = DiscardQuarantinedWebhooksRequest { ids, ..Default::default() };
        Ok(self.0.discard_quarantined_webhooks(request).await.map_err(refused)?.into_inner().results)
    }
}

impl Outcome for QuarantineResult {
    const MOST: usize = limits::QUARANTINE_PER_CALL;
    const LEFT: &'static str = "are in quarantine as before";

    fn id(&self) -> &str {
        &self.id
    }

    fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    fn why(&self) -> Option<String> {
        if let Some(refusal) = &self.refusal {
            return Some(refusal.message.clone());
        }
        let kept = self.webhook.as_ref().filter(|_| self.outcome() == QuarantineOutcome::Kept)?;
        let reason = word(kept.reason().as_str_name(), PREFIX);
        Some(format!("does not fit yet: {reason} {} {}", kept.path, kept.message))
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
    let mut table = Table::with_head(&["id", "received", "source", "event type", "reason", "path", "fingerprint", "message"]);
    for webhook in webhooks {
        table.row([
            webhook.id.clone(),
            time(webhook.received_at),
            webhook.source.clone(),
            webhook.event_type.clone(),
            word(webhook.reason().as_str_name(), PREFIX),
            webhook.path.clone(),
            webhook.fingerprint.clone(),
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
    table.fact("identity", &webhook.identity);
    table.fact("fingerprint", &webhook.fingerprint);
    if webhook.retries > 0 {
        table.fact("retried", format_args!("{} times, last {}", webhook.retries, time(webhook.retried_at)));
    }
    if answer.is_part {
        table.fact("part", "one of the events of a webhook that held several");
    }
    for (name, value) in &answer.headers {
        table.fact("header", format_args!("{name}: {value}"));
    }
    table.fact("body", format_args!("{} bytes", webhook.body_size));
    Ok(format!("{table}\n{}", json(call, answer)?.get("body").unwrap_or(&json!(null))))
}
