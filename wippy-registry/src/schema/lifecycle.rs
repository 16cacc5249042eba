//! `lifecycle`: how a service starts, stops, restarts, and whom it acts for.

use std::time::Duration;

use indexmap::IndexMap;

use crate::id::EntryId;
use crate::schema::decoder::Decoder;
use crate::schema::duration::duration;
use crate::schema::fields::{Fields, fields};
use crate::schema::read::{boolean, count, json, list, named, number, reference, text};
use crate::schema::reference::Target;

/// How an entry starts and stops.
#[derive(Clone, Debug, PartialEq)]
pub struct Lifecycle {
    /// Whether it starts with the application.
    pub auto_start: bool,
    /// How long starting may take.
    pub start_timeout: Duration,
    /// How long stopping may take.
    pub stop_timeout: Duration,
    /// How long it has to run until a failure counts as new.
    pub stable_threshold: Duration,
    /// Entries that start before and stop after it.
    pub requires: Vec<EntryId>,
    /// What happens when it fails.
    pub restart: Restart,
    /// Whom its processes or requests act for at first.
    pub security: Option<SecurityContext>,
}

/// When a failed service is started again.
#[derive(Clone, Debug, PartialEq)]
pub struct Restart {
    /// Wait before the first attempt.
    pub initial_delay: Duration,
    /// Longest wait.
    pub max_delay: Duration,
    /// What each wait is longer by.
    pub backoff_factor: f64,
    /// Share of a wait that is random.
    pub jitter: f64,
    /// How many attempts; 0 is no limit.
    pub max_attempts: u32,
}

/// A starting security context.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SecurityContext {
    /// Who acts.
    pub actor: Option<Actor>,
    /// Named scopes, `namespace:group`.
    pub groups: Vec<EntryId>,
    /// Single policies.
    pub policies: Vec<EntryId>,
}

/// Who acts.
#[derive(Clone, Debug, PartialEq)]
pub struct Actor {
    /// The actor's name.
    pub id: String,
    /// What policies may ask about it.
    pub meta: IndexMap<String, serde_json::Value>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self {
            auto_start: false,
            start_timeout: Duration::from_secs(10),
            stop_timeout: Duration::from_secs(10),
            stable_threshold: Duration::from_secs(5),
            requires: Vec::new(),
            restart: Restart::default(),
            security: None,
        }
    }
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            initial_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(90),
            backoff_factor: 2.0,
            jitter: 0.1,
            max_attempts: 0,
        }
    }
}

pub(crate) fn field(entry: &mut Fields<'_>, decoder: &mut Decoder<'_>) -> Lifecycle {
    entry
        .optional(decoder, "lifecycle", fields(lifecycle))
        .unwrap_or_default()
}

#[expect(clippy::unnecessary_wraps, reason = "the form that `fields` reads")]
fn lifecycle(fields_: &mut Fields<'_>, decoder: &mut Decoder<'_>) -> Option<Lifecycle> {
    let default = Lifecycle::default();
    let mut requires = fields_
        .optional(decoder, "requires", list(reference(Target::Any)))
        .unwrap_or_default();
    requires.extend(
        fields_
            .optional(decoder, "depends_on", list(reference(Target::Any)))
            .unwrap_or_default(),
    );
    Some(Lifecycle {
        auto_start: fields_
            .optional(decoder, "auto_start", boolean)
            .unwrap_or(default.auto_start),
        start_timeout: fields_
            .optional(decoder, "start_timeout", duration)
            .unwrap_or(default.start_timeout),
        stop_timeout: fields_
            .optional(decoder, "stop_timeout", duration)
            .unwrap_or(default.stop_timeout),
        stable_threshold: fields_
            .optional(decoder, "stable_threshold", duration)
            .unwrap_or(default.stable_threshold),
        requires,
        restart: fields_
            .optional(decoder, "restart", fields(restart))
            .unwrap_or_default(),
        security: fields_.optional(decoder, "security", fields(security)),
    })
}

#[expect(clippy::unnecessary_wraps, reason = "the form that `fields` reads")]
fn restart(fields: &mut Fields<'_>, decoder: &mut Decoder<'_>) -> Option<Restart> {
    let default = Restart::default();
    Some(Restart {
        initial_delay: fields
            .optional(decoder, "initial_delay", duration)
            .unwrap_or(default.initial_delay),
        max_delay: fields
            .optional(decoder, "max_delay", duration)
            .unwrap_or(default.max_delay),
        backoff_factor: fields
            .optional(decoder, "backoff_factor", number(1.0..=1000.0))
            .unwrap_or(default.backoff_factor),
        jitter: fields
            .optional(decoder, "jitter", number(0.0..=1.0))
            .unwrap_or(default.jitter),
        max_attempts: fields
            .optional(decoder, "max_attempts", count)
            .unwrap_or(default.max_attempts),
    })
}

/// The same block stands in `lifecycle.security` and, for Lua, in `security`.
#[expect(clippy::unnecessary_wraps, reason = "the form that `fields` reads")]
pub(crate) fn security(fields_: &mut Fields<'_>, decoder: &mut Decoder<'_>) -> Option<SecurityContext> {
    Some(SecurityContext {
        actor: fields_.optional(decoder, "actor", fields(actor)),
        groups: fields_
            .optional(decoder, "groups", list(reference(Target::PolicyGroup)))
            .unwrap_or_default(),
        policies: fields_
            .optional(decoder, "policies", list(reference(Target::Policy)))
            .unwrap_or_default(),
    })
}

fn actor(fields: &mut Fields<'_>, decoder: &mut Decoder<'_>) -> Option<Actor> {
    let id = fields.required(decoder, "id", text);
    let meta = fields.optional(decoder, "meta", named(json)).unwrap_or_default();
    Some(Actor { id: id?, meta })
}
