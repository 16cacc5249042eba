//! What is run: [`Source`] and [`Library`], and the limits it runs under: [`Config`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use wippy_registry::EntryId;
use wippy_security::PoolConfig;

/// The script behind a `function.lua` or `process.lua` entry.
#[derive(Debug, Clone)]
pub struct Source {
    /// The entry.
    pub id: EntryId,
    /// What messages and tracebacks call the file: `src/report.lua`.
    pub name: Arc<str>,
    /// The script.
    pub text: Arc<str>,
    /// Which function of the table that the script returns.
    pub method: Arc<str>,
    /// The built-in modules that the entry may require.
    pub modules: BTreeSet<String>,
    /// The libraries that the entry may require, by the name it requires them by.
    pub imports: BTreeMap<String, Arc<Library>>,
}

/// The script behind a `library.lua` entry.
///
/// A library has its own globals and its own list of modules. It never gets more than its importer: a module that the
/// importing entry does not list is refused, whoever asks.
#[derive(Debug, Clone)]
pub struct Library {
    /// The entry.
    pub id: EntryId,
    /// What messages and tracebacks call the file.
    pub name: Arc<str>,
    /// The script.
    pub text: Arc<str>,
    /// The built-in modules that the library may require.
    pub modules: BTreeSet<String>,
    /// The libraries that the library may require.
    pub imports: BTreeMap<String, Arc<Library>>,
}

/// The limits that states run under.
#[derive(Debug, Clone)]
pub struct Config {
    /// How much one state may allocate, in bytes.
    pub memory_limit: usize,
    /// How many instructions a script runs before others get their turn and its deadline is looked at, where that cannot
    /// be told by time: on systems without signals, and for code that runs outside of a call, such as `__tostring` of an
    /// error or `__close` of a coroutine that is closed. Everywhere else a turn takes five to ten milliseconds.
    pub instruction_budget: u32,
    /// How many calls of one function run at once, and who may find what a call left in its state.
    pub pool: PoolConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            memory_limit: 64 << 20,
            instruction_budget: 10_000,
            pool: PoolConfig::default(),
        }
    }
}
