//! [`ProcessHost`]: a `process.host` or the terminal, on which processes run.
//!
//! tokio is the scheduler: a process is a task of the program's runtime, which shares its threads among all of them and
//! moves work to idle ones. A host keeps the accounts: how many processes there may be (`max_processes`), and how many
//! of them may be on a thread at the same moment (`workers`), so that what runs here leaves threads to others. Tokio's
//! queues have no bound to set, so `queue_size` and `local_queue_size` are accepted and mean nothing: what bounds them is
//! the number of processes.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context as Waking, Poll, ready},
};

use async_trait::async_trait;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use wippy_registry::{EntryId, schema};
use wippy_security::{CallError, Context, ErrorKind, Host, Running};

use crate::supervisor::{Active, Service};

/// Processes alive at once on a host that says nothing about it.
const PROCESSES_MAX: usize = 256 * 1024;

/// Where processes run.
pub(crate) struct ProcessHost {
    id: EntryId,
    processes_max: usize,
    /// The places at which processes run; without them, as many do as there are threads.
    workers: Option<Arc<Semaphore>>,
    has_terminal: bool,
    count: AtomicUsize,
    is_closed: AtomicBool,
    emptied: Notify,
}

impl ProcessHost {
    /// A host that is open.
    pub(crate) fn new(id: EntryId, config: &schema::process::ProcessHost) -> Self {
        let size = |size: u32| usize::try_from(size).unwrap_or(usize::MAX);
        Self {
            id,
            processes_max: config.max_processes.map_or(PROCESSES_MAX, size),
            workers: config
                .workers
                .map(|workers| Arc::new(Semaphore::new(size(workers).min(Semaphore::MAX_PERMITS)))),
            has_terminal: false,
            count: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
            emptied: Notify::new(),
        }
    }

    /// The terminal, which one process at a time has to itself.
    pub(crate) fn terminal(id: EntryId) -> Self {
        let one = schema::process::ProcessHost {
            max_processes: Some(1),
            ..Default::default()
        };
        Self {
            has_terminal: true,
            ..Self::new(id, &one)
        }
    }

    fn refusal(&self, reason: &str) -> CallError {
        CallError::new(ErrorKind::Unavailable, format!("the host `{}` {reason}", self.id))
    }

    /// Tells what runs here to end by `deadline`, and waits for it. Nothing new starts meanwhile.
    async fn close(&self, context: &Context, deadline: Instant) {
        self.is_closed.store(true, Ordering::SeqCst);
        let processes = context.dispatcher().processes();
        processes.cancel_host(&self.id, deadline, &"the host stops".into());
        loop {
            // Asked for before the look, so that an end in between is not missed.
            let emptied = self.emptied.notified();
            if self.count.load(Ordering::SeqCst) == 0 {
                return;
            }
            emptied.await;
        }
    }
}

impl Host for ProcessHost {
    fn run(&self, running: Running) -> Result<(), CallError> {
        // Counted before the checks: a host that closes sees every process that passes them.
        let before = self.count.fetch_add(1, Ordering::SeqCst);
        let max = self.processes_max;
        if self.is_closed.load(Ordering::SeqCst) {
            return Err(self.refusal("is stopping").with_retryable(false));
        }
        if before >= max {
            let reason = if self.has_terminal {
                "runs one process at a time".to_owned()
            } else {
                format!("has no room: `max_processes` is {max}")
            };
            return Err(self.refusal(&reason));
        }
        match &self.workers {
            Some(workers) => drop(tokio::spawn(Turns::new(running, Arc::clone(workers)))),
            None => drop(tokio::spawn(running)),
        }
        Ok(())
    }

    fn ended(&self) {
        if self.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.emptied.notify_waiters();
        }
    }

    fn has_terminal(&self) -> bool {
        self.has_terminal
    }
}

/// A process that waits for a free worker whenever it has something to do.
struct Turns {
    running: Running,
    workers: Arc<Semaphore>,
    waiting: Option<Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>>,
}

impl Turns {
    fn new(running: Running, workers: Arc<Semaphore>) -> Self {
        Self {
            running,
            workers,
            waiting: None,
        }
    }
}

impl Future for Turns {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, waking: &mut Waking<'_>) -> Poll<()> {
        let this = &mut *self;
        let turn = match &mut this.waiting {
            None => Arc::clone(&this.workers).try_acquire_owned().ok(),
            Some(waiting) => {
                let turn = ready!(waiting.as_mut().poll(waking));
                this.waiting = None;
                turn
            }
        };
        let turn = if let Some(turn) = turn {
            turn
        } else {
            let workers = Arc::clone(&this.workers);
            let mut waiting = Box::pin(async move { workers.acquire_owned().await.ok() });
            let Poll::Ready(Some(turn)) = waiting.as_mut().poll(waking) else {
                this.waiting = Some(waiting);
                return Poll::Pending;
            };
            turn
        };
        let polled = Pin::new(&mut this.running).poll(waking);
        drop(turn);
        polled
    }
}

/// A host as something that starts and stops with the application.
pub(crate) struct HostService {
    pub(crate) host: Arc<ProcessHost>,
    pub(crate) context: Context,
}

#[async_trait]
impl Service for HostService {
    async fn start(&self) -> Result<Box<dyn Active>, CallError> {
        self.host.is_closed.store(false, Ordering::SeqCst);
        Ok(Box::new(OpenHost {
            host: Arc::clone(&self.host),
            context: self.context.clone(),
        }))
    }
}

struct OpenHost {
    host: Arc<ProcessHost>,
    context: Context,
}

#[async_trait]
impl Active for OpenHost {
    async fn ended(&mut self) -> Result<(), CallError> {
        std::future::pending().await
    }

    async fn stop(self: Box<Self>, deadline: Instant) {
        self.host.close(&self.context, deadline).await;
    }
}
