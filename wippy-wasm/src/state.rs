//! [`GuestState`]: what the host keeps for one instance.

use tokio::time::Instant;
use wasmtime::{Store, UpdateDeadline, component::ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wippy_security::{Context, Mailbox};

use crate::limits::{Exceeded, Limits, Meter};

/// What the host keeps for one instance. Nothing in it outlives the instance.
pub(crate) struct GuestState {
    pub(crate) meter: Meter,
    /// The context of the call that is running; guests reach others only through it.
    pub(crate) context: Option<Context>,
    /// What a process receives from; functions have none.
    pub(crate) mailbox: Option<Mailbox>,
    /// When the running call must be over, and which limit says so.
    pub(crate) deadline: Option<(Instant, Exceeded)>,
    /// Only made for entries that declare a WASI import.
    wasi: Option<Box<Wasi>>,
}

/// The WASI side of an instance.
pub(crate) struct Wasi {
    pub(crate) ctx: WasiCtx,
    pub(crate) table: ResourceTable,
}

impl GuestState {
    /// A store for one instance under `limits`.
    pub(crate) fn store(engine: &wasmtime::Engine, limits: &Limits, wasi: Option<Wasi>) -> Store<Self> {
        let state = Self {
            meter: Meter::new(limits),
            context: None,
            mailbox: None,
            deadline: None,
            wasi: wasi.map(Box::new),
        };
        let mut store = Store::new(engine, state);
        store.limiter(|state| &mut state.meter);
        store.set_hostcall_fuel(limits.host_bytes);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|store| match store.data().deadline {
            Some((deadline, exceeded)) if Instant::now() >= deadline => Err(exceeded.into()),
            _ => Ok(UpdateDeadline::Yield(1)),
        });
        store
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
