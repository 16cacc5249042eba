//! [`Local`]: what belongs to one state, for the functions that run in it.

use std::sync::{Arc, OnceLock};

use mlua::Lua;

use crate::{
    modules::{Console, Environment, Ledger, Seat, Tasks},
    raw,
    require::Loader,
    worker::Program,
};

/// What belongs to one state.
pub(crate) struct Local {
    /// What runs in it.
    pub(crate) program: Arc<Program>,
    console: Option<Console>,
    /// The calls that its script began and need not wait for.
    pub(crate) tasks: Tasks,
    /// What its userdata keep alive.
    pub(crate) ledger: Ledger,
    /// What it has as a process.
    pub(crate) seat: OnceLock<Arc<Seat>>,
    /// What its `require`s gave so far, once there is one.
    pub(crate) loader: OnceLock<Arc<Loader>>,
}

impl Local {
    pub(crate) fn new(program: Arc<Program>, console: Option<Console>) -> Arc<Self> {
        Arc::new(Self {
            ledger: Ledger::new(program.config.memory_limit),
            program,
            console,
            tasks: Tasks::default(),
            seat: OnceLock::new(),
            loader: OnceLock::new(),
        })
    }

    /// Of the state that runs.
    pub(crate) fn of(lua: &Lua) -> Arc<Self> {
        raw::local(lua)
    }

    /// What modules know about the script around them.
    pub(crate) fn environment(&self) -> Environment {
        Environment {
            id: self.program.source.id.clone(),
            console: self.console.clone(),
            world: self.program.services.world.clone(),
        }
    }
}
