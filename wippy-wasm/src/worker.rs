//! [`WorkerClass`]: threads of their own for functions that compute, so that they take none from everything else.
//!
//! The threads run a scheduler of their own. A call crosses to it with owned values and the caller's own context, so that
//! actor, scope, request values, deadline and leases are what they would be anyway; calls that the guest makes stay on
//! its threads. Dropping the call ends it there as well, at the latest when the guest is next interrupted.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{self, Poll},
};

use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
};
use wippy_security::{Call, CallError, CallFuture, ErrorKind};
use wippy_wit::{Reader, Value, ValueReader, ValueWriter};

/// Bytes of a thread's stack: what is called from a guest may be a script.
const STACK_BYTES: usize = 8 << 20;

/// What a thread does when it starts, such as choosing its processors.
pub type ThreadStart = Arc<dyn Fn() + Send + Sync>;

/// Threads of their own, which functions of one class share.
pub struct WorkerClass {
    name: Arc<str>,
    size: AtomicUsize,
    on_start: Option<ThreadStart>,
    /// Made for the first call, and again for the first one after the size changed.
    threads: Mutex<Option<Arc<Threads>>>,
}

/// The threads of one size. What runs on them keeps them.
struct Threads {
    /// Only taken when it is dropped.
    runtime: Option<Runtime>,
    size: usize,
}

impl WorkerClass {
    /// A class of `size` threads, which are started when they are first needed.
    pub fn new(name: impl Into<Arc<str>>, size: usize, on_start: Option<ThreadStart>) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            size: AtomicUsize::new(size.max(1)),
            on_start,
            threads: Mutex::default(),
        })
    }

    /// Later calls have so many threads. What runs goes on where it is.
    pub fn resize(&self, size: usize) {
        self.size.store(size.max(1), Ordering::Relaxed);
    }

    /// Runs a call on the threads of the class.
    pub(crate) async fn call(
        &self,
        call: Call<'_>,
        run: impl for<'c> FnOnce(Call<'c>) -> CallFuture<'c> + Send + 'static,
    ) -> Result<(), CallError> {
        let arguments = owned(call.arguments)?;
        let context = call.context.clone();
        let called = self.run(async move {
            let (mut reader, mut writer) = (ValueReader::arguments(&arguments), ValueWriter::default());
            let call = Call {
                context: &context,
                arguments: &mut reader,
                result: &mut writer,
            };
            run(call).await?;
            Ok::<_, CallError>(writer.finish())
        });
        let value = called.await??;
        value.write(call.result).map_err(CallError::from)
    }

    /// Runs `work` on the threads of the class. Dropping what is returned ends it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, CallError> {
        let threads = self.threads()?;
        let Some(runtime) = &threads.runtime else {
            return Err(self.lost());
        };
        let kept = Arc::clone(&threads);
        let running = runtime.spawn(async move {
            let outcome = work.await;
            drop(kept);
            outcome
        });
        Running(running).await.ok_or_else(|| self.lost())
    }

    fn threads(&self) -> Result<Arc<Threads>, CallError> {
        let size = self.size.load(Ordering::Relaxed);
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(threads) = threads.as_ref().filter(|threads| threads.size == size) {
            return Ok(Arc::clone(threads));
        }
        let made = self.start(size).map(Arc::new).map_err(|error| {
            let message = format!("the threads of `{}` cannot be started: {error}", self.name);
            CallError::new(ErrorKind::Unavailable, message)
        })?;
        let former = threads.replace(Arc::clone(&made));
        drop(threads);
        drop(former);
        Ok(made)
    }

    fn start(&self, size: usize) -> std::io::Result<Threads> {
        let mut builder = Builder::new_multi_thread();
        builder
            .worker_threads(size)
            .thread_name(format!("wippy:{}", self.name))
            .thread_stack_size(STACK_BYTES)
            .enable_all();
        if let Some(on_start) = self.on_start.clone() {
            builder.on_thread_start(move || on_start());
        }
        Ok(Threads {
            runtime: Some(builder.build()?),
            size,
        })
    }

    #[cold]
    fn lost(&self) -> CallError {
        CallError::internal(format!("a call on the threads of `{}` came to no end", self.name))
    }
}

/// The arguments as values that can go to another thread.
fn owned(reader: &mut dyn Reader) -> Result<Vec<Value>, CallError> {
    let mut arguments = Vec::with_capacity(reader.len());
    for index in 0..reader.len() {
        reader.enter_index(index)?;
        let argument = Value::read(reader);
        arguments.push(argument.map_err(|error| {
            let number = index + 1;
            CallError::invalid(format!("argument {number}: {error}"))
        })?);
        reader.leave();
    }
    Ok(arguments)
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // The last to let go may be one of the threads, which cannot wait for itself.
            runtime.shutdown_background();
        }
    }
}

/// A task that ends when nobody waits for it any more; nothing if it was ended from outside.
struct Running<T>(JoinHandle<T>);

impl<T> Future for Running<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<T>> {
        Pin::new(&mut self.0).poll(cx).map(Result::ok)
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl fmt::Debug for WorkerClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerClass")
            .field("name", &self.name)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}
