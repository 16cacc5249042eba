//! [`SharedEngine`]: the engine of an application, made for its first module: an application without any starts faster.
//!
//! Reserving its slots takes as long as reading the entries of a hundred modules, so it can be made meanwhile.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread::{self, JoinHandle},
};

use wippy_registry::{Kind, load::Files};
use wippy_wasm::{Engine, Error};

use super::wasm::engine_config;
use crate::config::Config;

/// An engine, or why there is none.
type Made = Result<Arc<Engine>, Error>;

/// An engine that is made when it is needed, or before.
#[derive(Default)]
pub(crate) struct SharedEngine {
    made: OnceLock<Made>,
    /// Who makes it already.
    making: Mutex<Option<JoinHandle<Made>>>,
}

impl SharedEngine {
    /// One that is made from now on if `files` mention modules. Where they only mention them and have none, it is given up
    /// when it is made.
    pub(super) fn for_files(files: &Files, settings: &Config) -> Self {
        let engine = Self::default();
        let kinds = [Kind::FUNCTION_WAT, Kind::FUNCTION_WASM, Kind::PROCESS_WASM];
        if files.mention(&kinds.each_ref().map(Kind::as_str)) {
            let config = engine_config(settings);
            let making = thread::Builder::new()
                .name("wippy-engine".into())
                .spawn(|| Engine::new(config));
            // Without a thread it is made when it is needed.
            *engine.making.lock().unwrap_or_else(PoisonError::into_inner) = making.ok();
        }
        engine
    }

    /// The engine, made now if it is not there.
    pub(super) fn get(&self, settings: &Config) -> Result<&Arc<Engine>, &Error> {
        let make = || {
            let making = self.making.lock().unwrap_or_else(PoisonError::into_inner).take();
            let made = making.and_then(|making| making.join().ok());
            made.unwrap_or_else(|| Engine::new(engine_config(settings)))
        };
        self.made.get_or_init(make).as_ref()
    }

    /// Whether somebody is still making it.
    pub(super) fn is_being_made(&self) -> bool {
        let making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        making.as_ref().is_some_and(|making| !making.is_finished())
    }

    /// The engine, if there was a module for it.
    pub(crate) fn made(&self) -> Option<&Arc<Engine>> {
        self.made.get()?.as_ref().ok()
    }
}
