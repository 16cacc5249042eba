//! [`WorkerClasses`]: the threads of functions that have their own, by the name of their class.

use std::{
    collections::HashMap,
    num::NonZero,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    thread,
};

use wippy_registry::{
    Linked,
    schema::{
        Config,
        pool::{Pool, Shape},
    },
};
use wippy_wasm::{ThreadStart, WorkerClass};

use crate::{config, cores::Cores};

/// Threads of a class, when nobody says how many, are at most this many.
const THREADS_MAX: usize = 4;

/// The classes that functions use.
pub(crate) struct WorkerClasses {
    settings: config::Config,
    /// Only looked for when a class is wanted.
    cores: OnceLock<Option<Cores>>,
    known: Mutex<HashMap<String, Weak<WorkerClass>>>,
}

impl WorkerClasses {
    pub(super) fn new(settings: &config::Config) -> Self {
        Self {
            settings: settings.clone(),
            cores: OnceLock::new(),
            known: Mutex::default(),
        }
    }

    /// The class that `pool` names, if it names one. It has as many threads as the largest of its functions asks for.
    pub(super) fn of(&self, pool: &Pool, linked: &Linked) -> Option<Arc<WorkerClass>> {
        let Shape::Dedicated { class, .. } = &pool.shape else {
            return None;
        };
        let size = self.size(class, linked);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, class| class.strong_count() > 0);
        if let Some(class) = known.get(class).and_then(Weak::upgrade) {
            class.resize(size);
            return Some(class);
        }
        let made = WorkerClass::new(class.as_str(), size, self.on_start());
        known.insert(class.clone(), Arc::downgrade(&made));
        Some(made)
    }

    /// How many threads there are where nobody says.
    pub(super) fn default_size(&self) -> usize {
        match self.cores() {
            Some(cores) => cores.reserved.len(),
            None => thread::available_parallelism()
                .map_or(1, NonZero::get)
                .min(THREADS_MAX),
        }
    }

    fn size(&self, class: &str, linked: &Linked) -> usize {
        let asked = linked.entries.iter().filter_map(|entry| {
            let Config::WasmFunction(function) = &entry.config else {
                return None;
            };
            let Shape::Dedicated {
                class: named,
                workers,
            } = &function.pool.shape
            else {
                return None;
            };
            let workers = workers.and_then(|workers| usize::try_from(workers).ok());
            (named == class).then(|| workers.unwrap_or_else(|| self.default_size()))
        });
        asked.max().unwrap_or_else(|| self.default_size())
    }

    fn on_start(&self) -> Option<ThreadStart> {
        let reserved = self.cores()?.reserved.clone();
        Some(Arc::new(move || reserved.bind()))
    }

    fn cores(&self) -> Option<&Cores> {
        let cores = self.cores.get_or_init(|| Cores::divide(&self.settings));
        cores.as_ref()
    }
}
