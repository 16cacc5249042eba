//! [`Session`]: the streams of one call.

use std::{
    cell::RefCell,
    future::Future,
    mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context as Waking, Poll},
};

use wippy_security::{CallError, Fate, Gauge, Inlet, Outlet, StreamWatch, stream};

use crate::{abi::flow::Lifted, component::Method, error_contexts::ErrorContexts, limits::Exceeded};

/// The streams of one call: what the guest gave away, and what waits in it.
pub(crate) struct Session {
    method: Arc<Method>,
    gauge: Gauge,
    /// The most bytes that may wait in all of its streams together.
    bytes_max: usize,
    error_contexts: Option<Arc<ErrorContexts>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Those that have not ended.
    open: Vec<StreamWatch>,
    /// Those that nobody takes values out of yet.
    lifted: Vec<Lifted>,
    /// Whether the last of them was left by its reader.
    is_abandoned: bool,
}

/// How the streams of a call stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// All have ended, or there never were any.
    Settled,
    /// Nobody wants what is left of them.
    Abandoned,
}

thread_local! {
    /// The session of the call that is being polled on this thread.
    static CURRENT: RefCell<Option<Arc<Session>>> = const { RefCell::new(None) };
}

impl Session {
    /// For a call of `method`, in whose streams at most `bytes_max` bytes may wait, in an instance with `error_contexts`.
    pub(crate) fn new(
        method: &Arc<Method>,
        bytes_max: usize,
        error_contexts: Option<Arc<ErrorContexts>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            method: method.clone(),
            gauge: Gauge::default(),
            bytes_max,
            error_contexts,
            state: Mutex::default(),
        })
    }

    pub(crate) fn method(&self) -> &Arc<Method> {
        &self.method
    }

    /// The error contexts of the instance, if it can have any.
    pub(crate) fn error_contexts(&self) -> Option<&ErrorContexts> {
        self.error_contexts.as_deref()
    }

    /// The session of the call that is being polled.
    pub(crate) fn current() -> wasmtime::Result<Arc<Self>> {
        CURRENT
            .with_borrow(Clone::clone)
            .ok_or_else(|| wasmtime::format_err!("a stream crosses outside a call"))
    }

    /// `future` with this session as the current one.
    pub(crate) fn enter<F>(self: &Arc<Self>, future: F) -> Entered<F> {
        Entered {
            future,
            session: self.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream to the caller.
    pub(crate) fn open(&self) -> (Inlet, Outlet) {
        let (inlet, outlet) = stream(self.gauge.clone());
        self.lock().open.push(inlet.watch());
        (inlet, outlet)
    }

    /// Keeps a readable end that came out of the guest until its values can be taken out of it.
    pub(crate) fn lifted(&self, lifted: Lifted) {
        self.lock().lifted.push(lifted);
    }

    pub(crate) fn take_lifted(&self) -> Vec<Lifted> {
        mem::take(&mut self.lock().lifted)
    }

    /// An error once more waits in its streams than the guest may make the host keep.
    pub(crate) fn check(&self) -> wasmtime::Result<()> {
        if self.gauge.load(std::sync::atomic::Ordering::Relaxed) > self.bytes_max {
            return Err(Exceeded::HostBytes(self.bytes_max).into());
        }
        Ok(())
    }

    /// Waits until no stream is open.
    pub(crate) fn poll_standing(&self, waking: &mut Waking<'_>) -> Poll<Standing> {
        let mut state = self.lock();
        let State {
            open, is_abandoned, ..
        } = &mut *state;
        open.retain(|watch| match watch.poll(waking) {
            Poll::Pending => true,
            Poll::Ready(fate) => {
                *is_abandoned = fate == Fate::Abandoned;
                false
            }
        });
        match (open.is_empty(), *is_abandoned) {
            (false, _) => Poll::Pending,
            (true, true) => Poll::Ready(Standing::Abandoned),
            (true, false) => Poll::Ready(Standing::Settled),
        }
    }

    /// Ends every stream that has not ended with `error`.
    pub(crate) fn fail(&self, error: &CallError) {
        let open = mem::take(&mut self.lock().open);
        for watch in open {
            watch.fail(error.clone());
        }
    }
}

pin_project_lite::pin_project! {
    /// A future with the session that is current while it is polled.
    pub(crate) struct Entered<F> {
        #[pin]
        future: F,
        session: Arc<Session>,
    }
}

impl<F: Future> Future for Entered<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, waking: &mut Waking<'_>) -> Poll<Self::Output> {
        struct Reset(Option<Arc<Session>>);
        impl Drop for Reset {
            fn drop(&mut self) {
                CURRENT.replace(self.0.take());
            }
        }
        let this = self.project();
        let _reset = Reset(CURRENT.replace(Some(this.session.clone())));
        this.future.poll(waking)
    }
}
