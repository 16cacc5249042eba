//! Open files and scanners, as scripts hold them.

use std::{
    io::SeekFrom,
    sync::{Arc, Mutex, PoisonError},
};

use mlua::{
    Function, IntoLuaMulti, Lua, LuaString, MultiValue, UserData, UserDataMethods, UserDataRef,
    Value as LuaValue,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wippy_registry::EntryId;
use wippy_security::{CallError, ErrorKind, Permit};
use wippy_wit::Value;

use crate::{
    errors, methods,
    permission::permit,
    suspend::{blocking, suspending},
    values,
    volume::{File, Scanner, Split},
};

/// How many files one volume object has open at most.
const OPEN_MAX: usize = 256;

/// Counts the files that are open.
#[derive(Clone)]
pub(super) struct Openings(Arc<Semaphore>);

impl Default for Openings {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(OPEN_MAX)))
    }
}

impl Openings {
    pub(super) fn take(&self) -> Result<OwnedSemaphorePermit, CallError> {
        self.0.clone().try_acquire_owned().map_err(|_| {
            CallError::new(
                ErrorKind::RateLimited,
                format!("{OPEN_MAX} files are open already; close some"),
            )
        })
    }
}

/// What `volume:open` answers.
#[derive(Clone)]
pub(super) struct OpenFile {
    volume: EntryId,
    file: Arc<File>,
    /// Its place among the open files, until it is closed.
    place: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl OpenFile {
    pub(super) fn new(volume: EntryId, file: File, place: OwnedSemaphorePermit) -> Self {
        Self {
            volume,
            file: Arc::new(file),
            place: Arc::new(Mutex::new(Some(place))),
        }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn permit(&self, lua: &Lua) -> Result<Permit, CallError> {
        permit(lua, "fs.get", self.volume.as_str())
    }

    fn close(&self) {
        self.file.close();
        self.place.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl UserData for OpenFile {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods::find(methods, FILE);
    }
}

/// What `file:scanner` answers.
struct Scanning {
    volume: EntryId,
    /// Nothing while another coroutine scans with it.
    scanner: Arc<Mutex<Option<Scanner>>>,
}

impl Scanning {
    fn new(file: &OpenFile, split: Split) -> Self {
        Self {
            volume: file.volume.clone(),
            scanner: Arc::new(Mutex::new(Some(Scanner::new(file.file.clone(), split)))),
        }
    }

    fn look<T: Default>(&self, at: impl FnOnce(&Scanner) -> T) -> T {
        let scanner = self.scanner.lock().unwrap_or_else(PoisonError::into_inner);
        scanner.as_ref().map(at).unwrap_or_default()
    }
}

impl UserData for Scanning {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("text", |lua, this, ()| {
            lua.create_string(this.look(|scanner| scanner.piece().to_vec()))
        });
        methods.add_method("err", |lua, this, ()| {
            match this.look(|scanner| scanner.failure().cloned()) {
                Some(error) => errors::to_lua(lua, error),
                None => Ok(LuaValue::Nil),
            }
        });
        methods::find(methods, SCANNER);
    }
}

const FILE: &str = "fs.file";
const SCANNER: &str = "fs.scanner";

pub(super) fn install(lua: &Lua) -> mlua::Result<()> {
    methods::install(
        lua,
        FILE,
        [
            ("read", read(lua)?),
            ("write", write(lua)?),
            ("seek", seek(lua)?),
            ("stat", simple(lua, File::stat)?),
            ("sync", simple(lua, |file| file.sync().map(|()| true.into()))?),
            (
                "close",
                suspending(lua, |_, this: UserDataRef<OpenFile>| {
                    let this = this.clone();
                    Ok(async move {
                        // Somebody may be reading from it.
                        let outcome = blocking(move || {
                            this.close();
                            Ok(true)
                        });
                        let outcome = outcome.await;
                        move |lua: &Lua| values::reply(lua, outcome)
                    })
                })?,
            ),
            (
                "scanner",
                lua.create_function(|lua, (this, split): (UserDataRef<OpenFile>, Option<String>)| {
                    values::reply(lua, scanner(lua, &this, split.as_deref()))
                })?,
            ),
            (
                "lines",
                lua.create_function(|lua, this: UserDataRef<OpenFile>| {
                    let scanning = Scanning::new(&this, Split::Lines);
                    (line(lua)?, scanning).into_lua_multi(lua)
                })?,
            ),
        ],
    )?;
    let scan = suspending(lua, |lua, this: UserDataRef<Scanning>| {
        let advanced = advance(permitted(lua, &this), this.scanner.clone());
        Ok(async move {
            let advanced = advanced.await;
            move |lua: &Lua| advanced.unwrap_or(false).into_lua_multi(lua)
        })
    })?;
    methods::install(lua, SCANNER, [("scan", scan)])
}

/// `read(size)`: the next bytes; at the end an error that is `NOT_FOUND`.
fn read(lua: &Lua) -> mlua::Result<Function> {
    suspending(
        lua,
        |lua, (this, size): (UserDataRef<OpenFile>, Option<usize>)| {
            let (permit, file) = (this.permit(lua), this.file.clone());
            Ok(async move {
                let outcome = match permit {
                    Ok(_now) => blocking(move || file.read(size.unwrap_or(4096).max(1))).await,
                    Err(error) => Err(error),
                };
                let outcome = outcome.and_then(|bytes| {
                    if bytes.is_empty() {
                        return Err(CallError::new(
                            ErrorKind::NotFound,
                            "the file has come to its end",
                        ));
                    }
                    Ok(Value::string(bytes))
                });
                move |lua: &Lua| values::answer(lua, outcome)
            })
        },
    )
}

/// `write(data)`: how many bytes were written, which is all.
fn write(lua: &Lua) -> mlua::Result<Function> {
    suspending(lua, |lua, (this, data): (UserDataRef<OpenFile>, LuaString)| {
        let (permit, file) = (this.permit(lua), this.file.clone());
        let data = data.as_bytes().to_vec();
        Ok(async move {
            let outcome = match permit {
                Ok(_now) => blocking(move || file.write(&data).map(|()| data.len())).await,
                Err(error) => Err(error),
            };
            move |lua: &Lua| values::reply(lua, outcome)
        })
    })
}

/// `seek(whence, offset)`: the place it moves to.
fn seek(lua: &Lua) -> mlua::Result<Function> {
    suspending(
        lua,
        |lua, (this, whence, offset): (UserDataRef<OpenFile>, Option<String>, Option<i64>)| {
            let (permit, file) = (this.permit(lua), this.file.clone());
            let place = place(whence.as_deref().unwrap_or("cur"), offset.unwrap_or(0));
            Ok(async move {
                let outcome = match permit.and(place) {
                    Ok(place) => blocking(move || file.seek(place)).await,
                    Err(error) => Err(error),
                };
                move |lua: &Lua| values::reply(lua, outcome)
            })
        },
    )
}

fn place(whence: &str, offset: i64) -> Result<SeekFrom, CallError> {
    match whence {
        "set" => u64::try_from(offset)
            .map(SeekFrom::Start)
            .map_err(|_| CallError::invalid("a file has no place before its start")),
        "cur" => Ok(SeekFrom::Current(offset)),
        "end" => Ok(SeekFrom::End(offset)),
        _ => Err(CallError::invalid(format!(
            "`{whence}` is no place to seek from: there are set, cur, end"
        ))),
    }
}

/// A method without arguments.
fn simple(lua: &Lua, work: fn(&File) -> Result<Value, CallError>) -> mlua::Result<Function> {
    suspending(lua, move |lua, this: UserDataRef<OpenFile>| {
        let (permit, file) = (this.permit(lua), this.file.clone());
        Ok(async move {
            let outcome = match permit {
                Ok(_now) => blocking(move || work(&file)).await,
                Err(error) => Err(error),
            };
            move |lua: &Lua| values::answer(lua, outcome)
        })
    })
}

fn scanner(lua: &Lua, file: &OpenFile, split: Option<&str>) -> Result<Scanning, CallError> {
    let _now = file.permit(lua)?;
    if file.file.is_closed() {
        return Err(CallError::invalid("the file is closed"));
    }
    Ok(Scanning::new(file, split.unwrap_or("lines").parse()?))
}

/// What `for line in file:lines() do` calls: the next line, nil at the end.
fn line(lua: &Lua) -> mlua::Result<Function> {
    suspending(lua, |lua, (this, _line): (UserDataRef<Scanning>, LuaValue)| {
        let scanner = this.scanner.clone();
        let advanced = advance(permitted(lua, &this), this.scanner.clone());
        Ok(async move {
            let advanced = advanced.await;
            move |lua: &Lua| next_line(lua, advanced, &scanner)
        })
    })
}

fn next_line(
    lua: &Lua,
    advanced: Result<bool, CallError>,
    scanner: &Mutex<Option<Scanner>>,
) -> mlua::Result<MultiValue> {
    let scanner = scanner.lock().unwrap_or_else(PoisonError::into_inner);
    // A loop has no place for an error, so it is raised.
    let failure = scanner.as_ref().and_then(Scanner::failure).cloned();
    match (advanced, failure, scanner.as_ref()) {
        (Err(error), ..) | (_, Some(error), _) => Err(errors::raise(error)),
        (Ok(true), None, Some(scanner)) => lua.create_string(scanner.piece())?.into_lua_multi(lua),
        (Ok(_), None, _) => LuaValue::Nil.into_lua_multi(lua),
    }
}

fn permitted(lua: &Lua, scanning: &Scanning) -> Result<Permit, CallError> {
    permit(lua, "fs.get", scanning.volume.as_str())
}

/// Goes on to the next piece; on another thread if that takes reading.
async fn advance(
    permit: Result<Permit, CallError>,
    shared: Arc<Mutex<Option<Scanner>>>,
) -> Result<bool, CallError> {
    let _now = permit?;
    let taken = shared.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut scanner) = taken else {
        return Err(CallError::new(
            ErrorKind::Conflict,
            "another coroutine scans with this scanner",
        ));
    };
    let put_back = |scanner| *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(scanner);
    if let Some(advanced) = scanner.advance_buffered() {
        put_back(scanner);
        return Ok(advanced);
    }
    let (advanced, scanner) = blocking(move || Ok((scanner.advance(), scanner))).await?;
    put_back(scanner);
    Ok(advanced)
}
