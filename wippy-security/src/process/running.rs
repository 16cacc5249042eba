//! [`Running`]: one process as a future, which whoever is its host polls.

use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context as Waking, Poll, Waker},
    thread,
};

use tokio::time::{Sleep, sleep_until};
use wippy_registry::EntryId;
use wippy_wit::Value;

use super::{Ended, Host, Mailbox, ProcessFuture, Record, Start, Terminal, record::Signal};
use crate::{CallError, Context, ErrorKind, Exit, Pid, guard};

/// A process in progress. It owns everything of the process.
///
/// Its end is told to those whom it concerns exactly once: when the future is ready, or when it is dropped before.
/// Names, the place in the table and that on the host are free by then, so that who hears of it can start the next.
#[must_use = "a process does nothing until it is polled"]
pub struct Running {
    context: Context,
    record: Arc<Record>,
    host: Arc<dyn Host>,
    terminal: Option<Arc<Terminal>>,
    /// The process itself; gone when it has ended.
    future: Option<ProcessFuture>,
    /// Runs while it was told to end and may still do so by itself.
    grace: Option<Pin<Box<Sleep>>>,
    waker: Option<Waker>,
    /// Whether the host counts it.
    is_hosted: bool,
}

impl Running {
    pub(super) fn new(
        context: Context,
        record: Arc<Record>,
        host: Arc<dyn Host>,
        terminal: Option<Arc<Terminal>>,
    ) -> Self {
        Self {
            context,
            record,
            host,
            terminal,
            future: None,
            grace: None,
            waker: None,
            is_hosted: false,
        }
    }

    /// Which process it is.
    pub fn pid(&self) -> &Pid {
        self.record.pid()
    }

    /// What it runs.
    pub fn entry(&self) -> EntryId {
        self.record.entry()
    }

    /// Begins the program `entry`. Who may decide that has decided it.
    pub(super) fn begin(&mut self, entry: &EntryId, arguments: Vec<Value>) -> Result<(), CallError> {
        let program = self.context.dispatcher().processes().program(entry)?;
        let start = Start {
            context: self.context.with_own_execution(),
            mailbox: Mailbox(Arc::clone(&self.record)),
            arguments,
            terminal: self.terminal.clone(),
        };
        self.future = Some(program.start(guard::granted(), start));
        Ok(())
    }

    /// From now on the host counts it.
    pub(super) fn hosted(mut self) -> Self {
        self.is_hosted = true;
        self
    }

    /// The other program that the process asked for.
    fn upgrade(&mut self, entry: Option<EntryId>, arguments: Vec<Value>) -> Result<(), CallError> {
        let present = self.record.entry();
        let entry = match entry {
            // What runs already may begin anew.
            None => present,
            Some(entry) => {
                if entry != present {
                    drop(guard::authorize(&self.context, "process.spawn", entry.as_str())?);
                }
                entry
            }
        };
        // The former program is gone before the next one begins.
        self.future = None;
        self.begin(&entry, arguments)?;
        self.record.set_entry(entry);
        Ok(())
    }

    /// Makes sure that `waking` hears of signals. Only a change of the waker takes the lock.
    fn listen(&mut self, waking: &Waking<'_>) {
        let is_known = self
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(waking.waker()));
        if !is_known {
            self.waker = Some(waking.waker().clone());
            self.record.set_waker(self.waker.clone());
        }
    }

    /// How it is to end, if it was told to.
    fn told_to_end(&mut self, waking: &mut Waking<'_>) -> Option<Exit> {
        match self.record.signalled() {
            Some(Signal::End(exit)) => return Some(exit),
            Some(Signal::EndBy(deadline)) => match &mut self.grace {
                Some(grace) => grace.as_mut().reset(deadline),
                none => *none = Some(Box::pin(sleep_until(deadline))),
            },
            None => {}
        }
        let grace = self.grace.as_mut()?;
        match grace.as_mut().poll(waking) {
            Poll::Ready(()) => Some(Exit::new(Err(CallError::new(
                ErrorKind::Canceled,
                format!("`{}` was cancelled and did not end in time", self.record.pid()),
            )))),
            Poll::Pending => None,
        }
    }

    fn end(&mut self, exit: Exit) {
        // Everything of the process is gone before anybody hears of its end.
        self.future = None;
        self.grace = None;
        self.waker = None;
        self.record.set_waker(None);
        if mem::take(&mut self.is_hosted) {
            self.host.ended();
        }
        self.context.dispatcher().processes().ended(&self.record, exit);
    }
}

impl Future for Running {
    type Output = ();

    fn poll(self: Pin<&mut Self>, waking: &mut Waking<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.listen(waking);
        if this.future.is_some()
            && let Some(exit) = this.told_to_end(waking)
        {
            this.end(exit);
        }
        let Some(future) = &mut this.future else {
            return Poll::Ready(());
        };
        let exit = match future.as_mut().poll(waking) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(Ended::Value(value))) => Exit::new(Ok(value)),
            Poll::Ready(Err(error)) => Exit::new(Err(error)),
            Poll::Ready(Ok(Ended::Upgrade { entry, arguments })) => match this.upgrade(entry, arguments) {
                Ok(()) => {
                    // A program that upgrades at once, again and again, shares the thread too.
                    waking.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Err(error) => Exit::new(Err(error.context("the upgrade failed"))),
            },
        };
        this.end(exit);
        Poll::Ready(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After a regular end there is nothing left to tell.
        if self.record.has_ended() {
            return;
        }
        let pid = self.record.pid();
        let error = if thread::panicking() {
            CallError::internal(format!("`{pid}` crashed inside the runtime"))
        } else {
            CallError::new(ErrorKind::Canceled, format!("`{pid}` was ended by its host"))
        };
        self.end(Exit::new(Err(error)));
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("pid", self.record.pid())
            .finish_non_exhaustive()
    }
}
