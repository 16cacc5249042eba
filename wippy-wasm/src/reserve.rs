//! [`Reserve`]: room for more instances than the engine's first pools have.
//!
//! A pool of slots for ten thousand instances takes tens of milliseconds to reserve, most of it for the guard page of each
//! stack, and as long to give back. Few applications ever have so many at once, and every start would wait for it. So an
//! engine starts with pools that are reserved in less than half a millisecond; when they are full, further instances live on another
//! engine of the same settings, with the same code, which is made then.

use std::sync::{Arc, OnceLock};

use wasmtime::component::{InstancePre, Linker};

use crate::{
    EngineConfig, Error, cache,
    component::Component,
    engine::{self, Purpose},
    state::GuestState,
};

/// Instances that the first pool of an engine has room for. Four times as many would take a fifth of a start from the cache.
pub(crate) const FIRST: u32 = 64;

/// Engines for the instances that the first pools have no room for.
pub(crate) struct Reserve {
    config: EngineConfig,
    plain: OnceLock<Result<wasmtime::Engine, Error>>,
    concurrent: OnceLock<Result<wasmtime::Engine, Error>>,
}

impl Reserve {
    pub(crate) fn new(config: EngineConfig) -> Arc<Self> {
        Arc::new(Self {
            config,
            plain: OnceLock::new(),
            concurrent: OnceLock::new(),
        })
    }

    /// The engine for components that were compiled for `purpose`.
    fn engine(&self, purpose: Purpose) -> Result<&wasmtime::Engine, Error> {
        let cell = match purpose {
            Purpose::Plain => &self.plain,
            Purpose::Concurrent | Purpose::Counting => &self.concurrent,
        };
        let instances = self.config.instances_max.saturating_sub(FIRST);
        let build = || engine::build(&self.config, purpose, instances).map(|(engine, _)| engine);
        cell.get_or_init(build).as_ref().map_err(Clone::clone)
    }

    /// `component`, linked on the engine of the reserve by `link`.
    ///
    /// # Errors
    /// When the machine refuses the reservation.
    pub(crate) fn instances_of(
        &self,
        component: &Component,
        link: impl FnOnce(&wasmtime::Engine) -> wasmtime::Result<Linker<GuestState>>,
    ) -> Result<InstancePre<GuestState>, Error> {
        let invalid = |error: wasmtime::Error| Error::Link {
            message: engine::first_line(&error),
        };
        let engine = self.engine(component.purpose)?;
        let linker = link(engine).map_err(invalid)?;
        let code = cache::copy(&component.compiled, engine).map_err(invalid)?;
        linker.instantiate_pre(&code).map_err(invalid)
    }
}
