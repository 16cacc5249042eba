//! [`Worker`]: one state with a script loaded into it.

use std::{
    collections::{BTreeMap, HashMap},
    future::poll_fn,
    mem,
    sync::Arc,
    task::{Context as Waking, Poll},
};

use mlua::{Function, Lua, Table, Value as LuaValue};
use wippy_registry::EntryId;
use wippy_security::{CallError, Context, ErrorKind};
use wippy_wit::{Reader, Value, ValueReader, Writer};

use crate::{
    Config, Error, Library, Services, Source,
    check::{self, Compiled},
    errors,
    local::Local,
    modules::{Console, Seat, payload},
    raw::{self, End, Kept, Vm},
    require, sandbox,
    traces::{self, Origins},
};

/// A script with everything that a state for it is made of.
pub(crate) struct Program {
    pub(crate) source: Source,
    pub(crate) services: Services,
    pub(crate) config: Config,
    /// Which entry each of its files belongs to.
    pub(crate) origins: Origins,
    script: Compiled,
    libraries: HashMap<EntryId, Compiled>,
}

impl Program {
    /// Compiles the script and its libraries once, to find what is wrong with them.
    ///
    /// # Errors
    /// When a text is not Lua or a listed module does not exist.
    pub(crate) fn new(source: Source, services: Services, config: Config) -> Result<Arc<Self>, Error> {
        let script = check::compile(Some(&source.id), &source.name, &source.text)?;
        require::check_modules(&source.id, &source.modules)?;
        let mut libraries = HashMap::new();
        compile_libraries(&source.imports, &mut libraries)?;
        Ok(Arc::new(Self {
            origins: Origins::new(&source),
            source,
            services,
            config,
            script,
            libraries,
        }))
    }

    /// The chunk of the library `id`, which is one that the program imports, with globals of its own.
    ///
    /// # Errors
    /// When memory does not suffice.
    pub(crate) fn library(&self, lua: &Lua, id: &EntryId, globals: &Table) -> mlua::Result<Function> {
        match self.libraries.get(id) {
            Some(compiled) => raw::kept_function(lua, &format!("chunk {id}"), Some(globals), || {
                compiled.load(lua, Some(globals))
            }),
            None => Err(mlua::Error::runtime(format!("there is no library `{id}`"))),
        }
    }
}

/// Compiles libraries and everything that they import.
fn compile_libraries(
    imports: &BTreeMap<String, Arc<Library>>,
    compiled: &mut HashMap<EntryId, Compiled>,
) -> Result<(), Error> {
    for library in imports.values() {
        if compiled.contains_key(&library.id) {
            continue;
        }
        let code = check::compile(Some(&library.id), &library.name, &library.text)?;
        require::check_modules(&library.id, &library.modules)?;
        compiled.insert(library.id.clone(), code);
        compile_libraries(&library.imports, compiled)?;
    }
    Ok(())
}

/// A state that has more memory than this after it was wiped is dropped: what it keeps, nobody may want.
const WIPED_BYTES_MAX: usize = 256 << 10;

/// So much garbage is left to the collector when a state is wiped. More is collected at once.
const GARBAGE_BYTES_MAX: usize = 48 << 10;

/// A state with a script loaded into it.
pub(crate) struct Worker {
    program: Arc<Program>,
    /// The script's chunk, once it was loaded; it runs once for each execution that the state serves.
    chunk: Option<Kept>,
    /// The method, once the chunk has run.
    method: Option<Kept>,
    /// The memory that was left when everything out of reach was collected last, in bytes.
    collected: usize,
    /// Whether the last call returned, with a value or an error.
    is_clean: bool,
    /// What it has as a process.
    seat: Option<Arc<Seat>>,
    /// Whether what starting left behind was collected, which a process does when it first waits: it may do so for long.
    is_settled: bool,
    vm: Vm,
}

impl Worker {
    /// Makes a fresh state. The script's chunk runs with the first call.
    ///
    /// # Errors
    /// When the state cannot be made.
    pub(crate) fn new(program: Arc<Program>, console: Option<Console>) -> Result<Self, CallError> {
        let state = |error: mlua::Error| Error::State {
            id: program.source.id.clone(),
            reason: error.to_string(),
        };
        let vm = sandbox::new(&program, console).map_err(state)?;
        Ok(Self {
            program,
            chunk: None,
            method: None,
            collected: 0,
            is_clean: false,
            seat: None,
            is_settled: true,
            vm,
        })
    }

    /// Makes it the state of a process.
    pub(crate) fn seat(&mut self, seat: &Arc<Seat>) {
        let post = seat.post.clone();
        self.vm
            .set_background(Box::new(move |waking, due| post.sort(waking, due)));
        let _ = Local::of(self.vm.lua()).seat.set(seat.clone());
        self.seat = Some(seat.clone());
        self.is_settled = false;
    }

    /// Calls the method.
    ///
    /// # Errors
    /// What the method returns as its error or raises, or what keeps it from being called.
    pub(crate) async fn call(
        &mut self,
        context: Context,
        arguments: &mut dyn Reader,
        result: &mut dyn Writer,
    ) -> Result<(), CallError> {
        self.is_clean = false;
        let method = match self.method {
            Some(method) => method,
            None => self.load(&context).await?,
        };
        self.begin(method, context, arguments)?;
        self.run().await?;
        self.conclude(result)
    }

    /// Begins a call of the method, if the chunk has run already; false if not.
    ///
    /// # Errors
    /// When an argument cannot be sent or does not fit into memory.
    pub(crate) fn begin_loaded(
        &mut self,
        context: Arc<Context>,
        arguments: &mut dyn Reader,
    ) -> Result<bool, CallError> {
        let Some(method) = self.method else {
            return Ok(false);
        };
        self.is_clean = false;
        self.begin(method, context, arguments).map(|()| true)
    }

    fn begin(
        &mut self,
        method: Kept,
        context: impl Into<Arc<Context>>,
        arguments: &mut dyn Reader,
    ) -> Result<(), CallError> {
        self.vm
            .begin(method, context, arguments)
            .map_err(|error| error.context(&self.program.source.id))
    }

    /// Gives what the method returned.
    ///
    /// # Errors
    /// What it returned as its error, or that it cannot be sent.
    pub(crate) fn conclude(&mut self, result: &mut dyn Writer) -> Result<(), CallError> {
        self.is_clean = true;
        self.vm
            .settle_returned(payload::settled)
            .map_err(|error| errors::from_mlua(&error, None))?;
        match self.vm.copy_result(result) {
            Ok(()) => Ok(()),
            Err(Some(error)) => Err(error),
            Err(None) => Err(self.returned_error()),
        }
    }

    /// How much memory the state has.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.vm.lua().used_memory()
    }

    /// Whether the state may serve another call: the last one returned, with a value or an error, and left nothing running.
    pub(crate) fn is_reusable(&self) -> bool {
        self.is_clean && self.vm.is_reusable()
    }

    /// Forgets the call that ended, and gives back its context.
    pub(crate) fn reset(&mut self) -> Option<Arc<Context>> {
        self.vm.local().tasks.end();
        self.vm.reset()
    }

    /// Makes the state as if nothing had run in it: whatever the script reached from its globals, its chunk and the
    /// libraries is out of reach. The last call was [forgotten](Self::reset). False if it cannot be, or is not worth it.
    pub(crate) fn wipe(&mut self) -> bool {
        if !self.is_reusable() || self.seat.is_some() {
            return false;
        }
        self.vm.clear();
        if let Some(method) = self.method.take() {
            self.vm.forget(method);
        }
        let Ok(holds) = sandbox::wipe(self.vm.lua(), self.chunk) else {
            return false;
        };
        if holds || self.memory_bytes() > self.collected + GARBAGE_BYTES_MAX {
            if self.vm.lua().gc_collect().is_err() {
                return false;
            }
            self.collected = self.memory_bytes();
        }
        self.memory_bytes() <= WIPED_BYTES_MAX
    }

    /// Runs the chunk and finds the method in what it returns.
    async fn load(&mut self, context: &Context) -> Result<Kept, CallError> {
        let read = |error: mlua::Error| errors::from_mlua(&error, None);
        let script = &self.program.script;
        let chunk = match self.chunk {
            Some(chunk) => chunk,
            None => script
                .load(self.vm.lua(), None)
                .and_then(|chunk| self.vm.keep(&chunk))
                .map_err(read)?,
        };
        self.vm
            .begin(chunk, context.clone(), &mut ValueReader::arguments(&[]))?;
        let outcome = self.run().await;
        if self.seat.is_some() {
            // A process runs it once: of the chunk, only its functions are needed any more.
            self.vm.forget(chunk);
        } else {
            self.chunk = Some(chunk);
        }
        outcome?;
        // The method in the table that the chunk returned. A chunk may also return the function itself.
        let found = self.vm.keep_returned(&self.program.source.method).map_err(read)?;
        let Some(method) = found else {
            let returned = self.vm.take().map_err(read)?;
            return Err(self.no_method(returned.front()));
        };
        self.method = Some(method);
        Ok(method)
    }

    /// Why there is no method in what the chunk returned.
    #[cold]
    fn no_method(&self, returned: Option<&LuaValue>) -> CallError {
        let Source { id, name, method, .. } = &self.program.source;
        let Some(LuaValue::Table(table)) = returned else {
            let found = returned.map_or("nothing", LuaValue::type_name);
            return CallError::invalid(format!(
                "`{name}` must return a table of functions (`return {{ {method} = {method} }}`), it returns {found}"
            ));
        };
        let mut known: Vec<String> = table
            .pairs::<LuaValue, LuaValue>()
            .filter_map(Result::ok)
            .filter(|(_, value)| value.is_function())
            .filter_map(|(key, _)| key.as_string().map(|key| format!("`{}`", key.to_string_lossy())))
            .collect();
        known.sort();
        let known = if known.is_empty() {
            "no functions".to_owned()
        } else {
            known.join(", ")
        };
        let message = format!("`{id}` has no method `{method}`: `{name}` returns {known}");
        CallError::new(ErrorKind::NotFound, message)
    }

    async fn run(&mut self) -> Result<(), CallError> {
        poll_fn(|waking| self.poll_run(waking)).await
    }

    /// Runs what was begun to its end.
    pub(crate) fn poll_run(&mut self, waking: &mut Waking<'_>) -> Poll<Result<(), CallError>> {
        Poll::Ready(match self.vm.poll(waking) {
            Poll::Ready(End::Returned) if !self.vm.is_terminated() => Ok(()),
            Poll::Ready(End::Returned) => Err(raw::deadline_error()),
            Poll::Ready(End::Raised) => Err(self.raised()),
            // A script that goes on as another one waits for nothing but this.
            Poll::Pending if self.seat.as_ref().is_some_and(|seat| seat.is_upgrading()) => Err(
                CallError::new(ErrorKind::Canceled, "the process goes on as another program"),
            ),
            Poll::Pending => {
                if !mem::replace(&mut self.is_settled, true) {
                    // Without memory for that, it is done by and by.
                    let _ = self.vm.lua().gc_collect();
                }
                return Poll::Pending;
            }
        })
    }

    fn raised(&mut self) -> CallError {
        let (value, trace) = self.vm.take_raised();
        if self.vm.is_terminated() {
            return raw::deadline_error().with_stack(trace);
        }
        let error = match value {
            Ok(value) => errors::from_lua(self.vm.lua(), &value, Some(&trace)),
            Err(error) => errors::from_mlua(&error, Some(&trace)),
        };
        traces::attribute(self.vm.lua(), error)
    }

    /// The second value that the method returned.
    fn returned_error(&mut self) -> CallError {
        match self.vm.take() {
            Ok(values) => {
                let error = values.get(1).unwrap_or(&LuaValue::Nil);
                traces::attribute(self.vm.lua(), errors::from_lua(self.vm.lua(), error, None))
            }
            Err(error) => errors::from_mlua(&error, None),
        }
    }
}

/// The value that was built by `writer`, for those who want an owned one.
pub(crate) async fn call_for_value(
    worker: &mut Worker,
    context: Context,
    arguments: &[Value],
) -> Result<Value, CallError> {
    let mut result = wippy_wit::ValueWriter::default();
    worker
        .call(context, &mut ValueReader::arguments(arguments), &mut result)
        .await?;
    Ok(result.finish())
}
