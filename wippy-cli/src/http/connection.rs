//! One connection's time: how long a client may take to send the head of a request, to send nothing at all, and to take
//! what it is sent.
//!
//! hyper has one limit for idling and for sending a head, and closes without a word. So it is told of none, and reads
//! and writes through [`Timed`], which knows from [`Activity`] whether a request is being answered.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

/// How long parts of a connection may take; nothing is no limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// The head of a request, from its first byte to its last.
    pub(super) head: Option<Duration>,
    /// Nothing, between requests.
    pub(super) idle: Option<Duration>,
    /// A client that takes nothing of what it is sent.
    pub(super) stall: Option<Duration>,
}

/// What the service tells the connection about its requests.
#[derive(Debug, Default)]
pub(super) struct Activity {
    begun: AtomicU64,
    ended: AtomicU64,
    is_http2: AtomicBool,
}

impl Activity {
    pub(super) fn begin(&self, version: http::Version) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        if version == http::Version::HTTP_2 {
            self.is_http2.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn end(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// What goes to a client that began a request and did not go on.
const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// How long a connection that ends before its client has sent everything is read from.
const LINGER: Duration = Duration::from_secs(1);
/// How much of that.
const LINGER_MAX: usize = 256 << 10;

/// More bytes at once than a frame of HTTP/2 has that only keeps a connection alive.
const KEEPING_ALIVE_MAX: usize = 64;

/// A connection that fails when it takes too long.
pub(super) struct Timed<S> {
    stream: S,
    limits: Limits,
    activity: Arc<Activity>,
    phase: Phase,
    /// How many requests had begun when the phase did.
    seen: u64,
    reading: Timer,
    writing: Timer,
    lingering: Timer,
    /// Bytes that came after the end.
    lingered: usize,
    is_shut: bool,
}

/// What a client is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It has connected and not sent anything.
    Silent,
    /// It sends the head of a request.
    Head,
    /// It waits for an answer.
    Busy,
    /// It has its answers.
    Idle,
}

impl<S> Timed<S> {
    pub(super) fn new(stream: S, limits: Limits, activity: Arc<Activity>) -> Self {
        Self {
            stream,
            limits,
            activity,
            phase: Phase::Silent,
            seen: 0,
            reading: Timer::default(),
            writing: Timer::default(),
            lingering: Timer::default(),
            lingered: 0,
            is_shut: false,
        }
    }

    /// Notices what the service has done meanwhile.
    fn follow(&mut self) {
        let begun = self.activity.begun.load(Ordering::Relaxed);
        if self.activity.ended.load(Ordering::Relaxed) < begun {
            if self.phase != Phase::Busy {
                self.enter(Phase::Busy, begun);
            }
        } else if self.phase == Phase::Busy || begun != self.seen {
            self.enter(Phase::Idle, begun);
        }
    }

    fn enter(&mut self, phase: Phase, begun: u64) {
        self.phase = phase;
        self.seen = begun;
        self.reading.clear();
    }

    fn read_limit(&self) -> Option<Duration> {
        match self.phase {
            Phase::Silent | Phase::Head => self.limits.head,
            Phase::Idle => self.limits.idle,
            Phase::Busy => None,
        }
    }

    /// What a write of bytes came to. The end of a response may be on its way long after the request is over, and its
    /// client is not idle then.
    fn sent(&mut self, outcome: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = outcome
            && bytes > KEEPING_ALIVE_MAX
            && self.phase == Phase::Idle
        {
            self.reading.clear();
        }
        self.written(outcome, cx)
    }

    /// What a write came to, unless it takes too long.
    fn written<T>(&mut self, outcome: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.writing.clear();
            return outcome;
        }
        if self.writing.has_passed(self.limits.stall, cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Timed<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.follow();
        let before = buf.filled().len();
        if let Poll::Ready(outcome) = Pin::new(&mut this.stream).poll_read(cx, buf) {
            let is_quiet = matches!(this.phase, Phase::Silent | Phase::Idle);
            // On HTTP/2 any frame may come; a head has no beginning that could be seen here.
            if is_quiet && buf.filled().len() > before && !this.activity.is_http2.load(Ordering::Relaxed) {
                this.enter(Phase::Head, this.seen);
            }
            return Poll::Ready(outcome);
        }
        let limit = this.read_limit();
        if !this.reading.has_passed(limit, cx) {
            return Poll::Pending;
        }
        if this.phase == Phase::Head {
            // It may not be taken, but there is nothing more to be done about that.
            let _ = Pin::new(&mut this.stream).poll_write(cx, TOO_SLOW);
            let _ = Pin::new(&mut this.stream).poll_flush(cx);
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.sent(outcome, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.sent(outcome, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_flush(cx);
        this.written(outcome, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_shut {
            let outcome = Pin::new(&mut this.stream).poll_shutdown(cx);
            match this.written(outcome, cx) {
                Poll::Ready(Ok(())) => this.is_shut = true,
                outcome => return outcome,
            }
        }
        this.linger(cx).map(Ok)
    }
}

impl<S: AsyncRead + Unpin> Timed<S> {
    /// A client that is still sending would lose the answer, if the connection were closed on what nobody has read.
    fn linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if matches!(self.phase, Phase::Silent | Phase::Idle) {
            return Poll::Ready(());
        }
        let mut scratch = [0; 4096];
        while self.lingered < LINGER_MAX {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => self.lingered += buffer.filled().len(),
                Poll::Ready(_) => break,
                Poll::Pending if self.lingering.has_passed(Some(LINGER), cx) => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }
}

/// A time until which something has to happen. It runs from the first question about it.
///
/// A phase changes several times a request, and a clock in tokio's wheel is dear to set. So a clock that would ring too
/// early is left alone, and set anew when it has rung.
#[derive(Default)]
struct Timer {
    deadline: Option<Instant>,
    clock: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    fn clear(&mut self) {
        self.deadline = None;
    }

    /// Whether the time is up. Otherwise the task is woken when it is.
    fn has_passed(&mut self, limit: Option<Duration>, cx: &mut Context<'_>) -> bool {
        let Some(limit) = limit else { return false };
        let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + limit);
        let clock = self
            .clock
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if clock.deadline() > deadline {
            clock.as_mut().reset(deadline);
        }
        while clock.as_mut().poll(cx).is_ready() {
            if clock.deadline() >= deadline {
                return true;
            }
            clock.as_mut().reset(deadline);
        }
        false
    }
}
