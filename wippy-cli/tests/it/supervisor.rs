//! Starts, stops and restarts in the right order and at the right time, on a clock that the tests move.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{sync::Notify, time::Instant};
use wippy_cli::supervisor::{Active, Service, State, Supervised, Supervisor};
use wippy_registry::{
    EntryId,
    schema::lifecycle::{Lifecycle, Restart},
};
use wippy_security::{CallError, ErrorKind};

/// What happened, in order: `start a`, `stop b`, with the time since the beginning.
#[derive(Clone)]
struct Journal {
    began: Instant,
    lines: Arc<Mutex<Vec<(String, Duration)>>>,
    changed: Arc<Notify>,
}

impl Journal {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            lines: Arc::default(),
            changed: Arc::default(),
        }
    }

    fn write(&self, what: &str) {
        self.lines
            .lock()
            .unwrap()
            .push((what.to_owned(), self.began.elapsed()));
        self.changed.notify_waiters();
    }

    fn lines(&self) -> Vec<String> {
        self.lines
            .lock()
            .unwrap()
            .iter()
            .map(|(line, _)| line.clone())
            .collect()
    }

    /// The seconds at which this happened.
    fn times(&self, what: &str) -> Vec<f64> {
        let lines = self.lines.lock().unwrap();
        let lines = lines.iter().filter(|(line, _)| line == what);
        lines
            .map(|(_, time)| (time.as_secs_f64() * 10.0).round() / 10.0)
            .collect()
    }

    async fn wait_for(&self, what: &str, times: usize) {
        loop {
            let changed = self.changed.notified();
            if self.times(what).len() >= times {
                return;
            }
            changed.await;
        }
    }
}

/// A service that does what a test says.
#[derive(Clone)]
struct Actor {
    name: &'static str,
    journal: Journal,
    /// How long its start takes.
    starting: Duration,
    /// What becomes of its start.
    start: Result<(), ErrorKind>,
    /// When and how it ends by itself.
    life: Option<(Duration, Result<(), ErrorKind>)>,
    /// How long it takes to stop.
    stopping: Duration,
}

fn error(kind: ErrorKind) -> CallError {
    CallError::new(kind, "on purpose")
}

#[async_trait]
impl Service for Actor {
    async fn start(&self) -> Result<Box<dyn Active>, CallError> {
        self.journal.write(&format!("start {}", self.name));
        tokio::time::sleep(self.starting).await;
        self.start.map_err(error)?;
        self.journal.write(&format!("started {}", self.name));
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl Active for Actor {
    async fn ended(&mut self) -> Result<(), CallError> {
        let Some((after, how)) = self.life else {
            return std::future::pending().await;
        };
        tokio::time::sleep(after).await;
        how.map_err(error)
    }

    async fn stop(self: Box<Self>, _: Instant) {
        self.journal.write(&format!("stop {}", self.name));
        tokio::time::sleep(self.stopping).await;
        self.journal.write(&format!("stopped {}", self.name));
    }
}

fn actor(name: &'static str, journal: &Journal) -> Actor {
    Actor {
        name,
        journal: journal.clone(),
        starting: Duration::ZERO,
        start: Ok(()),
        life: None,
        stopping: Duration::ZERO,
    }
}

fn id(name: &str) -> EntryId {
    format!("app:{name}").parse().unwrap()
}

fn supervised(actor: Actor, needs: &[&str]) -> Supervised {
    let restart = Restart {
        jitter: 0.0,
        ..Restart::default()
    };
    Supervised {
        id: id(actor.name),
        lifecycle: Lifecycle {
            restart,
            ..Lifecycle::default()
        },
        needs: needs.iter().map(|name| id(name)).collect(),
        service: Arc::new(actor),
    }
}

fn state(supervisor: &Supervisor, name: &str) -> State {
    let states = supervisor.states();
    states.iter().find(|(known, _)| **known == id(name)).unwrap().1
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn needs_start_first_and_stop_last_and_others_do_not_wait() {
    let journal = Journal::new();
    let slow = |name| Actor {
        starting: SECOND,
        stopping: SECOND,
        ..actor(name, &journal)
    };
    let supervisor = Supervisor::start(vec![
        supervised(slow("base"), &[]),
        supervised(slow("other"), &[]),
        supervised(slow("middle"), &["base"]),
        supervised(slow("top"), &["middle", "base"]),
    ]);
    supervisor.settled().await;
    assert_eq!(journal.times("started base"), [1.0]);
    assert_eq!(journal.times("started other"), [1.0]);
    assert_eq!(journal.times("started middle"), [2.0]);
    assert_eq!(journal.times("started top"), [3.0]);
    supervisor.stop().await;
    for (what, time) in [
        ("stop top", 3.0),
        ("stop other", 3.0),
        ("stop middle", 4.0),
        ("stop base", 5.0),
        ("stopped base", 6.0),
    ] {
        assert_eq!(journal.times(what), [time], "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_service_waits_longer_each_time() {
    let journal = Journal::new();
    let failing = Actor {
        life: Some((Duration::ZERO, Err(ErrorKind::Internal))),
        ..actor("a", &journal)
    };
    let supervisor = Supervisor::start(vec![supervised(failing, &[])]);
    journal.wait_for("start a", 6).await;
    assert_eq!(journal.times("start a"), [0.0, 1.0, 3.0, 7.0, 15.0, 31.0]);
    supervisor.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_was_stable_begins_anew() {
    let journal = Journal::new();
    let long_lived = Actor {
        life: Some((SECOND * 6, Err(ErrorKind::Internal))),
        ..actor("a", &journal)
    };
    let supervisor = Supervisor::start(vec![supervised(long_lived, &[])]);
    journal.wait_for("start a", 4).await;
    // Each life is longer than the threshold of five seconds, so each wait is the first one.
    assert_eq!(journal.times("start a"), [0.0, 7.0, 14.0, 21.0]);
    supervisor.stop().await;
}

#[tokio::test(start_paused = true)]
async fn attempts_have_an_end_and_dependents_wait_for_nothing() {
    let journal = Journal::new();
    let failing = Actor {
        start: Err(ErrorKind::Unavailable),
        ..actor("a", &journal)
    };
    let mut failing = supervised(failing, &[]);
    failing.lifecycle.restart.max_attempts = 2;
    let supervisor = Supervisor::start(vec![failing, supervised(actor("b", &journal), &["a"])]);
    supervisor.settled().await;
    assert_eq!(
        (state(&supervisor, "a"), state(&supervisor, "b")),
        (State::Failed, State::Unknown)
    );
    tokio::time::sleep(SECOND * 100).await;
    assert_eq!(journal.times("start a"), [0.0, 1.0, 3.0]);
    supervisor.stop().await;
    assert_eq!(journal.lines(), ["start a", "start a", "start a"]);
}

#[tokio::test(start_paused = true)]
async fn what_no_second_attempt_helps_is_not_tried_again() {
    for kind in [
        ErrorKind::NotFound,
        ErrorKind::Invalid,
        ErrorKind::PermissionDenied,
    ] {
        let journal = Journal::new();
        let wrong = Actor {
            start: Err(kind),
            ..actor("a", &journal)
        };
        let supervisor = Supervisor::start(vec![supervised(wrong, &[])]);
        tokio::time::sleep(SECOND * 100).await;
        assert_eq!(journal.lines(), ["start a"]);
        assert_eq!(state(&supervisor, "a"), State::Failed);
        supervisor.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_whose_work_is_done_lets_others_start() {
    let journal = Journal::new();
    let migration = Actor {
        life: Some((SECOND, Ok(()))),
        ..actor("migration", &journal)
    };
    let supervisor = Supervisor::start(vec![
        supervised(migration, &[]),
        supervised(actor("server", &journal), &["migration"]),
    ]);
    tokio::time::sleep(SECOND * 2).await;
    assert_eq!(state(&supervisor, "migration"), State::Exited);
    assert_eq!(state(&supervisor, "server"), State::Running);
    supervisor.stop().await;
    assert_eq!(journal.times("start migration"), [0.0]);
    assert!(journal.times("stop migration").is_empty());
}

#[tokio::test(start_paused = true)]
async fn starting_and_stopping_take_no_longer_than_they_may() {
    let journal = Journal::new();
    let stuck = Actor {
        starting: SECOND * 3600,
        ..actor("stuck", &journal)
    };
    let deaf = Actor {
        stopping: SECOND * 3600,
        ..actor("deaf", &journal)
    };
    let supervisor = Supervisor::start(vec![supervised(stuck, &[]), supervised(deaf, &[])]);
    journal.wait_for("start stuck", 2).await;
    // Ten seconds for the start, one before the next attempt.
    assert_eq!(journal.times("start stuck"), [0.0, 11.0]);
    let told = Instant::now();
    supervisor.stop().await;
    // The deadline after ten seconds, and a last second.
    assert_eq!(told.elapsed().as_secs(), 11);
    assert!(journal.times("stopped deaf").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_panicking_service_does_not_keep_the_others() {
    struct Panicking;
    #[async_trait]
    impl Service for Panicking {
        async fn start(&self) -> Result<Box<dyn Active>, CallError> {
            panic!("on purpose")
        }
    }
    let journal = Journal::new();
    let panicking = Supervised {
        service: Arc::new(Panicking),
        ..supervised(actor("b", &journal), &["a"])
    };
    let supervisor = Supervisor::start(vec![supervised(actor("a", &journal), &[]), panicking]);
    supervisor.settled().await;
    assert_eq!(state(&supervisor, "b"), State::Failed);
    supervisor.stop().await;
    assert_eq!(journal.lines(), ["start a", "started a", "stop a", "stopped a"]);
}

#[tokio::test(start_paused = true)]
async fn a_need_that_fails_at_once_keeps_nobody_waiting_for_its_dependents() {
    let journal = Journal::new();
    let flapping = Actor {
        life: Some((Duration::ZERO, Err(ErrorKind::Internal))),
        ..actor("a", &journal)
    };
    let mut flapping = supervised(flapping, &[]);
    flapping.lifecycle.restart.max_attempts = 1;
    let supervisor = Supervisor::start(vec![flapping, supervised(actor("b", &journal), &["a"])]);
    tokio::time::timeout(SECOND * 60, supervisor.settled())
        .await
        .unwrap();
    supervisor.stop().await;
}
