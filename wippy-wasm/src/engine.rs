//! [`Engine`]: how components are compiled and where their instances live.
//!
//! Instances come from a pool of slots with copy-on-write memory images, so a fresh one costs microseconds. Running
//! guests are interrupted at a fixed beat to let others run, and to see whether their deadline has passed.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};
use wippy_security::Resolver;

use crate::{
    CacheConfig, Error, Limits,
    artifact::Bytes,
    cache::{Cache, Name},
    census::Census,
    component::Component,
    error_contexts,
    facts::Facts,
    http::Client,
    reserve::{FIRST, Reserve},
    slots::Slots,
};

/// How often a running guest is interrupted to let others run, and how late a deadline can be noticed.
pub const EPOCH_TICK: Duration = Duration::from_millis(5);

/// What the engine reserves. Reservations are address space; memory is only taken when a guest touches it.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// How many instances may exist at once.
    pub instances_max: u32,
    /// The most that one linear memory may hold, in bytes, whatever an entry's own limit says.
    pub memory_max_bytes: usize,
    /// The most elements that one table may have.
    pub table_max_elements: usize,
    /// Bytes of a guest's own stack. With up to 512 KiB, functions that end at once unless they fail do without one: threads
    /// that call them have to have as much to spare.
    pub stack_bytes: usize,
    /// Certificates (DER) of authorities that guests' HTTPS requests trust, beside those that browsers trust.
    pub extra_roots: Vec<Vec<u8>>,
    /// What looks up the names in the URLs of guests' requests; the system if absent.
    pub resolver: Option<Arc<dyn Resolver>>,
    /// Where instances live.
    pub allocator: Allocator,
    /// Where compiled code is kept for the next start; nowhere if absent.
    pub cache: Option<CacheConfig>,
    /// Whether the instances of each entry and their memory are counted, for an operator.
    pub counts_instances: bool,
}

/// Where instances live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Allocator {
    /// In slots that are reserved once: fresh instances are cheap.
    #[default]
    Pooling,
    /// Where the system has room: nothing is reserved, for machines that grant little address space.
    OnDemand,
}

/// How components were made ready so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Prepared {
    /// Compiled.
    pub compiled: u64,
    /// Loaded from the cache.
    pub loaded: u64,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            instances_max: 10_000,
            memory_max_bytes: 4 << 30,
            table_max_elements: 100_000,
            stack_bytes: 512 << 10,
            extra_roots: Vec::new(),
            resolver: None,
            allocator: Allocator::Pooling,
            cache: None,
            counts_instances: false,
        }
    }
}

/// Compiles components and holds the slots of their instances.
pub struct Engine {
    config: EngineConfig,
    cache: Option<Cache>,
    slots: Arc<Slots>,
    reserve: Arc<Reserve>,
    compilations: AtomicU64,
    loads: AtomicU64,
    plain: wasmtime::Engine,
    /// With asynchronous components, which make every call dearer: only made for components that need them.
    concurrent: OnceLock<wasmtime::Engine>,
    /// With guests whose work is counted. They are few, so no slots are reserved for them.
    counting: OnceLock<wasmtime::Engine>,
    /// What is compiled and still in use, by what it was made from.
    compiled: Mutex<HashMap<Key, Arc<Mutex<Weak<Component>>>>>,
    /// Makes the requests of all guests: made for the first module that may make any.
    http: OnceLock<Arc<Client>>,
}

/// Where the code of a component came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Compiled,
    Cached,
    /// Another entry has the same one.
    Shared,
}

impl Origin {
    /// As metrics have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Compiled => "compiled",
            Self::Cached => "cache",
            Self::Shared => "shared",
        }
    }
}

/// What tells compiled components apart.
type Key = (Hash, Counting);

/// Whether a guest's work is counted while it runs, which its code must be compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Counting {
    Nothing,
    Fuel,
}

impl Counting {
    /// What `limits` ask for.
    pub(crate) fn of(limits: &Limits) -> Self {
        limits.fuel.map_or(Self::Nothing, |_| Self::Fuel)
    }
}

/// What an engine is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Plain,
    Concurrent,
    Counting,
}

/// A SHA-256.
type Hash = [u8; 32];

impl Engine {
    /// An engine.
    ///
    /// # Errors
    /// When the machine refuses the reservations even for a small pool.
    pub fn new(config: EngineConfig) -> Result<Arc<Self>, Error> {
        let instances_max = config.instances_max.max(INSTANCES_MIN);
        let wanted = instances_max.min(FIRST);
        let (plain, first) = build(&config, Purpose::Plain, wanted)?;
        // A machine that does not have room for the first pool has none for a larger one.
        let all = if first < wanted { first } else { instances_max };
        let first = match config.allocator {
            Allocator::Pooling => first,
            Allocator::OnDemand => all,
        };
        let count = |instances| usize::try_from(instances).unwrap_or(usize::MAX);
        let slots = Slots::new(count(all), count(first));
        let cache = config.cache.as_ref();
        let cache = cache.and_then(|cache| Cache::open(cache, &plain));
        Ok(Arc::new(Self {
            reserve: Reserve::new(config.clone()),
            config,
            cache,
            slots,
            compilations: AtomicU64::new(0),
            loads: AtomicU64::new(0),
            plain,
            concurrent: OnceLock::new(),
            counting: OnceLock::new(),
            compiled: Mutex::default(),
            http: OnceLock::new(),
        }))
    }

    /// The component that is made from `source`, made once however many entries name it; `bytes` makes its binary.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is no valid component.
    pub(crate) fn component<'a>(
        &self,
        source: Hash,
        counting: Counting,
        bytes: impl FnOnce() -> Result<Bytes<'a>, Error>,
    ) -> Result<(Arc<Component>, Origin), Error> {
        // Two entries of one binary that are prepared at the same time wait for each other here, not for others.
        let cell = {
            let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
            if !compiled.contains_key(&(source, counting)) {
                compiled.retain(|_, cell| Arc::strong_count(cell) > 1 || is_alive(cell));
            }
            compiled.entry((source, counting)).or_default().clone()
        };
        let mut compiled = cell.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(component) = compiled.upgrade() {
            return Ok((component, Origin::Shared));
        }
        let (component, origin) = self.make(&bytes()?, counting)?;
        let component = Arc::new(component);
        *compiled = Arc::downgrade(&component);
        Ok((component, origin))
    }

    /// A component: what was kept, or freshly compiled.
    fn make(&self, bytes: &Bytes<'_>, counting: Counting) -> Result<(Component, Origin), Error> {
        let kept = self.cache.as_ref();
        let kept = kept.map(|cache| (cache, cache.name(&bytes.digest(), counting)));
        if let Some((cache, name)) = &kept
            && let Some(component) = self.load(cache, name, counting)
        {
            self.loads.fetch_add(1, Ordering::Relaxed);
            return Ok((component, Origin::Cached));
        }
        let facts = Facts::read(&bytes.bytes)?;
        let (purpose, engine) = self.engine_for(&facts, counting)?;
        let bytes = if facts.surface.has_error_contexts {
            Cow::Owned(error_contexts::substitute(&bytes.bytes)?)
        } else {
            Cow::Borrowed(&*bytes.bytes)
        };
        let code = wasmtime::component::Component::new(engine, bytes).map_err(|error| Error::Invalid {
            message: first_line(&error),
        })?;
        self.compilations.fetch_add(1, Ordering::Relaxed);
        if let Some((cache, name)) = kept {
            cache.store(&name, &facts, &code);
        }
        let component = Component::new(code, facts, purpose, self.config.stack_bytes)?;
        Ok((component, Origin::Compiled))
    }

    fn load(&self, cache: &Cache, name: &Name, counting: Counting) -> Option<Component> {
        let mut purpose = Purpose::Plain;
        let (facts, code) = cache.load(name, |facts| {
            // Why there is no engine is said when the component is compiled.
            let (wanted, engine) = self.engine_for(facts, counting).ok()?;
            purpose = wanted;
            Some(engine)
        })?;
        Component::new(code, facts, purpose, self.config.stack_bytes).ok()
    }

    /// The engine for a component, and what it is built for.
    fn engine_for(&self, facts: &Facts, counting: Counting) -> Result<(Purpose, &wasmtime::Engine), Error> {
        let (purpose, cell) = match (counting, facts.is_asynchronous()) {
            (Counting::Fuel, _) => (Purpose::Counting, &self.counting),
            (Counting::Nothing, true) => (Purpose::Concurrent, &self.concurrent),
            (Counting::Nothing, false) => return Ok((Purpose::Plain, &self.plain)),
        };
        Ok((purpose, self.lazily(cell, purpose)?))
    }

    pub(crate) fn http_client(&self) -> &Arc<Client> {
        self.http
            .get_or_init(|| Client::new(self.config.extra_roots.clone(), self.config.resolver.clone()))
    }

    /// Where the instances of one entry are counted, if they are.
    pub(crate) fn census(&self) -> Option<Arc<Census>> {
        self.config.counts_instances.then(Arc::default)
    }

    /// How many instances are alive, and how many there may be.
    pub fn instances(&self) -> (usize, usize) {
        self.slots.counts()
    }

    /// The instances that are alive.
    pub(crate) fn slots(&self) -> Arc<Slots> {
        Arc::clone(&self.slots)
    }

    /// Room for more instances than the first pools have.
    pub(crate) fn reserve(&self) -> Arc<Reserve> {
        Arc::clone(&self.reserve)
    }

    /// How components were made ready so far.
    pub fn prepared(&self) -> Prepared {
        Prepared {
            compiled: self.compilations.load(Ordering::Relaxed),
            loaded: self.loads.load(Ordering::Relaxed),
        }
    }

    fn lazily<'a>(
        &self,
        cell: &'a OnceLock<wasmtime::Engine>,
        purpose: Purpose,
    ) -> Result<&'a wasmtime::Engine, Error> {
        if let Some(engine) = cell.get() {
            return Ok(engine);
        }
        let (engine, _) = build(&self.config, purpose, self.config.instances_max.min(FIRST))?;
        Ok(cell.get_or_init(|| engine))
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Whether somebody uses the component.
fn is_alive(cell: &Mutex<Weak<Component>>) -> bool {
    let component = cell.lock().unwrap_or_else(PoisonError::into_inner);
    component.strong_count() > 0
}

/// The innermost cause, in one line: what wasmtime says first is where it was, not what it was.
pub(crate) fn first_line(error: &wasmtime::Error) -> String {
    let text = error.root_cause().to_string();
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// Pools are never smaller than this.
const INSTANCES_MIN: u32 = 16;

/// An engine with slots for `wanted` instances. Tries smaller pools where the machine limits address space, down to one
/// that any machine grants. Returns how many instances there can be, too.
pub(crate) fn build(
    config: &EngineConfig,
    purpose: Purpose,
    wanted: u32,
) -> Result<(wasmtime::Engine, u32), Error> {
    let mut instances = wanted.max(INSTANCES_MIN);
    loop {
        match wasmtime::Engine::new(&engine_config(config, instances, purpose)) {
            Ok(engine) => {
                beat(&engine)?;
                if instances < wanted {
                    tracing::warn!(instances, wanted, "address space is short: smaller pool");
                }
                return Ok((engine, instances));
            }
            Err(_) if instances > INSTANCES_MIN => instances = (instances / 4).max(INSTANCES_MIN),
            Err(error) => {
                return Err(Error::Engine {
                    message: first_line(&error),
                });
            }
        }
    }
}

/// What the host may take of a guest's stack when the guest has taken all of its own. A script that the guest called may have
/// functions in C call each other there, of which Lua allows two hundred.
const HOST_STACK_BYTES: usize = 1 << 20;

fn engine_config(config: &EngineConfig, instances: u32, purpose: Purpose) -> Config {
    let asynchronous = purpose != Purpose::Plain;
    let mut engine = Config::new();
    engine
        .epoch_interruption(true)
        .consume_fuel(purpose == Purpose::Counting)
        .max_wasm_stack(config.stack_bytes)
        .async_stack_size(config.stack_bytes + HOST_STACK_BYTES)
        .wasm_backtrace_details(wasmtime::WasmBacktraceDetails::Disable)
        // Traces name functions, not places in them, and stacks are walked by frame pointers, but on Windows: what is not
        // in the compiled code need not be read and registered at every start.
        .generate_address_map(false)
        .native_unwind_info(cfg!(windows))
        .wasm_component_model_map(true)
        .wasm_component_model_fixed_length_lists(true)
        .concurrency_support(asynchronous)
        .wasm_component_model_async(asynchronous);
    if purpose != Purpose::Counting && config.allocator == Allocator::Pooling {
        engine.allocation_strategy(InstanceAllocationStrategy::Pooling(slots(config, instances)));
    }
    engine
}

/// The slots that are reserved for `instances`.
fn slots(config: &EngineConfig, instances: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    // A component is several core instances: its own modules and the shims between them.
    let cores = instances.saturating_mul(4);
    pool.total_component_instances(instances)
        .total_core_instances(cores)
        .total_memories(instances)
        .total_tables(cores)
        .total_stacks(instances)
        .max_memory_size(config.memory_max_bytes)
        .table_elements(config.table_max_elements)
        .max_unused_warm_slots(100)
        .max_memories_per_module(8)
        .max_tables_per_module(8)
        .max_memories_per_component(8)
        .max_tables_per_component(32)
        .max_core_instances_per_component(32);
    // Keeping pages of a used slot mapped only pays where the kernel can say which of them are dirty: otherwise the
    // whole kept range is copied at every instantiation.
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        pool.pagemap_scan(Enabled::Yes)
            .linear_memory_keep_resident(2 << 20)
            .table_keep_resident(64 << 10);
    }
    pool
}

/// One thread an engine counts its epochs; it ends with the engine.
fn beat(engine: &wasmtime::Engine) -> Result<(), Error> {
    let weak = engine.weak();
    let beat = move || {
        while let Some(engine) = weak.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(EPOCH_TICK);
        }
    };
    std::thread::Builder::new()
        .name("wippy-epoch".into())
        .spawn(beat)
        .map(drop)
        .map_err(|error| Error::Engine {
            message: error.to_string(),
        })
}
