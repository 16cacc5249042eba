//! What guests write to stdout and stderr, when no terminal is theirs: log records, one a line.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};

/// A line longer than this is cut into several records.
const LINE_MAX: usize = 8 << 10;

/// One of a guest's output streams.
#[derive(Clone)]
pub(crate) struct LogStream {
    entry: Arc<str>,
    stream: &'static str,
    /// Bytes that the guest may still write; what is beyond is dropped, and the log says so once.
    budget: Arc<Mutex<usize>>,
}

impl LogStream {
    pub(crate) fn new(entry: Arc<str>, stream: &'static str, budget: usize) -> Self {
        Self {
            entry,
            stream,
            budget: Arc::new(Mutex::new(budget)),
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
        Box::new(LineWriter {
            stream: self.clone(),
            line: Vec::new(),
        })
    }
}

struct LineWriter {
    stream: LogStream,
    line: Vec<u8>,
}

impl LineWriter {
    fn emit(&mut self) {
        let text = String::from_utf8_lossy(&self.line);
        let (entry, stream) = (&*self.stream.entry, self.stream.stream);
        tracing::info!(target: "wippy::guest", entry, stream, "{}", text.trim_end_matches('\r'));
        self.line.clear();
    }

    fn spend(&self, bytes: usize) -> bool {
        let mut budget = self.stream.budget.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rest) = budget.checked_sub(bytes) {
            *budget = rest;
            return true;
        }
        if std::mem::take(&mut *budget) > 0 {
            let (entry, stream) = (&*self.stream.entry, self.stream.stream);
            tracing::warn!(target: "wippy::guest", entry, stream, "output limit reached, the rest is dropped");
        }
        false
    }
}

impl AsyncWrite for LineWriter {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.spend(bytes.len()) {
            for part in bytes.split_inclusive(|byte| *byte == b'\n') {
                let (text, ended) = part
                    .strip_suffix(b"\n")
                    .map_or((part, false), |text| (text, true));
                self.line.extend_from_slice(text);
                if ended || self.line.len() >= LINE_MAX {
                    self.emit();
                }
            }
        }
        Poll::Ready(Ok(bytes.len()))
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
