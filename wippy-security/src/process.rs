//! Processes: what runs on its own, has a [`Pid`] and a [`Mailbox`], and is watched by others.
//!
//! A process entry is a [`Process`], a place where processes run is a [`Host`]; both stand in [`Processes`], the table
//! beside that of the functions. Starting one makes a [`Running`]: a future that owns everything of the process, and
//! says so to whom it concerns, once, when it is ready or dropped. This crate keeps the accounts and decides who may do
//! what to whom; it spawns nothing, and knows nothing of what runs inside.
//!
//! What a guest may do goes through the methods of [`Processes`] that take its [`Context`] and ask the guard. Edges (the
//! command line, the supervisor) use [`Processes::launch`], which does not ask; the languages offer their guests only
//! what does.

mod exit;
mod mailbox;
mod operations;
mod pid;
mod record;
mod relations;
mod running;
mod spawn;
mod table;

use std::{future::Future, pin::Pin, sync::Arc};

use wippy_registry::EntryId;
use wippy_wit::Value;

use crate::{CallError, Context, Permit};

pub use self::{
    exit::Exit,
    mailbox::{Event, Letter, Mailbox, MailboxLimits, Message, Place},
    pid::Pid,
    record::Record,
    running::Running,
    spawn::{Launched, Spawn},
    table::{ProcessCounts, Processes},
};

/// A process entry: what it takes to run one.
pub trait Process: Send + Sync {
    /// Begins one process. The permit proves that the guard allowed it.
    ///
    /// The future may be dropped at any time, which terminates the process: nothing may be left behind. A process that
    /// computes gives its thread up every few milliseconds, because that is when termination is seen.
    fn start(self: Arc<Self>, permit: Permit, start: Start) -> ProcessFuture;
}

/// A process as it runs.
pub type ProcessFuture = Pin<Box<dyn Future<Output = Result<Ended, CallError>> + Send>>;

/// What a process is started with.
#[derive(Debug)]
pub struct Start {
    /// The process's own context: its own execution, and [`Context::process`] is the process itself.
    pub context: Context,
    /// What others send it. It is the same one after an upgrade.
    pub mailbox: Mailbox,
    /// The arguments of the method.
    pub arguments: Vec<Value>,
    /// The terminal, on hosts that have one.
    pub terminal: Option<Arc<Terminal>>,
}

/// The right to the terminal: to the standard streams of this program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terminal {
    /// The words that the process was started with.
    pub arguments: Vec<String>,
}

/// How a process ended by itself, and well.
#[derive(Debug)]
pub enum Ended {
    /// Its method returned this.
    Value(Value),
    /// It goes on as another program, or as its own from the start. PID, mailbox, names, links and monitors stay.
    Upgrade {
        /// The process entry; the present one when there is none.
        entry: Option<EntryId>,
        /// The arguments of its method.
        arguments: Vec<Value>,
    },
}

/// Where processes run.
pub trait Host: Send + Sync {
    /// Takes a process in and sees to it that it is polled, or refuses it by dropping it. Either way
    /// [`ended`](Self::ended) follows, once.
    ///
    /// # Errors
    /// When there is no room for it or the host is stopping: [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable).
    fn run(&self, running: Running) -> Result<(), CallError>;

    /// A process that was given to [`run`](Self::run) has ended, and those who watch it are about to learn of it.
    fn ended(&self) {}

    /// Whether what runs here may use the terminal.
    fn has_terminal(&self) -> bool {
        false
    }
}
