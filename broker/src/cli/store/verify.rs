//! `waypost store verify`.

use std::path::Path;

use waypost_proto::v1::{
    StoreFinding, StoreVerified, VerifyStoreRequest, store_admin_service_client::StoreAdminServiceClient, verify_store_response::Response,
};
use waypost_store::{Finding, UpkeepError, verify};

use super::stat::size;
use crate::{
    cli::{
        admin::call::{AdminArgs, Call},
        connection::refused,
        failure::Failure,
        output,
        table::clean,
        types::Types,
    },
    grpc::convert::{found, verified},
};

/// Asks a running broker.
///
/// # Errors
/// What the broker refuses, and [`Failure::Damage`].
pub async fn live(args: &AdminArgs) -> Result<(), Failure> {
    let call = Call::open(args).await?;
    let mut client = StoreAdminServiceClient::new(call.channel.clone());
    let mut stream = client.verify_store(VerifyStoreRequest {}).await.map_err(refused)?.into_inner();
    let mut summary = None;
    while let Some(message) = stream.message().await.map_err(refused)? {
        match message.response {
            Some(Response::Finding(finding)) => tell(&call.types, args.json, &finding)?,
            Some(Response::Verified(verified)) => summary = Some(verified),
            None => {}
        }
    }
    let summary = summary.ok_or_else(|| Failure::Unavailable("the broker ended before it had verified everything".to_owned()))?;
    end(&call.types, args.json, &summary)
}

/// Looks at a directory.
///
/// # Errors
/// When there is no store, or a broker has it open, and [`Failure::Damage`].
pub fn offline(args: &AdminArgs, dir: &Path) -> Result<(), Failure> {
    let types = Types::built_in(&args.broker)?;
    let mut told = Ok(());
    let tell = &mut |finding: Finding| {
        if told.is_ok() {
            told = tell(&types, args.json, &found(finding));
        }
    };
    let summary = verify(dir, tell).map_err(|error| failed(dir, "verify", &error))?;
    told?;
    end(&types, args.json, &verified(summary))
}

/// Why a directory was not looked at; `command` is the one that asks a running broker for the same.
pub(super) fn failed(dir: &Path, command: &str, error: &UpkeepError) -> Failure {
    match error {
        UpkeepError::NoStore(_) => Failure::NotFound(error.to_string()),
        UpkeepError::InUse(_) => Failure::Unavailable(format!("{error}: `waypost store {command}` without a directory")),
        _ => Failure::Failed(format!("{}: {error}", dir.display())),
    }
}

fn tell(types: &Types, json: bool, finding: &StoreFinding) -> Result<(), Failure> {
    if json {
        output::line(types.mapped(finding)?);
    } else {
        let position = finding.position.map_or_else(String::new, |position| format!(" at {position}"));
        let cost = if finding.cost.is_empty() { String::new() } else { format!("; {}", finding.cost) };
        let kind = if finding.damage { "DAMAGE" } else { "note" };
        output::line(format_args!("{kind}  {}{position}: {}{}", clean(&finding.file), clean(&finding.what), clean(&cost)));
    }
    Ok(())
}

fn end(types: &Types, json: bool, summary: &StoreVerified) -> Result<(), Failure> {
    let StoreVerified { segments, frames, events, values, bytes, damage, .. } = *summary;
    if json {
        output::line(types.mapped(summary)?);
    } else {
        let read = size(bytes);
        output::line(format_args!(
            "{segments} segments ({read}), {frames} frames, {events} events and {values} values of the tables were read"
        ));
    }
    if damage > 0 {
        return Err(Failure::Damage(format!("damage was found in {damage} places")));
    }
    if !json {
        output::line("no damage found");
    }
    Ok(())
}
