//! `waypost token`: the file of the tokens, edited.
//!
//! Constraint: a token is written to standard output, once, and nowhere else; everything else about it goes to standard error.

use std::path::PathBuf;

use clap::Subcommand;
use jiff::Timestamp;
use serde_json::json;

use super::{failure::Failure, output};
use crate::{
    access::{
        Scope,
        tokens::{Entry, Token, TokensFile},
    },
    clock::Clock,
};

/// What can be done with tokens.
#[derive(Clone, Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token: printed once on standard output, its hash and scopes added to the file
    #[command(after_help = "\
Scopes; what is left out allows any, and a pattern is a text or its beginning and a *:
  publish [source=PATTERN]... [type=PATTERN]...    publish events, also as the outputs of an ack
  subscribe [name=PATTERN]... [type=PATTERN]...    create subscriptions, receive and settle
  read [type=PATTERN]...                           read the log; without types, stories as well
  inspect                                          see what administrators see (lists, payloads, metrics)
  admin                                            change what administrators change; inspect; read

Examples:
  waypost token create routing --scope 'subscribe name=routing type=logistics.v1.*' --scope 'publish source=agents/routing'
  waypost token create operator --scope admin > operator.token
  waypost tail --token file:operator.token")]
    Create(TokenCreateArgs),
    /// Show the tokens: names and scopes
    #[command(after_help = "\
Example:
  waypost token list --json | jq .name")]
    List(TokenListArgs),
    /// Take a token away: its calls are refused, and its streams end
    #[command(after_help = "\
Example:
  waypost token revoke routing")]
    Revoke(TokenRevokeArgs),
}

/// Where the tokens are.
#[derive(Clone, Debug, clap::Args)]
pub struct TokensFileArgs {
    /// The file of the tokens, as auth.tokens_file of the configuration names it
    #[arg(long, value_name = "FILE", default_value = "tokens.toml")]
    pub file: PathBuf,
}

/// What `token create` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct TokenCreateArgs {
    /// Where the tokens are.
    #[command(flatten)]
    pub file: TokensFileArgs,
    /// Its name, by which sessions and the audit log show it
    pub name: String,
    /// What it allows; may be repeated
    #[arg(long = "scope", value_name = "SCOPE", required = true)]
    pub scopes: Vec<Scope>,
    /// How many events a second it may publish, instead of limits.max_events_per_second; 0 for no limit
    #[arg(long, value_name = "NUMBER")]
    pub max_events_per_second: Option<u32>,
    /// How many streams it may have open, instead of limits.max_streams_per_token; 0 for no limit
    #[arg(long, value_name = "NUMBER")]
    pub max_streams: Option<u32>,
}

/// What `token list` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct TokenListArgs {
    /// Where the tokens are.
    #[command(flatten)]
    pub file: TokensFileArgs,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// What `token revoke` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct TokenRevokeArgs {
    /// Where the tokens are.
    #[command(flatten)]
    pub file: TokensFileArgs,
    /// Its name
    pub name: String,
}

/// Does what the command says.
///
/// # Errors
/// When the file cannot be read or written, or the name is taken or unknown.
pub fn run(command: TokenCommand) -> Result<(), Failure> {
    match command {
        TokenCommand::Create(args) => create(args),
        TokenCommand::List(args) => list(&args),
        TokenCommand::Revoke(args) => revoke(&args),
    }
}

fn create(args: TokenCreateArgs) -> Result<(), Failure> {
    let token = Token::generate().map_err(Failure::failed)?;
    let now = i64::try_from(Clock::from_wall().now()).ok().and_then(|now| Timestamp::from_microsecond(now).ok());
    let entry = Entry {
        name: args.name,
        hash: token.hash(),
        scopes: args.scopes,
        max_events_per_second: args.max_events_per_second,
        max_streams: args.max_streams,
        created: now.map_or_else(String::new, |now| format!("{now:.0}")),
    };
    let path = &args.file.file;
    TokensFile::edit(path, |file| file.add(entry.clone())).map_err(Failure::failed)?;
    eprintln!("added to {}, which a broker reads that has [auth] tokens_file = {:?} in its configuration:\n", path.display(), path);
    eprintln!("{entry}");
    eprintln!("the token itself, which is shown this once and kept nowhere:");
    if output::line(token.expose()) {
        return Ok(());
    }
    // Nobody has it.
    TokensFile::edit(path, |file| file.remove(&entry.name).map(drop)).map_err(Failure::failed)?;
    Err(Failure::Failed("nobody took the token, so it was revoked again".to_owned()))
}

fn list(args: &TokenListArgs) -> Result<(), Failure> {
    for entry in TokensFile::read(&args.file.file).map_err(Failure::failed)?.tokens {
        let scopes: Vec<_> = entry.scopes.iter().map(ToString::to_string).collect();
        let line = if args.json {
            let (rate, streams) = (entry.max_events_per_second, entry.max_streams);
            let created = entry.created;
            json!({ "name": entry.name, "scopes": scopes, "max_events_per_second": rate, "max_streams": streams, "created": created })
                .to_string()
        } else {
            format!("{}  {}  {}", entry.name, entry.created, scopes.join(" | "))
        };
        if !output::line(line) {
            break;
        }
    }
    Ok(())
}

fn revoke(args: &TokenRevokeArgs) -> Result<(), Failure> {
    TokensFile::edit(&args.file.file, |file| file.remove(&args.name)).map_err(Failure::failed)?;
    output::line(format_args!("{:?} is revoked: a running broker refuses it, and ends its streams, within seconds", args.name));
    Ok(())
}
