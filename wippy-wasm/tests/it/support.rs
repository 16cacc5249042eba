//! An engine, a dispatcher, and calls by name.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use wippy_registry::EntryId;
use wippy_security::{CallError, Context, Dispatcher, DispatcherConfig};
use wippy_wasm::{
    Binary, Content, Engine, EngineConfig, Error, Limits, Module, PoolConfig, Spec, WasiConfig, WasmFunction,
};
use wippy_wit::{Value, ValueReader, ValueWriter};

/// One engine for all tests: making one reserves a pool.
pub fn engine() -> &'static Arc<Engine> {
    static ENGINE: LazyLock<Arc<Engine>> = LazyLock::new(|| {
        // Where the process's memory is measured there are few slots: what they keep warm counts too.
        let instances_max = if crate::alone::is_own_process() { 24 } else { 256 };
        Engine::new(EngineConfig {
            instances_max,
            ..EngineConfig::default()
        })
        .unwrap()
    });
    &ENGINE
}

/// What a test wants of a module beside its binary.
#[derive(Default)]
pub struct Wants {
    pub imports: Vec<String>,
    pub limits: Limits,
    pub wasi: WasiConfig,
}

impl Wants {
    pub fn imports(imports: &[&str]) -> Self {
        Self {
            imports: imports.iter().map(|&import| import.to_owned()).collect(),
            ..Self::default()
        }
    }

    pub fn within(milliseconds: u64) -> Self {
        let limits = Limits {
            execution: Some(Duration::from_millis(milliseconds)),
            ..Limits::default()
        };
        Self {
            limits,
            ..Self::default()
        }
    }
}

pub fn id(name: &str) -> EntryId {
    EntryId::parse(&format!("test:{name}")).unwrap()
}

/// Prepares the committed guest `guest`.
pub fn prepare(guest: &str, method: &str, wants: Wants) -> Result<Module, Vec<Error>> {
    prepare_on(engine(), guest, method, wants)
}

/// Prepares the committed guest `guest` on an engine of the test's own.
pub fn prepare_on(engine: &Engine, guest: &str, method: &str, wants: Wants) -> Result<Module, Vec<Error>> {
    let content = Content::new(std::fs::read(fixtures::wasm(guest)).unwrap());
    engine.prepare(Spec {
        id: id(method.rsplit(['#', ']']).next().unwrap()),
        binary: Binary::Wasm {
            content: &content,
            hash: &content.hash(),
        },
        wit: None,
        method,
        imports: &wants.imports,
        wasi: wants.wasi,
        limits: wants.limits,
    })
}

/// Prepares a component from text, for an entry with `imports`.
pub fn prepare_text_with(wat: &str, method: &str, imports: &[&str]) -> Result<Module, Vec<Error>> {
    engine().prepare(Spec {
        id: id("text"),
        binary: Binary::Wat(wat),
        wit: None,
        method,
        imports: &imports
            .iter()
            .map(|&import| import.to_owned())
            .collect::<Vec<_>>(),
        wasi: WasiConfig::default(),
        limits: Limits::default(),
    })
}

/// Prepares a module from text.
pub fn prepare_text(wat: &str, wit: Option<&str>, method: &str) -> Result<Module, Vec<Error>> {
    prepare_text_within(wat, wit, method, Limits::default())
}

/// Prepares a module from text, with limits.
pub fn prepare_text_within(
    wat: &str,
    wit: Option<&str>,
    method: &str,
    limits: Limits,
) -> Result<Module, Vec<Error>> {
    engine().prepare(Spec {
        id: id("text"),
        binary: Binary::Wat(wat),
        wit,
        method,
        imports: &[],
        wasi: WasiConfig::default(),
        limits,
    })
}

/// A context whose dispatcher knows `module` as `test:f`.
pub fn context(module: Module) -> Context {
    let dispatcher = Dispatcher::new(DispatcherConfig::default());
    dispatcher.insert(
        id("f"),
        Arc::new(WasmFunction::new(module, PoolConfig::default())),
    );
    Context::root(dispatcher)
}

/// Calls `test:name` for `context`.
pub async fn call_named(context: &Context, name: &str, arguments: &[Value]) -> Result<Value, CallError> {
    let (mut reader, mut writer) = (ValueReader::arguments(arguments), ValueWriter::default());
    let function = context.dispatcher().resolve(&id(name))?;
    context
        .dispatcher()
        .call(context, &function, &mut reader, &mut writer)?
        .await?;
    Ok(writer.finish())
}

/// Calls `test:f` for `context`.
pub async fn call(context: &Context, arguments: &[Value]) -> Result<Value, CallError> {
    call_named(context, "f", arguments).await
}

/// Prepares a guest and calls it once.
pub async fn call_guest(
    guest: &str,
    method: &str,
    wants: Wants,
    arguments: &[Value],
) -> Result<Value, CallError> {
    let module = prepare(guest, method, wants).unwrap();
    call(&context(module), arguments).await
}
