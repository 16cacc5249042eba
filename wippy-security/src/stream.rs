//! [`Stream`]: values that come later, on their way from one guest to another.
//!
//! A stream has two ends. Whoever makes the values holds the [`Inlet`], whoever wants them the [`Outlet`]; until it is
//! taken, that travels as an opaque value. What waits in between is bounded, so a slow reader slows the writer down. Neither
//! end blocks: both are polled, and wake each other.

use std::{
    any::Any,
    collections::VecDeque,
    fmt, mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context as Waking, Poll, Waker},
};

use wippy_wit::{Foreign, Value, accept::CHANNEL};

use crate::CallError;

/// How many values may wait in a stream.
const VALUES_MAX: usize = 64;

/// How many bytes of values may wait in a stream before no further one is taken.
const BYTES_MAX: usize = 64 << 10;

/// Counts the bytes that wait in all the streams that were made with it.
pub type Gauge = Arc<AtomicUsize>;

/// A stream whose waiting values `gauge` counts.
pub fn stream(gauge: Gauge) -> (Inlet, Outlet) {
    let pipe = Arc::new(Pipe {
        gauge,
        state: Mutex::new(State {
            values: VecDeque::new(),
            bytes: 0,
            has_begun: false,
            left: 0,
            end: None,
            is_read: true,
            reader: None,
            writer: None,
            watcher: None,
        }),
    });
    (Inlet(pipe.clone()), Outlet(pipe))
}

struct Pipe {
    gauge: Gauge,
    state: Mutex<State>,
}

struct State {
    values: VecDeque<Value>,
    bytes: usize,
    /// Whether the reader has begun.
    has_begun: bool,
    /// How many more values are wanted: none before the reader has begun.
    left: usize,
    /// Why there will be no further value.
    end: Option<Result<(), CallError>>,
    is_read: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    watcher: Option<Waker>,
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, why: Result<(), CallError>) {
        let mut state = self.lock();
        if state.end.is_some() {
            return;
        }
        state.end = Some(why);
        let wakers = [state.reader.take(), state.watcher.take()];
        drop(state);
        wake(wakers);
    }
}

impl State {
    fn has_room(&self) -> bool {
        self.left > 0 && self.values.len() < VALUES_MAX && self.bytes < BYTES_MAX
    }
}

/// Wakes when no lock is held.
fn wake<const N: usize>(wakers: [Option<Waker>; N]) {
    wakers.into_iter().flatten().for_each(Waker::wake);
}

/// Remembers who polls.
fn remember(slot: &mut Option<Waker>, waking: &Waking<'_>) {
    if slot.as_ref().is_none_or(|known| !known.will_wake(waking.waker())) {
        *slot = Some(waking.waker().clone());
    }
}

/// The end that values are put into. Dropping it ends the stream.
pub struct Inlet(Arc<Pipe>);

impl Inlet {
    /// Waits until a value may be put in: true then, false once nobody reads any more.
    pub fn poll_room(&self, waking: &mut Waking<'_>) -> Poll<bool> {
        let mut state = self.0.lock();
        if !state.is_read || state.end.is_some() {
            return Poll::Ready(false);
        }
        if state.has_room() {
            return Poll::Ready(true);
        }
        remember(&mut state.writer, waking);
        Poll::Pending
    }

    /// Puts a value in; nothing happens if nobody reads any more. One should have asked for room before: only then is
    /// what waits bounded.
    pub fn put(&self, value: Value) {
        let mut state = self.0.lock();
        if !state.is_read || state.end.is_some() {
            return;
        }
        let bytes = value.weight();
        self.0.gauge.fetch_add(bytes, Ordering::Relaxed);
        state.bytes = state.bytes.saturating_add(bytes);
        state.left = state.left.saturating_sub(1);
        state.values.push_back(value);
        let reader = state.reader.take();
        drop(state);
        wake([reader]);
    }

    /// Ends the stream. What waits can still be read; a failure is what comes after it.
    pub fn end(&self, why: Result<(), CallError>) {
        self.0.end(why);
    }

    /// Something to see from elsewhere what becomes of the stream.
    pub fn watch(&self) -> StreamWatch {
        StreamWatch(self.0.clone())
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.0.end(Ok(()));
    }
}

/// The end that values are taken out of. Dropping it tells the writer that nobody wants any more.
pub struct Outlet(Arc<Pipe>);

impl Outlet {
    /// The next value, or what the stream failed with; `None` when there will be none.
    pub fn poll_next(&mut self, waking: &mut Waking<'_>) -> Poll<Option<Result<Value, CallError>>> {
        let mut state = self.0.lock();
        if let Some(value) = state.values.pop_front() {
            let bytes = value.weight();
            self.0.gauge.fetch_sub(bytes, Ordering::Relaxed);
            state.bytes = state.bytes.saturating_sub(bytes);
            let writer = state.writer.take();
            drop(state);
            wake([writer]);
            return Poll::Ready(Some(Ok(value)));
        }
        if let Some(end) = &mut state.end {
            // A failure is told once.
            return Poll::Ready(mem::replace(end, Ok(())).err().map(Err));
        }
        remember(&mut state.reader, waking);
        Poll::Pending
    }

    /// Whether the next value is there, or it is known that there will be none.
    pub fn poll_ready(&mut self, waking: &mut Waking<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.values.is_empty() && state.end.is_none() {
            remember(&mut state.reader, waking);
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    fn has_begun(&self) -> bool {
        self.0.lock().has_begun
    }

    /// Lets the writer begin, with at most `count` values.
    fn begin(&self, count: usize) {
        let mut state = self.0.lock();
        state.has_begun = true;
        state.left = count;
        let writer = state.writer.take();
        drop(state);
        wake([writer]);
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_read = false;
        let values = mem::take(&mut state.values);
        self.0
            .gauge
            .fetch_sub(mem::take(&mut state.bytes), Ordering::Relaxed);
        let wakers = [state.writer.take(), state.watcher.take()];
        drop(state);
        // They may hold streams themselves.
        drop(values);
        wake(wakers);
    }
}

/// Sees what becomes of a stream.
pub struct StreamWatch(Arc<Pipe>);

/// What became of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Its writer ended it.
    Ended,
    /// Its reader went away first.
    Abandoned,
}

impl StreamWatch {
    /// Waits for the stream's end.
    pub fn poll(&self, waking: &mut Waking<'_>) -> Poll<Fate> {
        let mut state = self.0.lock();
        if state.end.is_some() {
            return Poll::Ready(Fate::Ended);
        }
        if !state.is_read {
            return Poll::Ready(Fate::Abandoned);
        }
        remember(&mut state.watcher, waking);
        Poll::Pending
    }

    /// Ends the stream with a failure, unless it has ended.
    pub fn fail(&self, error: CallError) {
        self.0.end(Err(error));
    }
}

/// The outlet of a stream as a value that can be passed along, until somebody takes it.
pub struct Stream(Mutex<Option<Outlet>>);

impl Stream {
    /// A stream to pass along.
    pub fn new(outlet: Outlet) -> Self {
        Self(Mutex::new(Some(outlet)))
    }

    /// The stream in `foreign`, if it is one.
    pub fn of(foreign: &dyn Foreign) -> Option<&Self> {
        foreign.as_any().downcast_ref()
    }

    /// Takes the outlet, to read at most `count` values.
    ///
    /// # Errors
    /// When it was taken before: the values go to one reader.
    pub fn take(&self, count: usize) -> Result<Outlet, CallError> {
        let outlet = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let outlet = outlet.ok_or_else(taken)?;
        outlet.begin(count);
        Ok(outlet)
    }

    /// The next value, for somebody who reads it where it is and may still pass it along.
    pub fn poll_next(&self, waking: &mut Waking<'_>) -> Poll<Option<Result<Value, CallError>>> {
        let mut outlet = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(outlet) = &mut *outlet else {
            return Poll::Ready(Some(Err(taken())));
        };
        if !outlet.has_begun() {
            outlet.begin(usize::MAX);
        }
        outlet.poll_next(waking)
    }

    /// Whether nobody has taken it.
    pub fn is_free(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

#[cold]
fn taken() -> CallError {
    CallError::invalid("the channel has been given to somebody else already")
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("is_free", &self.is_free())
            .finish()
    }
}

impl Foreign for Stream {
    fn type_name(&self) -> &str {
        CHANNEL
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
