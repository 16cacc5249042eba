//! Signals: the first one asks for a graceful end, the second one leaves at once.

use std::process;

use tokio::signal::unix::{SignalKind, signal};

/// Waits for the first SIGINT or SIGTERM. From then on a second one ends the program with code 130.
///
/// Where signals cannot be listened to, it waits forever and the system's own handling stands.
pub(crate) async fn requested() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        leave();
    });
}

#[expect(clippy::exit, reason = "the user asked twice; whatever still runs is not waited for")]
fn leave() -> ! {
    process::exit(130)
}
