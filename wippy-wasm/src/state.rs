//! [`GuestState`]: what the host keeps for one instance.

use std::sync::Arc;

use tokio::time::Instant;
use wasmtime::{Store, UpdateDeadline, component::ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wippy_security::{CallError, Context};

use crate::{
    limits::{Exceeded, Meter},
    module::Module,
    output::Journal,
};

/// What the host keeps for one instance. Nothing in it outlives the instance.
pub(crate) struct GuestState {
    pub(crate) meter: Meter,
    /// The context of the call that is running; guests reach others only through it.
    pub(crate) context: Option<Context>,
    /// When the running call must be over, and which limit says so.
    pub(crate) deadline: Option<(Instant, Exceeded)>,
    /// How deep calls may be nested below this entry.
    pub(crate) call_depth: Option<u32>,
    /// Where the guest writes; only for entries that can.
    pub(crate) journal: Option<Arc<Journal>>,
    /// The most that one host call may make the host allocate.
    pub(crate) host_bytes: usize,
    /// Only made for entries that declare a WASI import.
    wasi: Option<Box<Wasi>>,
}

/// The WASI side of an instance.
pub(crate) struct Wasi {
    pub(crate) ctx: WasiCtx,
    pub(crate) table: ResourceTable,
}

impl GuestState {
    /// A store for one instance of `module`.
    pub(crate) fn store(
        module: &Module,
        wasi: Option<Wasi>,
        journal: Option<Arc<Journal>>,
    ) -> Result<Store<Self>, CallError> {
        let limits = &module.limits;
        let state = Self {
            meter: Meter::new(limits),
            context: None,
            deadline: None,
            call_depth: limits.call_depth,
            journal,
            host_bytes: limits.host_bytes,
            wasi: wasi.map(Box::new),
        };
        let mut store = Store::new(module.pre.engine(), state);
        store.limiter(|state| &mut state.meter);
        store.set_hostcall_fuel(limits.host_bytes);
        store.set_max_component_handles(limits.resources);
        if let Some(fuel) = limits.fuel {
            store
                .set_fuel(fuel)
                .map_err(|_| CallError::internal("the engine does not count what guests use"))?;
        }
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|store| match store.data().deadline {
            Some((deadline, exceeded)) if Instant::now() >= deadline => Err(exceeded.into()),
            _ => Ok(UpdateDeadline::Yield(1)),
        });
        Ok(store)
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self
            .wasi
            .as_mut()
            .expect("WASI interfaces are only linked for entries that have a WASI context");
        WasiCtxView {
            ctx: &mut wasi.ctx,
            table: &mut wasi.table,
        }
    }
}
