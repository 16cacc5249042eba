//! What guests write to stdout and stderr, when no terminal is theirs, and to the logger: log records.
//!
//! Text becomes one record a line, with the entry and the call that it came from. How much a guest may write is
//! bounded: over the limit its call ends.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::io::AsyncWrite;
use wasmtime_wasi::{
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamError, StreamResult},
};

use crate::limits::Exceeded;

/// A line longer than this is cut into several records.
pub(crate) const LINE_MAX: usize = 8 << 10;

/// How much a guest may write to a stream at once.
const PERMIT: usize = 64 << 10;

/// A call that lasts is given its budget again after this.
const REFILL: Duration = Duration::from_mins(1);

/// Where one instance writes: who it is, whose call it runs, and how much it may still write.
pub(crate) struct Journal {
    entry: Box<str>,
    call: Mutex<Option<Box<str>>>,
    limit: usize,
    left: AtomicUsize,
    filled: Mutex<Instant>,
}

impl Journal {
    pub(crate) fn new(entry: &str, limit: usize) -> Self {
        Self {
            entry: entry.into(),
            call: Mutex::default(),
            limit,
            left: AtomicUsize::new(limit),
            filled: Mutex::new(Instant::now()),
        }
    }

    /// Another call begins.
    pub(crate) fn begin(&self, call: Option<&str>) {
        self.left.store(self.limit, Ordering::Relaxed);
        *self.call.lock().unwrap_or_else(PoisonError::into_inner) = call.map(Into::into);
    }

    pub(crate) fn entry(&self) -> &str {
        &self.entry
    }

    /// The call that runs, if an edge named it.
    pub(crate) fn call(&self) -> String {
        let call = self.call.lock().unwrap_or_else(PoisonError::into_inner);
        call.as_deref().unwrap_or_default().to_owned()
    }

    /// Takes `bytes` from what may still be written.
    pub(crate) fn spend(&self, bytes: usize) -> Result<(), Exceeded> {
        if self.take(bytes) {
            return Ok(());
        }
        let mut filled = self.filled.lock().unwrap_or_else(PoisonError::into_inner);
        if filled.elapsed() > REFILL {
            *filled = Instant::now();
            self.left.store(self.limit, Ordering::Relaxed);
            if self.take(bytes) {
                return Ok(());
            }
        }
        Err(Exceeded::Output(self.limit))
    }

    fn take(&self, bytes: usize) -> bool {
        let rest = |left: usize| left.checked_sub(bytes);
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest)
            .is_ok()
    }
}

/// One of a guest's output streams.
#[derive(Clone)]
pub(crate) struct LogStream {
    journal: Arc<Journal>,
    stream: &'static str,
}

impl LogStream {
    pub(crate) fn new(journal: Arc<Journal>, stream: &'static str) -> Self {
        Self { journal, stream }
    }

    fn writer(&self) -> LineWriter {
        LineWriter {
            stream: self.clone(),
            line: Vec::new(),
        }
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.writer())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.writer())
    }
}

struct LineWriter {
    stream: LogStream,
    line: Vec<u8>,
}

impl LineWriter {
    fn append(&mut self, bytes: &[u8]) -> Result<(), Exceeded> {
        self.stream.journal.spend(bytes.len())?;
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = part
                .strip_suffix(b"\n")
                .map_or((part, false), |text| (text, true));
            self.line.extend_from_slice(text);
            if ended || self.line.len() >= LINE_MAX {
                self.emit();
            }
        }
        Ok(())
    }

    fn emit(&mut self) {
        let text = String::from_utf8_lossy(&self.line);
        let (entry, stream) = (self.stream.journal.entry(), self.stream.stream);
        let call = self.stream.journal.call();
        let text = text.trim_end_matches('\r');
        if call.is_empty() {
            tracing::info!(target: "wippy::guest", entry, stream, "{text}");
        } else {
            tracing::info!(target: "wippy::guest", entry, stream, call, "{text}");
        }
        self.line.clear();
    }
}

#[async_trait::async_trait]
impl Pollable for LineWriter {
    async fn ready(&mut self) {}
}

impl OutputStream for LineWriter {
    fn write(&mut self, bytes: wasmtime_wasi_io::bytes::Bytes) -> StreamResult<()> {
        self.append(&bytes)
            .map_err(|exceeded| StreamError::Trap(exceeded.into()))
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT)
    }
}

impl AsyncWrite for LineWriter {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.append(bytes).map(|()| bytes.len()).map_err(io::Error::other))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for LineWriter {
    /// The last line may lack its end.
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.emit();
        }
    }
}
