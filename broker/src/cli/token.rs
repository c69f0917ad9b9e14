//! `waypost token`: the file of the tokens, edited.
//!
//! Constraint: a token is written to standard output, once, and nowhere else; everything else about it goes to standard error.

use jiff::Timestamp;
use serde_json::json;

use super::{
    args::{TokenCommand, TokenCreateArgs, TokenListArgs, TokenRevokeArgs},
    failure::Failure,
    output,
};
use crate::{
    access::tokens::{Entry, Token, TokensFile},
    clock::Clock,
};

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
