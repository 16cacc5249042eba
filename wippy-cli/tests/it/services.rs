//! Supervised processes of real applications, under real signals.
#![cfg(unix)]

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::runtime::Runtime;
use wippy_cli::{App, Config, supervisor::State};
use wippy_registry::EntryId;
use wippy_security::{Ended, ErrorKind, Permit, Process, ProcessFuture, Spawn, Start};
use wippy_wit::Value;

use crate::shell;

/// A project with the guest `actor`; `{actor}` in the index stands for its fields.
fn project(index: &str) -> TempDir {
    let project = tempfile::tempdir().unwrap();
    let guest = shell::guest(project.path(), "actor");
    let index = index.replace("    {actor}\n", &format!("{guest}    imports: [process]\n"));
    let index = format!("namespace: app\nentries:\n{}{index}", shell::FILES);
    shell::write(project.path(), "src/_index.yaml", &index);
    project
}

const ACTORS: &str = r"
  - name: host
    kind: process.host
    lifecycle: { auto_start: true }
  - name: relay
    kind: process.wasm
    {actor}
    method: relay
  - name: spin
    kind: process.wasm
    {actor}
    method: spin
  - name: whoami
    kind: process.wasm
    {actor}
    method: whoami
  - name: watch
    kind: process.wasm
    meta: { command: { name: watch } }
    {actor}
    method: watch
";

fn service(name: &str, process: &str, more: &str) -> String {
    format!(
        "  - name: {name}\n    kind: process.service\n    process: {process}\n    host: host\n    \
         lifecycle: {{ auto_start: true{more} }}\n"
    )
}

/// `wippy` with its log, line by line.
struct Wippy {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Wippy {
    fn run(directory: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wippy"));
        command
            .current_dir(directory)
            .arg("run")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .env_remove("WIPPY_LOG");
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Self { child, log }
    }

    /// Reads the log up to a line with `word`, and returns that line.
    fn until(&mut self, word: &str) -> String {
        let mut line = String::new();
        while !line.contains(word) {
            line.clear();
            let read = self.log.read_line(&mut line).unwrap();
            assert!(read > 0, "it ended before it said `{word}`");
        }
        line
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// The rest of the log, and the exit code.
    fn rest(mut self) -> (String, Option<i32>) {
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        (rest, self.child.wait().unwrap().code())
    }
}

impl Drop for Wippy {
    fn drop(&mut self) {
        // Only matters after a failed assertion.
        let _ = self.child.kill();
    }
}

fn stopped(log: &str) -> Vec<&str> {
    log.lines()
        .filter_map(|line| line.split_once("stopped id="))
        .map(|(_, id)| id)
        .collect()
}

#[test]
fn services_stop_in_reverse_order_and_the_exit_code_is_0() {
    let services = [
        service("first", "relay", "").replace("    lifecycle", "    input: [nobody]\n    lifecycle"),
        service("second", "relay", ", requires: [first]")
            .replace("    lifecycle", "    input: [nobody]\n    lifecycle"),
    ];
    let project = project(&format!("{ACTORS}{}", services.concat()));
    for signal in ["-TERM", "-INT"] {
        let mut wippy = Wippy::run(project.path());
        wippy.until("started id=app:second");
        wippy.until("serving");
        wippy.signal(signal);
        let (rest, code) = wippy.rest();
        assert_eq!(
            (stopped(&rest), code),
            (vec!["app:second", "app:first", "app:host"], Some(0)),
            "{rest}"
        );
    }
}

#[test]
fn a_failing_script_is_started_again_and_its_error_is_told() {
    let project = project(&format!(
        "{ACTORS}  - name: broken\n    kind: process.lua\n    method: main\n    source: |\n      \
         return {{ main = function(what) error(\"cannot \" .. what) end }}\n{}",
        service(
            "failing",
            "broken",
            ", restart: { initial_delay: 10ms, max_attempts: 2 }"
        )
        .replace("    lifecycle", "    input: [work]\n    lifecycle")
    ));
    let mut wippy = Wippy::run(project.path());
    for _ in 0..2 {
        let line = wippy.until("started again in");
        assert!(line.contains("id=app:failing"), "{line}");
        assert!(line.contains("cannot work"), "{line}");
    }
    let line = wippy.until("is not started again");
    assert!(line.contains("cannot work"), "{line}");
    wippy.signal("-TERM");
    assert_eq!(wippy.rest().1, Some(0));
}

#[test]
fn a_service_whose_work_is_done_exits() {
    let project = project(&format!("{ACTORS}{}", service("once", "whoami", "")));
    let mut wippy = Wippy::run(project.path());
    wippy.until("exited id=app:once");
    wippy.signal("-TERM");
    let (rest, code) = wippy.rest();
    assert_eq!((stopped(&rest), code), (vec!["app:host"], Some(0)), "{rest}");
}

#[test]
fn a_busy_loop_is_terminated_when_its_time_to_stop_is_over() {
    let project = project(&format!(
        "{ACTORS}{}",
        service("busy", "spin", ", stop_timeout: 100ms")
    ));
    let mut wippy = Wippy::run(project.path());
    wippy.until("serving");
    wippy.signal("-TERM");
    let (rest, code) = wippy.rest();
    assert_eq!(
        (stopped(&rest), code),
        (vec!["app:busy", "app:host"], Some(0)),
        "{rest}"
    );
}

#[test]
fn the_second_signal_ends_it_at_once() {
    let project = project(&format!(
        "{ACTORS}{}",
        service("busy", "spin", ", stop_timeout: 1h")
    ));
    let mut wippy = Wippy::run(project.path());
    wippy.until("serving");
    wippy.signal("-TERM");
    wippy.until("stopping");
    wippy.signal("-TERM");
    let (rest, code) = wippy.rest();
    assert!(stopped(&rest).is_empty(), "{rest}");
    assert_eq!(code, Some(130));
}

#[test]
fn a_command_spawns_beside_the_services_it_relies_on() {
    let project = project(&format!(
        "{ACTORS}{}",
        service("beside", "spin", ", stop_timeout: 100ms")
    ));
    let said = shell::transcript(project.path(), &["run", "watch", "app:whoami", "app:host"]);
    assert!(
        said.contains("{app:host|0x00003}") && said.ends_with("--- exit code 0"),
        "{said}"
    );
    let said = shell::transcript(project.path(), &["run", "watch", "app:nothing", "app:host"]);
    assert!(said.contains("there is no process entry `app:nothing`"), "{said}");
}

fn id(name: &str) -> EntryId {
    format!("app:{name}").parse().unwrap()
}

fn load(project: &TempDir) -> App {
    App::load(project.path(), &Config::default()).unwrap()
}

fn launch(
    app: &App,
    process: &str,
    host: &str,
) -> Result<wippy_security::Launched, wippy_security::CallError> {
    let spawn = Spawn::new(id(process), host.parse().unwrap(), Vec::new());
    app.dispatcher()
        .processes()
        .launch(&app.context(), spawn, Vec::new())
}

#[test]
fn hosts_have_room_for_so_many() {
    let index = ACTORS.replace(
        "kind: process.host\n",
        "kind: process.host\n    host: { max_processes: 2, queue_size: 8, local_queue_size: 8 }\n",
    );
    let project = project(&index);
    Runtime::new().unwrap().block_on(async {
        let app = load(&project);
        let (one, _two) = (
            launch(&app, "spin", "app:host").unwrap(),
            launch(&app, "spin", "app:host").unwrap(),
        );
        let error = launch(&app, "whoami", "app:host").unwrap_err();
        assert_eq!(
            (error.kind(), error.message()),
            (
                ErrorKind::Unavailable,
                "the host `app:host` has no room: `max_processes` is 2"
            )
        );
        one.terminate("enough");
        one.exit().await;
        // Who has seen an end finds its place free.
        launch(&app, "whoami", "app:host").unwrap();

        let terminal = launch(&app, "spin", "wippy:terminal").unwrap();
        let error = launch(&app, "whoami", "wippy:terminal").unwrap_err();
        assert_eq!(
            error.message(),
            "the host `wippy:terminal` runs one process at a time"
        );
        terminal.terminate("enough");
    });
}

/// Counts how many of its kind are on a thread at the same time.
#[derive(Default)]
struct Counting {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Process for Counting {
    fn start(self: Arc<Self>, _: Permit, _: Start) -> ProcessFuture {
        Box::pin(async move {
            for _ in 0..50 {
                let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
                self.most.fetch_max(now, Ordering::SeqCst);
                let busy = Instant::now();
                while busy.elapsed() < Duration::from_micros(200) {}
                self.now.fetch_sub(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
            }
            Ok(Ended::Value(Value::Nil))
        })
    }
}

#[test]
fn workers_bound_how_many_run_at_once() {
    let project = project(&format!(
        "{ACTORS}  - name: narrow\n    kind: process.host\n    host: {{ workers: 1 }}\n"
    ));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let app = load(&project);
        for (host, expected) in [("app:narrow", 1..=1), ("app:host", 2..=4)] {
            let counting: Arc<Counting> = Arc::default();
            app.dispatcher()
                .processes()
                .insert(id("counting"), counting.clone());
            let running: Vec<_> = (0..8).map(|_| launch(&app, "counting", host).unwrap()).collect();
            for process in running {
                assert!(process.exit().await.is_ok());
            }
            let most = counting.most.load(Ordering::SeqCst);
            assert!(expected.contains(&most), "{host}: {most}");
        }
        // A worker that is taken by busy loops is not needed to end them.
        let spins: Vec<_> = (0..3)
            .map(|_| launch(&app, "spin", "app:narrow").unwrap())
            .collect();
        for spin in &spins {
            spin.terminate("enough");
        }
        for spin in spins {
            assert_eq!(
                spin.exit().await.as_ref().unwrap_err().kind(),
                ErrorKind::Canceled
            );
        }
    });
}

#[test]
fn every_service_is_back_whoever_is_killed() {
    let services: String = (0..8)
        .map(|number| {
            let restart = ", restart: { initial_delay: 1ms, max_delay: 5ms }";
            service(&format!("s{number}"), "spin", restart)
        })
        .collect();
    let project = project(&format!("{ACTORS}{services}"));
    Runtime::new().unwrap().block_on(async {
        let app = load(&project);
        let services = app.start_services();
        services.settled().await;
        let processes = app.dispatcher().processes();
        let mut killed = 0;
        while killed < 200 {
            for record in processes.all() {
                processes
                    .terminate(&app.context(), record.pid().as_str())
                    .unwrap();
                killed += 1;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let back = async {
            while services
                .states()
                .iter()
                .any(|(_, state)| *state != State::Running)
                || processes.len() != 8
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), back)
            .await
            .expect("not all are back");
        let counts = processes.counts();
        assert_eq!(counts.started - counts.ended, 8);
        for record in processes.all() {
            processes
                .terminate(&app.context(), record.pid().as_str())
                .unwrap();
        }
        services.stop().await;
        assert!(processes.is_empty());
    });
}
