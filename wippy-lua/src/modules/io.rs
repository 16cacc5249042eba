//! `io`: the terminal, for processes that own one; and the global `print`.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use mlua::{Function, IntoLuaMulti, Lua, MultiValue, Table, Value as LuaValue, Variadic};
use wippy_security::{CallError, ErrorKind};
use wippy_wit::Value;

use super::{Console, Environment, process};
use crate::{Terminal, errors, raw, suspend::suspending, values};

/// Opens the module.
///
/// # Errors
/// When the script has no terminal, or memory does not suffice.
pub(crate) fn open(lua: &Lua, environment: &Environment) -> mlua::Result<Table> {
    let Some(Console { terminal, arguments }) = environment.console.clone() else {
        return Err(errors::raise(CallError::new(
            ErrorKind::Unavailable,
            format!(
                "the module `io` needs a terminal, which `{}` does not run on",
                environment.id
            ),
        )));
    };
    let module = lua.create_table()?;
    module.raw_set(
        "write",
        writing(lua, &terminal, |terminal, parts| terminal.write(&parts.concat()))?,
    )?;
    module.raw_set(
        "print",
        writing(lua, &terminal, |terminal, parts| terminal.write(&line(parts)))?,
    )?;
    module.raw_set(
        "eprint",
        writing(lua, &terminal, |terminal, parts| {
            terminal.write_error(&line(parts))
        })?,
    )?;
    module.raw_set("flush", writing(lua, &terminal, |terminal, _| terminal.flush())?)?;
    module.raw_set("read", read(lua, &terminal)?)?;
    module.raw_set("readline", read_line(lua, &terminal)?)?;
    module.raw_set("raw", raw_mode(lua, &terminal)?)?;
    module.raw_set(
        "args",
        lua.create_function(move |lua, ()| lua.create_sequence_from(arguments.iter().map(String::as_str)))?,
    )?;
    Ok(module)
}

/// The global `print`: to the terminal if there is one, else to the log.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn print(lua: &Lua, environment: &Environment) -> mlua::Result<Function> {
    if let Some(Console { terminal, .. }) = &environment.console {
        return writing(lua, terminal, |terminal, parts| terminal.write(&line(parts)));
    }
    let entry = environment.id.as_str().to_owned();
    lua.create_function(move |lua, values: Variadic<LuaValue>| {
        let mut text = line(&texts(&values)?);
        text.pop();
        let message = String::from_utf8_lossy(&text);
        let context = raw::context(lua);
        let pid = process::pid_of(context.as_ref());
        tracing::info!(target: "wippy::script", entry = entry.as_str(), pid, "{message}");
        Ok(())
    })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "mlua's enums grow")]
fn texts(values: &[LuaValue]) -> mlua::Result<Vec<Vec<u8>>> {
    let text = |value: &LuaValue| match value {
        LuaValue::String(text) => Ok(text.as_bytes().to_vec()),
        other => other.to_string().map(String::into_bytes),
    };
    values.iter().map(text).collect()
}

fn line(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut line = parts.join(&b'\t');
    line.push(b'\n');
    line
}

/// A function that writes its arguments and answers true, or nil and an error.
fn writing(
    lua: &Lua,
    terminal: &Arc<dyn Terminal>,
    write: fn(&dyn Terminal, &[Vec<u8>]) -> io::Result<()>,
) -> mlua::Result<Function> {
    let terminal = terminal.clone();
    lua.create_function(
        move |lua, values: Variadic<LuaValue>| match write(&*terminal, &texts(&values)?) {
            Ok(()) => true.into_lua_multi(lua),
            Err(error) => values::refuse(lua, failed(&error)),
        },
    )
}

fn failed(error: &io::Error) -> CallError {
    CallError::internal(format!("the terminal failed: {error}"))
}

/// How often a script has asked for raw mode without giving it up. What it has not given up ends with its state.
struct RawMode {
    terminal: Arc<dyn Terminal>,
    depth: AtomicUsize,
}

impl RawMode {
    fn begin(&self) -> io::Result<()> {
        if self.depth.load(Ordering::Relaxed) == 0 {
            self.terminal.set_raw(true)?;
        }
        self.depth.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn end(&self) -> io::Result<()> {
        let less = |depth: usize| depth.checked_sub(1);
        match self
            .depth
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
        {
            Ok(1) => self.terminal.set_raw(false),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        if *self.depth.get_mut() > 0 {
            // There is nobody left to tell.
            let _ = self.terminal.set_raw(false);
        }
    }
}

/// `io.raw([enable])`: each key as it is pressed, until it is given up as often as it was asked for.
fn raw_mode(lua: &Lua, terminal: &Arc<dyn Terminal>) -> mlua::Result<Function> {
    let mode = RawMode {
        terminal: terminal.clone(),
        depth: AtomicUsize::new(0),
    };
    lua.create_function(move |lua, enable: Option<bool>| {
        let outcome = if enable.unwrap_or(true) {
            mode.begin()
        } else {
            mode.end()
        };
        match outcome {
            Ok(()) => true.into_lua_multi(lua),
            Err(error) => values::refuse(lua, failed(&error)),
        }
    })
}

/// `io.read([n])`: at most `n` bytes (1024); nil at the input's end.
fn read(lua: &Lua, terminal: &Arc<dyn Terminal>) -> mlua::Result<Function> {
    let terminal = terminal.clone();
    suspending(lua, move |_, len: Option<i64>| {
        let terminal = terminal.clone();
        let len = len
            .and_then(|len| usize::try_from(len).ok())
            .filter(|len| *len > 0);
        let len = len.unwrap_or(1024).min(1 << 20);
        Ok(blocking(move || {
            terminal
                .read(len)
                .map(|bytes| (!bytes.is_empty()).then_some(bytes))
        }))
    })
}

/// `io.readline()`: the next line without its end; nil at the input's end.
fn read_line(lua: &Lua, terminal: &Arc<dyn Terminal>) -> mlua::Result<Function> {
    let terminal = terminal.clone();
    suspending(lua, move |_, _prompt: MultiValue| {
        let terminal = terminal.clone();
        Ok(blocking(move || {
            let mut line = terminal.read_line()?;
            if let Some(line) = &mut line {
                for end in [b'\n', b'\r'] {
                    if line.last() == Some(&end) {
                        line.pop();
                    }
                }
            }
            Ok(line)
        }))
    })
}

/// Reads on a thread where blocking does not matter.
async fn blocking(
    read: impl FnOnce() -> io::Result<Option<Vec<u8>>> + Send + 'static,
) -> impl FnOnce(&Lua) -> mlua::Result<MultiValue> + Send + 'static {
    let outcome = tokio::task::spawn_blocking(read).await;
    move |lua: &Lua| match outcome {
        Ok(Ok(Some(bytes))) => values::answer(lua, Ok(Value::string(bytes))),
        Ok(Ok(None)) => LuaValue::Nil.into_lua_multi(lua),
        Ok(Err(error)) => values::refuse(lua, failed(&error)),
        Err(_) => values::refuse(
            lua,
            CallError::internal("reading from the terminal was interrupted"),
        ),
    }
}
