//! Error contexts: the messages that a guest made, or was given, and has handles of.
//!
//! The engine has the type, but its host can neither make a value of it nor learn what one says. So they are the host's:
//! [`substitute`] makes plain numbers of them in the guest's types, and calls of the functions below of the built-in
//! functions that guests use them by. What a guest sees is the same.

mod substitute;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmtime::{StoreContextMut, component::Linker};

pub(crate) use self::substitute::{has_built_ins, substitute};
use crate::{
    limits::{Exceeded, Limits},
    state::GuestState,
};

/// The names of the functions that a guest imports in the place of built-in ones.
const NEW: &str = "error-context-new";
const DEBUG_MESSAGE: &str = "error-context-debug-message";
const DROP: &str = "error-context-drop";

/// The error contexts of one instance.
#[derive(Debug)]
pub(crate) struct ErrorContexts {
    count_max: usize,
    bytes_max: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// The messages by their handles, less one: no handle is zero.
    messages: Vec<Option<Arc<str>>>,
    /// Places that are empty.
    free: Vec<u32>,
    bytes: usize,
}

impl ErrorContexts {
    /// None yet, and never more than `limits` allow.
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            count_max: limits.resources,
            bytes_max: limits.host_bytes,
            table: Mutex::default(),
        })
    }

    /// A handle of what says `message`.
    ///
    /// # Errors
    /// When there are too many already, or their messages are too long together.
    pub(crate) fn insert(&self, message: &str) -> Result<u32, Exceeded> {
        let mut table = self.lock();
        if table.messages.len() - table.free.len() >= self.count_max {
            return Err(Exceeded::Resources(self.count_max));
        }
        let bytes = table.bytes.saturating_add(message.len());
        if bytes > self.bytes_max {
            return Err(Exceeded::HostBytes(self.bytes_max));
        }
        let message = Some(Arc::from(message));
        let place = match table.free.pop() {
            Some(place) => place,
            None => u32::try_from(table.messages.len()).map_err(|_| Exceeded::Resources(self.count_max))?,
        };
        match table.messages.get_mut(place as usize) {
            Some(room) => *room = message,
            None => table.messages.push(message),
        }
        table.bytes = bytes;
        Ok(place + 1)
    }

    /// What the one under `handle` says.
    pub(crate) fn message(&self, handle: u32) -> Option<Arc<str>> {
        let place = handle.checked_sub(1)?;
        self.lock().messages.get(place as usize)?.clone()
    }

    /// Gives up what is under `handle`; whether there was anything.
    fn remove(&self, handle: u32) -> bool {
        let mut table = self.lock();
        let Some(place) = handle.checked_sub(1) else {
            return false;
        };
        let found = table.messages.get_mut(place as usize).and_then(Option::take);
        let Some(message) = found else { return false };
        table.bytes = table.bytes.saturating_sub(message.len());
        table.free.push(place);
        true
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Links the functions that stand for the built-in ones.
pub(crate) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut root = linker.root();
    root.func_wrap(
        NEW,
        |store: StoreContextMut<'_, GuestState>, (message,): (String,)| Ok((of(&store)?.insert(&message)?,)),
    )?;
    root.func_wrap(
        DEBUG_MESSAGE,
        |store: StoreContextMut<'_, GuestState>, (handle,): (u32,)| {
            let message = of(&store)?.message(handle).ok_or_else(unknown)?;
            Ok((message,))
        },
    )?;
    root.func_wrap(
        DROP,
        |store: StoreContextMut<'_, GuestState>, (handle,): (u32,)| {
            of(&store)?.remove(handle).then_some(()).ok_or_else(unknown)
        },
    )
}

fn of<'a>(store: &'a StoreContextMut<'_, GuestState>) -> wasmtime::Result<&'a ErrorContexts> {
    let error_contexts = store.data().error_contexts.as_deref();
    error_contexts.ok_or_else(|| wasmtime::format_err!("the instance has no error contexts"))
}

#[cold]
fn unknown() -> wasmtime::Error {
    wasmtime::format_err!("a handle names no error context that the guest has")
}
