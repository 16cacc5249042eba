//! Tests that measure their own process run in one of their own: other tests would count too.

use std::process::{Command, Stdio};

use crate::heap;

const MARK: &str = "WIPPY_TEST_ALONE";

/// Whether this is a process that runs one test only.
pub fn is_own_process() -> bool {
    std::env::var_os(MARK).is_some()
}

/// True in the process that runs only the test `name`. In any other, starts that process and waits for it.
pub fn in_own_process(name: &str) -> bool {
    if is_own_process() {
        return true;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(MARK, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // While this is held, what reads standard input there waits.
    let _input = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    print!("{out}{err}");
    assert!(output.status.success(), "`{name}` failed: {}", output.status);
    // A name that matches no test would succeed too.
    assert!(out.contains("1 passed"), "`{name}` did not run");
    false
}

/// What the process holds.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// What is allocated.
    pub heap_bytes: usize,
    /// What of the machine's memory is taken: slots and code too, and what the allocator keeps.
    pub memory_bytes: usize,
    pub files: usize,
    pub threads: usize,
}

/// What this process holds now.
pub fn usage() -> Usage {
    let count = |folder: &str| std::fs::read_dir(folder).unwrap().count();
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    Usage {
        heap_bytes: heap::held(),
        memory_bytes: pages * 4096,
        files: count("/proc/self/fd"),
        threads: count("/proc/self/task"),
    }
}
