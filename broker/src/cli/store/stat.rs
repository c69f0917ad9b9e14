//! `waypost store stat`.

use waypost_proto::v1::{GetStoreRequest, Store, store_admin_service_client::StoreAdminServiceClient};

use crate::{
    cli::{
        admin::call::{AdminArgs, Call},
        connection::refused,
        failure::Failure,
        table::Table,
        tail::time,
    },
    config::Size,
};

/// Shows how the store is.
///
/// # Errors
/// What the broker refuses.
pub async fn run(args: &AdminArgs) -> Result<(), Failure> {
    let call = Call::open(args).await?;
    let answer = StoreAdminServiceClient::new(call.channel.clone()).get_store(GetStoreRequest {}).await.map_err(refused)?;
    call.show(&answer.into_inner().store.unwrap_or_default(), facts)
}

/// In whole mebibytes, rounded up.
pub(super) fn size(bytes: u64) -> Size {
    Size::from_bytes(bytes.div_ceil(1 << 20) << 20)
}

fn facts(store: &Store) -> String {
    let mut table = Table::default();
    let percent = store.used_bytes.saturating_mul(100).checked_div(store.cap_bytes).unwrap_or(0);
    table.fact("used", format_args!("{} of {} ({percent} %)", size(store.used_bytes), size(store.cap_bytes)));
    table.fact("reserve", format_args!("{}, for settling only", size(store.reserve_bytes)));
    table.fact("full", if store.full { "yes: publishing is refused" } else { "no" });
    let offsets = match store.next_offset.checked_sub(1) {
        Some(last) if last >= store.first_offset => format!("{} to {last}", store.first_offset),
        _ => "no events".to_owned(),
    };
    table.fact("offsets", offsets);
    table.fact("newest", time(store.newest_at));
    table.fact("segments", store.segments);
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
