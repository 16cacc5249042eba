//! `worker_class` and `scheduler.wasm_isolation`: which threads run on which processors, as the system says.
#![cfg(target_os = "linux")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::shell::{project, write};

/// A guest that is busy until its time is over.
const INDEX: &str = r#"namespace: app
entries:
  - name: spin
    kind: function.wat
    source: |
      (module (func (export "spin") (loop $again (br $again))))
    wit: "spin: func();"
    method: spin
    limits: { max_execution_ms: 60000 }
    pool: { worker_class: heavy, workers: 1 }
"#;

/// One thread, as `/proc` has it.
#[derive(Debug)]
struct Thread {
    name: String,
    allowed: BTreeSet<usize>,
    /// Time that it computed, in ticks.
    ticks: u64,
}

fn threads(process: u32) -> Vec<Thread> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    // One that ends meanwhile is none.
    let thread = |task: std::io::Result<fs::DirEntry>| {
        let task = task.ok()?.path();
        let status = fs::read_to_string(task.join("status")).ok()?;
        let stat = fs::read_to_string(task.join("stat")).ok()?;
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
        };
        let after_name: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |index: usize| after_name.get(index)?.parse::<u64>().ok();
        Some(Thread {
            name: field("Name:")?,
            allowed: numbers(&field("Cpus_allowed_list:")?),
            ticks: ticks(11)? + ticks(12)?,
        })
    };
    tasks.filter_map(thread).collect()
}

/// `0-2,5` as numbers.
fn numbers(text: &str) -> BTreeSet<usize> {
    let number = |text: &str| text.parse::<usize>().unwrap();
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        number(first)..=number(last)
    };
    text.split(',').flat_map(range).collect()
}

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The threads of a run whose guest is busy, by their names.
fn busy(configuration: &str) -> BTreeMap<String, Vec<Thread>> {
    let project = project(INDEX);
    write(project.path(), ".wippy.yaml", configuration);
    let mut command = Command::new(env!("CARGO_BIN_EXE_wippy"));
    command
        .current_dir(project.path())
        .args(["call", "app:spin"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
    let running = Running(command.spawn().unwrap());
    let begun = Instant::now();
    loop {
        let mut by_name: BTreeMap<String, Vec<Thread>> = BTreeMap::new();
        for thread in threads(running.0.id()) {
            by_name.entry(thread.name.clone()).or_default().push(thread);
        }
        let computes = |threads: &Vec<Thread>| threads.iter().any(|thread| thread.ticks >= 10);
        if by_name.get("wippy:heavy").is_some_and(computes) {
            return by_name;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "{by_name:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn processors(threads: &[Thread]) -> BTreeSet<usize> {
    threads
        .iter()
        .flat_map(|thread| thread.allowed.iter().copied())
        .collect()
}

#[test]
fn a_class_has_threads_of_its_own() {
    let threads = busy("scheduler: { workers: 2 }\n");
    let here = numbers(
        fs::read_to_string("/proc/self/status")
            .unwrap()
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
            .unwrap()
            .trim(),
    );
    // Without isolation every thread may run anywhere.
    assert_eq!(processors(&threads["wippy:heavy"]), here);
    assert_eq!(processors(&threads["wippy"]), here);
}

#[test]
fn isolated_guests_and_the_scheduler_share_no_processor() {
    let available = std::thread::available_parallelism().unwrap().get();
    if available < 2 {
        println!("skipped: one processor cannot be divided");
        return;
    }
    let threads = busy("scheduler: { wasm_isolation: { enabled: true, reserved_cores: 1 } }\n");
    let reserved = processors(&threads["wippy:heavy"]);
    assert_eq!(reserved.len(), 1, "{threads:#?}");
    // The thread that a program begins with is one of the scheduler's, too.
    let scheduler = processors(&threads["wippy"]);
    assert_eq!(scheduler.len(), available - 1, "{threads:#?}");
    assert!(reserved.is_disjoint(&scheduler), "{threads:#?}");
    println!("guests on processors {reserved:?}, the scheduler on {scheduler:?}");
}
