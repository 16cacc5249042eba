//! [`Context`]: everything a call inherits from its caller.

use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering, fence},
    },
    time::Duration,
};

use tokio::time::Instant;
use wippy_wit::Value;

use crate::{Actor, Dispatcher, Record, Scope, TracePlace};

/// Longer timeouts are none: moments that far away cannot be told from never, and some cannot be written.
const TIMEOUT_MAX: Duration = Duration::from_hours(100 * 366 * 24);

/// Request values, readable by guests through `ctx.get`.
pub type Values = BTreeMap<Arc<str>, Value>;

/// Actor, scope, request values, deadline and call depth of one execution, with the dispatcher to call others by.
///
/// A context is immutable and cheap to clone. Deriving one narrows it (a deadline can only come nearer) or replaces
/// a part of it under a permit; a guest never holds one.
#[derive(Clone)]
pub struct Context {
    shared: Arc<Shared>,
    execution: OwnExecution,
    deadline: Option<Instant>,
    depth: u32,
    within: Option<Arc<Within>>,
}

/// A pool in which a call runs that waits for this one, and those above it.
struct Within {
    pool: usize,
    above: Option<Arc<Within>>,
}

#[derive(Clone)]
struct Shared {
    dispatcher: Arc<Dispatcher>,
    actor: Option<Arc<Actor>>,
    scope: Option<Arc<Scope>>,
    values: Arc<Values>,
    call_id: Option<Arc<str>>,
    /// The process on whose behalf everything is done.
    process: Option<Arc<Record>>,
    attachment: Option<Attachment>,
    /// Where it stands in a trace.
    trace: Option<TracePlace>,
}

/// Something that an edge hands along with a request, for those behind it who know its type.
pub type Attachment = Arc<dyn Any + Send + Sync>;

impl Context {
    /// A context for an edge of the system: nobody acts, nothing is limited.
    pub fn root(dispatcher: Arc<Dispatcher>) -> Self {
        Self {
            shared: Arc::new(Shared {
                dispatcher,
                actor: None,
                scope: None,
                values: Arc::default(),
                call_id: None,
                process: None,
                attachment: None,
                trace: None,
            }),
            execution: OwnExecution::default(),
            deadline: None,
            depth: 0,
            within: None,
        }
    }

    /// With another identity. Edges do this freely; for guests it takes a permit for `funcs.security` or
    /// `process.security`.
    #[must_use]
    pub fn with_identity(&self, actor: Option<Arc<Actor>>, scope: Option<Arc<Scope>>) -> Self {
        self.with_shared(Shared {
            actor,
            scope,
            ..Shared::clone(&self.shared)
        })
    }

    /// With request values added to those that are there.
    #[must_use]
    pub fn with_values(&self, added: Values) -> Self {
        let mut values = Values::clone(&self.shared.values);
        values.extend(added);
        self.with_shared(Shared {
            values: Arc::new(values),
            ..Shared::clone(&self.shared)
        })
    }

    /// With a name for what is done, under which the audit trail and the log speak of it. Edges give one to every
    /// request; whatever is called on its behalf inherits it.
    #[must_use]
    pub fn with_call_id(&self, call_id: impl Into<Arc<str>>) -> Self {
        self.with_shared(Shared {
            call_id: Some(call_id.into()),
            ..Shared::clone(&self.shared)
        })
    }

    /// With another place in a trace. Whatever is called from here is a part of that.
    #[must_use]
    pub fn with_trace(&self, trace: TracePlace) -> Self {
        self.with_shared(Shared {
            trace: Some(trace),
            ..Shared::clone(&self.shared)
        })
    }

    /// What a process starts with that is spawned from here: this identity and these values, unless others are given.
    /// It is an execution of its own. Its deadline and depth are those of the caller only if that waits for it, which
    /// is the business of [`Processes::exec`](crate::Processes::exec).
    pub(crate) fn for_process(
        &self,
        record: &Arc<Record>,
        added: Values,
        actor: Option<Arc<Actor>>,
        scope: Option<Arc<Scope>>,
        awaited: bool,
    ) -> Self {
        let mut shared = Shared::clone(&self.shared);
        shared.process = Some(Arc::clone(record));
        // What an edge attached belongs to its request.
        shared.attachment = None;
        // And so does what is done for it, unless somebody waits for that.
        shared.trace = shared.trace.filter(|_| awaited);
        if !added.is_empty() {
            let mut values = Values::clone(&shared.values);
            values.extend(added);
            shared.values = Arc::new(values);
        }
        shared.actor = actor.or(shared.actor);
        shared.scope = scope.or(shared.scope);
        Self {
            shared: Arc::new(shared),
            execution: OwnExecution::default(),
            deadline: self.deadline.filter(|_| awaited),
            depth: if awaited { self.depth + 1 } else { 0 },
            within: self.within.clone().filter(|_| awaited),
        }
    }

    /// With a call id that nothing else has. Later ones sort after earlier ones.
    #[must_use]
    pub fn with_new_call_id(&self) -> Self {
        self.with_call_id(uuid::Uuid::now_v7().to_string())
    }

    /// With something of the edge's own, such as the HTTP request that is being answered. Callees inherit it; guests
    /// reach it only through a module that knows its type.
    #[must_use]
    pub fn with_attachment(&self, attachment: Attachment) -> Self {
        self.with_shared(Shared {
            attachment: Some(attachment),
            ..Shared::clone(&self.shared)
        })
    }

    /// Without what an edge attached, for what outlives the request, such as a process.
    #[must_use]
    pub fn without_attachment(&self) -> Self {
        if self.shared.attachment.is_none() {
            return self.clone();
        }
        self.with_shared(Shared {
            attachment: None,
            ..Shared::clone(&self.shared)
        })
    }

    fn with_shared(&self, shared: Shared) -> Self {
        Self {
            shared: Arc::new(shared),
            ..self.clone()
        }
    }

    /// With a deadline `timeout` from now, unless an earlier one holds already. What is longer than any clock runs is no
    /// deadline.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        let own = (timeout <= TIMEOUT_MAX).then(|| Instant::now() + timeout);
        Self {
            deadline: [self.deadline, own].into_iter().flatten().min(),
            ..self.clone()
        }
    }

    /// The same context for an execution of its own, which holds its own leases.
    #[must_use]
    pub fn with_own_execution(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            execution: OwnExecution::default(),
            deadline: self.deadline,
            depth: self.depth,
            within: self.within.clone(),
        }
    }

    /// What a callee inherits: the same, one level deeper, for an execution of its own.
    #[must_use]
    pub fn callee(&self) -> Self {
        Self {
            depth: self.depth + 1,
            ..self.with_own_execution()
        }
    }

    /// What a [`callee`](Self::callee) inherits, in the memory of one whose call has ended, if there is one that is
    /// [spent](Self::is_spent).
    #[must_use]
    pub fn callee_in(&self, spent: Option<Arc<Self>>) -> Arc<Self> {
        let Some(mut context) = spent.filter(Self::is_spent) else {
            return Arc::new(self.callee());
        };
        // Calls that follow each other mostly inherit the same.
        if self.is_callee(&context) {
            return context;
        }
        // Nobody else can ask for the execution once it is known that nobody else has the context.
        if let Some(callee) = Arc::get_mut(&mut context)
            && callee.execution.0.get_mut().is_none()
        {
            callee.shared.clone_from(&self.shared);
            callee.deadline = self.deadline;
            callee.depth = self.depth + 1;
            callee.within.clone_from(&self.within);
            return context;
        }
        Arc::new(self.callee())
    }

    /// Whether `other` is as [`callee`](Self::callee) makes it, but for its execution.
    fn is_callee(&self, other: &Self) -> bool {
        let within = |context: &Self| context.within.as_ref().map(Arc::as_ptr);
        Arc::ptr_eq(&self.shared, &other.shared)
            && self.deadline == other.deadline
            && self.depth + 1 == other.depth
            && within(self) == within(other)
    }

    /// Whether nobody else has it now, and nobody ever asked for its execution, so that there is nothing that ends with it.
    pub fn is_spent(this: &Arc<Self>) -> bool {
        if Arc::strong_count(this) != 1 {
            return false;
        }
        // What others did with it before they let go of it is known from here on.
        fence(Ordering::Acquire);
        this.execution.0.get().is_none()
    }

    /// For what a call that runs in `pool` calls: it waits for that, and keeps its place meanwhile.
    #[must_use]
    pub fn from_within(&self, pool: usize) -> Self {
        let above = self.within.clone();
        Self {
            within: Some(Arc::new(Within { pool, above })),
            ..self.clone()
        }
    }

    /// Whether a call that runs in `pool` waits for what this context is for.
    pub fn is_within(&self, pool: usize) -> bool {
        let mut next = self.within.as_deref();
        while let Some(within) = next {
            if within.pool == pool {
                return true;
            }
            next = within.above.as_deref();
        }
        false
    }

    /// By whom calls are made.
    pub fn dispatcher(&self) -> &Arc<Dispatcher> {
        &self.shared.dispatcher
    }

    /// Who acts.
    pub fn actor(&self) -> Option<&Arc<Actor>> {
        self.shared.actor.as_ref()
    }

    /// Under which policies.
    pub fn scope(&self) -> Option<&Arc<Scope>> {
        self.shared.scope.as_ref()
    }

    /// The request values.
    pub fn values(&self) -> &Values {
        &self.shared.values
    }

    /// The name of the request that it belongs to, if an edge gave one.
    pub fn call_id(&self) -> Option<&str> {
        self.shared.call_id.as_deref()
    }

    /// Itself, if what is done under it is traced and recorded.
    pub fn traced(&self) -> Option<&Self> {
        let is_sampled = self.shared.trace.is_some_and(|place| place.is_sampled());
        (is_sampled && self.dispatcher().tracer().is_some()).then_some(self)
    }

    /// Where it stands in a trace, if it is traced.
    pub fn trace(&self) -> Option<TracePlace> {
        self.shared.trace
    }

    /// The process that it belongs to: the one that runs under it, or that made the call.
    pub fn process(&self) -> Option<&Arc<Record>> {
        self.shared.process.as_ref()
    }

    /// What an edge attached, if it is a `T`.
    pub fn attachment<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.shared.attachment.clone()?.downcast().ok()
    }

    /// When it must be over.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// How many calls deep it is.
    pub fn depth(&self) -> u32 {
        self.depth
    }

    /// The execution that makes the calls.
    pub fn execution(&self) -> &Arc<Execution> {
        self.execution.get()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("actor", &self.shared.actor)
            .field("deadline", &self.deadline)
            .field("depth", &self.depth)
            .finish_non_exhaustive()
    }
}

/// The execution of a context, made when somebody first asks for it: most calls keep nothing for others.
#[derive(Default)]
struct OwnExecution(OnceLock<Arc<Execution>>);

impl OwnExecution {
    fn get(&self) -> &Arc<Execution> {
        self.0.get_or_init(Arc::default)
    }
}

impl Clone for OwnExecution {
    /// Both are the same execution, so it has to be made now.
    fn clone(&self) -> Self {
        Self(OnceLock::from(Arc::clone(self.get())))
    }
}

/// Something that an execution keeps between its calls, such as a warm instance.
pub type Lease = Box<dyn Any + Send>;

/// One function call or one process, as the keeper of what it leased.
///
/// A callee may park a resource here under its own key and find it again at the next call *of the same execution*;
/// nobody else ever sees it. Everything parked is dropped with the execution.
#[derive(Default)]
pub struct Execution {
    leases: Mutex<Vec<(usize, Lease)>>,
}

impl Execution {
    /// How many things one execution may keep; the oldest gives way.
    const KEPT_MAX: usize = 64;

    /// A key that nothing else in the process has.
    pub fn fresh_key() -> usize {
        static KEYS: AtomicUsize = AtomicUsize::new(0);
        KEYS.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes what was parked under `key`.
    pub fn take(&self, key: usize) -> Option<Lease> {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        let at = leases.iter().rposition(|(held, _)| *held == key)?;
        Some(leases.swap_remove(at).1)
    }

    /// Parks `lease` under `key` for a later call.
    pub fn park(&self, key: usize, lease: Lease) {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        let evicted = (leases.len() >= Self::KEPT_MAX).then(|| leases.remove(0));
        leases.push((key, lease));
        // What gives way may run code when dropped, which must not find the lock taken.
        drop(leases);
        drop(evicted);
    }
}

impl fmt::Debug for Execution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Execution").finish_non_exhaustive()
    }
}
