//! `waypost store stat`.

use std::path::Path;

use waypost_proto::v1::{GetStoreRequest, Store, store_admin_service_client::StoreAdminServiceClient};
use waypost_store::{Glance, glance};

use super::verify;
use crate::{
    cli::{
        admin::call::{AdminArgs, Call},
        connection::refused,
        failure::Failure,
        output,
        table::Table,
        tail::time,
        types::Types,
    },
    config::Size,
    envelope::timestamp,
};

/// Shows how the store of a running broker is.
///
/// # Errors
/// What the broker refuses.
pub async fn live(args: &AdminArgs) -> Result<(), Failure> {
    let call = Call::open(args).await?;
    let answer = StoreAdminServiceClient::new(call.channel.clone()).get_store(GetStoreRequest {}).await.map_err(refused)?;
    call.show(&answer.into_inner().store.unwrap_or_default(), facts)
}

/// Shows how the store of a directory is.
///
/// # Errors
/// When there is none, or a broker has it open.
pub fn offline(args: &AdminArgs, dir: &Path) -> Result<(), Failure> {
    let Glance { used, segments, first, next, newest, set_aside } = glance(dir).map_err(|error| verify::failed(dir, "stat", &error))?;
    let store = Store {
        used_bytes: used,
        first_offset: first,
        next_offset: next,
        segments: u32::try_from(segments).unwrap_or(u32::MAX),
        newest_at: (newest > 0).then(|| timestamp(newest)),
        on_disk: true,
        ..Store::default()
    };
    if args.json {
        output::line(Types::built_in(&args.broker)?.mapped(&store)?);
        return Ok(());
    }
    let mut table = Table::default();
    table.fact("used", size(used));
    kept(&store, &mut table);
    if set_aside > 0 {
        table.fact("damage", format_args!("{set_aside} files were set aside: *.damaged, *.torn"));
    }
    output::line(table);
    Ok(())
}

/// In whole mebibytes, rounded up.
pub(super) fn size(bytes: u64) -> Size {
    Size::from_bytes(bytes.div_ceil(1 << 20) << 20)
}

fn kept(store: &Store, table: &mut Table) {
    let offsets = match store.next_offset.checked_sub(1) {
        Some(last) if last >= store.first_offset => format!("{} to {last}", store.first_offset),
        _ => "no events".to_owned(),
    };
    table.fact("offsets", offsets);
    table.fact("newest", time(store.newest_at));
    table.fact("segments", store.segments);
}

fn facts(store: &Store) -> String {
    let mut table = Table::default();
    let percent = store.used_bytes.saturating_mul(100).checked_div(store.cap_bytes).unwrap_or(0);
    table.fact("used", format_args!("{} of {} ({percent} %)", size(store.used_bytes), size(store.cap_bytes)));
    table.fact("reserve", format_args!("{}, for settling only", size(store.reserve_bytes)));
    table.fact("full", if store.full { "yes: publishing is refused" } else { "no" });
    kept(store, &mut table);
    if store.dedup_since.is_some() {
        table.fact("duplicates", format_args!("known of events since {} only: raise store.dedup_ids", time(store.dedup_since)));
    }
    let damage =
        if store.damage == 0 { "none found since the start".to_owned() } else { format!("found {} times, see the log", store.damage) };
    table.fact("damage", damage);
    if !store.on_disk {
        table.fact("note", "it is in memory: everything is forgotten at the end");
    }
    table.to_string()
}
