//! [`Actor`]: who acts.

use std::sync::Arc;

use wippy_wit::Value;

/// An identity, made at the edges (HTTP, command line, service start) and inherited by everything done for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Actor {
    /// Who it is.
    pub id: Arc<str>,
    /// What is known about it: roles, tenant, and so on.
    pub meta: Value,
}

impl Actor {
    /// An actor about whom nothing more is known.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self {
            id: id.into(),
            meta: Value::Nil,
        }
    }
}
