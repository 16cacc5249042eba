//! The typed walk: what a value is once its type has had its say.
//!
//! [`value`] gives the canonical dynamic form – what a lift would give for what a lower accepted – of whatever a reader
//! stands on. Text and JSON are made from it, and tests compare the faster ways through guest memory with it.

use crate::{
    Case, Datum, Entry, Error, Field, Kind, Node, OptionForm, Reader, Table, Value, Writer,
    accept::{self, Entries, Failure, Flow, Payload, well_known},
    names,
};

/// Copies what `reader` stands on to `writer`, from any form that the mapping accepts to the canonical one.
///
/// # Errors
/// When it is no value of the type, with the place; or when the sink has no room for it.
pub fn conform(node: &Node, reader: &mut dyn Reader, writer: &mut dyn Writer) -> Result<(), Error> {
    // A writer may leave by a jump, so the copy is whole before the first write.
    value(node, reader)?.write(writer)
}

/// The canonical form of what `reader` stands on.
///
/// # Errors
/// When it is no value of the type, with the place.
pub fn value(node: &Node, reader: &mut dyn Reader) -> Result<Value, Error> {
    Ok(match &node.kind {
        Kind::Bool => Value::Boolean(accept::boolean(reader)?),
        Kind::U8 => Value::Integer(accept::u8(reader)?.into()),
        Kind::U16 => Value::Integer(accept::u16(reader)?.into()),
        Kind::U32 => Value::Integer(accept::u32(reader)?.into()),
        Kind::U64 => Value::from(accept::u64(reader)?),
        Kind::S8 => Value::Integer(accept::s8(reader)?.into()),
        Kind::S16 => Value::Integer(accept::s16(reader)?.into()),
        Kind::S32 => Value::Integer(accept::s32(reader)?.into()),
        Kind::S64 => Value::Integer(accept::s64(reader)?),
        Kind::F32 => Value::Float(accept::float32(reader)?.into()),
        Kind::F64 => Value::Float(accept::float(reader)?),
        Kind::Char => Value::string(accept::character(reader)?.encode_utf8(&mut [0; 4])),
        Kind::String => {
            let datum = reader.datum();
            Value::string(accept::string(&datum)?)
        }
        Kind::Bytes => bytes(reader)?,
        Kind::List(element) => {
            let len = accept::list(reader, element)?;
            elements(element, len, reader)?
        }
        Kind::FixedList(element, len) => {
            accept::fixed_list(reader, element, *len)?;
            elements(element, usize::try_from(*len).unwrap_or(usize::MAX), reader)?
        }
        Kind::Record(fields) => record(fields, reader)?,
        Kind::Tuple(fields) => tuple(fields, reader)?,
        Kind::Option { some, form, .. } => option(some, *form, reader)?,
        Kind::Result { ok, err, .. } => result(ok.as_deref(), err.as_deref(), reader)?,
        Kind::Variant { cases, .. } => variant(cases, reader)?,
        Kind::Enum { cases, .. } => {
            let index = accept::enumeration(reader, cases)?;
            Value::string(cases.get(index).map_or("", |case| case.name()))
        }
        Kind::Flags { flags } => {
            let mut set = vec![false; flags.len()];
            accept::flags(reader, flags, |index| {
                if let Some(flag) = set.get_mut(index) {
                    *flag = true;
                }
            })?;
            let set = flags.iter().zip(set).filter(|(_, set)| *set);
            Value::record(set.map(|(flag, _)| (flag.key.name(), Value::Boolean(true))))
        }
        Kind::Own(name) | Kind::Borrow(name) => Value::Foreign(accept::resource(reader, name)?),
        Kind::Stream(_) | Kind::Future(_) => match accept::flow(reader, &node.kind)? {
            Flow::Channel(channel) => Value::Foreign(channel),
            Flow::Bytes(bytes) => Value::String(bytes),
        },
        Kind::Map(entry) => map(entry, reader)?,
        Kind::ErrorContext => match accept::error_context(reader)? {
            Failure::Error(error) => Value::Foreign(error),
            Failure::Text(text) => Value::from(text),
        },
    })
}

/// The bytes of what was sent into a stream of bytes: a string or an array of integers, or a single integer.
///
/// # Errors
/// When it is something else.
pub fn chunk(reader: &mut dyn Reader) -> Result<Box<[u8]>, Error> {
    if let Datum::Integer(_) | Datum::Float(_) | Datum::Unsigned(_) = reader.datum() {
        return Ok(Box::new([accept::u8(reader)?]));
    }
    match bytes(reader)? {
        Value::String(bytes) => Ok(bytes),
        other => Err(Error::expected("string", other.datum().type_name())),
    }
}

fn bytes(reader: &mut dyn Reader) -> Result<Value, Error> {
    if let Datum::String(bytes) = reader.datum() {
        return Ok(Value::string(bytes));
    }
    let len = accept::byte_list(reader)?;
    let mut bytes = Vec::new();
    for index in 0..len {
        reader.enter_index(index)?;
        bytes.push(accept::u8(reader).map_err(|error| error.at_index(index))?);
        reader.leave();
    }
    Ok(Value::String(bytes.into()))
}

fn elements(element: &Node, len: usize, reader: &mut dyn Reader) -> Result<Value, Error> {
    let mut array = Vec::new();
    for index in 0..len {
        reader.enter_index(index)?;
        array.push(value(element, reader).map_err(|error| error.at_index(index))?);
        reader.leave();
    }
    Ok(packed(array, element.nilable))
}

fn tuple(fields: &[Field], reader: &mut dyn Reader) -> Result<Value, Error> {
    accept::tuple(reader, fields)?;
    let mut array = Vec::with_capacity(fields.len());
    for (index, field) in fields.iter().enumerate() {
        reader.enter_index(index)?;
        array.push(value(&field.node, reader).map_err(|error| error.at_index(index))?);
        reader.leave();
    }
    Ok(packed(array, fields.iter().any(|field| field.node.nilable)))
}

/// An array, with its length in `n` where nils may hide it.
fn packed(array: Vec<Value>, nilable: bool) -> Value {
    let n = i64::try_from(array.len()).unwrap_or(i64::MAX);
    let mut array = Value::array(array);
    if let Value::Table(table) = &mut array
        && nilable
    {
        table
            .pairs
            .push((Value::string(well_known::N.name()), Value::Integer(n)));
    }
    array
}

fn record(fields: &[Field], reader: &mut dyn Reader) -> Result<Value, Error> {
    accept::record(reader)?;
    let mut parts = Vec::with_capacity(fields.len());
    for (index, field) in fields.iter().enumerate() {
        accept::field(reader, fields, index)?;
        let part =
            value(&field.node, reader).map_err(|error| error.at_field(&names::snake(field.key.name())))?;
        reader.leave();
        parts.push((field.key.name(), part));
    }
    Ok(table(parts))
}

/// A table of those fields that are not nil.
fn table<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    Value::record(fields.into_iter().filter(|(_, part)| !part.is_nil()))
}

fn option(some: &Node, form: OptionForm, reader: &mut dyn Reader) -> Result<Value, Error> {
    let Some(payload) = accept::option(reader, form)? else {
        return Ok(match form {
            OptionForm::Bare | OptionForm::Wrapped => Value::Nil,
            OptionForm::Marked => table([(well_known::NONE.name(), Value::Boolean(true))]),
        });
    };
    if payload == Payload::Absent {
        return value(some, reader);
    }
    let payload = value(some, reader).map_err(|error| error.at_field(well_known::SOME.name()))?;
    reader.leave();
    Ok(table([(well_known::SOME.name(), payload)]))
}

fn result(ok: Option<&Node>, err: Option<&Node>, reader: &mut dyn Reader) -> Result<Value, Error> {
    let (is_ok, payload) = accept::result(reader, ok, err)?;
    let (key, node) = if is_ok {
        (&*well_known::OK, ok)
    } else {
        (&*well_known::ERR, err)
    };
    let (Some(node), Payload::Entered) = (node, payload) else {
        return Ok(table([(key.name(), Value::Boolean(true))]));
    };
    let payload = value(node, reader).map_err(|error| error.at_field(key.name()))?;
    reader.leave();
    let tag = if node.nilable && !is_ok {
        Value::string(key.name())
    } else {
        Value::Nil
    };
    Ok(table([(key.name(), payload), (well_known::TAG.name(), tag)]))
}

fn variant(cases: &[Case], reader: &mut dyn Reader) -> Result<Value, Error> {
    let (index, payload) = accept::variant(reader, cases)?;
    let Some(case) = cases.get(index) else {
        return Ok(Value::Nil);
    };
    let tag = (well_known::TAG.name(), Value::string(case.key.name()));
    let (Some(node), Payload::Entered) = (&case.payload, payload) else {
        return Ok(table([tag]));
    };
    let payload = value(node, reader).map_err(|error| error.at_field(case.key.name()))?;
    reader.leave();
    Ok(table([tag, (well_known::VALUE.name(), payload)]))
}

fn map(entry: &Entry, reader: &mut dyn Reader) -> Result<Value, Error> {
    let mut entries = Entries::new(reader)?;
    let mut pairs = Vec::new();
    while let Some(key) = entries.next(reader, &entry.key)? {
        let key = key.read(reader, |reader| value(&entry.key, reader));
        let key = key.map_err(|error| entries.at_key(&error))?;
        entries.enter_value(reader)?;
        let part = value(&entry.value, reader).map_err(|error| entries.at_value(error))?;
        reader.leave();
        pairs.push((key, part));
    }
    Ok(Value::Table(Box::new(Table {
        array: Vec::new(),
        pairs,
    })))
}
