//! The mapping: which dynamic forms stand for which WIT types, and which messages the others get.
//!
//! Lowering – into guest memory, into text – asks these functions what the cursor stands on and leaves the storing to
//! itself, so that the rules exist once. Forms are those of the crate's table; metamethods are never invoked.

use std::{
    fmt::{self, Write as _},
    sync::Arc,
};

use crate::{
    Case, Datum, Error, Field, Foreign, Key, Kind, Node, OptionForm, Reader, Scalar, Value, ValueReader,
    cursor::{Label, key_text},
    names,
};

/// The core value of `scalar` as a value of the type `kind`, extended with zeros to 64 bits, if it is one as it stands.
/// What has to be converted, refused or looked into has none: the other functions here do that.
#[inline]
pub fn plain(kind: &Kind, scalar: Scalar) -> Option<u64> {
    /// Zeros before what a core `i32` holds.
    fn extended(value: i32) -> u64 {
        u32::from_ne_bytes(value.to_ne_bytes()).into()
    }
    match (kind, scalar) {
        (Kind::Bool, Scalar::Boolean(value)) => Some(value.into()),
        (Kind::U8, Scalar::Integer(value)) => u8::try_from(value).ok().map(u64::from),
        (Kind::S8, Scalar::Integer(value)) => i8::try_from(value).ok().map(|value| extended(value.into())),
        (Kind::U16, Scalar::Integer(value)) => u16::try_from(value).ok().map(u64::from),
        (Kind::S16, Scalar::Integer(value)) => i16::try_from(value).ok().map(|value| extended(value.into())),
        (Kind::U32, Scalar::Integer(value)) => u32::try_from(value).ok().map(u64::from),
        (Kind::S32, Scalar::Integer(value)) => i32::try_from(value).ok().map(extended),
        (Kind::U64, Scalar::Integer(value)) => u64::try_from(value).ok(),
        (Kind::S64, Scalar::Integer(value)) => Some(u64::from_ne_bytes(value.to_ne_bytes())),
        (Kind::F64, Scalar::Float(value)) => Some(value.to_bits()),
        _ => None,
    }
}

/// An integer type's range, for the checks and for the message.
macro_rules! integers {
    ($($(#[$doc:meta])* $name:ident: $ty:ty = $wit:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// When it is something else, has a fraction or is out of range.
        pub fn $name(reader: &mut dyn Reader) -> Result<$ty, Error> {
            let datum = reader.datum();
            if let Datum::Integer(value) = datum && let Ok(value) = <$ty>::try_from(value) {
                return Ok(value);
            }
            let value = whole(&datum, $wit)?;
            <$ty>::try_from(value).map_err(|_| out_of_range($wit, <$ty>::MIN, <$ty>::MAX, &datum))
        }
    )*};
}

integers! {
    /// Reads a `u8`.
    u8: u8 = "u8";
    /// Reads a `u16`.
    u16: u16 = "u16";
    /// Reads a `u32`.
    u32: u32 = "u32";
    /// Reads a `u64`.
    u64: u64 = "u64";
    /// Reads an `s8`.
    s8: i8 = "s8";
    /// Reads an `s16`.
    s16: i16 = "s16";
    /// Reads an `s32`.
    s32: i32 = "s32";
    /// Reads an `s64`.
    s64: i64 = "s64";
}

#[cold]
fn out_of_range(wit: &str, min: impl fmt::Display, max: impl fmt::Display, found: &Datum<'_>) -> Error {
    let wanted = format_args!("{wit} ({min}..{max})");
    match found {
        Datum::Integer(value) => Error::expected(wanted, value),
        Datum::Unsigned(value) => Error::expected(wanted, value),
        Datum::Float(value) => Error::expected(wanted, format_args!("{value:?}")),
        other => Error::expected(wanted, other.type_name()),
    }
}

/// A number without fraction, wide enough for every integer type.
fn whole(datum: &Datum<'_>, wit: &str) -> Result<i128, Error> {
    match *datum {
        Datum::Integer(value) => Ok(value.into()),
        Datum::Unsigned(value) => Ok(value.into()),
        Datum::Float(value) if value.fract() == 0.0 => {
            // What is beyond an `i128` becomes its nearest end, which is out of every integer type's range too.
            #[expect(clippy::cast_possible_truncation, reason = "checked to be whole; saturates")]
            Ok(value as i128)
        }
        Datum::Float(value) => Err(Error::expected(wit, format_args!("number {value:?}"))),
        _ => Err(Error::expected(wit, datum.type_name())),
    }
}

/// Reads a `bool`.
///
/// # Errors
/// When it is anything but a boolean.
pub fn boolean(reader: &mut dyn Reader) -> Result<bool, Error> {
    match reader.datum() {
        Datum::Boolean(value) => Ok(value),
        other => Err(Error::expected("boolean", other.type_name())),
    }
}

/// Reads an `f64`.
///
/// # Errors
/// When it is no number.
#[expect(
    clippy::cast_precision_loss,
    reason = "integers round to the nearest float, as Lua's own conversion does"
)]
pub fn float(reader: &mut dyn Reader) -> Result<f64, Error> {
    match reader.datum() {
        Datum::Float(value) => Ok(value),
        Datum::Integer(value) => Ok(value as f64),
        Datum::Unsigned(value) => Ok(value as f64),
        other => Err(Error::expected("number", other.type_name())),
    }
}

/// Reads an `f32`, rounded to the nearest; a NaN keeps the upper bits of its payload.
///
/// # Errors
/// When it is no number.
#[expect(
    clippy::cast_possible_truncation,
    reason = "rounding is the documented conversion"
)]
#[expect(
    clippy::cast_precision_loss,
    reason = "as above; by way of `f64` an integer would be rounded twice"
)]
pub fn float32(reader: &mut dyn Reader) -> Result<f32, Error> {
    match reader.datum() {
        Datum::Float(value) => Ok(value as f32),
        Datum::Integer(value) => Ok(value as f32),
        Datum::Unsigned(value) => Ok(value as f32),
        other => Err(Error::expected("number", other.type_name())),
    }
}

/// Reads a `char`.
///
/// # Errors
/// When it is no string of exactly one Unicode scalar value.
pub fn character(reader: &mut dyn Reader) -> Result<char, Error> {
    const WANTED: &str = "char (a string of one Unicode scalar value)";
    let datum = reader.datum();
    let Datum::String(bytes) = datum else {
        return Err(Error::expected(WANTED, datum.type_name()));
    };
    let mut chars = text(bytes, "char")?.chars();
    match (chars.next(), chars.count()) {
        (Some(first), 0) => Ok(first),
        (None, _) => Err(Error::expected(WANTED, "an empty string")),
        (Some(_), rest) => Err(Error::expected(WANTED, format_args!("{} characters", rest + 1))),
    }
}

/// Reads a `string`.
///
/// # Errors
/// When it is something else or no valid UTF-8.
pub fn string<'a>(datum: &Datum<'a>) -> Result<&'a str, Error> {
    match *datum {
        Datum::String(bytes) => text(bytes, "string"),
        _ => Err(Error::expected("string", datum.type_name())),
    }
}

/// The bytes of a `string`, for those who hand them on as they are.
///
/// # Errors
/// As for [`string`].
pub fn utf8<'a>(datum: &Datum<'a>) -> Result<&'a [u8], Error> {
    match *datum {
        Datum::String(bytes) if is_ascii(bytes) => Ok(bytes),
        _ => string(datum).map(str::as_bytes),
    }
}

/// Whether `bytes` are UTF-8.
pub fn is_utf8(bytes: &[u8]) -> bool {
    is_ascii(bytes) || std::str::from_utf8(bytes).is_ok()
}

/// Whether `bytes` are ASCII. Most strings are, and this takes a fraction of the time that it takes to find UTF-8 in order; for
/// a hundred bytes also of what the standard library's takes, as it looks at more of them in one step.
#[inline]
fn is_ascii(bytes: &[u8]) -> bool {
    /// Whether all of it is, where `bytes` are at least as many as are looked at in one step: the last step also looks at what
    /// was looked at before, so that nothing is left over.
    #[inline]
    fn in_steps<const STEP: usize>(bytes: &[u8], last: &[u8; STEP]) -> bool {
        const HIGH: u64 = 0x8080_8080_8080_8080;
        let (steps, _) = bytes.as_chunks::<STEP>();
        let is_step = |step: &[u8; STEP]| {
            let words = step.as_chunks::<8>().0.iter();
            words.fold(0, |any, word| any | u64::from_ne_bytes(*word)) & HIGH == 0
        };
        steps.iter().all(is_step) && is_step(last)
    }
    if let Some(last) = bytes.last_chunk::<64>() {
        in_steps(bytes, last)
    } else if let Some(last) = bytes.last_chunk::<16>() {
        in_steps(bytes, last)
    } else if let Some(last) = bytes.last_chunk::<8>() {
        in_steps(bytes, last)
    } else {
        bytes.iter().fold(0, |any, byte| any | byte) < 0x80
    }
}

fn text<'a>(bytes: &'a [u8], wanted: &str) -> Result<&'a str, Error> {
    std::str::from_utf8(bytes).map_err(|error| {
        let place = error.valid_up_to() + 1;
        Error::expected(wanted, format_args!("bytes that are not UTF-8 (at byte {place})"))
    })
}

/// The number of elements of the list under the cursor, after making sure that it is an array.
///
/// Elements that can be nil may be missing; the array's length is then taken from its field `n` where it has one.
///
/// # Errors
/// When it is no table, or has a key that is no index.
pub fn list(reader: &mut dyn Reader, element: &Node) -> Result<usize, Error> {
    let len = array(reader, "list")?;
    if !element.nilable {
        no_stray_key(reader, len)?;
        return Ok(len);
    }
    if let Some(n) = packed_length(reader)? {
        only_indices_and_n(reader)?;
        return Ok(n);
    }
    no_stray_key(reader, len)?;
    Ok(len)
}

/// The number of bytes of the `list<u8>` under the cursor, which is no string, after making sure that it is an array.
///
/// # Errors
/// When it is no table, or has a key that is no index.
pub fn byte_list(reader: &mut dyn Reader) -> Result<usize, Error> {
    let len = array(reader, "string or list of u8")?;
    no_stray_key(reader, len)?;
    Ok(len)
}

/// Makes sure that the list under the cursor has exactly `wanted` elements; trailing ones that can be nil may be
/// missing.
///
/// # Errors
/// When it is no array of that length.
pub fn fixed_list(reader: &mut dyn Reader, element: &Node, wanted: u32) -> Result<(), Error> {
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    let required = if element.nilable { 0 } else { wanted };
    exact_length(reader, "list", required, wanted)
}

/// Makes sure that the tuple under the cursor has exactly as many elements as `elements`; trailing ones that can be
/// nil may be missing.
///
/// # Errors
/// When it is no array of that length.
pub fn tuple(reader: &mut dyn Reader, elements: &[Field]) -> Result<(), Error> {
    let optional = elements
        .iter()
        .rev()
        .take_while(|element| element.node.nilable)
        .count();
    let nilable = elements.iter().any(|element| element.node.nilable);
    let wanted = elements.len();
    if nilable {
        return exact_length(reader, "tuple", wanted - optional, wanted);
    }
    let len = array(reader, "tuple")?;
    no_stray_key(reader, len)?;
    if len == wanted {
        Ok(())
    } else {
        Err(wrong_length("tuple", wanted, len))
    }
}

/// The check of arrays of a known length, of which the elements from `required` on may be missing.
///
/// Where an element can be nil, the length that a language gives for an array says little, so the last element that
/// has to be there is looked at instead.
fn exact_length(reader: &mut dyn Reader, what: &str, required: usize, wanted: usize) -> Result<(), Error> {
    let len = array(reader, what)?;
    if let Some(n) = packed_length(reader)? {
        if n < required || n > wanted {
            return Err(wrong_length(what, wanted, n));
        }
        return only_indices_and_n(reader);
    }
    if len > wanted {
        return Err(wrong_length(what, wanted, len));
    }
    if let Some(key) = reader.stray_key(wanted) {
        return Err(stray(&key, wanted));
    }
    // An array that seems long enough is left to its elements, whose messages say more.
    let Some(last) = required.checked_sub(1).filter(|_| len < required) else {
        return Ok(());
    };
    reader.enter_index(last)?;
    let missing = matches!(reader.datum(), Datum::Nil);
    reader.leave();
    if missing {
        Err(wrong_length(what, wanted, len))
    } else {
        Ok(())
    }
}

#[cold]
fn wrong_length(what: &str, wanted: usize, found: usize) -> Error {
    let plural = if wanted == 1 { "" } else { "s" };
    Error::expected(format_args!("{what} of {wanted} element{plural}"), found)
}

fn array(reader: &mut dyn Reader, wanted: &str) -> Result<usize, Error> {
    match reader.datum() {
        Datum::Table => Ok(reader.len()),
        other => Err(Error::expected(wanted, other.type_name())),
    }
}

/// A length that only stands in `n`, without as many elements, is believed up to here: a few bytes of input must not
/// make the receiving side allocate gigabytes.
const LENGTH_MAX: usize = 1 << 24;

/// The field `n` of an array, as `table.pack` makes it.
fn packed_length(reader: &mut dyn Reader) -> Result<Option<usize>, Error> {
    let most = reader.len().max(LENGTH_MAX);
    reader.enter_key(&well_known::N)?;
    let datum = reader.datum();
    let length = if matches!(datum, Datum::Nil) {
        Ok(None)
    } else {
        match whole(&datum, "a length").map(usize::try_from) {
            Ok(Ok(n)) if n <= most => Ok(Some(n)),
            Ok(_) => Err(out_of_range("a length", 0, most, &datum)),
            Err(error) => Err(error),
        }
    };
    reader.leave();
    length.map_err(|error| error.at_field("n"))
}

fn no_stray_key(reader: &mut dyn Reader, len: usize) -> Result<(), Error> {
    match reader.stray_key(len) {
        None => Ok(()),
        Some(key) => Err(stray(&key, len)),
    }
}

/// Arrays with `n` may have holes, but no other names.
fn only_indices_and_n(reader: &mut dyn Reader) -> Result<(), Error> {
    let mut position = 0;
    while reader.enter_pair(&mut position)? {
        let datum = reader.datum();
        let known = matches!(datum, Datum::Integer(1..) | Datum::String(b"n"));
        if !known {
            return Err(stray(&key_text(&datum), 0));
        }
        reader.leave();
    }
    Ok(())
}

#[cold]
fn stray(key: &str, len: usize) -> Error {
    match key.parse::<usize>() {
        Ok(index) if index > len + 1 => Error::new(format!(
            "expected an array without holes: [{}] is nil, [{index}] is not",
            len + 1
        )),
        _ => Error::new(format!(
            "expected an array, got a table with the key `{}`",
            shortened(key)
        )),
    }
}

/// Enough of a name to recognise it by.
fn shortened(name: &str) -> &str {
    let end = name.char_indices().nth(64).map_or(name.len(), |(end, _)| end);
    name.get(..end).unwrap_or(name)
}

/// Makes sure that the cursor stands on a record.
///
/// # Errors
/// When it is no table.
pub fn record(reader: &mut dyn Reader) -> Result<(), Error> {
    match reader.datum() {
        Datum::Table => Ok(()),
        other => Err(Error::expected("record", other.type_name())),
    }
}

/// Moves from a record to the field at `index` of its `fields`, by its WIT name or the `snake_case` form of it.
///
/// # Errors
/// When the field is missing and cannot be nil; a near key that is no other field is suggested.
pub fn field(reader: &mut dyn Reader, fields: &[Field], index: usize) -> Result<(), Error> {
    let Some(field) = fields.get(index) else {
        return Err(Error::new("the record has no such field"));
    };
    reader.enter_key(&field.key)?;
    let mut missing = reader.is_nil();
    if missing && let Some(snake) = &field.snake {
        reader.leave();
        reader.enter_key(snake)?;
        missing = reader.is_nil();
    }
    if missing && !field.node.nilable {
        reader.leave();
        return Err(missing_field(reader, fields, field));
    }
    Ok(())
}

#[cold]
fn missing_field(reader: &mut dyn Reader, fields: &[Field], field: &Field) -> Error {
    let name = names::snake(field.key.name());
    let mut problem = format!("missing field `{name}`");
    if let Some(near) = near_key(reader, fields, &name) {
        let _ = write!(problem, " (there is `{near}`: did you mean that?)");
    }
    Error::new(problem)
}

fn near_key(reader: &mut dyn Reader, fields: &[Field], wanted: &str) -> Option<String> {
    let mut position = 0;
    let mut best: Option<(usize, String)> = None;
    while reader.enter_pair(&mut position).ok()? {
        if let Datum::String(bytes) = reader.datum()
            && let Ok(key) = std::str::from_utf8(bytes)
            && key.len() <= 64
        {
            let distance = edit_distance(&names::snake(key).to_lowercase(), wanted);
            // The very name can be there too, with the value null.
            if !fields.iter().any(|field| names::same(field.key.name(), key))
                && distance <= 1 + wanted.len() / 4
                // Tables have no order, messages do.
                && best.as_ref().is_none_or(|(least, name)| (distance, key) < (*least, name.as_str()))
            {
                best = Some((distance, key.to_owned()));
            }
        }
        reader.leave();
    }
    best.map(|(_, key)| key)
}

/// The Levenshtein distance between two short names.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = i;
        let mut before = i + 1;
        if let Some(first) = row.first_mut() {
            *first = before;
        }
        for (b, cell) in right.iter().zip(row.iter_mut().skip(1)) {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = *cell;
            before = replaced.min(before + 1).min(diagonal + 1);
            *cell = before;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// Reads the case of an `enum`.
///
/// # Errors
/// When it is no string or no case; the cases are listed.
pub fn enumeration(reader: &mut dyn Reader, cases: &[Key]) -> Result<usize, Error> {
    let datum = reader.datum();
    let Datum::String(name) = datum else {
        return Err(Error::expected("enum case", datum.type_name()));
    };
    find_case(name, cases.iter()).ok_or_else(|| unknown("case", name, cases.iter()))
}

fn find_case<'a>(name: &[u8], mut cases: impl Iterator<Item = &'a Key>) -> Option<usize> {
    let name = std::str::from_utf8(name).ok()?;
    cases.position(|case| names::same(case.name(), name))
}

#[cold]
fn unknown<'a>(what: &str, name: &[u8], known: impl Iterator<Item = &'a Key>) -> Error {
    const SHOWN: usize = 32;
    let mut known: Vec<_> = known
        .take(SHOWN + 1)
        .map(|key| format!("`{}`", key.name()))
        .collect();
    if known.len() > SHOWN {
        known.truncate(SHOWN);
        known.push("…".to_owned());
    }
    let name = String::from_utf8_lossy(name);
    Error::new(format!(
        "unknown {what} `{}`, expected one of {}",
        shortened(&name),
        known.join(", ")
    ))
}

/// Whether a variant's payload is under the cursor now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// It is: read it, then `leave`.
    Entered,
    /// There is none, and the cursor has not moved.
    Absent,
}

/// Reads the case of a `variant` and moves to its payload.
///
/// [`Payload::Absent`] is only given for a case without payload.
///
/// # Errors
/// When it has none of the forms, or names no case, or has a payload where the case has none.
pub fn variant(reader: &mut dyn Reader, cases: &[Case]) -> Result<(usize, Payload), Error> {
    match reader.datum() {
        Datum::String(name) => {
            let index = case_index(name, cases)?;
            match cases.get(index) {
                Some(Case {
                    payload: Some(_),
                    key,
                }) => Err(Error::new(format!(
                    "case `{0}` needs a payload: {{tag = \"{0}\", value = ...}}",
                    key.name()
                ))),
                _ => Ok((index, Payload::Absent)),
            }
        }
        Datum::Table => match tag(reader, cases)? {
            Some(index) => {
                reader.enter_key(&well_known::VALUE)?;
                check_payload(reader, cases, index)
            }
            None => only_case(reader, cases),
        },
        other => Err(Error::expected("variant", other.type_name())),
    }
}

fn case_index(name: &[u8], cases: &[Case]) -> Result<usize, Error> {
    let keys = || cases.iter().map(|case| &case.key);
    find_case(name, keys()).ok_or_else(|| unknown("case", name, keys()))
}

/// The case named by the field `tag`, if there is one.
fn tag(reader: &mut dyn Reader, cases: &[Case]) -> Result<Option<usize>, Error> {
    reader.enter_key(&well_known::TAG)?;
    let found = match reader.datum() {
        Datum::String(name) => case_index(name, cases).map(Some),
        Datum::Nil => Ok(None),
        // `{tag = 5}` may be the short form of a case that is called so.
        _ if cases.iter().any(|case| case.key == *well_known::TAG) => Ok(None),
        other => Err(Error::expected("case name", other.type_name())),
    };
    reader.leave();
    found.map_err(|error| error.at_field("tag"))
}

/// The short form `{case = payload}`.
fn only_case(reader: &mut dyn Reader, cases: &[Case]) -> Result<(usize, Payload), Error> {
    const WANTED: &str = "variant {tag = \"case\", value = ...}";
    // Whether the array's elements are among the pairs is the reader's own affair.
    if !reader.is_empty() {
        return Err(Error::expected(WANTED, "an array"));
    }
    let mut position = 0;
    if !reader.enter_pair(&mut position)? {
        return Err(Error::expected(WANTED, "an empty table"));
    }
    let index = match reader.datum() {
        Datum::String(name) => case_index(name, cases)?,
        other => {
            return Err(Error::expected(
                WANTED,
                format_args!("a table with a {} key", other.type_name()),
            ));
        }
    };
    reader.leave();
    if reader.enter_pair(&mut position)? {
        return Err(Error::expected(WANTED, "a table with several keys"));
    }
    let mut position = 0;
    reader.enter_pair(&mut position)?;
    reader.enter_value();
    if cases.get(index).is_some_and(|case| case.payload.is_none())
        && matches!(reader.datum(), Datum::Boolean(true))
    {
        reader.leave();
        return Ok((index, Payload::Absent));
    }
    check_payload(reader, cases, index)
}

/// The cursor stands where the payload would be.
fn check_payload(reader: &mut dyn Reader, cases: &[Case], index: usize) -> Result<(usize, Payload), Error> {
    let present = !matches!(reader.datum(), Datum::Nil);
    match cases.get(index) {
        Some(Case { payload: None, key }) => {
            reader.leave();
            if present {
                return Err(Error::new(format!("case `{}` has no payload", key.name())));
            }
            Ok((index, Payload::Absent))
        }
        _ => Ok((index, Payload::Entered)),
    }
}

/// Reads an `option`: whether there is a value, which the cursor then stands on. Where it is in the wrapper `{some = v}`,
/// that is entered and [`Payload::Entered`] tells so.
///
/// # Errors
/// When a wrapper is needed and something else stands there.
pub fn option(reader: &mut dyn Reader, form: OptionForm) -> Result<Option<Payload>, Error> {
    let wanted = match form {
        OptionForm::Bare if reader.is_nil() => return Ok(None),
        OptionForm::Bare => return Ok(Some(Payload::Absent)),
        OptionForm::Wrapped => "option {some = ...} or nil",
        OptionForm::Marked => "option {some = ...} or {none = true}",
    };
    match reader.datum() {
        // Some sources can have a nil anywhere.
        Datum::Nil => return Ok(None),
        Datum::Table => {}
        other => return Err(Error::expected(wanted, other.type_name())),
    }
    reader.enter_key(&well_known::SOME)?;
    if !reader.is_nil() {
        return Ok(Some(Payload::Entered));
    }
    reader.leave();
    if form == OptionForm::Marked && is_marked_none(reader)? {
        only_key(reader, wanted, &well_known::NONE)?;
        return Ok(None);
    }
    // `{some = nil}` is an empty table. Any other key shows that the wrapper was forgotten.
    only_key(reader, wanted, &well_known::SOME)?;
    reader.enter_key(&well_known::SOME)?;
    Ok(Some(Payload::Entered))
}

fn is_marked_none(reader: &mut dyn Reader) -> Result<bool, Error> {
    reader.enter_key(&well_known::NONE)?;
    let is_marked = matches!(reader.datum(), Datum::Boolean(true));
    reader.leave();
    Ok(is_marked)
}

/// Makes sure that the table under the cursor has no key but `key`.
fn only_key(reader: &mut dyn Reader, wanted: &str, key: &Key) -> Result<(), Error> {
    if !reader.is_empty() {
        return Err(Error::expected(wanted, "an array"));
    }
    let mut position = 0;
    while reader.enter_pair(&mut position)? {
        let datum = reader.datum();
        if !matches!(datum, Datum::String(name) if name == key.name().as_bytes()) {
            let found = key_text(&datum);
            return Err(Error::expected(
                wanted,
                format_args!("a table with the key `{}`", shortened(&found)),
            ));
        }
        reader.leave();
    }
    Ok(())
}

/// Reads a `result` that is not the function's own: true for ok; the payload is entered if it has one.
///
/// A payload that is nil leaves no trace in a table, so it is told apart by what else stands there: `{tag = "err"}`
/// is an err and `{tag = "ok"}` an ok, as if the result were a variant, and an empty table is an ok if that side can
/// be nil, else an err. Whoever writes an err that can be nil therefore writes `tag = "err"` beside it. [`Payload::Absent`] is only given for a side without payload.
///
/// # Errors
/// When it is neither `{ok = v}` nor `{err = e}`, or both.
pub fn result(
    reader: &mut dyn Reader,
    ok: Option<&Node>,
    err: Option<&Node>,
) -> Result<(bool, Payload), Error> {
    match reader.datum() {
        Datum::Table => {}
        other => return Err(Error::expected(RESULT, other.type_name())),
    }
    let (is_ok, key) = result_side(reader, ok, err)?;
    let node = if is_ok { ok } else { err };
    reader.enter_key(key)?;
    if node.is_some() {
        return Ok((is_ok, Payload::Entered));
    }
    let plain = matches!(reader.datum(), Datum::Boolean(true) | Datum::Nil);
    reader.leave();
    if plain {
        return Ok((is_ok, Payload::Absent));
    }
    Err(Error::expected("true", "a payload").at_field(key.name()))
}

const RESULT: &str = "result {ok = ...} or {err = ...}";

/// Which side of a result the table under the cursor is, and where its payload is.
fn result_side(
    reader: &mut dyn Reader,
    ok: Option<&Node>,
    err: Option<&Node>,
) -> Result<(bool, &'static Key), Error> {
    let side = |is_ok| {
        if is_ok {
            (true, &*well_known::OK)
        } else {
            (false, &*well_known::ERR)
        }
    };
    let has_ok = has(reader, &well_known::OK)?;
    let has_err = has(reader, &well_known::ERR)?;
    if has_ok && has_err {
        return Err(Error::expected(RESULT, "a table with both"));
    }
    if has_ok || has_err {
        return Ok(side(has_ok));
    }
    reader.enter_key(&well_known::TAG)?;
    let tagged = match reader.datum() {
        Datum::String(b"ok") => Some(true),
        Datum::String(b"err") => Some(false),
        _ => None,
    };
    reader.leave();
    if let Some(is_ok) = tagged {
        return Ok((is_ok, &well_known::VALUE));
    }
    let nilable = |side: Option<&Node>| side.is_some_and(|node| node.nilable);
    match null_side(reader)? {
        Some(is_ok) => Ok(side(is_ok)),
        None if nilable(ok) => Ok(side(true)),
        None if nilable(err) => Ok(side(false)),
        None => Err(Error::expected(RESULT, "a table with neither")),
    }
}

fn has(reader: &mut dyn Reader, key: &Key) -> Result<bool, Error> {
    reader.enter_key(key)?;
    let present = !matches!(reader.datum(), Datum::Nil);
    reader.leave();
    Ok(present)
}

/// The side that is there with the value null, which some sources know: `{"err": null}`.
fn null_side(reader: &mut dyn Reader) -> Result<Option<bool>, Error> {
    let (mut position, mut side) = (0, None);
    while reader.enter_pair(&mut position)? {
        match reader.datum() {
            Datum::String(b"ok") => side = Some(true),
            Datum::String(b"err") => side = Some(false),
            other => {
                let found = key_text(&other);
                let found = format_args!("a table with the key `{}`", shortened(&found));
                return Err(Error::expected(RESULT, found));
            }
        }
        reader.leave();
    }
    Ok(side)
}

/// Reads `flags`; `set` is called with the position of each flag that is set.
///
/// # Errors
/// When it is no table of flags, or names an unknown one.
pub fn flags(reader: &mut dyn Reader, flags: &[Field], mut set: impl FnMut(usize)) -> Result<(), Error> {
    match reader.datum() {
        Datum::Table => {}
        other => return Err(Error::expected("flags", other.type_name())),
    }
    let keys = || flags.iter().map(|flag| &flag.key);
    let find = |name: &[u8]| find_case(name, keys()).ok_or_else(|| unknown("flag", name, keys()));
    let len = reader.len();
    for index in 0..len {
        reader.enter_index(index)?;
        match reader.datum() {
            Datum::String(name) => set(find(name).map_err(|error| error.at_index(index))?),
            other => return Err(Error::expected("flag name", other.type_name()).at_index(index)),
        }
        reader.leave();
    }
    let mut position = 0;
    while reader.enter_pair(&mut position)? {
        let index = match reader.datum() {
            Datum::String(name) => find(name)?,
            Datum::Integer(key) if usize::try_from(key).is_ok_and(|key| (1..=len).contains(&key)) => {
                reader.leave();
                continue;
            }
            other => return Err(stray(&key_text(&other), len)),
        };
        reader.enter_value();
        match reader.datum() {
            Datum::Boolean(true) => set(index),
            Datum::Boolean(false) | Datum::Nil => {}
            other => {
                let name = flags.get(index).map_or("", |flag| flag.key.name());
                return Err(Error::expected("boolean", other.type_name()).at_field(name));
            }
        }
        reader.leave();
    }
    Ok(())
}

/// A walk over the entries of the `map` under the cursor, in no particular order.
///
/// For each of them: [`next`](Entries::next), read the key, [`enter_value`](Entries::enter_value), read the value,
/// `leave`.
#[derive(Debug)]
pub struct Entries {
    /// How many of the entries are elements of an array.
    elements: usize,
    next: usize,
    position: u64,
    place: Place,
}

/// Where an entry stands.
#[derive(Debug)]
enum Place {
    /// Under this position of the array.
    Element(usize),
    /// Under this index, which is not in the array.
    Index(usize),
    Name(Label),
}

/// The key of an entry.
#[derive(Debug)]
pub enum EntryKey {
    /// Under the cursor.
    Here,
    /// This: the cursor has not moved, or stands on the name that spells it.
    Given(Value),
}

impl EntryKey {
    /// Calls `read` with a cursor on the key.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn read<T, E>(
        &self,
        reader: &mut dyn Reader,
        read: impl FnOnce(&mut dyn Reader) -> Result<T, E>,
    ) -> Result<T, E> {
        match self {
            Self::Here => read(reader),
            Self::Given(key) => read(&mut ValueReader::value(key)),
        }
    }
}

impl Entries {
    /// A walk over the table under the cursor.
    ///
    /// # Errors
    /// When it is no table.
    pub fn new(reader: &mut dyn Reader) -> Result<Self, Error> {
        match reader.datum() {
            Datum::Table => Ok(Self {
                elements: reader.len(),
                next: 0,
                position: 0,
                place: Place::Element(0),
            }),
            other => Err(Error::expected("map", other.type_name())),
        }
    }

    /// How many entries the table under the cursor has.
    ///
    /// # Errors
    /// When it is no table.
    pub fn count(reader: &mut dyn Reader) -> Result<usize, Error> {
        let entries = Self::new(reader)?;
        let (mut count, mut position) = (entries.elements, 0);
        while reader.enter_pair(&mut position)? {
            count += usize::from(!entries.is_element(&reader.datum()));
            reader.leave();
        }
        Ok(count)
    }

    /// Goes to the next entry: its key, which is to be of the type `key`; none at the end.
    ///
    /// # Errors
    /// When values are nested deeper than the source allows.
    pub fn next(&mut self, reader: &mut dyn Reader, key: &Node) -> Result<Option<EntryKey>, Error> {
        if self.next < self.elements {
            self.place = Place::Element(self.next);
            self.next += 1;
            let index = i64::try_from(self.next).unwrap_or(i64::MAX);
            return Ok(Some(EntryKey::Given(Value::Integer(index))));
        }
        while reader.enter_pair(&mut self.position)? {
            let datum = reader.datum();
            if self.is_element(&datum) {
                reader.leave();
                continue;
            }
            self.place = match datum {
                Datum::Integer(index @ 1..) => {
                    Place::Index(usize::try_from(index - 1).unwrap_or(usize::MAX - 1))
                }
                _ => Place::Name(Label::new(&datum)),
            };
            return Ok(Some(spelt(&datum, key).map_or(EntryKey::Here, EntryKey::Given)));
        }
        Ok(None)
    }

    /// From an entry's key to its value.
    ///
    /// # Errors
    /// When values are nested deeper than the source allows.
    pub fn enter_value(&self, reader: &mut dyn Reader) -> Result<(), Error> {
        match self.place {
            Place::Element(index) => reader.enter_index(index),
            Place::Index(_) | Place::Name(_) => {
                reader.enter_value();
                Ok(())
            }
        }
    }

    /// An error in the entry's value, as seen from the map.
    #[must_use]
    pub fn at_value(&self, error: Error) -> Error {
        match &self.place {
            Place::Element(index) | Place::Index(index) => error.at_index(*index),
            // A key is the caller's own, not a name of WIT's that is shown as Lua has it.
            Place::Name(label) => error.at_field(label.as_str()),
        }
    }

    /// An error in the entry's key, as seen from the map.
    #[must_use]
    pub fn at_key(&self, error: &Error) -> Error {
        self.at_value(Error::new(format!("in the key: {}", error.problem())))
    }

    /// Whether a pair's key is the index of an element, which was visited as that.
    fn is_element(&self, key: &Datum<'_>) -> bool {
        let Datum::Integer(key) = *key else { return false };
        usize::try_from(key).is_ok_and(|key| (1..=self.elements).contains(&key))
    }
}

/// The key of type `key` that a name spells. Objects of JSON have nothing but names for keys.
fn spelt(name: &Datum<'_>, key: &Node) -> Option<Value> {
    let Datum::String(name) = name else { return None };
    let name = std::str::from_utf8(name).ok()?;
    match key.kind {
        Kind::Bool => name.parse().ok().map(Value::Boolean),
        Kind::U8 | Kind::U16 | Kind::U32 | Kind::U64 | Kind::S8 | Kind::S16 | Kind::S32 | Kind::S64 => {
            // One spelling for each number, so that no two names are the same key.
            let number: i128 = name
                .parse()
                .ok()
                .filter(|number: &i128| number.to_string() == name)?;
            let signed = i64::try_from(number).map(Value::Integer);
            signed
                .or_else(|_| u64::try_from(number).map(Value::Unsigned))
                .ok()
        }
        _ => None,
    }
}

/// What stands for an `error-context`.
#[derive(Debug)]
pub enum Failure {
    /// An error.
    Error(Arc<dyn Foreign>),
    /// The text itself.
    Text(String),
}

impl Failure {
    /// What it says.
    pub fn message(&self) -> &str {
        match self {
            Self::Error(error) => error.message().unwrap_or_default(),
            Self::Text(text) => text,
        }
    }
}

/// Reads an `error-context`.
///
/// # Errors
/// When it is neither an error nor a string.
pub fn error_context(reader: &mut dyn Reader) -> Result<Failure, Error> {
    let datum = reader.datum();
    match datum {
        Datum::Foreign(thing) if thing.message().is_some() => Ok(Failure::Error(thing.clone())),
        Datum::String(bytes) => Ok(Failure::Text(text(bytes, "error or string")?.to_owned())),
        other => Err(Error::expected("error or string", other.type_name())),
    }
}

/// Reads the handle of a resource; whether it is one of `resource` is for the owner of the handles to say.
///
/// # Errors
/// When it is nothing opaque.
pub fn resource(reader: &mut dyn Reader, resource: &str) -> Result<Arc<dyn Foreign>, Error> {
    match reader.datum() {
        Datum::Foreign(handle) => Ok(handle.clone()),
        other => Err(Error::expected(
            format_args!("resource {resource}"),
            other.type_name(),
        )),
    }
}

/// What stands for a stream or a future.
#[derive(Debug)]
pub enum Flow {
    /// The end of a channel, or what else gives values one after another; whoever made it knows it.
    Channel(Arc<dyn Foreign>),
    /// All the bytes of a stream of bytes.
    Bytes(Box<[u8]>),
}

/// What opaque things that give values one after another call themselves.
pub const CHANNEL: &str = "channel";

/// Reads a `stream` or a `future` of `element`.
///
/// # Errors
/// When it is no channel, nor a string where bytes are wanted.
pub fn flow(reader: &mut dyn Reader, kind: &Kind) -> Result<Flow, Error> {
    let takes_bytes = matches!(kind, Kind::Stream(Some(element)) if matches!(element.kind, Kind::U8));
    match reader.datum() {
        Datum::Foreign(thing) if thing.type_name() == CHANNEL => Ok(Flow::Channel(thing.clone())),
        Datum::String(bytes) if takes_bytes => Ok(Flow::Bytes(bytes.into())),
        other => {
            let wanted = if takes_bytes { "channel or string" } else { CHANNEL };
            Err(Error::expected(wanted, other.type_name()))
        }
    }
}

/// Names that the mapping itself uses.
pub mod well_known {
    use std::sync::LazyLock;

    use crate::Key;

    /// `n`: the length of an array with nils.
    pub static N: LazyLock<Key> = LazyLock::new(|| Key::new("n"));
    /// `tag`: the case of a variant.
    pub static TAG: LazyLock<Key> = LazyLock::new(|| Key::new("tag"));
    /// `value`: the payload of a variant.
    pub static VALUE: LazyLock<Key> = LazyLock::new(|| Key::new("value"));
    /// `some`: the payload of an option whose payload can be nil.
    pub static SOME: LazyLock<Key> = LazyLock::new(|| Key::new("some"));
    /// `none`: marks an option that is none where nil would leave no trace.
    pub static NONE: LazyLock<Key> = LazyLock::new(|| Key::new("none"));
    /// `ok`: the payload of a result.
    pub static OK: LazyLock<Key> = LazyLock::new(|| Key::new("ok"));
    /// `err`: the payload of a result.
    pub static ERR: LazyLock<Key> = LazyLock::new(|| Key::new("err"));
}
