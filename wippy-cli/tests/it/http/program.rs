//! The program as a process of its own, with what it logs.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
};

/// A program that serves; it ends with the test.
pub(crate) struct Program {
    child: Child,
    pub(crate) address: SocketAddr,
    /// The line of its log that says so.
    pub(crate) listening: String,
    /// The lines of its log since it listens.
    pub(crate) log: mpsc::Receiver<String>,
}

impl Program {
    /// Runs the project with these flags. Its log is read on all the time, so that it never waits for a reader.
    pub(crate) fn serve(directory: &Path, flags: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wippy"));
        command.current_dir(directory).arg("run").args(flags);
        command.env_remove("WIPPY_LOG").env("NO_COLOR", "1");
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let (address, listening) = lines
            .find_map(|line| Some((address(&line)?, line)))
            .expect("it listens");
        let (sender, log) = mpsc::channel();
        std::thread::spawn(move || lines.for_each(|line| drop(sender.send(line))));
        Self {
            child,
            address,
            listening,
            log,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The rest of its log, and its exit code.
    pub(crate) fn rest(mut self) -> (Vec<String>, Option<i32>) {
        let rest = self.log.iter().collect();
        (rest, self.child.wait().unwrap().code())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("http://")?;
    rest.split('"').next()?.parse().ok()
}
