//! SIGTERM and SIGINT: the first drains, the second ends the process at once. SIGHUP: the configuration is read again.

use std::{io, sync::Arc};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{Reloaded, Reloader};

/// Exit code after a second signal: as shells have it for SIGINT.
const CUT_SHORT: i32 = 130;

/// Cancels the token at the first signal. At the second the process ends, wherever it is: what was answered is durable, so nothing is lost.
///
/// # Errors
/// When the operating system does not let us listen for signals.
pub fn drain_on_signal(stop: CancellationToken) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let name = either(&mut terminate, &mut interrupt).await;
        info!("{name}: draining; a second signal ends the process at once");
        stop.cancel();
        let name = either(&mut terminate, &mut interrupt).await;
        info!("{name} again: ending at once");
        std::process::exit(CUT_SHORT);
    });
    Ok(())
}

/// Hears SIGHUP from now on: without it the signal would end the process.
///
/// # Errors
/// When the operating system does not let us listen for signals.
pub fn hangups() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Reads the configuration again at each SIGHUP, one after the other, until the token is cancelled.
pub async fn reload_on(mut hangups: Signal, reloader: Reloader, stop: CancellationToken) {
    let reloader = Arc::new(reloader);
    loop {
        tokio::select! {
            _ = hangups.recv() => {}
            () = stop.cancelled() => return,
        }
        let reading = Arc::clone(&reloader);
        match tokio::task::spawn_blocking(move || reading.reload()).await {
            Ok(Ok(Reloaded { applied, restart })) => {
                info!(changed = applied.join(", "), "SIGHUP: the configuration was read again, and secrets with it");
                if !restart.is_empty() {
                    warn!(keys = restart.join(", "), "these changed as well, and take effect with the next start");
                }
            }
            Ok(Err(problem)) => error!(%problem, "SIGHUP: the configuration is wrong; nothing was changed"),
            Err(error) => error!(%error, "SIGHUP: reading the configuration was given up; nothing was changed"),
        }
    }
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
