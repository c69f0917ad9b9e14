//! `waypost subscriptions`: who gets what, and how far they are.

use std::mem;

use waypost_proto::v1::{
    CreateSubscriptionRequest, DeleteSubscriptionRequest, Filter, GetSubscriptionRequest, ListSubscriptionsRequest,
    PauseSubscriptionRequest, ResumeSubscriptionRequest, SeekSubscriptionRequest, StartPosition, Subscription, SubscriptionSpec,
    UpdateSubscriptionRequest, subscription_admin_service_client::SubscriptionAdminServiceClient,
};

use super::call::{AdminArgs, Call, ListArgs, word};
use crate::{
    cli::{
        confirm::confirm,
        connection::{Connection, refused},
        failure::Failure,
        output, publish,
        table::Table,
        tail::{From, time},
    },
    clock::Clock,
};

/// What the JSON of rules may hold: waypost.v1.SubscriptionSpec in the protobuf JSON mapping.
const SPEC: &str = "\
Rules, as JSON (waypost.v1.SubscriptionSpec); durations are \"30s\" or \"0.5s\", and what is left out has its default:
  filter               {types, sources, subjectPrefix, attributes}; all events but the broker's own
  ackDeadline          how long a delivery may take until it is settled or extended; 30s
  maxLeaseTotal        and with all extensions; 3600s
  retryPolicy          {minBackoff: 1s, maxBackoff: 600s, maxAttempts: 16, maxLosses: 10}, then it is a dead letter
  maxOutstanding       events that may be out with all sessions together; 256
  maxOutstandingBytes  and their bytes; 134217728
  backlog              {maxAge, maxBytes} of what is kept unsettled; no bound
  expireAfter          deleted after this long without a session; 2678400s (31 days)";

/// What to do.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum SubscriptionsCommand {
    /// List subscriptions with their lag
    #[command(after_help = "\
LAG counts offsets between the frontier and the end of the log, matching or not; READY waits for a session with room.

Examples:
  waypost subscriptions list
  waypost subscriptions list --prefix team-a.
  waypost subscriptions list --json | jq -r 'select(.stats.sessions == 0) | .name'      who has no agent")]
    List {
        /// Only names that start with it
        #[arg(long, default_value = "", hide_default_value = true)]
        prefix: String,
        /// How much.
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show one with its rules
    #[command(after_help = "\
Example:
  waypost subscriptions show routing")]
    Show {
        /// Its name
        name: String,
    },
    /// Create one, so that it gathers events before its agents first connect
    #[command(after_help = format!("\
It begins at what is new unless --from says otherwise. --type, --source and --from are the most used rules; --spec takes all of them.

{SPEC}

Examples:
  waypost subscriptions create routing --type 'logistics.v1.*' --from earliest
  waypost subscriptions create billing --spec '{{\"ackDeadline\": \"60s\", \"retryPolicy\": {{\"maxAttempts\": 5}}}}'
  waypost subscriptions create billing --spec @billing.json"))]
    Create {
        /// Its name
        name: String,
        /// Events of this type, or of types with this prefix (`logistics.v1.*`); may be repeated
        #[arg(long = "type", value_name = "TYPE")]
        types: Vec<String>,
        /// Events of this source, or of sources with this prefix (`agents.*`); may be repeated
        #[arg(long = "source", value_name = "SOURCE")]
        sources: Vec<String>,
        /// Where it begins: new, earliest, an offset, a time, or how long ago (2h)
        #[arg(long)]
        from: Option<From>,
        /// Its rules as JSON; @FILE reads a file, - reads standard input
        #[arg(long, value_name = "JSON|@FILE|-", default_value = "{}", hide_default_value = true)]
        spec: String,
    },
    /// Change the rules of one
    #[command(after_help = format!("\
What the JSON does not name stays. Sessions keep their leases; the new rules hold for deliveries from now on. Where a subscription
stands is changed by `waypost subscriptions seek`.

{SPEC}

Examples:
  waypost subscriptions update routing --spec '{{\"maxOutstanding\": 64}}'
  waypost subscriptions update routing --reset ack_deadline --reset retry_policy.max_attempts"))]
    Update {
        /// Its name
        name: String,
        /// New values as JSON; @FILE reads a file, - reads standard input
        #[arg(long, value_name = "JSON|@FILE|-", default_value = "{}", hide_default_value = true)]
        spec: String,
        /// A field that goes back to its default; may be repeated
        #[arg(long = "reset", value_name = "FIELD")]
        reset: Vec<String>,
    },
    /// Stop its deliveries; leases and settling go on, and events gather
    #[command(after_help = "\
Example:
  waypost subscriptions pause routing --reason 'the map service is down, see INC-7'")]
    Pause {
        /// Its name
        name: String,
        /// Why, for other operators
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Let its deliveries go on
    #[command(after_help = "\
Example:
  waypost subscriptions resume routing")]
    Resume {
        /// Its name
        name: String,
    },
    /// Move it: everything from there on is delivered (again), everything before it counts as settled
    #[command(after_help = "\
Leases are revoked, and tokens from before are stale. Dead letters stay.

Examples:
  waypost subscriptions seek routing --to 2h             deliver the last two hours again
  waypost subscriptions seek routing --to earliest
  waypost subscriptions seek routing --to new --yes      give up what is not settled")]
    Seek {
        /// Its name
        name: String,
        /// Where to: new, earliest, an offset (42), a time (2026-01-31T12:00:00Z), or how long ago (10m, 2h, 7d)
        #[arg(long)]
        to: From,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Delete one: its streams end, and what it has not settled is settled by nobody
    #[command(after_help = "\
Its dead letters stay until they expire. One of the same name made later starts anew.

Example:
  waypost subscriptions delete routing --yes")]
    Delete {
        /// Its name
        name: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// Does it.
///
/// # Errors
/// What the broker refuses.
pub async fn run(args: AdminArgs, command: SubscriptionsCommand) -> Result<(), Failure> {
    let call = Call::open(&args).await?;
    let mut client = SubscriptionAdminServiceClient::new(call.channel.clone());
    let now = match command {
        SubscriptionsCommand::List { prefix, list } => {
            let page = async |size, page_token| {
                let request = ListSubscriptionsRequest { page_size: Some(size), page_token, name_prefix: prefix.clone() };
                let page = client.list_subscriptions(request).await.map_err(refused)?.into_inner();
                Ok((page.subscriptions, page.next_page_token))
            };
            return call.list(&list, page, table).await;
        }
        SubscriptionsCommand::Show { name } => {
            client.get_subscription(GetSubscriptionRequest { name }).await.map_err(refused)?.into_inner().subscription
        }
        SubscriptionsCommand::Create { name, types, sources, from, spec } => {
            let spec = Some(spec_of(&call, &spec, types, sources, from)?);
            client.create_subscription(CreateSubscriptionRequest { name, spec }).await.map_err(refused)?.into_inner().subscription
        }
        SubscriptionsCommand::Update { name, spec, reset } => {
            let spec = Some(call.types.parse(&publish::read(&spec)?)?);
            let request = UpdateSubscriptionRequest { name, spec, reset_fields: reset, incarnation: String::new() };
            client.update_subscription(request).await.map_err(refused)?.into_inner().subscription
        }
        SubscriptionsCommand::Pause { name, reason } => {
            client.pause_subscription(PauseSubscriptionRequest { name, reason }).await.map_err(refused)?.into_inner().subscription
        }
        SubscriptionsCommand::Resume { name } => {
            client.resume_subscription(ResumeSubscriptionRequest { name }).await.map_err(refused)?.into_inner().subscription
        }
        SubscriptionsCommand::Seek { name, to, yes } => {
            let incarnation = incarnation(&mut client, &name).await?;
            confirm(yes, &format!("move subscription {name}: what it has not settled before that place will count as settled"))?;
            let request = SeekSubscriptionRequest { name, target: Some(position(to)), incarnation };
            client.seek_subscription(request).await.map_err(refused)?.into_inner().subscription
        }
        SubscriptionsCommand::Delete { name, yes } => {
            let incarnation = incarnation(&mut client, &name).await?;
            confirm(yes, &format!("delete subscription {name} with everything that it has not settled"))?;
            client.delete_subscription(DeleteSubscriptionRequest { name: name.clone(), incarnation }).await.map_err(refused)?;
            if !call.is_json() {
                output::line(format_args!("subscription {name} is deleted"));
            }
            return Ok(());
        }
    };
    call.show(&now.unwrap_or_default(), |subscription| facts(&call, subscription))
}

/// Which one is meant: what is made under the same name while somebody thinks is another.
async fn incarnation(client: &mut SubscriptionAdminServiceClient<Connection>, name: &str) -> Result<String, Failure> {
    let answer = client.get_subscription(GetSubscriptionRequest { name: name.to_owned() }).await.map_err(refused)?;
    Ok(answer.into_inner().subscription.unwrap_or_default().incarnation)
}

fn position(from: From) -> StartPosition {
    StartPosition { position: Some(from.position(Clock::from_wall().now())) }
}

fn spec_of(call: &Call, text: &str, types: Vec<String>, sources: Vec<String>, from: Option<From>) -> Result<SubscriptionSpec, Failure> {
    let mut spec: SubscriptionSpec = call.types.parse(&publish::read(text)?)?;
    if !types.is_empty() || !sources.is_empty() {
        let filter = spec.filter.get_or_insert_default();
        let Filter { types: named_types, sources: named_sources, .. } = filter;
        for (named, given) in [(named_types, types), (named_sources, sources)] {
            if !given.is_empty() && !mem::replace(named, given).is_empty() {
                return Err(Failure::Usage("--spec has a filter with types or sources already; say it in one place".to_owned()));
            }
        }
    }
    if let Some(from) = from {
        spec.start_position = Some(position(from));
    }
    Ok(spec)
}

fn state(subscription: &Subscription) -> String {
    word(subscription.state().as_str_name(), "SUBSCRIPTION_STATE")
}

fn table(subscriptions: &[Subscription]) -> String {
    if subscriptions.is_empty() {
        return "there are no subscriptions; agents make them when they subscribe".to_owned();
    }
    let head = ["name", "state", "sessions", "lag", "ready", "leased", "backing off", "blocked", "dead letters", "oldest unsettled"];
    let mut table = Table::with_head(&head);
    for subscription in subscriptions {
        let stats = subscription.stats.unwrap_or_default();
        table.row([
            subscription.name.clone(),
            state(subscription),
            stats.sessions.to_string(),
            stats.lag.to_string(),
            stats.ready.to_string(),
            stats.leased.to_string(),
            stats.backing_off.to_string(),
            stats.blocked.to_string(),
            stats.dead_letters.to_string(),
            time(stats.oldest_unsettled_at),
        ]);
    }
    table.to_string()
}

fn facts(call: &Call, subscription: &Subscription) -> String {
    let stats = subscription.stats.unwrap_or_default();
    let mut table = Table::default();
    table.fact("name", &subscription.name);
    let reason = if subscription.state_reason.is_empty() { String::new() } else { format!(": {}", subscription.state_reason) };
    table.fact("state", format_args!("{}{reason}", state(subscription)));
    table.fact("incarnation", &subscription.incarnation);
    table.fact("frontier", format_args!("{}, {} behind the end", subscription.frontier, stats.lag));
    table.fact("sessions", stats.sessions);
    table.fact("ready", stats.ready);
    table.fact("leased", stats.leased);
    table.fact("backing off", stats.backing_off);
    table.fact("blocked", stats.blocked);
    table.fact("dead letters", stats.dead_letters);
    table.fact("oldest unsettled", time(stats.oldest_unsettled_at));
    if stats.at_unsettled_limit {
        table.fact("note", "its map of unsettled events is full: it reads on when some are settled");
    }
    table.fact("created", time(subscription.created_at));
    table.fact("last session", time(subscription.last_session_at));
    table.fact("expires", time(subscription.expires_at));
    let spec = subscription.spec.as_ref().and_then(|spec| call.types.mapped(spec).ok());
    for (name, value) in spec.iter().filter_map(|spec| spec.as_object()).flatten().filter(|(_, value)| !value.is_null()) {
        table.fact(&format!("spec.{name}"), value);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use prost_reflect::{DynamicMessage, SerializeOptions, prost::Message};

    use super::*;
    use crate::{schema::Schemas, spec::Spec};

    #[test]
    fn the_help_names_every_rule_with_its_default() {
        let pool = Schemas::built_in().unwrap();
        let descriptor = pool.pool().get_message_by_name("waypost.v1.SubscriptionSpec").unwrap();
        for field in descriptor.fields().filter(|field| field.name() != "start_position") {
            assert!(SPEC.contains(&format!("  {} ", field.json_name())), "{} is not in\n{SPEC}", field.json_name());
        }
        let defaults = Spec::new(&SubscriptionSpec::default()).unwrap();
        let defaults = DynamicMessage::decode(descriptor, defaults.proto().encode_to_vec().as_slice()).unwrap();
        let mut json = defaults.serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new()).unwrap();
        // It has an option of its own.
        json.as_object_mut().unwrap().remove("startPosition");
        for (name, value) in leaves(&json) {
            assert!(SPEC.lines().any(|line| line.contains(&name) && line.contains(&value)), "{name} is {value}, and not in\n{SPEC}");
        }
    }

    /// The values of a message that are no messages.
    fn leaves(json: &serde_json::Value) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for (name, value) in json.as_object().into_iter().flatten() {
            match value {
                serde_json::Value::Object(_) => all.extend(leaves(value)),
                serde_json::Value::String(text) => all.push((name.clone(), text.clone())),
                serde_json::Value::Number(number) => all.push((name.clone(), number.to_string())),
                _ => {}
            }
        }
        all
    }
}
