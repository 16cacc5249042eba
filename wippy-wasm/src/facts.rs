//! [`Facts`]: what has to be known of a component besides its code, and takes as long to find out as loading that does: what
//! it exports and imports, and which of its functions end by themselves. They are kept beside the code.

mod form;

use crate::{
    Error,
    bounded::{self, Names},
    exports::Surface,
    hosts,
};

/// What is known of a component.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// What it exports and imports.
    pub(crate) surface: Surface,
    /// The functions that it exports and that end by themselves within a few thousand instructions, unless they fail.
    pub(crate) bounded: Names,
}

impl Facts {
    /// Reads the types and the functions of a component.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is none, [`Error::Unsupported`] when it needs what is not offered.
    pub(crate) fn read(component: &[u8]) -> Result<Self, Error> {
        let surface = Surface::read(component)?;
        if let Some(interface) = surface.imports.iter().find(|name| hosts::is_wasi_0_3(name)) {
            let message = format!(
                "`{interface}` is of WASI 0.3, which is not offered yet: build the guest for WASI 0.2"
            );
            return Err(Error::Unsupported { message });
        }
        let mut facts = Self {
            surface,
            bounded: Names::new(),
        };
        // Host functions may have to wait, so whoever imports any needs a stack of its own.
        let waits =
            facts.is_asynchronous() || facts.surface.has_error_contexts || !facts.surface.imports.is_empty();
        if !waits {
            facts.bounded = bounded::functions(component);
        }
        Ok(facts)
    }

    /// Whether it needs an engine with asynchronous components.
    pub(crate) fn is_asynchronous(&self) -> bool {
        let exports = &self.surface.exports;
        exports.iter().any(|export| export.signature.needs_async_engine())
    }

    /// As bytes, for a file.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        form::write(self)
    }

    /// From what [`to_bytes`](Self::to_bytes) made; `None` if it did not make them.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        form::read(bytes)
    }
}
