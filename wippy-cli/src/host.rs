//! [`ProcessHost`]: a `process.host` or the terminal, on which processes run.
//!
//! tokio is the scheduler: a process is a task of the program's runtime, which shares its threads among all of them and
//! moves work to idle ones. A host keeps the accounts: how many processes there may be (`max_processes`), and how many
//! of them may be on a thread at the same moment (`workers`), so that what runs here leaves threads to others. Both may
//! change while it runs. Tokio's
//! queues have no bound to set, so `queue_size` and `local_queue_size` are accepted and mean nothing: what bounds them is
//! the number of processes.

use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context as Waking, Poll, ready},
};

use async_trait::async_trait;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, TryAcquireError},
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
    processes_max: AtomicUsize,
    workers: Arc<Workers>,
    has_terminal: bool,
    count: AtomicUsize,
    is_closed: AtomicBool,
    emptied: Notify,
}

impl ProcessHost {
    /// A host that is open.
    pub(crate) fn new(id: EntryId, config: &schema::process::ProcessHost) -> Self {
        let host = Self {
            id,
            processes_max: AtomicUsize::new(0),
            workers: Arc::default(),
            has_terminal: false,
            count: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
            emptied: Notify::new(),
        };
        host.rescale(config);
        host
    }

    /// Gives it another size, also while processes run on it. Those that are too many now go on; none comes until there is
    /// room.
    pub(crate) fn rescale(&self, config: &schema::process::ProcessHost) {
        let size = |size: u32| usize::try_from(size).unwrap_or(usize::MAX);
        let max = config.max_processes.map_or(PROCESSES_MAX, size);
        self.processes_max.store(max, Ordering::SeqCst);
        self.workers.resize(config.workers.map(size));
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
        let max = self.processes_max.load(Ordering::SeqCst);
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
        drop(tokio::spawn(Turns::new(running, Arc::clone(&self.workers))));
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

/// How many processes of a host may be on a thread at the same moment. That may change while they run.
#[derive(Default)]
struct Workers {
    places: Mutex<Places>,
    /// How often it changed.
    changes: AtomicUsize,
}

/// The places at which processes run; without them, as many do as there are threads.
#[derive(Default)]
struct Places {
    size: Option<usize>,
    free: Option<Arc<Semaphore>>,
}

impl Workers {
    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn resize(&self, size: Option<usize>) {
        let mut places = self.lock();
        if places.size == size {
            return;
        }
        let free = size.map(|size| Arc::new(Semaphore::new(size.min(Semaphore::MAX_PERMITS))));
        let former = mem::replace(&mut *places, Places { size, free });
        self.changes.fetch_add(1, Ordering::Release);
        drop(places);
        // Who waits for one of these asks again, and finds the new ones.
        if let Some(former) = former.free {
            former.close();
        }
    }
}

/// A process that waits for a free worker whenever it has something to do.
struct Turns {
    running: Running,
    workers: Arc<Workers>,
    /// The places as they were after so many changes.
    places: Option<Arc<Semaphore>>,
    changes: usize,
    waiting: Option<Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>>,
}

impl Turns {
    fn new(running: Running, workers: Arc<Workers>) -> Self {
        Self {
            running,
            workers,
            places: None,
            changes: 0,
            waiting: None,
        }
    }

    /// The places as they are.
    fn places(&mut self) -> Option<Arc<Semaphore>> {
        let changes = self.workers.changes.load(Ordering::Acquire);
        if self.changes != changes {
            self.changes = changes;
            self.places.clone_from(&self.workers.lock().free);
        }
        self.places.clone()
    }

    /// Waits for a place, if there are only so many.
    fn poll_place(&mut self, waking: &mut Waking<'_>) -> Poll<Option<OwnedSemaphorePermit>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                let place = ready!(waiting.as_mut().poll(waking));
                self.waiting = None;
                if place.is_some() {
                    return Poll::Ready(place);
                }
            }
            let Some(places) = self.places() else {
                return Poll::Ready(None);
            };
            match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => return Poll::Ready(Some(place)),
                Err(TryAcquireError::Closed) => {}
                Err(TryAcquireError::NoPermits) => {
                    self.waiting = Some(Box::pin(async move { places.acquire_owned().await.ok() }));
                }
            }
        }
    }
}

impl Future for Turns {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, waking: &mut Waking<'_>) -> Poll<()> {
        let this = &mut *self;
        let _place = ready!(this.poll_place(waking));
        Pin::new(&mut this.running).poll(waking)
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
