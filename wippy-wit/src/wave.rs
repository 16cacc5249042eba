//! The text form of values: [WAVE], and what people may type instead of it.
//!
//! [`print()`] reads through the rules of [`accept`](crate::accept), [`parse`] gives the forms that a lift gives, so the
//! two are inverse to each other. WAVE has one NaN, and no form for handles and channels. An error is its text, and a map
//! the list of its entries: `[("a", 1), ("b", 2)]`.
//!
//! [WAVE]: https://github.com/bytecodealliance/wasm-tools/tree/main/crates/wasm-wave

use std::cmp::Ordering;

use wasm_wave::{
    parser::ParserError,
    value::{Type as WaveType, Value as WaveValue},
    wasm::{WasmType, WasmValue, WasmValueError},
};

use crate::{Error, Node, Reader, Table, Type, Value, ValueReader, accept, json, typed};

/// The value that a text stands for.
///
/// ```
/// use wippy_wit::{Type, Value, wave};
///
/// let ty = Type::List(Type::Option(Type::U8.into()).into());
/// let value = wave::parse(&ty, "[some(1), none]")?;
/// assert_eq!(wave::print(&ty, &mut wippy_wit::ValueReader::value(&value))?, "[some(1), none]");
/// # Ok::<(), wippy_wit::Error>(())
/// ```
///
/// # Errors
/// When the text is no WAVE, or no value of the type, or the type has no text form.
pub fn parse(ty: &Type, text: &str) -> Result<Value, Error> {
    let value: WaveValue = wasm_wave::from_str(&wave_type(ty)?, text).map_err(|error| parse_error(&error))?;
    let value = from_wave(ty, &value);
    // Lists of a fixed length are ordinary lists to the parser.
    typed::value(&Node::new(ty), &mut ValueReader::value(&value))
}

/// The text of what `reader` stands on.
///
/// # Errors
/// When it is no value of the type, with the place; or when the type has no text form.
pub fn print(ty: &Type, reader: &mut dyn Reader) -> Result<String, Error> {
    let wave = wave_type(ty)?;
    let value = typed::value(&Node::new(ty), reader)?;
    let value = to_wave(ty, &wave, &value)?;
    wasm_wave::to_string(&value).map_err(|error| Error::new(error.to_string()))
}

/// The value of an argument on a command line.
///
/// - A `string` is taken as it stands, without quotes or escapes; so are the text of an `error-context`, the bytes of a
///   `list<u8>`, unless they read as a list of numbers, and the character of a `char`.
/// - Numbers, booleans and the cases of enums are given plainly.
/// - An `option` is given as its value, or as `none`; `some(…)` says otherwise.
/// - Everything else is JSON, or else WAVE: `{"x": 1}` or `{x: 1}`.
///
/// # Errors
/// When the text is none of that, or the type has no text form.
pub fn parse_argument(ty: &Type, text: &str) -> Result<Value, Error> {
    let trimmed = text.trim();
    match ty {
        Type::String | Type::ErrorContext => Ok(Value::string(text)),
        Type::Char if text.chars().nth(1).is_none() => conform(ty, &Value::string(text)),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::S8 | Type::S16 | Type::S32 | Type::S64 => {
            integer(ty, trimmed)
        }
        Type::F32 | Type::F64 => match trimmed.parse() {
            Ok(number) => conform(ty, &Value::Float(number)),
            Err(_) => Err(Error::expected("number", quoted(text))),
        },
        Type::Bool => match trimmed {
            "true" => Ok(Value::Boolean(true)),
            "false" => Ok(Value::Boolean(false)),
            _ => Err(Error::expected("true or false", quoted(text))),
        },
        Type::Enum { .. } => conform(ty, &Value::string(trimmed.strip_prefix('%').unwrap_or(trimmed))),
        Type::List(element) if **element == Type::U8 => {
            let numbers = trimmed
                .starts_with('[')
                .then(|| compound(ty, trimmed).ok())
                .flatten();
            Ok(numbers.unwrap_or_else(|| Value::string(text)))
        }
        Type::Stream(Some(element)) if **element == Type::U8 => Ok(Value::string(text)),
        Type::Option(_) if trimmed == "none" => Ok(Value::Nil),
        Type::Option(_) if trimmed.starts_with("some(") => parse(ty, trimmed),
        // An option of an option has to say which of the two a null is.
        Type::Option(some) if !some.is_nilable() => match parse_argument(some, text) {
            Err(_) if trimmed == "null" => Ok(Value::Nil),
            other => other,
        },
        _ => compound(ty, trimmed),
    }
}

fn conform(ty: &Type, value: &Value) -> Result<Value, Error> {
    typed::value(&Node::new(ty), &mut ValueReader::value(value))
}

fn integer(ty: &Type, text: &str) -> Result<Value, Error> {
    let value = match (text.parse::<i64>(), text.parse::<u64>()) {
        (Ok(value), _) => Value::Integer(value),
        (_, Ok(value)) => Value::Unsigned(value),
        // Too many digits for any integer type: the float is out of range as well, and the message says so.
        _ if text
            .trim_start_matches(['+', '-'])
            .bytes()
            .all(|byte| byte.is_ascii_digit()) =>
        {
            match text.parse() {
                Ok(value) => Value::Float(value),
                Err(_) => return Err(Error::expected(ty, quoted(text))),
            }
        }
        _ => return Err(Error::expected(ty, quoted(text))),
    };
    conform(ty, &value)
}

/// JSON, a bare name, or WAVE; whichever fits first.
fn compound(ty: &Type, text: &str) -> Result<Value, Error> {
    let json = serde_json::from_str(text)
        .ok()
        .map(|json| conform(ty, &json::to_value(&json)?));
    let json_error = match json {
        Some(Ok(value)) => return Ok(value),
        Some(Err(error)) => Some(error),
        None => None,
    };
    if matches!(ty, Type::Variant { .. })
        && let Ok(value) = conform(ty, &Value::string(text))
    {
        return Ok(value);
    }
    parse(ty, text).map_err(|error| json_error.unwrap_or(error))
}

/// The beginning of what was typed.
fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(32).collect();
    if shown.len() < text.len() {
        format!("`{shown}…`")
    } else {
        format!("`{shown}`")
    }
}

fn parse_error(error: &ParserError) -> Error {
    let mut problem = format!("WAVE: {}", error.kind());
    if let Some(source) = std::error::Error::source(error) {
        problem = format!("WAVE: {source}");
    } else if let Some(detail) = error.detail() {
        problem = format!("{problem} {detail}");
    }
    Error::new(format!("{problem} (at byte {})", error.span().start + 1))
}

fn value_error(error: &WasmValueError) -> Error {
    Error::new(format!("WAVE: {error}"))
}

/// The type as WAVE has it.
fn wave_type(ty: &Type) -> Result<WaveType, Error> {
    let empty = |ty: Option<WaveType>, what: &str| {
        ty.ok_or_else(|| Error::new(format!("{what} without members has no text form")))
    };
    Ok(match ty {
        Type::Bool => WaveType::BOOL,
        Type::U8 => WaveType::U8,
        Type::U16 => WaveType::U16,
        Type::U32 => WaveType::U32,
        Type::U64 => WaveType::U64,
        Type::S8 => WaveType::S8,
        Type::S16 => WaveType::S16,
        Type::S32 => WaveType::S32,
        Type::S64 => WaveType::S64,
        Type::F32 => WaveType::F32,
        Type::F64 => WaveType::F64,
        Type::Char => WaveType::CHAR,
        Type::String | Type::ErrorContext => WaveType::STRING,
        // WAVE has no maps of its own: their entries, as the canonical ABI has them.
        Type::Map(key, element) => WaveType::list(empty(
            WaveType::tuple([wave_type(key)?, wave_type(element)?]),
            "an entry",
        )?),
        Type::List(element) | Type::FixedList(element, _) => WaveType::list(wave_type(element)?),
        Type::Tuple(types) => empty(
            WaveType::tuple(types.iter().map(wave_type).collect::<Result<Vec<_>, _>>()?),
            "a tuple",
        )?,
        Type::Option(some) => WaveType::option(wave_type(some)?),
        Type::Result { ok, err } => {
            let side = |ty: &Option<std::sync::Arc<Type>>| ty.as_deref().map(wave_type).transpose();
            WaveType::result(side(ok)?, side(err)?)
        }
        Type::Record { fields, .. } => {
            let fields = fields
                .iter()
                .map(|field| Ok((&*field.name, wave_type(&field.ty)?)));
            empty(
                WaveType::record(fields.collect::<Result<Vec<_>, Error>>()?),
                "a record",
            )?
        }
        Type::Variant { cases, .. } => {
            let cases = cases
                .iter()
                .map(|case| Ok((&*case.name, case.payload.as_ref().map(wave_type).transpose()?)));
            empty(
                WaveType::variant(cases.collect::<Result<Vec<_>, Error>>()?),
                "a variant",
            )?
        }
        Type::Enum { cases, .. } => empty(WaveType::enum_ty(cases.iter().map(|case| &**case)), "an enum")?,
        Type::Flags { flags, .. } => empty(
            WaveType::flags(flags.iter().map(|flag| &**flag)),
            "a set of flags",
        )?,
        Type::Own(name) | Type::Borrow(name) => {
            return Err(Error::new(format!("resource {name} has no text form")));
        }
        Type::Future(_) | Type::Stream(_) => {
            return Err(Error::new(format!("{ty} has no text form")));
        }
    })
}

/// A value of WAVE's as the mapping has it. The parser has made sure that it is of the type.
fn from_wave(ty: &Type, value: &WaveValue) -> Value {
    match ty {
        Type::Bool => Value::Boolean(value.unwrap_bool()),
        Type::U8 => Value::Integer(value.unwrap_u8().into()),
        Type::U16 => Value::Integer(value.unwrap_u16().into()),
        Type::U32 => Value::Integer(value.unwrap_u32().into()),
        Type::U64 => Value::from(value.unwrap_u64()),
        Type::S8 => Value::Integer(value.unwrap_s8().into()),
        Type::S16 => Value::Integer(value.unwrap_s16().into()),
        Type::S32 => Value::Integer(value.unwrap_s32().into()),
        Type::S64 => Value::Integer(value.unwrap_s64()),
        Type::F32 => Value::Float(value.unwrap_f32().into()),
        Type::F64 => Value::Float(value.unwrap_f64()),
        Type::Char => Value::string(value.unwrap_char().encode_utf8(&mut [0; 4])),
        Type::String | Type::ErrorContext => Value::string(value.unwrap_string().as_bytes()),
        Type::Map(key, element) => {
            let entry = |entry: std::borrow::Cow<'_, WaveValue>| {
                let mut parts = entry.unwrap_tuple();
                let (name, part) = (parts.next()?, parts.next()?);
                Some((from_wave(key, &name), entry_from_wave(element, &part)))
            };
            Value::Table(Box::new(Table {
                array: Vec::new(),
                pairs: value.unwrap_list().filter_map(entry).collect(),
            }))
        }
        Type::List(element) | Type::FixedList(element, _) => {
            Value::array(value.unwrap_list().map(|value| from_wave(element, &value)))
        }
        Type::Tuple(types) => Value::array(
            types
                .iter()
                .zip(value.unwrap_tuple())
                .map(|(ty, value)| from_wave(ty, &value)),
        ),
        Type::Option(some) => match value.unwrap_option() {
            None => Value::Nil,
            Some(value) if some.is_nilable() => Value::record([("some", from_wave(some, &value))]),
            Some(value) => from_wave(some, &value),
        },
        Type::Result { ok, err } => {
            let (name, ty, payload) = match value.unwrap_result() {
                Ok(payload) => ("ok", ok, payload),
                Err(payload) => ("err", err, payload),
            };
            let payload = match (ty, payload) {
                (Some(ty), Some(payload)) => from_wave(ty, &payload),
                _ => Value::Boolean(true),
            };
            Value::record([("tag", Value::from(name)), (name, payload)])
        }
        Type::Record { fields, .. } => Value::record(
            fields
                .iter()
                .zip(value.unwrap_record())
                .map(|(field, (name, value))| (name.as_bytes().to_vec(), from_wave(&field.ty, &value))),
        ),
        Type::Variant { cases, .. } => {
            let (name, payload) = value.unwrap_variant();
            let ty = cases
                .iter()
                .find(|case| *case.name == *name)
                .and_then(|case| case.payload.as_ref());
            let payload = match (ty, payload) {
                (Some(ty), Some(payload)) => from_wave(ty, &payload),
                _ => Value::Nil,
            };
            Value::record([("tag", Value::from(&*name)), ("value", payload)])
        }
        Type::Enum { .. } => Value::string(value.unwrap_enum().as_bytes()),
        Type::Flags { .. } => Value::record(
            value
                .unwrap_flags()
                .map(|name| (name.as_bytes().to_vec(), Value::Boolean(true))),
        ),
        // These have no WAVE type, so there is no value of them either.
        Type::Own(_) | Type::Borrow(_) | Type::Future(_) | Type::Stream(_) => Value::Nil,
    }
}

/// The value of an entry of a map, where an option says which it is.
fn entry_from_wave(ty: &Type, value: &WaveValue) -> Value {
    let Type::Option(some) = ty else {
        return from_wave(ty, value);
    };
    match value.unwrap_option() {
        None => Value::record([("none", Value::Boolean(true))]),
        Some(value) => Value::record([("some", from_wave(some, &value))]),
    }
}

/// A canonical value as WAVE has it.
fn to_wave(ty: &Type, wave: &WaveType, value: &Value) -> Result<WaveValue, Error> {
    let mut reader = ValueReader::value(value);
    let reader = &mut reader;
    let made = match ty {
        Type::Bool => Ok(WaveValue::make_bool(accept::boolean(reader)?)),
        Type::U8 => Ok(WaveValue::make_u8(accept::u8(reader)?)),
        Type::U16 => Ok(WaveValue::make_u16(accept::u16(reader)?)),
        Type::U32 => Ok(WaveValue::make_u32(accept::u32(reader)?)),
        Type::U64 => Ok(WaveValue::make_u64(accept::u64(reader)?)),
        Type::S8 => Ok(WaveValue::make_s8(accept::s8(reader)?)),
        Type::S16 => Ok(WaveValue::make_s16(accept::s16(reader)?)),
        Type::S32 => Ok(WaveValue::make_s32(accept::s32(reader)?)),
        Type::S64 => Ok(WaveValue::make_s64(accept::s64(reader)?)),
        Type::F32 => Ok(WaveValue::make_f32(accept::float32(reader)?)),
        Type::F64 => Ok(WaveValue::make_f64(accept::float(reader)?)),
        Type::Char => Ok(WaveValue::make_char(accept::character(reader)?)),
        Type::String => Ok(WaveValue::make_string(accept::string(&value.datum())?.into())),
        Type::ErrorContext => {
            let failure = accept::error_context(reader)?;
            Ok(WaveValue::make_string(failure.message().into()))
        }
        Type::Map(key, element) => {
            let inner = wave.list_element_type().unwrap_or(WaveType::BOOL);
            let entries = map_to_wave(key, element, &inner, value)?;
            WaveValue::make_list(wave, entries)
        }
        Type::List(element) | Type::FixedList(element, _) => {
            let inner = wave.list_element_type().unwrap_or(WaveType::BOOL);
            let elements: Vec<WaveValue> = match value {
                Value::String(bytes) => bytes.iter().copied().map(WaveValue::make_u8).collect(),
                _ => array(value)
                    .iter()
                    .enumerate()
                    .map(|(index, value)| {
                        to_wave(element, &inner, value).map_err(|error| error.at_index(index))
                    })
                    .collect::<Result<_, _>>()?,
            };
            WaveValue::make_list(wave, elements)
        }
        Type::Tuple(types) => {
            let parts = types.iter().zip(wave.tuple_element_types()).zip(array(value));
            let elements = parts
                .map(|((ty, wave), value)| to_wave(ty, &wave, value))
                .collect::<Result<Vec<_>, _>>()?;
            WaveValue::make_tuple(wave, elements)
        }
        Type::Option(some) => {
            let inner = wave.option_some_type().unwrap_or(WaveType::BOOL);
            let payload = match value {
                Value::Nil => None,
                _ if some.is_nilable() => Some(to_wave(some, &inner, part(value, "some"))?),
                _ => Some(to_wave(some, &inner, value)?),
            };
            WaveValue::make_option(wave, payload)
        }
        Type::Result { ok, err } => {
            let is_err = value.get("err").is_some() || value.get("tag").is_some();
            let (ok_type, err_type) = wave.result_types().unwrap_or_default();
            let side = |ty: &Option<std::sync::Arc<Type>>, wave: Option<WaveType>, name| match (ty, wave) {
                (Some(ty), Some(wave)) => to_wave(ty, &wave, part(value, name)).map(Some),
                _ => Ok(None),
            };
            let payload = if is_err {
                Err(side(err, err_type, "err")?)
            } else {
                Ok(side(ok, ok_type, "ok")?)
            };
            WaveValue::make_result(wave, payload)
        }
        Type::Record { fields, .. } => {
            let types = fields.iter().zip(wave.record_fields());
            let parts = types.map(|(field, (_, wave))| {
                Ok((&*field.name, to_wave(&field.ty, &wave, part(value, &field.name))?))
            });
            WaveValue::make_record(wave, parts.collect::<Result<Vec<_>, Error>>()?)
        }
        Type::Variant { cases, .. } => {
            let tag = value.get("tag").and_then(Value::as_str).unwrap_or_default();
            let case = cases
                .iter()
                .zip(wave.variant_cases())
                .find(|(case, _)| *case.name == *tag);
            let payload = match case.map(|(case, (_, wave))| (&case.payload, wave)) {
                Some((Some(ty), Some(wave))) => Some(to_wave(ty, &wave, part(value, "value"))?),
                _ => None,
            };
            WaveValue::make_variant(wave, tag, payload)
        }
        Type::Enum { .. } => WaveValue::make_enum(wave, value.as_str().unwrap_or_default()),
        Type::Flags { flags, .. } => {
            let set = flags.iter().filter(|flag| value.get(flag).is_some());
            WaveValue::make_flags(wave, set.map(|flag| &**flag))
        }
        Type::Own(_) | Type::Borrow(_) | Type::Future(_) | Type::Stream(_) => {
            return Err(Error::new(format!("{ty} has no text form")));
        }
    };
    made.map_err(|error| value_error(&error))
}

/// The entries of a canonical map, in the order of their keys.
fn map_to_wave(key: &Type, element: &Type, wave: &WaveType, value: &Value) -> Result<Vec<WaveValue>, Error> {
    let parts: Vec<WaveType> = wave.tuple_element_types().collect();
    let [key_wave, element_wave] = &*parts else {
        return Err(Error::new("the entries of a map are pairs"));
    };
    let pairs = match value {
        Value::Table(table) => &*table.pairs,
        _ => &[],
    };
    let mut pairs: Vec<&(Value, Value)> = pairs.iter().collect();
    pairs.sort_by(|(a, _), (b, _)| order_of_keys(a, b));
    let entry = |(name, part): &(Value, Value)| {
        let part = entry_to_wave(element, element_wave, part).map_err(|error| {
            let label = crate::cursor::key_text(&name.datum());
            error.at_field(&label)
        })?;
        let entry = [to_wave(key, key_wave, name)?, part];
        WaveValue::make_tuple(wave, entry).map_err(|error| value_error(&error))
    };
    pairs.into_iter().map(entry).collect()
}

/// Tables have no order of their own; the text should be the same each time.
fn order_of_keys(a: &Value, b: &Value) -> Ordering {
    let number = |value: &Value| match value {
        Value::Boolean(value) => Some(i128::from(*value)),
        Value::Integer(value) => Some((*value).into()),
        Value::Unsigned(value) => Some((*value).into()),
        _ => None,
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    (number(a), text(a)).cmp(&(number(b), text(b)))
}

/// The value of an entry of a map, where an option says which it is.
fn entry_to_wave(ty: &Type, wave: &WaveType, value: &Value) -> Result<WaveValue, Error> {
    let Type::Option(some) = ty else {
        return to_wave(ty, wave, value);
    };
    let inner = wave.option_some_type().unwrap_or(WaveType::BOOL);
    let payload = match value.get("none") {
        Some(_) => None,
        None => Some(to_wave(some, &inner, part(value, "some"))?),
    };
    WaveValue::make_option(wave, payload).map_err(|error| value_error(&error))
}

fn array(value: &Value) -> &[Value] {
    match value {
        Value::Table(table) => &table.array,
        _ => &[],
    }
}

fn part<'a>(value: &'a Value, name: &str) -> &'a Value {
    static NIL: Value = Value::Nil;
    value.get(name).unwrap_or(&NIL)
}
