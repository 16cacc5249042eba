//! An application in a few lines: a dispatcher, Rust handlers, and scripts.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use wippy_lua::{Config, Library, LuaFunction, LuaProcess, PoolConfig, Services, Source, Terminal};
use wippy_registry::EntryId;
use wippy_security::{
    Call, CallError, CallFuture, Context, Dispatcher, DispatcherConfig, Handle, Handler, Object, Permit,
};
use wippy_wit::{DEPTH_MAX, Datum, Foreign, Value, ValueReader, ValueWriter, copy};

/// An application with the handlers `test:add`, `test:echo`, `test:sleep`, `test:never`, `test:fail`, `test:late`.
pub(crate) struct App {
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) config: Config,
    pub(crate) services: Services,
    /// How many calls of `test:never` are in progress.
    pub(crate) waiting: Arc<AtomicUsize>,
    /// How many counters were closed.
    pub(crate) closed: Arc<AtomicUsize>,
}

pub(crate) fn id(text: &str) -> EntryId {
    EntryId::parse(text).unwrap()
}

impl App {
    pub(crate) fn new() -> Self {
        let dispatcher = Dispatcher::new(DispatcherConfig::default());
        let waiting = Arc::new(AtomicUsize::new(0));
        dispatcher.insert(id("test:add"), Arc::new(Add));
        dispatcher.insert(id("test:echo"), Arc::new(Echo));
        dispatcher.insert(id("test:sleep"), Arc::new(Sleep));
        dispatcher.insert(id("test:late"), Arc::new(Late));
        dispatcher.insert(id("test:fail"), Arc::new(Fail));
        dispatcher.insert(
            id("test:never"),
            Arc::new(Never {
                waiting: waiting.clone(),
            }),
        );
        let closed = Arc::new(AtomicUsize::new(0));
        dispatcher.insert(
            id("test:counter"),
            Arc::new(MakeCounter {
                closed: closed.clone(),
            }),
        );
        let config = Config {
            pool: PoolConfig {
                max_size: 2,
                ..PoolConfig::default()
            },
            ..Config::default()
        };
        Self {
            dispatcher,
            config,
            services: Services::default(),
            waiting,
            closed,
        }
    }

    /// Adds a function whose chunk returns `{ main = function ... }`, with all modules.
    pub(crate) fn add(&self, name: &str, text: &str) -> &Self {
        let function =
            LuaFunction::new(source(name, text), self.services.clone(), self.config.clone()).unwrap();
        self.dispatcher.insert(id(name), function);
        self
    }

    /// Calls with owned values.
    pub(crate) async fn call_in(
        &self,
        context: &Context,
        name: &str,
        arguments: &[Value],
    ) -> Result<Value, CallError> {
        let function = self.dispatcher.resolve(&id(name))?;
        let mut reader = ValueReader::arguments(arguments);
        let mut writer = ValueWriter::default();
        self.dispatcher
            .call(context, &function, &mut reader, &mut writer)?
            .await?;
        Ok(writer.finish())
    }

    pub(crate) async fn call(&self, name: &str, arguments: &[Value]) -> Result<Value, CallError> {
        self.call_in(&self.context(), name, arguments).await
    }

    pub(crate) fn context(&self) -> Context {
        Context::root(self.dispatcher.clone())
    }

    /// Runs a script's `main` once.
    pub(crate) async fn run(&self, body: &str) -> Result<Value, CallError> {
        self.add(
            "test:script",
            &format!("return {{ main = function(...)\n{body}\nend }}"),
        );
        self.call("test:script", &[]).await
    }

    /// Evaluates each line of `expressions` after `prelude`, and shows it with what it gives: JSON for each value, kind
    /// and message for an error object.
    pub(crate) async fn transcript(&self, prelude: &str, expressions: &str) -> String {
        let lines = expressions.lines().map(str::trim).filter(|line| !line.is_empty());
        let mut transcript = String::new();
        for line in lines {
            let body = format!(
                "local json = require('json')
                {prelude}
                local function show(value)
                    if type(value) ~= 'userdata' then
                        return type(value) == 'function' and 'function' or json.encode(value)
                    end
                    local ok, kind = pcall(function() return value:kind() end)
                    return ok and 'error ' .. kind .. ': ' .. value:message() or tostring(value)
                end
                local results = table.pack(pcall(function() return {line} end))
                if not results[1] then return 'raised: ' .. tostring(results[2]) end
                local shown = {{}}
                for i = 2, results.n do shown[#shown + 1] = show(results[i]) end
                return table.concat(shown, ', ')"
            );
            let outcome = self.run(&body).await;
            let outcome = outcome.map_or_else(
                |error| format!("failed: {error}"),
                |value| String::from_utf8_lossy(value.as_str().unwrap_or("?").as_bytes()).into_owned(),
            );
            transcript.extend(["> ", line, "\n", &outcome, "\n"]);
        }
        transcript
    }

    /// Runs a process to its end.
    pub(crate) async fn process(&self, text: &str, arguments: Vec<Value>) -> Result<Value, CallError> {
        let process = LuaProcess::new(
            source("test:process", text),
            self.services.clone(),
            self.config.clone(),
        );
        process
            .unwrap()
            .run(self.context(), vec!["--loud".to_owned()], arguments)
            .await
    }
}

/// A source with all modules.
pub(crate) fn source(name: &str, text: &str) -> Source {
    Source {
        id: id(name),
        name: "src/script.lua".into(),
        text: text.into(),
        method: "main".into(),
        modules: wippy_lua::MODULES.iter().map(|name| (*name).to_owned()).collect(),
        imports: BTreeMap::new(),
    }
}

pub(crate) fn library(name: &str, text: &str, modules: &[&str]) -> Arc<Library> {
    Arc::new(Library {
        id: id(name),
        name: "src/library.lua".into(),
        text: text.into(),
        modules: modules
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<BTreeSet<_>>(),
        imports: BTreeMap::new(),
    })
}

/// A text as a value shows it.
pub(crate) fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("expected a string, got {value:?}"))
}

/// Adds two integers.
struct Add;

#[async_trait]
impl Handler for Add {
    async fn invoke<'a>(self: Arc<Self>, _permit: Permit, call: Call<'a>) -> Result<(), CallError> {
        let mut sum = 0;
        for index in 0..call.arguments.len() {
            call.arguments.enter_index(index)?;
            match call.arguments.datum() {
                Datum::Integer(value) => sum += value,
                other => {
                    return Err(CallError::invalid(format!(
                        "expected an integer, got {}",
                        other.type_name()
                    )));
                }
            }
            call.arguments.leave();
        }
        call.result.integer(sum);
        Ok(())
    }
}

/// Answers its first argument.
struct Echo;

#[async_trait]
impl Handler for Echo {
    async fn invoke<'a>(self: Arc<Self>, _permit: Permit, call: Call<'a>) -> Result<(), CallError> {
        let Call {
            arguments, result, ..
        } = call;
        arguments.enter_index(0)?;
        result.scope(&mut |result| copy(arguments, result, DEPTH_MAX))?;
        Ok(())
    }
}

/// Sleeps for its first argument in milliseconds, then answers its second one.
struct Sleep;

#[async_trait]
impl Handler for Sleep {
    async fn invoke<'a>(self: Arc<Self>, _permit: Permit, call: Call<'a>) -> Result<(), CallError> {
        call.arguments.enter_index(0)?;
        let Datum::Integer(milliseconds) = call.arguments.datum() else {
            return Err(CallError::invalid("no time"));
        };
        call.arguments.leave();
        tokio::time::sleep(Duration::from_millis(milliseconds.unsigned_abs())).await;
        // The arguments are read only now, from the suspended caller.
        let Call {
            arguments, result, ..
        } = call;
        arguments.enter_index(1)?;
        result.scope(&mut |result| copy(arguments, result, DEPTH_MAX))?;
        Ok(())
    }
}

/// Writes its result first and waits afterwards.
struct Late;

#[async_trait]
impl Handler for Late {
    async fn invoke<'a>(self: Arc<Self>, _permit: Permit, call: Call<'a>) -> Result<(), CallError> {
        let Call {
            arguments, result, ..
        } = call;
        arguments.enter_index(0)?;
        result.scope(&mut |result| copy(arguments, result, DEPTH_MAX))?;
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(())
    }
}

/// Fails with everything that an error can carry.
struct Fail;

#[async_trait]
impl Handler for Fail {
    async fn invoke<'a>(self: Arc<Self>, _permit: Permit, _call: Call<'a>) -> Result<(), CallError> {
        let details = Value::record([("seconds", Value::Integer(30))]);
        Err(CallError::new(wippy_security::ErrorKind::RateLimited, "slow down").with_details(details))
    }
}

/// Answers a handle of a counter.
struct MakeCounter {
    closed: Arc<AtomicUsize>,
}

#[async_trait]
impl Handler for MakeCounter {
    async fn invoke<'a>(self: Arc<Self>, _permit: Permit, call: Call<'a>) -> Result<(), CallError> {
        let counter = Counter {
            entry: id("test:counter"),
            count: AtomicUsize::new(0),
            closed: self.closed.clone(),
        };
        let handle: Arc<dyn Foreign> = Arc::new(Handle::new(Arc::new(counter)));
        call.result.scope(&mut |result| {
            result.foreign(handle.clone());
            Ok(())
        })?;
        Ok(())
    }
}

#[derive(Debug)]
struct Counter {
    entry: EntryId,
    count: AtomicUsize,
    closed: Arc<AtomicUsize>,
}

#[async_trait]
impl Object for Counter {
    fn entry(&self) -> &EntryId {
        &self.entry
    }

    fn type_name(&self) -> &'static str {
        "resource counter"
    }

    fn has_method(&self, name: &str) -> bool {
        name == "increment"
    }

    fn invoke<'a>(&'a self, _permit: Permit, _method: &'a str, call: Call<'a>) -> CallFuture<'a> {
        CallFuture::from(Box::pin(async move {
            call.arguments.enter_index(0)?;
            let Datum::Integer(by) = call.arguments.datum() else {
                return Err(CallError::invalid("no number"));
            };
            let by = usize::try_from(by).map_err(|_| CallError::invalid("negative"))?;
            tokio::task::yield_now().await;
            let count = self.count.fetch_add(by, Ordering::SeqCst) + by;
            call.result.integer(i64::try_from(count).unwrap());
            Ok(())
        }))
    }

    async fn close(self: Arc<Self>) -> Result<(), CallError> {
        self.closed.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// Never answers, and counts who waits.
struct Never {
    waiting: Arc<AtomicUsize>,
}

struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Handler for Never {
    async fn invoke<'a>(self: Arc<Self>, _permit: Permit, _call: Call<'a>) -> Result<(), CallError> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(self.waiting.clone());
        std::future::pending().await
    }
}

/// A terminal in memory.
#[derive(Default)]
pub(crate) struct Screen {
    pub(crate) output: Mutex<String>,
    pub(crate) input: Mutex<Vec<String>>,
}

impl Terminal for Screen {
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        self.output
            .lock()
            .unwrap()
            .push_str(&String::from_utf8_lossy(bytes));
        Ok(())
    }

    fn write_error(&self, bytes: &[u8]) -> io::Result<()> {
        self.write(b"! ")?;
        self.write(bytes)
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn read(&self, _len: usize) -> io::Result<Vec<u8>> {
        Ok(self.read_line()?.unwrap_or_default())
    }

    fn read_line(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.input.lock().unwrap().pop().map(String::into_bytes))
    }
}
