//! `fs`: the application's folders, each as a volume.
//!
//! Every operation asks for the volume again, under the context of the invocation that runs: a volume in a variable is
//! worth nothing to one who may not have it, or once its entry is gone.

mod file;

use std::sync::{Arc, Mutex, PoisonError};

use mlua::{
    FromLuaMulti, Function, IntoLuaMulti, Lua, MultiValue, Table, UserData, UserDataMethods, UserDataRef,
    Value as LuaValue,
};
use wippy_registry::EntryId;
use wippy_security::{CallError, Permit};
use wippy_wit::Value;

use self::file::{OpenFile, Openings};
use super::Environment;
use crate::{
    Volume, Volumes, methods,
    permission::{entry_id, permit},
    suspend::{blocking, suspending},
    values,
    volume::{Mode, VolumePath, type_name},
    world::unavailable,
};

/// Opens the module.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn open(lua: &Lua, environment: &Environment) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    let volumes = environment.world.volumes.clone();
    let get = suspending(lua, move |lua, id: String| {
        let begun = Mounted::new(volumes.as_ref(), &id).and_then(|mounted| {
            let opening = mounted.opening(lua)?;
            Ok((mounted, opening))
        });
        Ok(async move {
            let outcome = match begun {
                Ok((mounted, opening)) => blocking(opening).await.map(|_| mounted),
                Err(error) => Err(error),
            };
            move |lua: &Lua| values::reply(lua, outcome)
        })
    })?;
    module.raw_set("get", get)?;
    module.raw_set(
        "type",
        lua.create_table_from([("FILE", type_name(false)), ("DIR", type_name(true))])?,
    )?;
    module.raw_set(
        "seek",
        lua.create_table_from([("SET", "set"), ("CUR", "cur"), ("END", "end")])?,
    )?;
    install(lua)?;
    file::install(lua)?;
    Ok(module)
}

/// What finds a volume, on another thread.
type Opening = Box<dyn FnOnce() -> Result<Volume, CallError> + Send>;

/// What `fs.get` answers.
#[derive(Clone)]
pub(super) struct Mounted {
    id: EntryId,
    volumes: Arc<dyn Volumes>,
    /// The working directory, from the volume's folder.
    working: Arc<Mutex<String>>,
    openings: Openings,
}

impl Mounted {
    fn new(volumes: Option<&Arc<dyn Volumes>>, id: &str) -> Result<Self, CallError> {
        let volumes = volumes.ok_or_else(|| unavailable("volumes"))?.clone();
        Ok(Self {
            id: entry_id(id)?,
            volumes,
            working: Arc::default(),
            openings: Openings::default(),
        })
    }

    fn permit(&self, lua: &Lua) -> Result<Permit, CallError> {
        permit(lua, "fs.get", self.id.as_str())
    }

    fn opening(&self, lua: &Lua) -> Result<Opening, CallError> {
        let permit = self.permit(lua)?;
        let (volumes, id) = (self.volumes.clone(), self.id.clone());
        Ok(Box::new(move || volumes.volume(permit, &id)))
    }

    fn path(&self, text: &str) -> Result<VolumePath, CallError> {
        VolumePath::parse(&self.working(), text)
    }

    fn working(&self) -> String {
        self.working
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl UserData for Mounted {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("pwd", |_, this, ()| Ok(format!("/{}", this.working())));
        methods::find(methods, VOLUME);
    }
}

const VOLUME: &str = "fs.volume";

fn install(lua: &Lua) -> mlua::Result<()> {
    let read = |lua: &Lua| {
        method(
            lua,
            |volume, path, ()| volume.read(path),
            |lua, content| lua.create_string(content)?.into_lua_multi(lua),
        )
    };
    methods::install(
        lua,
        VOLUME,
        [
            ("readfile", read(lua)?),
            ("read_file", read(lua)?),
            ("writefile", write(lua)?),
            ("write_file", write(lua)?),
            (
                "exists",
                method(lua, |volume, path, ()| volume.exists(path), truth)?,
            ),
            (
                "isdir",
                method(lua, |volume, path, ()| volume.is_directory(path), truth)?,
            ),
            (
                "stat",
                method(
                    lua,
                    |volume, path, ()| volume.stat(path),
                    |lua, stat: Value| values::answer(lua, Ok(stat)),
                )?,
            ),
            (
                "mkdir",
                method(lua, |volume, path, ()| volume.make_directory(path), done)?,
            ),
            (
                "remove",
                method(lua, |volume, path, ()| volume.remove(path), done)?,
            ),
            (
                "readdir",
                method(lua, |volume, path, ()| volume.list(path), listing)?,
            ),
            ("chdir", change_directory(lua)?),
            ("open", open_file(lua)?),
        ],
    )
}

/// A method that does something at a path, on another thread.
fn method<A, T>(
    lua: &Lua,
    work: fn(&Volume, &VolumePath, A) -> Result<T, CallError>,
    show: fn(&Lua, T) -> mlua::Result<MultiValue>,
) -> mlua::Result<Function>
where
    A: FromLuaMulti + Send + 'static,
    T: Send + 'static,
{
    suspending(
        lua,
        move |lua, (this, path, arguments): (UserDataRef<Mounted>, String, A)| {
            let begun = this.path(&path).and_then(|path| Ok((this.opening(lua)?, path)));
            Ok(async move {
                let outcome = match begun {
                    Ok((opening, path)) => blocking(move || work(&opening()?, &path, arguments)).await,
                    Err(error) => Err(error),
                };
                move |lua: &Lua| match outcome {
                    Ok(value) => show(lua, value),
                    Err(error) => values::refuse(lua, error),
                }
            })
        },
    )
}

/// `writefile(path, data, mode)`: `data` is a string, or an open file of which the rest is copied.
fn write(lua: &Lua) -> mlua::Result<Function> {
    suspending(
        lua,
        |lua, (this, path, data, mode): (UserDataRef<Mounted>, String, LuaValue, Option<String>)| {
            let data = Data::read(&data)?;
            let begun = Writing::begin(lua, &this, &path, data, mode.as_deref());
            Ok(async move {
                let outcome = match begun {
                    Ok(writing) => blocking(move || writing.run()).await,
                    Err(error) => Err(error),
                };
                move |lua: &Lua| values::reply(lua, outcome.map(|()| true))
            })
        },
    )
}

/// What can be written.
enum Data {
    Bytes(Vec<u8>),
    Rest(OpenFile),
}

impl Data {
    fn read(value: &LuaValue) -> mlua::Result<Self> {
        if let LuaValue::String(text) = value {
            return Ok(Self::Bytes(text.as_bytes().to_vec()));
        }
        let file = value
            .as_userdata()
            .and_then(|data| data.borrow::<OpenFile>().ok());
        match file {
            Some(file) => Ok(Self::Rest(file.clone())),
            None => Err(mlua::Error::runtime(format!(
                "a string or an open file is expected to be written, got {}",
                value.type_name()
            ))),
        }
    }
}

/// A file about to be written.
struct Writing {
    opening: Opening,
    path: VolumePath,
    mode: Mode,
    data: Data,
}

impl Writing {
    fn begin(
        lua: &Lua,
        mounted: &Mounted,
        path: &str,
        data: Data,
        mode: Option<&str>,
    ) -> Result<Self, CallError> {
        let mode: Mode = mode.unwrap_or("w").parse()?;
        if !matches!(mode, Mode::Write | Mode::WriteNew | Mode::Append) {
            return Err(CallError::invalid("a file is written with the mode w, wx or a"));
        }
        if let Data::Rest(file) = &data {
            let _now = file.permit(lua)?;
        }
        Ok(Self {
            opening: mounted.opening(lua)?,
            path: mounted.path(path)?,
            mode,
            data,
        })
    }

    fn run(self) -> Result<(), CallError> {
        let file = (self.opening)()?.open(&self.path, self.mode)?;
        match self.data {
            Data::Bytes(bytes) => file.write(&bytes),
            Data::Rest(source) => file.write_from(source.file()),
        }
    }
}

fn change_directory(lua: &Lua) -> mlua::Result<Function> {
    suspending(lua, |lua, (this, path): (UserDataRef<Mounted>, String)| {
        let begun = this.path(&path).and_then(|path| Ok((this.opening(lua)?, path)));
        let working = this.working.clone();
        Ok(async move {
            let outcome = match begun {
                Ok((opening, path)) => blocking(move || opening()?.directory(&path)).await,
                Err(error) => Err(error),
            };
            let outcome = outcome.map(|directory| {
                *working.lock().unwrap_or_else(PoisonError::into_inner) = directory;
                true
            });
            move |lua: &Lua| values::reply(lua, outcome)
        })
    })
}

/// `open(path, mode)`; the mode is `r` unless it is said.
fn open_file(lua: &Lua) -> mlua::Result<Function> {
    suspending(
        lua,
        |lua, (this, path, mode): (UserDataRef<Mounted>, String, Option<String>)| {
            let opening = || {
                let mode: Mode = mode.as_deref().unwrap_or("r").parse()?;
                Ok((this.opening(lua)?, this.path(&path)?, mode, this.openings.take()?))
            };
            let begun: Result<_, CallError> = opening();
            let id = this.id.clone();
            Ok(async move {
                let outcome = match begun {
                    Ok((opening, path, mode, place)) => blocking(move || opening()?.open(&path, mode))
                        .await
                        .map(|file| OpenFile::new(id, file, place)),
                    Err(error) => Err(error),
                };
                move |lua: &Lua| values::reply(lua, outcome)
            })
        },
    )
}

/// An iterator over what a directory holds, for `for entry in iterator, state do`.
fn listing(lua: &Lua, entries: Vec<(String, bool)>) -> mlua::Result<MultiValue> {
    let mut entries = entries.into_iter();
    let next = lua.create_function_mut(move |lua, _: MultiValue| {
        let Some((name, is_directory)) = entries.next() else {
            return Ok(LuaValue::Nil);
        };
        let entry = lua.create_table()?;
        entry.raw_set("name", name)?;
        entry.raw_set("type", type_name(is_directory))?;
        Ok(LuaValue::Table(entry))
    })?;
    (next, LuaValue::Nil).into_lua_multi(lua)
}

fn truth(lua: &Lua, value: bool) -> mlua::Result<MultiValue> {
    value.into_lua_multi(lua)
}

fn done(lua: &Lua, (): ()) -> mlua::Result<MultiValue> {
    true.into_lua_multi(lua)
}
