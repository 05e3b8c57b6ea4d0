//! When to stop.

use tokio::signal::unix::{SignalKind, signal as listen};

/// Completes at the first SIGTERM or SIGINT.
pub async fn signal() {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (listen(SignalKind::terminate()), listen(SignalKind::interrupt()))
    else {
        // Without handlers the signals keep their default action, which ends the process.
        tracing::warn!("signal handlers can't be installed; shutdown will not drain");
        return std::future::pending().await;
    };
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    tracing::info!(signal = name, "shutting down");
}
