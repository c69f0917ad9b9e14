//! SIGTERM and SIGINT: the first drains, the second ends the process at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

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

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
