//! Signals: the first one asks for a graceful end, the second one leaves at once.

use std::process;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Begins to listen at once; the future ends with the first SIGINT or SIGTERM. From then on a second one ends the
/// program with code 130.
///
/// Where signals cannot be listened to, the future never ends and the system's own handling stands.
pub(crate) fn requested() -> impl Future<Output = ()> {
    let signals = Signals::listen();
    async move {
        let Some(mut signals) = signals else {
            return std::future::pending().await;
        };
        signals.next().await;
        tokio::spawn(async move {
            signals.next().await;
            leave();
        });
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Option<Self> {
        let interrupt = signal(SignalKind::interrupt()).ok()?;
        let terminate = signal(SignalKind::terminate()).ok()?;
        Some(Self { interrupt, terminate })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[expect(
    clippy::exit,
    reason = "the user asked twice; whatever still runs is not waited for"
)]
fn leave() -> ! {
    process::exit(130)
}
