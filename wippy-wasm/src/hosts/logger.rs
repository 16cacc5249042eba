//! `wippy:runtime/logger`: records with a level and fields. They count against `max_stdout_bytes` as lines do.

use serde_json::{Map, Value};
use wasmtime::{
    StoreContextMut,
    component::{ComponentType, Lift, Linker},
};

use crate::{
    output::{Journal, LINE_MAX},
    state::GuestState,
};

/// How many fields one record may have; the rest is left out.
const FIELDS_MAX: usize = 64;

#[expect(dead_code, reason = "its values come from guests: they are lifted, not built")]
#[derive(Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
enum Level {
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

type Fields = Vec<(String, String)>;

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut logger = linker.instance("wippy:runtime/logger@0.1.0")?;
    logger.func_wrap(
        "log",
        |store: StoreContextMut<'_, GuestState>, (level, message, fields): (Level, String, Fields)| {
            let Some(journal) = &store.data().journal else {
                return Ok(());
            };
            let fields = fields.into_iter().take(FIELDS_MAX);
            let fields: Map<String, Value> = fields.map(|(key, value)| (key, value.into())).collect();
            let fields = if fields.is_empty() {
                String::new()
            } else {
                Value::Object(fields).to_string()
            };
            journal.spend(message.len().saturating_add(fields.len()))?;
            record(journal, level, shortened(&message), shortened(&fields));
            Ok(())
        },
    )
}

fn record(journal: &Journal, level: Level, message: &str, fields: &str) {
    let (entry, call) = (journal.entry(), journal.call());
    match level {
        Level::Debug => tracing::debug!(target: "wippy::guest", entry, call, fields, "{message}"),
        Level::Info => tracing::info!(target: "wippy::guest", entry, call, fields, "{message}"),
        Level::Warn => tracing::warn!(target: "wippy::guest", entry, call, fields, "{message}"),
        Level::Error => tracing::error!(target: "wippy::guest", entry, call, fields, "{message}"),
    }
}

/// As much of `text` as a record holds.
fn shortened(text: &str) -> &str {
    let end = text.floor_char_boundary(LINE_MAX);
    text.get(..end).unwrap_or(text)
}
