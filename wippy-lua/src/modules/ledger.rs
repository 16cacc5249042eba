//! [`Ledger`]: what a script keeps alive outside of its state is limited, too.
//!
//! A userdata is small in Lua's eyes, whatever it holds. One that holds a copy of a script's values is charged for it, so
//! that a script cannot have more memory by making many of them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use mlua::Lua;

use crate::{errors, local::Local};

/// How many bytes are kept alive by userdata of a state, and how many may be.
#[derive(Clone)]
pub(crate) struct Ledger {
    used: Arc<AtomicUsize>,
    max: usize,
}

/// A part of what is used, given back when it is dropped.
pub(crate) struct Charge {
    used: Arc<AtomicUsize>,
    bytes: usize,
}

impl Ledger {
    /// A ledger for a state with this memory limit; 0 is none.
    pub(crate) fn new(memory_limit: usize) -> Self {
        Self {
            used: Arc::default(),
            max: if memory_limit == 0 {
                usize::MAX
            } else {
                memory_limit
            },
        }
    }

    /// The ledger of a state.
    pub(crate) fn of(lua: &Lua) -> Self {
        Local::of(lua).ledger.clone()
    }

    /// How many bytes are kept alive.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// A charge for bytes that are there already, from wherever they came.
    pub(crate) fn take(&self, bytes: usize) -> Option<Charge> {
        let charge = Charge {
            used: self.used.clone(),
            bytes,
        };
        // When it is too much, dropping the charge takes it back.
        let used = self
            .used
            .fetch_add(bytes, Ordering::Relaxed)
            .saturating_add(bytes);
        (used <= self.max).then_some(charge)
    }
}

impl Charge {
    /// Charges for more of the same; false when that is too much.
    pub(crate) fn grow(&mut self, bytes: usize, ledger: &Ledger) -> bool {
        match ledger.take(bytes) {
            Some(mut more) => {
                self.bytes += std::mem::take(&mut more.bytes);
                true
            }
            None => false,
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Charges the running script for `bytes` bytes. When that is too much, garbage is collected first.
///
/// # Errors
/// When it is too much even so.
pub(crate) fn charge(lua: &Lua, bytes: usize) -> mlua::Result<Arc<Charge>> {
    let ledger = Ledger::of(lua);
    let mut charge = ledger.take(bytes);
    if charge.is_none() {
        lua.gc_collect()?;
        charge = ledger.take(bytes);
    }
    charge
        .map(Arc::new)
        .ok_or_else(|| errors::raise(errors::out_of_memory()))
}
