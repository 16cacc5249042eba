//! A component for any type, made on the spot, and an application in this process that calls it.
//!
//! More than sixteen core parameters travel as one pointer, and so does a result of more than one. A function that
//! takes a value and sixteen numbers, and gives a tuple of the same, therefore has one layout on both sides: its code
//! is to give back the pointer that it got.

#![expect(
    clippy::wildcard_enum_match_arm,
    clippy::indexing_slicing,
    reason = "a test's way to fail, and the arm for all others"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::PathBuf,
    sync::{Arc, LazyLock},
};

use tokio::runtime::{Builder, Runtime};
use wippy_lua::{LuaFunction, Services, Source};
use wippy_registry::EntryId;
use wippy_security::{CallError, Context, Dispatcher, DispatcherConfig, Handler};
use wippy_wasm::{
    Binary, CacheConfig, Content, Engine, EngineConfig, Limits, PoolConfig, Spec, WasiConfig, WasmFunction,
};
use wippy_wit::{Document, Value, ValueReader, ValueWriter};
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::abi::{AbiVariant, WasmType};

/// How many numbers go along with the value.
pub(crate) const PADDING: usize = 16;

/// Where `flats` puts its core parameters.
const FLATS: usize = 64;
/// Where the allocator begins, behind all of them.
const HEAP: usize = FLATS + 16 * 8;

/// A component for the type `ty`, which is written with what `definitions` define. It exports:
///
/// - `echo`, which gives back a value that goes through memory, with its padding;
/// - `image`, which gives the bytes of its memory after such a value was put there;
/// - `flats`, which does so for a value that comes as core values, with those in front.
pub(crate) fn component(definitions: &str, ty: &str) -> Vec<u8> {
    let mut padding = String::new();
    for index in 0..PADDING {
        let _ = write!(padding, ", p{index}: u64");
    }
    let result = ", u64".repeat(PADDING);
    let wit = format!(
        "{definitions}\n\
         echo: func(v: {ty}{padding}) -> tuple<{ty}{result}>;\n\
         image: func(v: {ty}{padding}) -> list<u8>;\n\
         flats: func(v: {ty}) -> list<u8>;"
    );
    let document = Document::parse(&wit).unwrap_or_else(|error| panic!("{error}\n{wit}"));
    encode(&document, &module(&document))
}

/// The component that `module` is with the world of `document`.
pub(crate) fn encode(document: &Document, module: &str) -> Vec<u8> {
    let mut module = wat::parse_str(module).unwrap();
    wit_component::embed_component_metadata(
        &mut module,
        &document.resolve,
        document.world,
        StringEncoding::UTF8,
    )
    .unwrap();
    ComponentEncoder::default()
        .module(&module)
        .unwrap()
        .encode()
        .unwrap()
}

/// A bump allocator: every call begins where the one before began.
pub(crate) const ALLOCATOR: &str = r#"
  (func (export "cabi_realloc")
    (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (local $new i32) (local $end i32) (local $pages i32)
    (local.set $new
      (i32.and
        (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
    (local.set $end (i32.add (local.get $new) (local.get $size)))
    (if (i32.lt_u (local.get $end) (global.get $heap)) (then unreachable))
    (local.set $pages
      (i32.add (i32.shr_u (i32.sub (local.get $end) (i32.const 1)) (i32.const 16)) (i32.const 1)))
    (if (i32.gt_u (local.get $pages) (memory.size))
      (then
        (if (i32.eq (memory.grow (i32.sub (local.get $pages) (memory.size))) (i32.const -1))
          (then unreachable))))
    (global.set $heap (local.get $end))
    (local.get $new))"#;

fn module(document: &Document) -> String {
    let (mut params, mut stores) = (String::new(), String::new());
    for (index, ty) in flat_params(document).iter().enumerate() {
        let ty = match ty {
            WasmType::I32 | WasmType::Pointer | WasmType::Length => "i32",
            WasmType::I64 | WasmType::PointerOrI64 => "i64",
            WasmType::F32 => "f32",
            WasmType::F64 => "f64",
        };
        let _ = write!(params, " (param {ty})");
        let at = FLATS + index * 8;
        let _ = write!(stores, "\n    ({ty}.store (i32.const {at}) (local.get {index}))");
    }
    format!(
        r#"(module
  (memory (export "memory") 1)
  (global $heap (mut i32) (i32.const {HEAP}))
  (func (export "echo") (param i32) (result i32)
    (local.get 0))
  (func (export "image") (param i32) (result i32)
    (call $area (i32.const {HEAP})))
  (func (export "flats"){params} (result i32){stores}
    (call $area (i32.const {FLATS})))
  (func $area (param $from i32) (result i32)
    (i32.store (i32.const 16) (local.get $from))
    (i32.store (i32.const 20) (i32.sub (global.get $heap) (local.get $from)))
    (i32.const 16))
  (func (export "cabi_post_echo") (export "cabi_post_image") (export "cabi_post_flats") (param i32)
    (global.set $heap (i32.const {HEAP}))){ALLOCATOR})"#
    )
}

/// The core parameters of `flats`, as the tools that made the component count them.
fn flat_params(document: &Document) -> Vec<WasmType> {
    let world = &document.resolve.worlds[document.world];
    let flats = world.exports.values().find_map(|item| match item {
        wit_parser::WorldItem::Function(function) if function.name == "flats" => Some(function),
        _ => None,
    });
    document
        .resolve
        .wasm_signature(AbiVariant::GuestExport, flats.unwrap())
        .params
}

/// An application in this process.
pub(crate) struct Rig {
    runtime: Runtime,
    context: Context,
}

/// One engine for all: making one reserves a pool.
fn engine() -> &'static Arc<Engine> {
    static ENGINE: LazyLock<Arc<Engine>> = LazyLock::new(new_engine);
    &ENGINE
}

/// Compiles what the other one then loads, so that everything runs as it does after the first start.
fn compiler() -> &'static Arc<Engine> {
    static COMPILER: LazyLock<Arc<Engine>> = LazyLock::new(new_engine);
    &COMPILER
}

fn new_engine() -> Arc<Engine> {
    // Only tests and benchmarks are told of one.
    let folder = option_env!("CARGO_TARGET_TMPDIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = folder.join("roundtrip");
    Engine::new(EngineConfig {
        instances_max: 256,
        memory_max_bytes: 1 << 26,
        cache: Some(CacheConfig {
            dir: folder.join("components"),
            // Each is loaded right after it was compiled.
            max_bytes: 4 << 20,
            secret: folder.join("seal"),
        }),
        ..EngineConfig::default()
    })
    .unwrap()
}

/// `test:name`.
pub(crate) fn id(name: &str) -> EntryId {
    EntryId::parse(&format!("test:{name}")).unwrap()
}

impl Rig {
    pub(crate) fn new() -> Self {
        let dispatcher = Dispatcher::new(DispatcherConfig::default());
        Self {
            runtime: Builder::new_current_thread().enable_all().build().unwrap(),
            context: Context::root(dispatcher),
        }
    }

    /// Puts `handler` behind `test:name`.
    pub(crate) fn insert(&self, name: &str, handler: Arc<dyn Handler>) {
        self.context.dispatcher().insert(id(name), handler);
    }

    /// Puts `method` of `component` behind `test:name`; its guest may have sixteen megabytes of memory.
    pub(crate) fn guest(&self, name: &str, component: &[u8], method: &str, imports: &[String]) {
        let content = Content::new(component);
        let binary = Binary::Wasm {
            content: &content,
            hash: &content.hash(),
        };
        let spec = || Spec {
            id: id(name),
            binary,
            wit: None,
            method,
            imports,
            wasi: WasiConfig::default(),
            limits: Limits {
                memory_bytes: 16 << 20,
                ..Limits::default()
            },
        };
        let compiled = compiler().prepare(spec()).unwrap();
        let module = engine().prepare(spec()).unwrap();
        assert_eq!(engine().prepared().compiled, 0);
        assert_eq!(module.signature(), compiled.signature());
        let function = WasmFunction::new(module, PoolConfig::default());
        self.insert(name, Arc::new(function));
    }

    /// Why the core module `module` cannot be the guest that `wit` describes.
    pub(crate) fn refused(module: &str, wit: &str) -> String {
        let refused = engine().prepare(Spec {
            id: id("refused"),
            binary: Binary::Wat(module),
            wit: Some(wit),
            method: "echo",
            imports: &[],
            wasi: WasiConfig::default(),
            limits: Limits::default(),
        });
        let problems = refused.unwrap_err();
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        lines.join("\n")
    }

    /// Puts the function `main` that `text` returns behind `test:name`.
    pub(crate) fn script(&self, name: &str, text: &str) {
        let source = Source {
            id: id(name),
            name: "script.lua".into(),
            text: text.into(),
            method: "main".into(),
            modules: BTreeSet::from(["funcs".to_owned()]),
            imports: BTreeMap::new(),
        };
        let function = LuaFunction::new(source, Services::default(), wippy_lua::Config::default());
        self.insert(name, function.unwrap());
    }

    /// Calls `test:name` in an execution of its own, so that a guest has a fresh memory.
    pub(crate) fn call(&self, name: &str, arguments: &[Value]) -> Result<Value, CallError> {
        let context = self.context.with_own_execution();
        let function = context.dispatcher().resolve(&id(name))?;
        let (mut reader, mut writer) = (ValueReader::arguments(arguments), ValueWriter::default());
        let calling = context
            .dispatcher()
            .call(&context, &function, &mut reader, &mut writer)?;
        self.runtime.block_on(calling)?;
        Ok(writer.finish())
    }
}
