//! The time of one HTTP/2 stream: how long a client may take nothing of one response.
//!
//! On HTTP/1 a client that takes nothing stops its connection, which [`Timed`](super::connection::Timed) notices. On HTTP/2
//! it can keep the connection busy and give a single response no room. hyper does not poll the body of such a response,
//! so nothing in there could end it: it is ended from outside, and only that stream is reset.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

tokio::task_local! {
    static PACE: Arc<Pace>;
}

/// How a response gets on. Odd while a part of it waits for its client, even while its client waits for it.
#[derive(Debug, Default)]
pub(super) struct Pace(AtomicU64);

impl Pace {
    /// That of the stream whose request is being answered; HTTP/1 has none.
    pub(super) fn current() -> Option<Arc<Self>> {
        PACE.try_with(Arc::clone).ok()
    }

    /// A part was handed over.
    pub(super) fn give(&self) {
        self.0.fetch_or(1, Ordering::Relaxed);
    }

    /// The next part is asked for.
    pub(super) fn ask(&self) {
        let now = self.0.load(Ordering::Relaxed);
        if is_waiting(now) {
            self.0.store(now + 1, Ordering::Relaxed);
        }
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn is_waiting(pace: u64) -> bool {
    pace % 2 == 1
}

/// Runs the streams of a connection.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    /// How long a client may take nothing; nothing is no limit.
    pub(super) stall: Option<Duration>,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let Some(stall) = self.stall else {
            tokio::spawn(stream);
            return;
        };
        let pace = Arc::new(Pace::default());
        let paced = Paced {
            stream,
            pace: Arc::clone(&pace),
            stall,
            seen: 0,
            clock: None,
        };
        tokio::spawn(PACE.scope(pace, paced));
    }
}

pin_project! {
    /// A stream that ends when its client takes nothing for too long.
    struct Paced<F> {
        #[pin]
        stream: F,
        pace: Arc<Pace>,
        stall: Duration,
        // The pace for which the clock is set.
        seen: u64,
        clock: Option<Pin<Box<Sleep>>>,
    }
}

impl<F: Future> Future for Paced<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.stream.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let now = this.pace.now();
        if !is_waiting(now) {
            return Poll::Pending;
        }
        let deadline = Instant::now() + *this.stall;
        let clock = this
            .clock
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if *this.seen != now {
            *this.seen = now;
            clock.as_mut().reset(deadline);
        }
        clock.as_mut().poll(cx)
    }
}
