//! What can be said on the command line.
//!
//! Constraint: what one command alone can be told stands with that command; here is what there is, and what several are told.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use super::{
    admin::{
        call::AdminArgs, dead_letters::DeadLettersCommand, events::EventsCommand, quarantine::QuarantineCommand, sessions::SessionsCommand,
        sources::SourcesCommand, subscriptions::SubscriptionsCommand, webhooks::WebhooksCommand,
    },
    configured::ConfigCommand,
    failure,
    map::MapCommand,
    publish::PublishArgs,
    send::SendArgs,
    store::command::StoreCommand,
    tail::TailArgs,
    token::TokenCommand,
    verify::VerifyArgs,
};
use crate::config::SecretRef;

/// The event broker for software agents: webhooks come in signed, deliveries go out signed for.
#[derive(Debug, Parser)]
#[command(
    version,
    propagate_version = true,
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = format!("\
Try it:
  waypost serve                                      start a broker that keeps its events in ./waypost-data
  waypost tail                                       in a second terminal: watch events arrive
  waypost publish com.example.noticed '{{\"n\": 1}}'     in a third: publish one
  waypost subscriptions list                         who gets what, and how far they are

{}", failure::CODES)
)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the broker
    #[command(after_help = "\
Three listeners: webhooks on 127.0.0.1:8480, agents on 8481, administrators on 8482. Once the store has recovered it prints
where everything is. SIGTERM or SIGINT drains: nothing more comes in, agents may settle what they hold for the drain grace,
exit code 0. A second signal ends it at once, which loses nothing that was answered.

Examples:
  waypost serve                                   the defaults, everything kept in ./waypost-data
  waypost serve --config waypost.toml             see `waypost defaults` for what can be set
  WAYPOST_LOG=debug waypost serve                 see more of what it does")]
    Serve(ConfigArgs),
    /// Check a configuration, as `serve` does, without starting
    #[command(after_help = "\
Prints every problem, each with its file, line, key, and what would be right. Exit code 2 if there is one.

Example:
  waypost check --config waypost.toml")]
    Check(ConfigArgs),
    /// Look at a configuration: check, show
    #[command(after_help = "\
Example:
  waypost config show --config waypost.toml")]
    Config {
        /// What to do.
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Print the commented default configuration
    #[command(after_help = "\
Example:
  waypost defaults > waypost.toml")]
    Defaults,
    /// Follow events as they arrive
    #[command(after_help = "\
Nothing is settled or held up by it: it reads the log, and takes part in no subscription.

Examples:
  waypost tail                                    everything from now on
  waypost tail --from earliest --once             everything that is kept, then end
  waypost tail --type 'logistics.v1.*' --from 2h  of some types, beginning two hours ago
  waypost tail --json | jq .data                  for programs: one JSON object a line")]
    Tail(TailArgs),
    /// Publish an event
    #[command(after_help = "\
A type that the broker knows is typed: the data must be its proto3 JSON, and is checked. Data of any other type is kept
as the JSON it is. The answer comes once the event is durable.

Examples:
  waypost publish tasks.v1.TaskFailed '{\"taskId\": \"T-1\", \"agentId\": \"planner\", \"reason\": \"no driver\"}'
  waypost publish com.example.noticed @notice.json --subject desk/4 --id notice-17
  echo '{\"n\": 1}' | waypost publish com.example.counted -")]
    Publish(PublishArgs),
    /// Post a correctly signed sample webhook to a source
    #[command(after_help = "\
Signs as the provider would, with the source's own secret, and prints the broker's answer.

Examples:
  waypost send carrier --config waypost.toml                              a small JSON document
  waypost send github --event-type push --file push.json -c waypost.toml  a sample of yours
  waypost send carrier -c waypost.toml --tamper                           a changed body: 401, and no event
  waypost send carrier -c waypost.toml --duplicate                        twice: one event")]
    Send(SendArgs),
    /// Try the mapping of a source: test
    #[command(
        subcommand,
        after_help = "\
Example:
  waypost map test carrier delay.json --config waypost.toml"
    )]
    Map(MapCommand),
    /// Say of a captured request which step of the edge refuses it, and why; offline
    #[command(after_help = "\
A capture is what `waypost webhooks show ID --json` prints, or an HTTP request as it is sent: the request line, headers, an empty
line, and the body to the last byte of the file. It goes the way of the edge, with the secrets of the configuration. If its
signature does not fit, it is tried what would have to be otherwise: another secret, encoding, header, prefix or address, a body
that was written again, a clock that is off; what fits is named. What the journal masked is said to be masked: a masked
signature cannot be verified. Nothing is sent, stored or fetched. Exit code 1 if the request would be refused.

Examples:
  waypost verify --source stripe --capture request.http -c waypost.toml
  waypost verify --source github --capture request.http --at 2026-01-31T12:00:00Z -c waypost.toml
  waypost webhooks show 1795298400123456 --json > c.json; waypost verify --source carrier --capture c.json -c waypost.toml")]
    Verify(VerifyArgs),
    /// Look after subscriptions: list, show, create, update, pause, resume, seek, delete
    #[command(
        visible_alias = "subs",
        after_help = "\
Example:
  waypost subscriptions list"
    )]
    Subscriptions(Group<AdminArgs, SubscriptionsCommand>),
    /// Look after dead letters: list, show, redrive, discard
    #[command(after_help = "\
Example:
  waypost dead-letters list --subscription routing")]
    DeadLetters(Group<AdminArgs, DeadLettersCommand>),
    /// Look after verified webhooks that could not become events: list, show, retry, discard
    #[command(after_help = "\
Example:
  waypost quarantine list")]
    Quarantine(Group<AdminArgs, QuarantineCommand>),
    /// Look into the journal of what came to the edge, accepted or not: list, show
    #[command(after_help = "\
Example:
  waypost webhooks list --outcome refused --since 1h")]
    Webhooks(Group<AdminArgs, WebhooksCommand>),
    /// Look at the sources of webhooks: list, show
    #[command(after_help = "\
Example:
  waypost sources list")]
    Sources(Group<AdminArgs, SourcesCommand>),
    /// Look after the agents that are connected: list, end
    #[command(after_help = "\
Example:
  waypost sessions list")]
    Sessions(Group<AdminArgs, SessionsCommand>),
    /// Look at events: show, lineage
    #[command(after_help = "\
Example:
  waypost events lineage 42")]
    Events(Group<AdminArgs, EventsCommand>),
    /// Look after the store: stat, verify, backup
    #[command(after_help = "\
Example:
  waypost store verify")]
    Store(Group<AdminArgs, StoreCommand>),
    /// Print the completions of a shell
    #[command(after_help = "\
Examples:
  waypost completions bash > /etc/bash_completion.d/waypost
  waypost completions zsh > ~/.zfunc/_waypost                 with ~/.zfunc in fpath
  waypost completions fish > ~/.config/fish/completions/waypost.fish")]
    Completions {
        /// Which one
        shell: Shell,
    },
    /// Create, list and revoke the tokens of agents and administrators
    #[command(
        subcommand,
        after_help = "\
The tokens of a broker stand in a file that its configuration names: [auth] tokens_file = \"tokens.toml\". It holds hashes, so a
token is shown once, when it is made. A running broker takes a change over within seconds.

Examples:
  waypost token create routing --scope 'subscribe name=routing type=logistics.v1.*' --scope 'publish source=agents/routing'
  waypost token create operator --scope admin
  waypost token list
  waypost token revoke routing"
    )]
    Token(TokenCommand),
}

/// A group of commands, and what all of them are told.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true, subcommand_required = true)]
pub struct Group<A: clap::Args, C: Subcommand> {
    /// What all of them are told.
    #[command(flatten)]
    pub args: A,
    /// What to do.
    #[command(subcommand)]
    pub command: C,
}

/// Where the configuration is.
#[derive(Clone, Debug, clap::Args)]
pub struct ConfigArgs {
    /// The configuration file; without it, the defaults (see `waypost defaults`)
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the store keeps everything, instead of store.data_dir
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
}

/// Where the broker is.
#[derive(Clone, Debug, clap::Args)]
pub struct BrokerArgs {
    /// The broker's agent listener
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8481", global = true)]
    pub agents: String,
    /// The broker's admin listener
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8482", global = true)]
    pub admin: String,
    /// Your token, where the broker asks for one: env:NAME or file:PATH, never the token itself
    #[arg(long, value_name = "env:NAME|file:PATH", global = true)]
    pub token: Option<SecretRef>,
    /// Whose certificates are trusted for https://, in PEM; without it, those that the operating system trusts
    #[arg(long, value_name = "FILE", global = true)]
    pub ca: Option<PathBuf>,
    /// Your certificate and its key, both in one file in PEM, where the broker asks for one
    #[arg(long, value_name = "FILE", global = true)]
    pub identity: Option<PathBuf>,
}
