//! `waypost sources`: who posts webhooks, and how they fare.

use waypost_proto::v1::{
    GetSourceRequest, ListSourcesRequest, Source, SourceIdentity, source_admin_service_client::SourceAdminServiceClient,
};

use super::call::{AdminArgs, Call, ListArgs, word};
use crate::cli::{connection::refused, failure::Failure, table::Table, tail::time};

/// What to do.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum SourcesCommand {
    /// List the configured sources with their counts since the broker started
    #[command(after_help = "\
Examples:
  waypost sources list
  waypost sources list --json | jq 'select(.unverified) | .name'    who is not verified at all")]
    List {
        /// How much.
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show one source
    #[command(after_help = "\
Example:
  waypost sources show github")]
    Show {
        /// Its name
        name: String,
    },
}

/// Does it.
///
/// # Errors
/// What the broker refuses.
pub async fn run(args: AdminArgs, command: SourcesCommand) -> Result<(), Failure> {
    let call = Call::open(&args).await?;
    let mut client = SourceAdminServiceClient::new(call.channel.clone());
    match command {
        SourcesCommand::List { list } => {
            let page = async |size, page_token| {
                let request = ListSourcesRequest { page_size: Some(size), page_token };
                let page = client.list_sources(request).await.map_err(refused)?.into_inner();
                Ok((page.sources, page.next_page_token))
            };
            call.list(&list, page, table).await
        }
        SourcesCommand::Show { name } => {
            let answer = client.get_source(GetSourceRequest { name }).await.map_err(refused)?.into_inner();
            call.show(&answer.source.unwrap_or_default(), facts)
        }
    }
}

fn verification(source: &Source) -> String {
    match source.active_secrets {
        _ if source.unverified => "UNVERIFIED".to_owned(),
        1 => source.verification.clone(),
        secrets => format!("{}, {secrets} secrets", source.verification),
    }
}

fn table(sources: &[Source]) -> String {
    if sources.is_empty() {
        return "no sources are configured; they are [sources.NAME] in the configuration".to_owned();
    }
    let mut table = Table::with_head(&[
        "name",
        "path",
        "verified by",
        "accepted",
        "duplicates",
        "quarantined",
        "unverified",
        "refused",
        "last received",
    ]);
    for source in sources {
        let stats = source.stats.unwrap_or_default();
        table.row([
            source.name.clone(),
            source.path.clone(),
            verification(source),
            stats.accepted.to_string(),
            stats.duplicates.to_string(),
            stats.quarantined.to_string(),
            stats.unverified_refused.to_string(),
            stats.refused.to_string(),
            time(stats.last_received_at),
        ]);
    }
    table.to_string()
}

fn facts(source: &Source) -> String {
    let stats = source.stats.unwrap_or_default();
    let mut table = Table::default();
    table.fact("name", &source.name);
    table.fact("path", &source.path);
    table.fact("verified by", verification(source));
    table.fact("identity", word(source.identity().as_str_name(), "SOURCE_IDENTITY"));
    table.fact("event types", source.event_types.join(", "));
    table.fact("accepted", stats.accepted);
    table.fact("duplicates", format_args!("{}, {} of them with another body", stats.duplicates, stats.changed_duplicates));
    table.fact("quarantined", stats.quarantined);
    table.fact("not verified", stats.unverified_refused);
    table.fact("refused", stats.refused);
    table.fact("last received", time(stats.last_received_at));
    if stats.last_polled_at.is_some() {
        table.fact("recovered", format_args!("{} by asking the provider, last {}", stats.recovered, time(stats.last_polled_at)));
    }
    if source.identity() == SourceIdentity::None {
        table.fact("note", "nothing tells its webhooks apart: a copy is a new event");
    }
    table.to_string()
}
