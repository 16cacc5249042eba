//! `process.host`, `terminal.host`, `process.service`, and `meta.command` of processes.

use crate::diagnostic::Diagnostic;
use crate::id::EntryId;
use crate::schema::decoder::Decoder;
use crate::schema::fields::{Fields, fields};
use crate::schema::lifecycle::{self, Lifecycle};
use crate::schema::read::{boolean, json, list, non_empty, positive, reference, text};
use crate::schema::reference::Target;
use crate::yaml::Node;

/// Where processes run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessHost {
    /// Workers; the number of cores when absent.
    pub workers: Option<u32>,
    /// Waiting processes of the host.
    pub queue_size: Option<u32>,
    /// Waiting processes of one worker.
    pub local_queue_size: Option<u32>,
    /// Processes alive at once.
    pub max_processes: Option<u32>,
    /// How it starts and stops.
    pub lifecycle: Lifecycle,
}

/// Where a command runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TerminalHost {
    /// Whether logs stay off the terminal.
    pub hide_logs: bool,
    /// How it starts and stops.
    pub lifecycle: Lifecycle,
}

/// A process that is kept running.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessService {
    /// The process entry.
    pub process: EntryId,
    /// The host entry.
    pub host: EntryId,
    /// Arguments.
    pub input: Vec<serde_json::Value>,
    /// How it starts and stops.
    pub lifecycle: Lifecycle,
}

/// How a process is started from the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The word after `wippy run`.
    pub name: String,
    /// One line for the listing.
    pub short: Option<String>,
    /// Whether it is the application's main command.
    pub main: bool,
    /// What it is for; `test` makes it the one that `wippy test` runs.
    pub use_case: Option<String>,
}

pub(crate) fn host(decoder: &mut Decoder<'_>) -> ProcessHost {
    let mut entry = decoder.fields();
    let host = entry.optional(decoder, "host", fields(sizes)).unwrap_or_default();
    let lifecycle = lifecycle::field(&mut entry, decoder);
    entry.finish(decoder);
    ProcessHost { lifecycle, ..host }
}

#[expect(clippy::unnecessary_wraps, reason = "the form that `fields` reads")]
fn sizes(host: &mut Fields<'_>, decoder: &mut Decoder<'_>) -> Option<ProcessHost> {
    Some(ProcessHost {
        workers: host.optional(decoder, "workers", positive),
        queue_size: host.optional(decoder, "queue_size", positive),
        local_queue_size: host.optional(decoder, "local_queue_size", positive),
        max_processes: host.optional(decoder, "max_processes", positive),
        lifecycle: Lifecycle::default(),
    })
}

pub(crate) fn terminal(decoder: &mut Decoder<'_>) -> TerminalHost {
    let mut entry = decoder.fields();
    let hide_logs = entry.optional(decoder, "hide_logs", boolean).unwrap_or(false);
    let lifecycle = lifecycle::field(&mut entry, decoder);
    entry.finish(decoder);
    TerminalHost { hide_logs, lifecycle }
}

pub(crate) fn service(decoder: &mut Decoder<'_>) -> Option<ProcessService> {
    let mut entry = decoder.fields();
    let process = entry.required(decoder, "process", reference(Target::Process));
    let host = entry.required(decoder, "host", reference(Target::Host));
    let input = entry.optional(decoder, "input", list(json)).unwrap_or_default();
    let lifecycle = lifecycle::field(&mut entry, decoder);
    entry.finish(decoder);
    Some(ProcessService {
        process: process?,
        host: host?,
        input,
        lifecycle,
    })
}

/// `meta.command` of a process entry.
pub(crate) fn command(decoder: &mut Decoder<'_>) -> Option<Command> {
    let mut command = None;
    decoder.meta(|meta, decoder| {
        command = meta.optional(
            decoder,
            "command",
            fields(|command, decoder| {
                let name = command.required(decoder, "name", command_name);
                let short = command.optional(decoder, "short", text);
                let main = command.optional(decoder, "main", boolean).unwrap_or(false);
                let use_case = command.optional(decoder, "use_case", non_empty);
                Some(Command {
                    name: name?,
                    short,
                    main,
                    use_case,
                })
            }),
        );
    });
    command
}

fn command_name(node: &Node, decoder: &mut Decoder<'_>) -> Option<String> {
    let name = non_empty(node, decoder)?;
    if name == "list" {
        let message = format!("`{}`: a command cannot be named `list`", decoder.path());
        let diagnostic = Diagnostic::error("invalid-value", message)
            .primary(node.written_span(), "")
            .note("`wippy run list` shows the commands");
        decoder.report(diagnostic);
        return None;
    }
    if name.starts_with('-') || name.contains(char::is_whitespace) {
        return decoder.invalid(node, "one word that does not start with `-`");
    }
    Some(name)
}
