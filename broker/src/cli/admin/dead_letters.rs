//! `waypost dead-letters`: what was set aside for a subscription, with its history.

use serde_json::Value;
use waypost_proto::v1::{
    AttemptOutcome, DeadLetter, DeadLetterReason, DeadLetterResult, DiscardDeadLettersRequest, GetDeadLetterRequest, GetDeadLetterResponse,
    ListDeadLettersRequest, RedriveDeadLettersRequest, Refusal, dead_letter_admin_service_client::DeadLetterAdminServiceClient,
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

const PREFIX: &str = "DEAD_LETTER_REASON";

/// What to do.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum DeadLettersCommand {
    /// List dead letters, newest first
    #[command(after_help = "\
Examples:
  waypost dead-letters list
  waypost dead-letters list --subscription routing --reason rejected
  waypost dead-letters list --json | jq -r .detail | sort | uniq -c     what agents say most often")]
    List {
        /// Which.
        #[command(flatten)]
        which: Which,
        /// How much.
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show one with its event and the history of its attempts
    #[command(after_help = "\
Examples:
  waypost dead-letters show 00000000000001a2-2b
  waypost dead-letters show 00000000000001a2-2b --json | jq .event.event.data")]
    Show {
        /// Its id
        id: String,
    },
    /// Hand dead letters to their subscription again, with fresh attempts
    #[command(after_help = "\
They are delivered beside what else there is, and stay listed until they are settled. Doing it twice is harmless.
Exit code 1 if one was refused, which is told on standard error.

Examples:
  waypost dead-letters redrive 00000000000001a2-2b 00000000000001a2-2f
  waypost dead-letters redrive --all --subscription routing      once its agents are mended")]
    Redrive {
        /// Which.
        #[command(flatten)]
        chosen: Chosen<Which>,
    },
    /// Throw dead letters away, for good
    #[command(after_help = "\
Exit code 1 if one was refused, which is told on standard error.

Examples:
  waypost dead-letters discard 00000000000001a2-2b
  waypost dead-letters discard --all --subscription routing --reason rejected --yes")]
    Discard {
        /// Which.
        #[command(flatten)]
        chosen: Chosen<Which>,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// Which dead letters.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub struct Which {
    /// Only of this subscription
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    subscription: String,
    /// Only events of this type
    #[arg(long = "type", value_name = "TYPE", default_value = "", hide_default_value = true)]
    event_type: String,
    /// Only for this reason: max_attempts, max_losses or rejected
    #[arg(long, value_parser = reason)]
    reason: Option<DeadLetterReason>,
}

fn reason(text: &str) -> Result<DeadLetterReason, String> {
    let all = [DeadLetterReason::MaxAttempts, DeadLetterReason::MaxLosses, DeadLetterReason::Rejected];
    from_word(text, PREFIX, &all, |reason| reason.as_str_name())
}

impl Which {
    fn request(&self, page_size: u32, page_token: String) -> ListDeadLettersRequest {
        ListDeadLettersRequest {
            page_size: Some(page_size),
            page_token,
            subscription: self.subscription.clone(),
            event_type: self.event_type.clone(),
            reason: self.reason.unwrap_or_default().into(),
        }
    }
}

/// Does it.
///
/// # Errors
/// What the broker refuses.
pub async fn run(args: AdminArgs, command: DeadLettersCommand) -> Result<(), Failure> {
    let mut call = Call::open(&args).await?;
    let mut client =
        DeadLetters(DeadLetterAdminServiceClient::new(call.channel.clone()).max_decoding_message_size(limits::MAX_REQUEST_BYTES));
    match command {
        DeadLettersCommand::List { which, list } => {
            call.list(&list, async |size, token| client.page(which.request(size, token)).await, table).await
        }
        DeadLettersCommand::Show { id } => {
            let mut answer = client.0.get_dead_letter(GetDeadLetterRequest { id }).await.map_err(refused)?.into_inner();
            let event = call.types.event(answer.event.take().unwrap_or_default()).await?;
            if call.is_json() {
                let mut shown = call.types.mapped(&answer)?;
                shown["event"] = event;
                output::line(shown);
            } else {
                output::line(facts(&answer, &event));
            }
            Ok(())
        }
        DeadLettersCommand::Redrive { chosen } => {
            let ids = client.chosen(chosen).await?;
            decide(&call, &ids, "on their way again", async |ids| client.redrive(ids).await).await
        }
        DeadLettersCommand::Discard { chosen, yes } => {
            let ids = client.chosen(chosen).await?;
            confirm_discard(yes, &ids, ("dead letter", "dead letters"))?;
            decide(&call, &ids, "discarded", async |ids| client.discard(ids).await).await
        }
    }
}

struct DeadLetters(DeadLetterAdminServiceClient<Connection>);

impl DeadLetters {
    async fn page(&mut self, request: ListDeadLettersRequest) -> Result<(Vec<DeadLetter>, String), Failure> {
        let page = self.0.list_dead_letters(request).await.map_err(refused)?.into_inner();
        Ok((page.dead_letters, page.next_page_token))
    }

    async fn chosen(&mut self, chosen: Chosen<Which>) -> Result<Vec<String>, Failure> {
        chosen.ids(async |which, size, token| self.page(which.request(size, token)).await, |letter| letter.id).await
    }

    async fn redrive(&mut self, ids: Vec<String>) -> Result<Vec<DeadLetterResult>, Failure> {
        Ok(self.0.redrive_dead_letters(RedriveDeadLettersRequest { ids }).await.map_err(refused)?.into_inner().results)
    }

    async fn discard(&mut self, ids: Vec<String>) -> Result<Vec<DeadLetterResult>, Failure> {
        Ok(self.0.discard_dead_letters(DiscardDeadLettersRequest { ids }).await.map_err(refused)?.into_inner().results)
    }
}

impl Outcome for DeadLetterResult {
    const MOST: usize = limits::MAX_ITEMS_PER_CALL;
    const LEFT: &'static str = "were refused";

    fn id(&self) -> &str {
        &self.id
    }

    fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }
}

fn why(letter: &DeadLetter) -> String {
    word(letter.reason().as_str_name(), PREFIX)
}

fn table(letters: &[DeadLetter]) -> String {
    if letters.is_empty() {
        return "there are no dead letters".to_owned();
    }
    let mut table = Table::with_head(&["id", "since", "subscription", "event type", "event", "reason", "attempts", "losses", "detail"]);
    for letter in letters {
        let detail = if letter.redriving { format!("[redriving] {}", letter.detail) } else { letter.detail.clone() };
        table.row([
            letter.id.clone(),
            time(letter.dead_lettered_at),
            letter.subscription.clone(),
            letter.event_type.clone(),
            format!("{} {}", letter.event_source, letter.event_id),
            why(letter),
            letter.attempts.to_string(),
            letter.losses.to_string(),
            detail,
        ]);
    }
    table.to_string()
}

fn facts(answer: &GetDeadLetterResponse, event: &Value) -> String {
    let letter = answer.dead_letter.clone().unwrap_or_default();
    let mut table = Table::default();
    table.fact("id", &letter.id);
    table.fact("subscription", &letter.subscription);
    table.fact("event", format_args!("{} {} at offset {}", letter.event_source, letter.event_id, letter.offset));
    table.fact("type", &letter.event_type);
    table.fact("reason", why(&letter));
    table.fact("attempts", format_args!("{}, and {} losses", letter.attempts, letter.losses));
    table.fact("since", time(letter.dead_lettered_at));
    table.fact("expires", time(letter.expires_at));
    if let Some(acked) = letter.acked_late_at {
        table.fact("acked late", format_args!("{}: its work may be done", time(Some(acked))));
    }
    table.fact("redrives", format_args!("{}{}", letter.redrives, if letter.redriving { ", one under way" } else { "" }));
    let mut history = Table::with_head(&["attempt", "ended", "outcome", "reason"]);
    for attempt in &answer.history {
        let outcome = word(AttemptOutcome::as_str_name(&attempt.outcome()), "ATTEMPT_OUTCOME");
        history.row([attempt.attempt.to_string(), time(attempt.ended_at), outcome, attempt.reason.clone()]);
    }
    let data = event.pointer("/event/data").unwrap_or(&Value::Null);
    format!("{table}\n\n{history}\n\n{data}")
}
