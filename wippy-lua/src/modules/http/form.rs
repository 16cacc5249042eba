//! Forms as scripts see them: `form.values`, and `form.files` with a list of files for each name.

use bytes::Bytes;
use mlua::{
    Function, IntoLua, Lua, Table, UserData, UserDataFields, UserDataMethods, UserDataRefMut,
    Value as LuaValue,
};
use wippy_security::CallError;

use super::read;
use crate::{
    http::{File, Form},
    methods::made,
    suspend::suspending,
};

impl UserData for File {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field("__name", "File");
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("name", |_, this, ()| Ok(this.name.clone()));
        methods.add_method("size", |_, this, ()| Ok(this.content.len()));
        methods.add_method("header", |_, this, name: String| {
            let value = this.headers.get(name.as_str());
            Ok(value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()))
        });
        methods.add_method("stream", |_, this, ()| {
            Ok(Contents {
                rest: Some(this.content.clone()),
            })
        });
    }
}

/// What `file:stream()` answers; nothing is left when it is closed.
struct Contents {
    rest: Option<Bytes>,
}

impl UserData for Contents {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field("__name", "Stream");
        fields.add_field("read", made(read_piece));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method_mut("close", |_, this, ()| {
            this.rest = None;
            Ok(true)
        });
    }
}

impl Contents {
    /// At most `size` bytes, everything when it is 0; nothing at the end.
    fn read(&mut self, size: usize) -> Result<Option<Bytes>, CallError> {
        let rest = self
            .rest
            .as_mut()
            .ok_or_else(|| CallError::invalid("the stream is closed"))?;
        let length = if size == 0 {
            rest.len()
        } else {
            rest.len().min(size)
        };
        let piece = rest.split_to(length);
        Ok((!piece.is_empty()).then_some(piece))
    }
}

/// Makes the method that reads a file. It waits for nothing, but reads like that of a body.
fn read_piece(lua: &Lua) -> mlua::Result<Function> {
    suspending(
        lua,
        |_, (mut this, size): (UserDataRefMut<Contents>, Option<usize>)| {
            let piece = this.read(size.unwrap_or(64 << 10));
            Ok(std::future::ready(move |lua: &Lua| read(lua, piece)))
        },
    )
}

/// The form as a table.
///
/// # Errors
/// When memory does not suffice.
pub(super) fn to_lua(lua: &Lua, form: Form) -> mlua::Result<LuaValue> {
    let (values, files) = (lua.create_table()?, lua.create_table()?);
    for (name, value) in form.values {
        values.raw_set(name, lua.create_string(value)?)?;
    }
    for (name, file) in form.files {
        let list: Table = if let Some(list) = files.raw_get::<Option<Table>>(name.as_str())? {
            list
        } else {
            let list = lua.create_table()?;
            files.raw_set(name, &list)?;
            list
        };
        list.raw_push(file)?;
    }
    let table = lua.create_table()?;
    table.raw_set("values", values)?;
    table.raw_set("files", files)?;
    table.into_lua(lua)
}
