//! [`Supervisor`]: services start in the order of their dependencies, start again when they fail, and stop in the
//! reverse order.
//!
//! Each service has a task of its own that goes through its states; what the services wait for is each other's states,
//! so that independent ones start and stop side by side.

mod backoff;
mod unit;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use tokio::{sync::watch, task::JoinSet, time::Instant};
use wippy_registry::{EntryId, schema::lifecycle::Lifecycle};
use wippy_security::CallError;

use self::unit::Unit;

/// Something that runs as long as the application does: a host, a supervised process, a server.
#[async_trait]
pub trait Service: Send + Sync {
    /// Starts it; ready when others can rely on it. The supervisor drops the future when `start_timeout` is over.
    ///
    /// # Errors
    /// When it does not start. Kinds that no second attempt helps (`NOT_FOUND`, `INVALID`, `PERMISSION_DENIED`) are
    /// final; after all others it is tried again.
    async fn start(&self) -> Result<Box<dyn Active>, CallError>;
}

/// A service that was started. Dropping it ends it at once.
#[async_trait]
pub trait Active: Send {
    /// Waits until it ends by itself, which may be never. The future may be dropped and asked for again.
    ///
    /// # Errors
    /// When it failed, after which it is started again. Without an error its work is done.
    async fn ended(&mut self) -> Result<(), CallError>;

    /// Ends it gracefully: what was begun is finished by `deadline`, nothing new is begun. Shortly after the deadline
    /// the supervisor drops the future.
    async fn stop(self: Box<Self>, deadline: Instant);
}

/// Where a service stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// It waits for what it needs.
    #[default]
    Unknown,
    /// It is being started.
    Starting,
    /// It runs.
    Running,
    /// It was told to end.
    Stopping,
    /// It has ended because it was told to.
    Stopped,
    /// It has ended by itself, and well.
    Exited,
    /// It has failed; it may be started again.
    Failed,
}

impl State {
    /// The name that users see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Exited => "exited",
            Self::Failed => "failed",
        }
    }

    /// Whether others may rely on it: it runs, or has done what it was for.
    fn satisfies(self) -> bool {
        matches!(self, Self::Running | Self::Exited)
    }

    /// Whether nothing of it runs.
    fn is_over(self) -> bool {
        matches!(self, Self::Unknown | Self::Stopped | Self::Exited | Self::Failed)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A service with what is said about it.
pub struct Supervised {
    /// Its entry.
    pub id: EntryId,
    /// How it starts, stops and starts again.
    pub lifecycle: Lifecycle,
    /// What has to run before it, and stops after it.
    pub needs: Vec<EntryId>,
    /// The service.
    pub service: Arc<dyn Service>,
}

/// Services that were started together.
pub struct Supervisor {
    units: Vec<Arc<Unit>>,
    /// Notices every change of a state.
    changes: watch::Receiver<()>,
    stopping: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Supervisor {
    /// Starts services. `supervised` comes with dependencies first; what is needed and not among them does not count.
    pub fn start(supervised: Vec<Supervised>) -> Self {
        let (notify, changes) = watch::channel(());
        let units: Vec<Arc<Unit>> = supervised
            .into_iter()
            .map(|one| Arc::new(Unit::new(one, notify.clone())))
            .collect();
        let (stopping, _) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for unit in &units {
            let needs = units.iter().filter(|other| unit.needs(other)).cloned().collect();
            let dependents = units.iter().filter(|other| other.needs(unit)).cloned().collect();
            tasks.spawn(Arc::clone(unit).supervise(needs, dependents, stopping.subscribe()));
        }
        Self {
            units,
            changes,
            stopping,
            tasks,
        }
    }

    /// Waits until every service has got as far as it can for now: it runs, has ended or failed, or waits for one
    /// that did not start.
    pub async fn settled(&self) {
        let has_settled = |unit: &Arc<Unit>| match unit.state() {
            State::Starting => false,
            State::Unknown => {
                let mut needs = self.units.iter().filter(|other| unit.needs(other));
                needs.any(|need| !need.state().satisfies())
            }
            State::Running | State::Stopping | State::Stopped | State::Exited | State::Failed => true,
        };
        let mut changes = self.changes.clone();
        // The units hold the sender, so it is not dropped meanwhile.
        let _ = changes
            .wait_for(|()| self.units.iter().all(has_settled))
            .await
            .is_ok();
    }

    /// Every service and where it stands, dependencies first.
    pub fn states(&self) -> Vec<(&EntryId, State)> {
        self.units.iter().map(|unit| (unit.id(), unit.state())).collect()
    }

    /// Stops everything, dependents first, and waits for it.
    pub async fn stop(mut self) {
        self.stopping.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}
