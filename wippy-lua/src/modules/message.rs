//! Messages: what one process told another, as the script sees it.

use std::sync::Arc;

use mlua::{Error, Lua, MultiValue, Value as LuaValue, Variadic};

use crate::raw::{self, Methods};

/// What scripts can ask a message.
pub(crate) const METHODS: &Methods = &[
    ("from", raw::message_from),
    ("payload", raw::message_payload),
    // A message may carry several values; this gives them all.
    ("payloads", raw::message_payloads),
    ("topic", raw::message_topic),
];

/// Makes the function that raises what was wrong with the first argument of a method: its name, the type that it expects
/// to be named, if any, and the argument, if there was one.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn misuse(lua: &Lua) -> mlua::Result<LuaValue> {
    type Misuse = (String, Option<String>, Variadic<LuaValue>);
    let function = lua.create_function(
        |_, (method, expected, given): Misuse| -> mlua::Result<MultiValue> {
            let cause = match (expected, given.first()) {
                (_, Some(LuaValue::UserData(_))) => Error::UserDataTypeMismatch,
                (Some(_), None) => conversion("missing argument", None),
                (Some(expected), Some(given)) => {
                    let given = if given.is_integer() {
                        "number"
                    } else {
                        given.type_name()
                    };
                    conversion(given, Some(format!("expected userdata of type '{expected}'")))
                }
                (None, given) => conversion(given.unwrap_or(&LuaValue::Nil).type_name(), None),
            };
            Err(Error::BadArgument {
                to: Some(method),
                pos: 1,
                name: Some("self".to_owned()),
                cause: Arc::new(cause),
            })
        },
    )?;
    Ok(LuaValue::Function(function))
}

fn conversion(from: &'static str, message: Option<String>) -> Error {
    Error::FromLuaConversionError {
        from,
        to: "userdata".to_owned(),
        message,
    }
}
