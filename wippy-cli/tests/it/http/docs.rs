//! `docs/http.md`: every request that it shows is sent by curl to the example that it describes, and gets the answer that
//! stands there. `WIPPY_UPDATE_DOCS=1` writes the answers into the page; read what changed before you commit it.

use std::{
    fmt::Write as _,
    process::{Command, Stdio},
};

use regex::Regex;

use super::program::Program;

/// Where the page says that the example listens.
const SHOWN: &str = "127.0.0.1:8080";
/// What the shell prints between two answers.
const SEPARATOR: char = '\u{1e}';

#[test]
fn the_page_shows_what_the_example_answers() {
    let path = fixtures::root().parent().unwrap().join("docs/http.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let program = Program::serve(&fixtures::app("http"), &["-o", "http:gateway:addr=127.0.0.1:0"]);
    let address = program.address.to_string();
    let listening = program
        .listening
        .split_once("INFO")
        .map_or("", |(_, line)| line.trim())
        .replace(&address, SHOWN);

    let commands: Vec<&str> = page
        .split('\n')
        .filter_map(|line| line.strip_prefix("$ "))
        .collect();
    assert!(commands.len() > 20, "{commands:?}");
    let answers = run(&commands, &address);
    if std::env::var_os("WIPPY_UPDATE_DOCS").is_some() {
        let old = Regex::new("wippy::http: listening .*").unwrap();
        let page = old.replace(&page, &*listening);
        std::fs::write(&path, filled_in(&page, &answers)).unwrap();
        return;
    }
    assert!(page.contains(&listening), "the page does not say `{listening}`");
    for ((command, answer), shown) in commands.iter().zip(&answers).zip(shown(&page)) {
        assert_eq!(lasting(&shown), lasting(answer), "{command}");
    }
}

/// What each command prints. One shell runs them all, since some set variables for others.
fn run(commands: &[&str], address: &str) -> Vec<String> {
    let script = commands.iter().fold(String::new(), |mut script, command| {
        let command = command.replace(SHOWN, address);
        writeln!(script, "{command} || echo \"curl: $?\"\nprintf '\\036'").unwrap();
        script
    });
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(fixtures::root().parent().unwrap())
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut answers: Vec<String> = text
        .replace(address, SHOWN)
        .replace('\r', "")
        .split(SEPARATOR)
        .map(|answer| answer.trim_end().to_owned())
        .collect();
    assert_eq!(
        answers.pop().as_deref(),
        Some(""),
        "the shell was not done: {text}"
    );
    assert_eq!(answers.len(), commands.len());
    assert!(
        !answers.iter().any(|answer| answer.contains("curl: 127")),
        "this test needs curl"
    );
    answers
}

/// The answers that a page shows, one for each of its commands.
fn shown(page: &str) -> Vec<String> {
    let mut shown: Vec<String> = Vec::new();
    let mut in_answer = false;
    for line in page.lines() {
        if line.starts_with("$ ") {
            shown.push(String::new());
            in_answer = true;
        } else if line == "```" {
            in_answer = false;
        } else if let Some(answer) = shown.last_mut().filter(|_| in_answer) {
            writeln!(answer, "{line}").unwrap();
        }
    }
    shown.iter().map(|answer| answer.trim_end().to_owned()).collect()
}

/// The page with these answers, where they say something else than what stands there.
fn filled_in(page: &str, answers: &[String]) -> String {
    let known = shown(page);
    let mut answers = answers.iter().zip(&known);
    let mut written = String::new();
    let mut in_answer = false;
    for line in page.lines() {
        in_answer &= line != "```" && !line.starts_with("$ ");
        if in_answer {
            continue;
        }
        writeln!(written, "{line}").unwrap();
        if line.starts_with("$ ") {
            let (answer, known) = answers.next().unwrap();
            let answer = if lasting(known) == lasting(answer) {
                known
            } else {
                answer
            };
            if !answer.is_empty() {
                writeln!(written, "{answer}").unwrap();
            }
            in_answer = true;
        }
    }
    written
}

/// What is the same every time.
fn lasting(answer: &str) -> String {
    let changing = [
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<id>"),
        (r"\w{3}, \d{2} \w{3} \d{4} \d{2}:\d{2}:\d{2} GMT", "<date>"),
        (r#"etag: "[0-9a-f-]+""#, "etag: <tag>"),
    ];
    changing
        .iter()
        .fold(answer.to_owned(), |answer, (pattern, name)| {
            let pattern = Regex::new(pattern).unwrap();
            pattern.replace_all(&answer, *name).into_owned()
        })
}
