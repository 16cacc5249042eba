//! Contexts with policies, and what the audit trail says of them.

use std::{
    io,
    sync::{Arc, Mutex},
};

use wippy_registry::schema::security::{self as declared, Rule};
use wippy_security::{Actor, Context, Effect, Policy, Scope};

use crate::support::id;

pub use wippy_security::Effect::{Allow, Deny};

/// `context` for Ada, under policies of (effect, action, resource).
pub fn under(context: &Context, policies: &[(Effect, &str, &str)]) -> Context {
    let policies = policies
        .iter()
        .enumerate()
        .map(|(index, (effect, action, resource))| {
            let policy = declared::Policy {
                actions: vec![(*action).to_owned()],
                resources: vec![(*resource).to_owned()],
                effect: *effect,
                rule: Rule::Conditions(Vec::new()),
                groups: Vec::new(),
            };
            Arc::new(Policy::compile(id(&format!("p{index}")), &policy).unwrap())
        });
    let (actor, scope) = (Arc::new(Actor::new("ada")), Arc::new(Scope::new(policies)));
    context.with_identity(Some(actor), Some(scope))
}

/// The lines of a log.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Collects what is logged on this thread while the guard lives.
    pub fn collect(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_writer(move || log.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    /// The lines that mention `text`.
    pub fn lines_with(&self, text: &str) -> Vec<String> {
        let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = log.lines().filter(|line| line.contains(text));
        lines.map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
