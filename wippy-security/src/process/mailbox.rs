//! [`Mailbox`]: where letters for a process wait, in the order in which they were sent.
//!
//! Messages take a place each, of a bounded number, and keep it until they were consumed; who sends to a full mailbox
//! is told so. Events take places too, but early: a monitor or a link takes the place of the event that it may cause,
//! so that no event is ever refused.

use std::{
    collections::VecDeque,
    fmt, mem,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    task::{Context as Waking, Poll, Waker},
};

use tokio::time::Instant;
use wippy_wit::Value;

use crate::{CallError, ErrorKind, Exit, Pid, Record};

/// How much may wait for one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailboxLimits {
    /// Messages that were sent and not consumed.
    pub messages: usize,
    /// The bytes of their payloads, roughly.
    pub bytes: usize,
    /// Monitors and links that a process holds, together with the events that it did not consume.
    pub events: usize,
}

impl Default for MailboxLimits {
    fn default() -> Self {
        Self {
            messages: 16 * 1024,
            bytes: 64 << 20,
            events: 256 * 1024,
        }
    }
}

/// What one process tells another.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who sent it; nobody when it comes from outside of all processes.
    pub from: Option<Pid>,
    /// What it is about. Topics that begin with `@` are reserved.
    pub topic: Arc<str>,
    /// What it says.
    pub payloads: Vec<Value>,
}

/// What the system tells a process.
#[derive(Debug, Clone)]
pub enum Event {
    /// It shall end.
    Cancel {
        /// Who says so; nobody when it is the system itself.
        from: Option<Pid>,
        /// When it is terminated if it has not ended by then.
        deadline: Option<Instant>,
        /// Why.
        reason: Option<Arc<str>>,
    },
    /// A process that it monitors has ended.
    Exit {
        /// Which.
        from: Pid,
        /// How.
        exit: Exit,
    },
    /// A process that it is linked to failed; only told to those who trap it.
    LinkDown {
        /// Which.
        from: Pid,
        /// How.
        exit: Exit,
    },
    /// Its entry changed: an upgrade would continue with the new one.
    Outdated,
}

/// What arrives in a mailbox. Its [`Place`] is given back when that is dropped, which who reads the mailbox does
/// when the letter has been consumed.
#[derive(Debug)]
pub enum Letter {
    /// From a process.
    Message(Message, Place),
    /// From the system. Those without a place are never many.
    Event(Event, Option<Place>),
}

/// A place in a mailbox, taken until it is dropped.
pub struct Place {
    record: Arc<Record>,
    kind: PlaceKind,
}

#[derive(Debug, Clone, Copy)]
enum PlaceKind {
    Message { bytes: usize },
    Event,
}

/// The receiving end of a process's mailbox.
#[derive(Clone)]
pub struct Mailbox(pub(super) Arc<Record>);

/// What waits for one process.
#[derive(Default)]
pub(super) struct Inbox {
    letters: VecDeque<Letter>,
    waker: Option<Waker>,
    is_closed: bool,
}

/// A queue that grew larger than this gives its memory back when it is empty.
const KEPT_MAX: usize = 256;

impl Inbox {
    /// Puts a letter in, unless the process has ended. The waker of who waits for it is answered, to be woken when no
    /// lock is held.
    fn push(&mut self, letter: Letter) -> Result<Option<Waker>, Letter> {
        if self.is_closed {
            return Err(letter);
        }
        self.letters.push_back(letter);
        Ok(self.waker.take())
    }

    /// From now on `waker` is woken by the next letter. The former one is answered if that was another: it may own a task,
    /// whose end must not find the lock taken.
    fn wait(&mut self, waker: &Waker) -> Option<Waker> {
        let is_known = self.waker.as_ref().is_some_and(|known| known.will_wake(waker));
        if is_known {
            None
        } else {
            self.waker.replace(waker.clone())
        }
    }

    fn pop(&mut self) -> Option<Letter> {
        let letter = self.letters.pop_front();
        if self.letters.is_empty() && self.letters.capacity() > KEPT_MAX {
            self.letters = VecDeque::new();
        }
        letter
    }
}

impl Mailbox {
    /// The oldest letter. When there is none, the waker is woken by the next one; only the last waker is.
    pub fn poll_next(&self, waking: &mut Waking<'_>) -> Poll<Letter> {
        let mut inbox = lock(&self.0.inbox);
        if let Some(letter) = inbox.pop() {
            return Poll::Ready(letter);
        }
        let former = inbox.wait(waking.waker());
        drop(inbox);
        drop(former);
        Poll::Pending
    }

    /// Takes out everything that waits, oldest first, and has the waker woken by the next letter; only the last waker is.
    /// `take` is called with the mailbox locked.
    pub fn drain(&self, waking: &mut Waking<'_>, mut take: impl FnMut(Letter)) {
        let mut inbox = lock(&self.0.inbox);
        while let Some(letter) = inbox.pop() {
            take(letter);
        }
        let former = inbox.wait(waking.waker());
        drop(inbox);
        drop(former);
    }

    /// The oldest letter, if there is one.
    pub fn try_next(&self) -> Option<Letter> {
        lock(&self.0.inbox).pop()
    }

    /// Waits for the oldest letter.
    pub async fn next(&self) -> Letter {
        std::future::poll_fn(|waking| self.poll_next(waking)).await
    }

    /// Puts letters that were taken out, but not consumed, back to where they were: before all that wait. Who goes on as
    /// another program leaves them to that.
    pub fn put_back(&self, letters: impl DoubleEndedIterator<Item = Letter>) {
        let mut inbox = lock(&self.0.inbox);
        if inbox.is_closed {
            drop(inbox);
            // Nobody will read them; they are dropped where no lock is held.
            letters.for_each(drop);
            return;
        }
        for letter in letters.rev() {
            inbox.letters.push_front(letter);
        }
    }

    /// The process whose mailbox it is.
    pub fn record(&self) -> &Arc<Record> {
        &self.0
    }
}

impl Record {
    /// Delivers a message. Answers whether the process was there to get it.
    ///
    /// # Errors
    /// [`ErrorKind::RateLimited`] when the mailbox is full, [`ErrorKind::Invalid`] when no mailbox could hold it.
    pub(super) fn deliver(self: &Arc<Self>, message: Message) -> Result<bool, CallError> {
        let place = self.take_message_place(&message)?;
        Ok(self.push(Letter::Message(message, place)))
    }

    /// Delivers an event, for which a place was taken before.
    pub(super) fn notify(&self, event: Event, place: Option<Place>) {
        self.push(Letter::Event(event, place));
    }

    fn push(&self, letter: Letter) -> bool {
        let pushed = lock(&self.inbox).push(letter);
        match pushed {
            Ok(waker) => {
                if let Some(waker) = waker {
                    waker.wake();
                }
                true
            }
            // Dropped here, where no lock is held.
            Err(_) => false,
        }
    }

    /// Closes the mailbox: what waits in it and all that comes later is dropped. Answers how many messages waited.
    pub(super) fn close(&self) -> u64 {
        let mut inbox = lock(&self.inbox);
        inbox.is_closed = true;
        let letters = mem::take(&mut inbox.letters);
        let waker = inbox.waker.take();
        drop(inbox);
        drop(waker);
        let messages = letters
            .iter()
            .filter(|letter| matches!(letter, Letter::Message(..)))
            .count();
        messages as u64
    }

    fn take_message_place(self: &Arc<Self>, message: &Message) -> Result<Place, CallError> {
        let bytes = weight(message);
        if bytes > self.limits.bytes {
            return Err(too_large(self, bytes));
        }
        let messages = self.messages.fetch_add(1, Ordering::Relaxed);
        let held = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        // From here on, dropping the place undoes both.
        let place = Place {
            record: Arc::clone(self),
            kind: PlaceKind::Message { bytes },
        };
        if messages >= self.limits.messages || held + bytes > self.limits.bytes {
            return Err(full(self, messages));
        }
        Ok(place)
    }

    /// Takes the place of an event that may come.
    ///
    /// # Errors
    /// [`ErrorKind::RateLimited`] when the process has too many monitors, links and unread events.
    pub(super) fn take_event_place(self: &Arc<Self>) -> Result<Place, CallError> {
        let events = self.events.fetch_add(1, Ordering::Relaxed);
        let place = Place {
            record: Arc::clone(self),
            kind: PlaceKind::Event,
        };
        if events >= self.limits.events {
            return Err(too_many_events(self));
        }
        Ok(place)
    }
}

/// The bytes of a message, roughly: enough to bound what a mailbox holds.
fn weight(message: &Message) -> usize {
    message.topic.len() + message.payloads.iter().map(value_weight).sum::<usize>()
}

fn value_weight(value: &Value) -> usize {
    let inner = match value {
        Value::Nil | Value::Boolean(_) | Value::Integer(_) | Value::Unsigned(_) | Value::Float(_) => 0,
        Value::Foreign(foreign) => foreign.value().map_or(0, value_weight),
        Value::String(bytes) => bytes.len(),
        Value::Table(table) => {
            let pairs = table.pairs.iter();
            table.array.iter().map(value_weight).sum::<usize>()
                + pairs
                    .map(|(key, value)| value_weight(key) + value_weight(value))
                    .sum::<usize>()
        }
    };
    size_of::<Value>() + inner
}

#[cold]
fn too_large(record: &Record, bytes: usize) -> CallError {
    CallError::invalid(format!(
        "a message of {bytes} bytes is too large for the mailbox of `{}`: the limit is {}",
        record.pid(),
        record.limits.bytes
    ))
}

#[cold]
fn full(record: &Record, messages: usize) -> CallError {
    let message = format!(
        "the mailbox of `{}` is full: {messages} messages were not received yet",
        record.pid()
    );
    CallError::new(ErrorKind::RateLimited, message)
}

#[cold]
fn too_many_events(record: &Record) -> CallError {
    let message = format!(
        "`{}` has too many monitors, links and unread events: the limit is {}",
        record.pid(),
        record.limits.events
    );
    CallError::new(ErrorKind::RateLimited, message)
}

impl Place {
    /// The process in whose mailbox it is.
    pub(super) fn record(&self) -> &Arc<Record> {
        &self.record
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        match self.kind {
            PlaceKind::Message { bytes } => {
                self.record.messages.fetch_sub(1, Ordering::Relaxed);
                self.record.bytes.fetch_sub(bytes, Ordering::Relaxed);
            }
            PlaceKind::Event => {
                self.record.events.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Mailbox").field(self.0.pid()).finish()
    }
}
