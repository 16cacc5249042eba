//! The only place that prints. Data goes to standard output as it is; everything else goes to standard error, with
//! colours only where a terminal wants them (`NO_COLOR` is honoured).
//!
//! A reader that went away (`wippy registry list | head -1`) is not an error: what it does not read is dropped.

use std::io::{self, Write};

/// Prints a line of data.
pub(crate) fn line(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}

/// Prints bytes of data as they are.
pub(crate) fn bytes(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}

/// Prints a JSON document.
pub(crate) fn json(document: &serde_json::Value) {
    line(&format!("{document:#}"));
}

/// Tells people something.
pub(crate) fn tell(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Tells people what went wrong, and the next step.
pub(crate) fn error(message: &str, help: &[String]) {
    let (red, bold, cyan, reset) = ("\x1b[1;31m", "\x1b[1m", "\x1b[36m", "\x1b[0m");
    tell(&format!("{red}error{reset}{bold}:{reset} {message}"));
    for line in help {
        tell(&format!("  {cyan}help:{reset} {line}"));
    }
}

/// Prints rows under a heading, columns aligned.
pub(crate) fn table<const N: usize>(heading: [&str; N], rows: Vec<[String; N]>) {
    let heading = heading.map(ToOwned::to_owned);
    let widths: [usize; N] = std::array::from_fn(|column| {
        let cells = std::iter::once(&heading)
            .chain(&rows)
            .filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    });
    for row in std::iter::once(heading).chain(rows) {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        line(cells.join("  ").trim_end());
    }
}

/// A document as YAML.
pub(crate) fn yaml(document: &serde_json::Value) -> String {
    serde_saphyr::to_string(document).unwrap_or_else(|_| format!("{document:#}\n"))
}
