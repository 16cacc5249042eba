//! [`Actor`]: who acts.

use std::sync::Arc;

use wippy_registry::schema::lifecycle as declared;
use wippy_wit::{Value, json};

use crate::CallError;

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

    /// The actor of an entry's security block.
    ///
    /// # Errors
    /// When its `meta` is nested too deeply.
    pub(crate) fn declared(declared: &declared::Actor) -> Result<Self, CallError> {
        let pairs = declared.meta.iter();
        let pairs = pairs.map(|(key, value)| Ok((key.as_bytes(), json::to_value(value)?)));
        Ok(Self {
            id: declared.id.as_str().into(),
            meta: Value::record(pairs.collect::<Result<Vec<_>, wippy_wit::Error>>()?),
        })
    }
}
