//! [`Unit`]: one service on its way through its states.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{self, Instant, timeout, timeout_at},
};
use wippy_registry::EntryId;
use wippy_security::{CallError, ErrorKind};

use super::{Active, State, Supervised, backoff};

/// What a service that does not stop in time has left until it is dropped.
const PATIENCE: Duration = Duration::from_secs(1);

/// One service and its state.
pub(super) struct Unit {
    supervised: Supervised,
    state: watch::Sender<State>,
    /// Tells the supervisor of every change.
    changed: watch::Sender<()>,
}

/// How one life of a service came to its end.
enum End {
    /// It was told to stop.
    Told,
    /// Its work is done.
    Done,
    /// It failed; a final failure is not tried again.
    Failed { error: CallError, is_final: bool },
}

impl Unit {
    pub(super) fn new(supervised: Supervised, changed: watch::Sender<()>) -> Self {
        Self {
            supervised,
            state: watch::Sender::new(State::default()),
            changed,
        }
    }

    pub(super) fn id(&self) -> &EntryId {
        &self.supervised.id
    }

    pub(super) fn needs(&self, other: &Self) -> bool {
        self.supervised.needs.contains(other.id())
    }

    pub(super) fn state(&self) -> State {
        *self.state.borrow()
    }

    async fn wait_for(&self, is_met: impl FnMut(&State) -> bool) {
        // The sender is here, so it is not dropped meanwhile.
        let _ = self.state.subscribe().wait_for(is_met).await.is_ok();
    }

    /// Others go on as soon as they see the state, so whatever is said about it is said before.
    fn set(&self, state: State) {
        self.state.send_replace(state);
        self.changed.send_replace(());
        tracing::debug!(target: "wippy", id = %self.id(), %state);
    }

    /// The whole life of the service: waits for its needs, runs it until it is told to stop, and lets its dependents
    /// stop first.
    pub(super) async fn supervise(
        self: Arc<Self>,
        needs: Vec<Arc<Self>>,
        dependents: Vec<Arc<Self>>,
        mut stopping: watch::Receiver<bool>,
    ) {
        let _last_word = LastWord(&self);
        let ready = async {
            for need in &needs {
                need.wait_for(|state| state.satisfies()).await;
            }
        };
        tokio::select! {
            biased;
            () = told(&mut stopping) => return,
            () = ready => {}
        }
        let restart = &self.supervised.lifecycle.restart;
        let mut attempt = 0;
        loop {
            let started = Instant::now();
            match self.live(&dependents, &mut stopping).await {
                End::Told => return,
                End::Done => {
                    tracing::info!(target: "wippy", id = %self.id(), "exited");
                    self.set(State::Exited);
                    return;
                }
                End::Failed { error, is_final } => {
                    if started.elapsed() >= self.supervised.lifecycle.stable_threshold {
                        attempt = 0;
                    }
                    attempt += 1;
                    let is_last = restart.max_attempts != 0 && attempt > restart.max_attempts;
                    if is_final || is_last {
                        self.failed(&error, "failed and is not started again");
                        return;
                    }
                    let delay = backoff::delay(restart, attempt);
                    self.failed(&error, &format!("failed; it is started again in {delay:.1?}"));
                    tokio::select! {
                        biased;
                        () = told(&mut stopping) => return,
                        () = time::sleep(delay) => {}
                    }
                }
            }
        }
    }

    /// One life: from a start to an end.
    async fn live(&self, dependents: &[Arc<Self>], stopping: &mut watch::Receiver<bool>) -> End {
        self.set(State::Starting);
        let limit = self.supervised.lifecycle.start_timeout;
        let active = tokio::select! {
            biased;
            () = told(stopping) => {
                self.stopped();
                return End::Told;
            }
            started = timeout(limit, self.supervised.service.start()) => started,
        };
        let mut active = match active {
            Ok(Ok(active)) => active,
            Ok(Err(error)) => {
                let is_final = is_final(&error);
                return End::Failed { error, is_final };
            }
            Err(_) => {
                let message = format!("it did not start within {limit:?} (`start_timeout`)");
                return End::Failed {
                    error: CallError::new(ErrorKind::Timeout, message),
                    is_final: false,
                };
            }
        };
        tracing::info!(target: "wippy", id = %self.id(), "started");
        self.set(State::Running);
        // While its dependents stop, it has to go on: they still rely on it.
        let last_dependent = async {
            told(stopping).await;
            for dependent in dependents {
                dependent.wait_for(|state| state.is_over()).await;
            }
        };
        tokio::select! {
            biased;
            ended = active.ended() => match ended {
                Ok(()) => End::Done,
                Err(error) => End::Failed { error, is_final: false },
            },
            () = last_dependent => {
                self.stop(active).await;
                End::Told
            }
        }
    }

    async fn stop(&self, active: Box<dyn Active>) {
        self.set(State::Stopping);
        let limit = self.supervised.lifecycle.stop_timeout;
        let deadline = Instant::now() + limit;
        if timeout_at(deadline + PATIENCE, active.stop(deadline))
            .await
            .is_err()
        {
            tracing::warn!(target: "wippy", id = %self.id(), "did not stop within {limit:?} (`stop_timeout`)");
        }
        self.stopped();
    }

    fn stopped(&self) {
        tracing::info!(target: "wippy", id = %self.id(), "stopped");
        self.set(State::Stopped);
    }

    fn failed(&self, error: &CallError, what: &str) {
        let (kind, stack) = (error.kind().as_str(), error.stack());
        tracing::error!(target: "wippy", id = %self.id(), kind, %error, stack, "{what}");
        self.set(State::Failed);
    }
}

/// Makes sure that nobody waits for a service whose task is gone, even if that panicked.
struct LastWord<'a>(&'a Unit);

impl Drop for LastWord<'_> {
    fn drop(&mut self) {
        if !self.0.state().is_over() {
            self.0.set(State::Failed);
        }
    }
}

/// Waits until everything is to stop.
async fn told(stopping: &mut watch::Receiver<bool>) {
    // Without a sender nobody is left who could say so, and nobody who waits.
    let _ = stopping.wait_for(|stopping| *stopping).await.is_ok();
}

/// Whether trying again cannot help: what is wrong is how the service is declared.
fn is_final(error: &CallError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::Invalid | ErrorKind::PermissionDenied
    )
}
