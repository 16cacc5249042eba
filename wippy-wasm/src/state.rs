//! [`GuestState`]: what the host keeps for one instance.

use std::sync::Arc;

use wasmtime::{Store, UpdateDeadline, component::ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};
use wippy_security::{CallError, Context, Mailbox};

use crate::{
    abi::Callee,
    census::Census,
    deadline::Deadline,
    error_contexts::ErrorContexts,
    http::Http,
    limits::{Lingered, Meter},
    module::Module,
    output::Journal,
};

/// What the host keeps for one instance. Nothing in it outlives the instance.
pub(crate) struct GuestState {
    pub(crate) meter: Meter,
    /// The context of the call that is running; guests reach others only through it.
    pub(crate) context: Option<Context>,
    /// Functions that the guest called, with what is kept for calling them again.
    pub(crate) callees: Vec<Callee>,
    /// What a process receives from; functions have none.
    pub(crate) mailbox: Option<Mailbox>,
    /// When the running call must be over, and which limit says so.
    pub(crate) deadline: Deadline,
    /// If the running call ends by itself, and has no stack of its own on which it could give its thread up: how often it may
    /// be interrupted before it must have failed.
    pub(crate) at_once: Option<u32>,
    /// How often the engine's clock has interrupted the running call.
    ticks: u32,
    /// How deep calls may be nested below this entry.
    pub(crate) call_depth: Option<u32>,
    /// The pool in which the running call has a place, if it takes one.
    pub(crate) pool: Option<usize>,
    /// Whether the context says already that what is called from here waits for that place.
    pub(crate) is_outward: bool,
    /// Where the guest writes; only for entries that can.
    pub(crate) journal: Option<Arc<Journal>>,
    /// What the guest has error contexts of, if it can have any.
    pub(crate) error_contexts: Option<Arc<ErrorContexts>>,
    /// The most that one host call may make the host allocate.
    pub(crate) host_bytes: usize,
    /// Only made for entries that declare a WASI import.
    wasi: Option<Box<Wasi>>,
    /// Only made for entries that declare `wasi:http`.
    http: Option<Box<Http>>,
}

/// The WASI side of an instance.
pub(crate) struct Wasi {
    pub(crate) ctx: WasiCtx,
    pub(crate) table: ResourceTable,
}

impl GuestState {
    /// A store for one instance of `module` on `engine`.
    pub(crate) fn store(
        engine: &wasmtime::Engine,
        module: &Module,
        wasi: Option<Wasi>,
        journal: Option<Arc<Journal>>,
        http: Option<Http>,
    ) -> Result<Store<Self>, CallError> {
        let limits = &module.limits;
        let state = Self {
            meter: Meter::new(limits, module.census.as_ref().map(Census::enter)),
            context: None,
            callees: Vec::new(),
            mailbox: None,
            deadline: Deadline::default(),
            at_once: None,
            ticks: 0,
            call_depth: limits.call_depth,
            pool: None,
            is_outward: false,
            journal,
            error_contexts: module
                .component
                .surface
                .has_error_contexts
                .then(|| ErrorContexts::new(limits)),
            host_bytes: limits.host_bytes,
            wasi: wasi.map(Box::new),
            http: http.map(Box::new),
        };
        let mut store = Store::new(engine, state);
        store.limiter(|state| &mut state.meter);
        store.set_hostcall_fuel(limits.host_bytes);
        store.set_max_component_handles(limits.resources);
        if let Some(fuel) = limits.fuel {
            store
                .set_fuel(fuel)
                .map_err(|_| CallError::internal("the engine does not count what guests use"))?;
        }
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut store| {
            let state = store.data_mut();
            let ticks = state.ticks;
            state.ticks = ticks.saturating_add(1);
            if let Some(exceeded) = state.deadline.passed() {
                return Err(exceeded.into());
            }
            match state.at_once {
                Some(max) if ticks >= max => Err(Lingered(max).into()),
                Some(_) => Ok(UpdateDeadline::Continue(1)),
                // The first tick may come right after the call began, which is no reason to interrupt it.
                None if ticks == 0 => Ok(UpdateDeadline::Continue(1)),
                None => Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()))),
            }
        });
        Ok(store)
    }

    /// Makes everything that follows part of a call for `context`, until `deadline`.
    pub(crate) fn begin(&mut self, context: Option<Context>, deadline: Deadline) {
        self.deadline = deadline;
        if let Some(http) = &mut self.http {
            http.outgoing.context.clone_from(&context);
        }
        // Most guests call nobody, so there is none, and was none.
        if context.is_some() || self.context.is_some() {
            self.context = context;
        }
        self.is_outward = false;
        self.ticks = 0;
    }

    /// Gives up what is kept for calling others: the next call is for somebody else.
    pub(crate) fn release_callees(&mut self) {
        for callee in &mut self.callees {
            callee.release();
        }
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

impl WasiHttpView for GuestState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        const LINKED: &str = "HTTP interfaces are only linked for entries that have an HTTP context";
        let (wasi, http) = (
            self.wasi.as_mut().expect(LINKED),
            self.http.as_mut().expect(LINKED),
        );
        WasiHttpCtxView {
            hooks: &mut http.outgoing,
            table: &mut wasi.table,
            ctx: &mut http.ctx,
        }
    }
}
