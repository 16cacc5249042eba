//! Out of the guest: results from core values and guest memory to a cursor.

use std::{cell::Cell, sync::Arc};

use wasmtime::{
    ValRaw,
    component::{
        __internal::{InterfaceType, LiftContext, wasmtime_environ::component::StringEncoding},
        Lift as _, ResourceAny,
    },
};
use wippy_security::{CallError, ErrorKind};
use wippy_wit::{
    Atom, Case, Entry, Field, Kind, Node, OptionForm, Value, ValueWriter, Writer,
    accept::{is_utf8, well_known},
};

use super::{UTF16_TAG, flow, out_of_bounds};
use crate::{error_contexts::ErrorContexts, instance::Invocation, limits::TooMuch, resource::Resource};

/// Where a value is that the guest gives.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    /// In core values.
    Flat(&'a [ValRaw]),
    /// In memory, from this offset.
    Memory(usize),
}

/// Writes a result for which nothing of the guest has to be looked at: a number or a boolean, or none at all; false if it
/// is another.
#[inline]
pub(super) fn lift_plain(node: Option<&Node>, slot: ValRaw, writer: &mut dyn Writer) -> bool {
    let Some(node) = node else {
        writer.nil();
        return true;
    };
    lift_number(&node.kind, slot, writer)
}

/// Writes a number or a boolean from its core value; false if the type is another.
#[inline]
fn lift_number(kind: &Kind, slot: ValRaw, writer: &mut dyn Writer) -> bool {
    let number = number(kind, slot);
    if let Some(number) = number {
        number.write(writer);
    }
    number.is_some()
}

/// A number or a boolean by its core value; none if the type is another.
#[inline]
fn number(kind: &Kind, slot: ValRaw) -> Option<Atom<'static>> {
    Some(match kind {
        Kind::Bool => Atom::Boolean(slot.get_u32() != 0),
        // The canonical ABI takes the low bits and ignores the rest.
        #[expect(clippy::cast_possible_truncation, reason = "the ABI wraps")]
        Kind::U8 => Atom::Integer((slot.get_u32() as u8).into()),
        #[expect(clippy::cast_possible_truncation, reason = "the ABI wraps")]
        Kind::S8 => Atom::Integer((slot.get_i32() as i8).into()),
        #[expect(clippy::cast_possible_truncation, reason = "the ABI wraps")]
        Kind::U16 => Atom::Integer((slot.get_u32() as u16).into()),
        #[expect(clippy::cast_possible_truncation, reason = "the ABI wraps")]
        Kind::S16 => Atom::Integer((slot.get_i32() as i16).into()),
        Kind::U32 => Atom::Integer(slot.get_u32().into()),
        Kind::S32 => Atom::Integer(slot.get_i32().into()),
        Kind::U64 => Atom::Unsigned(slot.get_u64()),
        Kind::S64 => Atom::Integer(slot.get_i64()),
        Kind::F32 => Atom::Float(f32::from_bits(slot.get_f32()).into()),
        Kind::F64 => Atom::Float(f64::from_bits(slot.get_f64())),
        _ => return None,
    })
}

/// Lifts a function's result from its only core value: the value itself, or the pointer to it.
pub(super) fn lift_result(
    lifter: Lifter<'_, '_>,
    slot: ValRaw,
    writer: &mut dyn Writer,
    failed: &Cell<Option<Value>>,
) -> wasmtime::Result<()> {
    let place = match &lifter.invocation.method.plan().result {
        Some(node) if node.flat > 1 => Place::Memory(lifter.aligned(slot.get_u32(), node)?),
        Some(_) | None => Place::Flat(std::slice::from_ref(&slot)),
    };
    lift_returned(lifter, place, writer, failed)
}

/// Lifts a function's result. Its own `result` type is taken apart here: an error goes to `failed`.
pub(super) fn lift_returned(
    mut lifter: Lifter<'_, '_>,
    place: Place<'_>,
    writer: &mut dyn Writer,
    failed: &Cell<Option<Value>>,
) -> wasmtime::Result<()> {
    let Some(node) = &lifter.invocation.method.plan().result else {
        writer.nil();
        return Ok(());
    };
    if let Kind::Result { ok, err, offset } = &node.kind {
        let (tag, place) = match place {
            Place::Flat([tag, payload @ ..]) => (tag.get_u32(), Place::Flat(payload)),
            Place::Flat([]) => return Err(Trouble::Unsupported.into()),
            Place::Memory(base) => (
                u32::from(lifter.byte(base)?),
                Place::Memory(base + *offset as usize),
            ),
        };
        let payload = match tag {
            0 => ok.as_deref(),
            1 => err.as_deref(),
            other => return Err(bad_discriminant(other)),
        };
        if tag == 0 {
            if let Some(payload) = payload {
                return write(&mut lifter, payload, place, writer);
            }
            writer.boolean(true);
            return Ok(());
        }
        let mut owned = ValueWriter::default();
        match payload {
            Some(payload) => write(&mut lifter, payload, place, &mut owned)?,
            None => owned.boolean(true),
        }
        failed.set(Some(owned.finish()));
        return Ok(());
    }
    write(&mut lifter, node, place, writer)
}

/// Lifts an element of a stream, or what a future gives, from `offset` in memory.
pub(super) fn lift_item(
    mut lifter: Lifter<'_, '_>,
    node: &Node,
    offset: usize,
    writer: &mut dyn Writer,
) -> wasmtime::Result<()> {
    lifter.check(offset, node)?;
    write(&mut lifter, node, Place::Memory(offset), writer)
}

/// Writes one value in a scope if writing may allocate.
fn write(
    lifter: &mut Lifter<'_, '_>,
    node: &Node,
    place: Place<'_>,
    writer: &mut dyn Writer,
) -> wasmtime::Result<()> {
    // The engine's own errors cannot pass the scope, which only knows those of the mapping.
    let mut trouble: Option<Trouble> = None;
    let mut body = |writer: &mut dyn Writer| {
        let outcome = match place {
            Place::Flat(mut slots) => lift_flat(lifter, node, &mut slots, writer),
            Place::Memory(offset) => load(lifter, node, offset, writer),
        };
        trouble = outcome.err();
        Ok(())
    };
    // A string by itself is the writer's own affair.
    let is_built = node.allocates && !matches!(node.kind, Kind::String | Kind::Bytes);
    if is_built {
        writer.scope(&mut body)?;
    } else {
        body(writer)?;
    }
    match trouble {
        None => Ok(()),
        Some(trouble) => Err(trouble.into()),
    }
}

/// What can be wrong with what a guest returns. It owns nothing: a writer may leave by a jump, see [`Writer::scope`].
#[derive(Debug, Clone, Copy)]
pub(super) enum Trouble {
    OutOfBounds,
    Unaligned,
    NotUtf8,
    BadChar,
    BadDiscriminant(u32),
    BadHandle,
    TooMuch,
    Unsupported,
    Write(wippy_wit::WriteError),
}

impl From<wippy_wit::WriteError> for Trouble {
    fn from(error: wippy_wit::WriteError) -> Self {
        Self::Write(error)
    }
}

impl From<Trouble> for wasmtime::Error {
    #[cold]
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::OutOfBounds => out_of_bounds(),
            Trouble::Unaligned => wasmtime::format_err!("a pointer in the result is not aligned"),
            Trouble::NotUtf8 => wasmtime::format_err!("a string in the result is not valid in its encoding"),
            Trouble::BadChar => wasmtime::format_err!("a char in the result is no Unicode scalar value"),
            Trouble::BadDiscriminant(tag) => bad_discriminant(tag),
            Trouble::BadHandle => {
                wasmtime::format_err!("a handle in the result names nothing that the guest has")
            }
            Trouble::TooMuch => TooMuch.into(),
            Trouble::Unsupported => wasmtime::format_err!("a part of the result cannot cross this call"),
            Trouble::Write(error) => Self::from(wippy_wit::Error::from(error)),
        }
    }
}

#[cold]
fn bad_discriminant(tag: u32) -> wasmtime::Error {
    wasmtime::format_err!("a discriminant in the result names no case: {tag}")
}

/// The guest's memory while a result is taken out of it; no guest code runs meanwhile.
pub(super) struct Lifter<'a, 'b> {
    cx: &'a mut LiftContext<'b>,
    memory: &'b [u8],
    encoding: StringEncoding,
    invocation: &'a Invocation<'a>,
    error_contexts: Option<&'a ErrorContexts>,
    /// The engine's type of the result list.
    ty: InterfaceType,
}

/// What something is lifted for.
#[derive(Clone, Copy)]
pub(super) struct Lifting<'a> {
    pub(super) invocation: &'a Invocation<'a>,
    /// Those of the instance, if it can have any.
    pub(super) error_contexts: Option<&'a ErrorContexts>,
}

impl<'a, 'b> Lifter<'a, 'b> {
    pub(super) fn new(cx: &'a mut LiftContext<'b>, lifting: Lifting<'a>, ty: InterfaceType) -> Self {
        use wasmtime::component::__internal::wasmtime_environ::component::CanonicalOptionsDataModel;
        let options = cx.options();
        let encoding = options.string_encoding;
        let has_memory = matches!(
            options.data_model,
            CanonicalOptionsDataModel::LinearMemory(options) if options.memory.is_some()
        );
        let memory = if has_memory { cx.memory() } else { &[] };
        Self {
            cx,
            memory,
            encoding,
            invocation: lifting.invocation,
            error_contexts: lifting.error_contexts,
            ty,
        }
    }

    /// Takes the resource that the guest gives away over and writes a handle of it.
    fn resource(&mut self, node: &Node, index: u32, writer: &mut dyn Writer) -> Result<(), Trouble> {
        let Invocation { method, keeper, .. } = *self.invocation;
        let (Some(keeper), Kind::Own(name)) = (keeper, &node.kind) else {
            return Err(Trouble::Unsupported);
        };
        let roots = method.plan().result.iter();
        let ty = method
            .result_handles
            .of(node, roots, self.cx.types, self.ty)
            .ok_or(Trouble::Unsupported)?;
        let handle = ResourceAny::linear_lift_from_flat(self.cx, ty, &ValRaw::u32(index));
        let handle = handle.map_err(|_| Trouble::BadHandle)?;
        writer.foreign(Arc::new(Resource::handle(keeper, handle, method, name)));
        Ok(())
    }

    /// Takes the stream or the future that the guest gives away over and writes its end.
    fn flow(&mut self, node: &Node, index: u32, writer: &mut dyn Writer) -> Result<(), Trouble> {
        let method = self.invocation.method;
        let roots = method.plan().result.iter();
        let ty = method
            .result_handles
            .of(node, roots, self.cx.types, self.ty)
            .ok_or(Trouble::Unsupported)?;
        let stream = flow::lift(self.cx, ty, &node.kind, index).map_err(|_| Trouble::BadHandle)?;
        writer.foreign(stream);
        Ok(())
    }

    /// Writes an error that says what the guest's error context says. The guest keeps its handle.
    fn error_context(&mut self, handle: u32, writer: &mut dyn Writer) -> Result<(), Trouble> {
        let error_contexts = self.error_contexts.ok_or(Trouble::Unsupported)?;
        let message = error_contexts.message(handle).ok_or(Trouble::BadHandle)?;
        self.charge(message.len().saturating_add(ERROR_COST), 1)?;
        let error = Arc::new(CallError::new(ErrorKind::Unknown, message.to_string()));
        // Nothing but the error may be left when the writer leaves by a jump.
        drop(message);
        writer.foreign(error);
        Ok(())
    }

    /// Where `part` of the memory begins.
    pub(super) fn offset_of(&self, part: &[u8]) -> usize {
        (part.as_ptr() as usize).saturating_sub(self.memory.as_ptr() as usize)
    }

    fn bytes(&self, offset: usize, length: usize) -> Result<&'b [u8], Trouble> {
        self.memory
            .get(offset..)
            .and_then(|memory| memory.get(..length))
            .ok_or(Trouble::OutOfBounds)
    }

    fn read<const N: usize>(&self, offset: usize) -> Result<[u8; N], Trouble> {
        self.memory
            .get(offset..)
            .and_then(|memory| memory.first_chunk::<N>())
            .copied()
            .ok_or(Trouble::OutOfBounds)
    }

    fn byte(&self, offset: usize) -> Result<u8, Trouble> {
        self.memory.get(offset).copied().ok_or(Trouble::OutOfBounds)
    }

    fn u32(&self, offset: usize) -> Result<u32, Trouble> {
        self.read(offset).map(u32::from_le_bytes)
    }

    /// The address and the length of a string, a list or a map, which are at `offset`.
    fn sequence(&self, offset: usize) -> Result<(usize, usize), Trouble> {
        Ok((self.u32(offset)? as usize, self.u32(offset + 4)? as usize))
    }

    fn tag(&self, offset: usize, size: u32) -> Result<u32, Trouble> {
        match size {
            1 => self.byte(offset).map(u32::from),
            2 => self.read(offset).map(u16::from_le_bytes).map(u32::from),
            _ => self.u32(offset),
        }
    }

    /// A pointer to a value of `node`'s type.
    fn aligned(&self, pointer: u32, node: &Node) -> Result<usize, Trouble> {
        let offset = pointer as usize;
        self.check(offset, node).map(|()| offset)
    }

    /// Makes sure that a value of `node`'s type can be at `offset`.
    pub(super) fn check(&self, offset: usize, node: &Node) -> Result<(), Trouble> {
        if !offset.is_multiple_of(node.align as usize) {
            return Err(Trouble::Unaligned);
        }
        self.bytes(offset, node.size as usize).map(drop)
    }

    /// Counts what the host will have to allocate, so that a guest cannot name more than it has.
    fn charge(&mut self, count: usize, size: usize) -> Result<(), Trouble> {
        self.cx
            .consume_fuel_array(count, size)
            .map_err(|_| Trouble::TooMuch)
    }
}

/// Lifts a value from core values, taking those it needs from the front of `slots`.
fn lift_flat(
    lifter: &mut Lifter<'_, '_>,
    node: &Node,
    slots: &mut &[ValRaw],
    writer: &mut dyn Writer,
) -> Result<(), Trouble> {
    let taken = slots.split_at_checked(node.flat);
    let Some((mine, rest)) = taken else {
        return Err(Trouble::Unsupported);
    };
    *slots = rest;
    let Some((first, mut payload)) = mine.split_first() else {
        writer.table(0, 0)?;
        return Ok(());
    };
    if lift_number(&node.kind, *first, writer) {
        return Ok(());
    }
    match &node.kind {
        Kind::Char => write_char(first.get_u32(), writer)?,
        Kind::Enum { cases, .. } => write_case(first.get_u32(), cases, writer)?,
        Kind::String | Kind::Bytes | Kind::List(_) | Kind::Map(_) => {
            let length = payload.first().map_or(0, ValRaw::get_u32) as usize;
            load_sequence(lifter, node, first.get_u32() as usize, length, writer)?;
        }
        Kind::Record(fields) => {
            let mut mine = mine;
            writer.table(0, fields.len())?;
            for field in fields {
                writer.key(&field.key);
                lift_flat(lifter, &field.node, &mut mine, writer)?;
                writer.put(&field.key);
            }
        }
        Kind::Tuple(fields) => {
            let mut mine = mine;
            writer.table(fields.len(), 0)?;
            for (index, field) in fields.iter().enumerate() {
                lift_flat(lifter, &field.node, &mut mine, writer)?;
                writer.set_index(index);
            }
            write_length(
                fields.iter().any(|field| field.node.nilable),
                fields.len(),
                writer,
            );
        }
        Kind::FixedList(element, length) => {
            let mut mine = mine;
            let length = *length as usize;
            writer.table(length, 0)?;
            for index in 0..length {
                lift_flat(lifter, element, &mut mine, writer)?;
                writer.set_index(index);
            }
            write_length(element.nilable, length, writer);
        }
        Kind::Option { some, form, .. } => match first.get_u32() {
            0 => write_none(*form, writer)?,
            1 => wrapped(*form, writer, |writer| {
                lift_flat(lifter, some, &mut payload, writer)
            })?,
            tag => return Err(Trouble::BadDiscriminant(tag)),
        },
        Kind::Result { ok, err, .. } => {
            let side = result_side(first.get_u32(), ok.as_deref(), err.as_deref())?;
            write_side(&side, writer, |node, writer| {
                lift_flat(lifter, node, &mut payload, writer)
            })?;
        }
        Kind::Variant { cases, .. } => {
            let case = case_of(first.get_u32(), cases)?;
            begin_variant(case, writer)?;
            if let Some(node) = &case.payload {
                lift_flat(lifter, node, &mut payload, writer)?;
                writer.set_key(&well_known::VALUE);
            }
        }
        Kind::Flags { flags } => {
            write_flags(flags, writer, |word| {
                Ok(mine.get(word).map_or(0, ValRaw::get_u32))
            })?;
        }
        Kind::Own(_) => lifter.resource(node, first.get_u32(), writer)?,
        Kind::Stream(_) | Kind::Future(_) => lifter.flow(node, first.get_u32(), writer)?,
        Kind::ErrorContext => lifter.error_context(first.get_u32(), writer)?,
        // A borrow; numbers were lifted already.
        _ => return Err(Trouble::Unsupported),
    }
    Ok(())
}

/// Lifts a value from `offset` in guest memory.
fn load(
    lifter: &mut Lifter<'_, '_>,
    node: &Node,
    offset: usize,
    writer: &mut dyn Writer,
) -> Result<(), Trouble> {
    if let Some(atom) = atom(lifter, node, offset)? {
        atom.write(writer);
        return Ok(());
    }
    match &node.kind {
        Kind::Char => write_char(lifter.u32(offset)?, writer)?,
        Kind::Enum { cases, tag } => write_case(lifter.tag(offset, *tag)?, cases, writer)?,
        Kind::String | Kind::List(_) | Kind::Map(_) => {
            let (pointer, length) = lifter.sequence(offset)?;
            load_sequence(lifter, node, pointer, length, writer)?;
        }
        Kind::Record(fields) => {
            writer.table(0, fields.len())?;
            for field in fields {
                let place = offset + field.offset as usize;
                if let Some(atom) = atom(lifter, &field.node, place)? {
                    writer.field(&field.key, atom);
                    continue;
                }
                writer.key(&field.key);
                load(lifter, &field.node, place, writer)?;
                writer.put(&field.key);
            }
        }
        Kind::Tuple(fields) => {
            writer.table(fields.len(), 0)?;
            for (index, field) in fields.iter().enumerate() {
                load(lifter, &field.node, offset + field.offset as usize, writer)?;
                writer.set_index(index);
            }
            write_length(
                fields.iter().any(|field| field.node.nilable),
                fields.len(),
                writer,
            );
        }
        Kind::FixedList(element, length) => load_elements(lifter, element, offset, *length as usize, writer)?,
        Kind::Option {
            some,
            offset: payload_at,
            form,
        } => match lifter.byte(offset)? {
            0 => write_none(*form, writer)?,
            1 => wrapped(*form, writer, |writer| {
                load(lifter, some, offset + *payload_at as usize, writer)
            })?,
            tag => return Err(Trouble::BadDiscriminant(tag.into())),
        },
        Kind::Result {
            ok,
            err,
            offset: payload_at,
        } => {
            let side = result_side(lifter.byte(offset)?.into(), ok.as_deref(), err.as_deref())?;
            let place = offset + *payload_at as usize;
            write_side(&side, writer, |node, writer| load(lifter, node, place, writer))?;
        }
        Kind::Variant {
            cases,
            tag,
            offset: payload_at,
        } => {
            let case = case_of(lifter.tag(offset, *tag)?, cases)?;
            begin_variant(case, writer)?;
            if let Some(node) = &case.payload {
                load(lifter, node, offset + *payload_at as usize, writer)?;
                writer.set_key(&well_known::VALUE);
            }
        }
        Kind::Flags { flags } => {
            let bytes = lifter.bytes(offset, node.size as usize)?;
            write_flags(flags, writer, |word| {
                let mut all = [0_u8; 4];
                let mine = bytes.get(word * 4..).unwrap_or_default();
                for (slot, byte) in all.iter_mut().zip(mine) {
                    *slot = *byte;
                }
                Ok(u32::from_le_bytes(all))
            })?;
        }
        Kind::Own(_) => {
            let index = lifter.u32(offset)?;
            lifter.resource(node, index, writer)?;
        }
        Kind::Stream(_) | Kind::Future(_) => {
            let index = lifter.u32(offset)?;
            lifter.flow(node, index, writer)?;
        }
        Kind::ErrorContext => {
            let handle = lifter.u32(offset)?;
            lifter.error_context(handle, writer)?;
        }
        // All but borrows are atoms.
        Kind::Borrow(_)
        | Kind::Bool
        | Kind::U8
        | Kind::S8
        | Kind::U16
        | Kind::S16
        | Kind::U32
        | Kind::S32
        | Kind::U64
        | Kind::S64
        | Kind::F32
        | Kind::F64
        | Kind::Bytes => return Err(Trouble::Unsupported),
    }
    Ok(())
}

/// A number, a boolean, bytes or a string in UTF-8 that is at `offset` in guest memory; none if it is something else.
#[inline]
fn atom<'b>(lifter: &mut Lifter<'_, 'b>, node: &Node, offset: usize) -> Result<Option<Atom<'b>>, Trouble> {
    let slot = match &node.kind {
        Kind::Bool | Kind::U8 | Kind::S8 => ValRaw::u32(lifter.byte(offset)?.into()),
        Kind::U16 | Kind::S16 => ValRaw::u32(u16::from_le_bytes(lifter.read(offset)?).into()),
        Kind::U32 | Kind::S32 | Kind::F32 => ValRaw::u32(lifter.u32(offset)?),
        Kind::U64 | Kind::S64 | Kind::F64 => ValRaw::u64(u64::from_le_bytes(lifter.read(offset)?)),
        Kind::String if lifter.encoding == StringEncoding::Utf8 => {
            let (pointer, length) = lifter.sequence(offset)?;
            return utf8(lifter, pointer, length).map(|text| Some(Atom::Text(text)));
        }
        Kind::Bytes => {
            let (pointer, length) = lifter.sequence(offset)?;
            return raw(lifter, pointer, length).map(|bytes| Some(Atom::Text(bytes)));
        }
        _ => return Ok(None),
    };
    Ok(number(&node.kind, slot))
}

/// Bytes as they are.
#[inline]
fn raw<'b>(lifter: &mut Lifter<'_, 'b>, offset: usize, length: usize) -> Result<&'b [u8], Trouble> {
    let bytes = lifter.bytes(offset, length)?;
    lifter.charge(length, 1)?;
    Ok(bytes)
}

/// The bytes of a string in UTF-8.
#[inline]
fn utf8<'b>(lifter: &mut Lifter<'_, 'b>, offset: usize, length: usize) -> Result<&'b [u8], Trouble> {
    let bytes = raw(lifter, offset, length)?;
    if is_utf8(bytes) {
        Ok(bytes)
    } else {
        Err(Trouble::NotUtf8)
    }
}

fn load_sequence(
    lifter: &mut Lifter<'_, '_>,
    node: &Node,
    offset: usize,
    length: usize,
    writer: &mut dyn Writer,
) -> Result<(), Trouble> {
    match &node.kind {
        Kind::Bytes => writer.string(raw(lifter, offset, length)?),
        Kind::String => load_string(lifter, offset, length, writer)?,
        Kind::List(element) => {
            let size = length
                .checked_mul(element.size as usize)
                .ok_or(Trouble::OutOfBounds)?;
            if !offset.is_multiple_of(element.align as usize) {
                return Err(Trouble::Unaligned);
            }
            lifter.bytes(offset, size)?;
            // Elements may be smaller in the guest than on the receiving side, down to nothing at all.
            lifter.charge(length, ELEMENT_COST)?;
            load_elements(lifter, element, offset, length, writer)?;
        }
        Kind::Map(entry) => {
            let size = length
                .checked_mul(entry.size as usize)
                .ok_or(Trouble::OutOfBounds)?;
            if !offset.is_multiple_of(entry.align as usize) {
                return Err(Trouble::Unaligned);
            }
            lifter.bytes(offset, size)?;
            lifter.charge(length, ENTRY_COST)?;
            load_entries(lifter, entry, offset, length, writer)?;
        }
        _ => return Err(Trouble::Unsupported),
    }
    Ok(())
}

/// What one element of a list is taken to cost the receiving side, in bytes.
const ELEMENT_COST: usize = 16;
/// What one entry of a map is.
const ENTRY_COST: usize = 40;
/// What an error is, without its text.
const ERROR_COST: usize = 128;

fn load_string(
    lifter: &mut Lifter<'_, '_>,
    offset: usize,
    length: usize,
    writer: &mut dyn Writer,
) -> Result<(), Trouble> {
    let tag = UTF16_TAG as usize;
    match lifter.encoding {
        StringEncoding::Utf8 => {
            writer.string(utf8(lifter, offset, length)?);
            Ok(())
        }
        StringEncoding::CompactUtf16 if length & tag == 0 => {
            let bytes = lifter.bytes(offset, length)?;
            lifter.charge(length, 4)?;
            let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
            write_owned(text, writer);
            Ok(())
        }
        StringEncoding::Utf16 | StringEncoding::CompactUtf16 => {
            let units = length & !tag;
            let bytes = lifter.bytes(offset, units.checked_mul(2).ok_or(Trouble::OutOfBounds)?)?;
            if !offset.is_multiple_of(2) {
                return Err(Trouble::Unaligned);
            }
            lifter.charge(units, 4)?;
            let units = bytes
                .as_chunks::<2>()
                .0
                .iter()
                .map(|unit| u16::from_le_bytes(*unit));
            let text: Result<String, _> = char::decode_utf16(units).collect();
            write_owned(text.map_err(|_| Trouble::NotUtf8)?, writer);
            Ok(())
        }
    }
}

/// Writes a string that had to be made. A writer that leaves by a jump leaks it, which is safe and bounded by the
/// charge; only guests that are short of the receiver's memory and use UTF-16 ever do that.
fn write_owned(text: String, writer: &mut dyn Writer) {
    writer.string(text.as_bytes());
    drop(text);
}

fn load_elements(
    lifter: &mut Lifter<'_, '_>,
    element: &Node,
    base: usize,
    length: usize,
    writer: &mut dyn Writer,
) -> Result<(), Trouble> {
    writer.table(length, 0)?;
    for index in 0..length {
        load(lifter, element, base + index * element.size as usize, writer)?;
        writer.set_index(index);
    }
    write_length(element.nilable, length, writer);
    Ok(())
}

/// Where the guest gives a key twice, the last of its values stays.
fn load_entries(
    lifter: &mut Lifter<'_, '_>,
    entry: &Entry,
    base: usize,
    length: usize,
    writer: &mut dyn Writer,
) -> Result<(), Trouble> {
    writer.table(0, length)?;
    for index in 0..length {
        let place = base + index * entry.size as usize;
        load(lifter, &entry.key, place, writer)?;
        load(lifter, &entry.value, place + entry.value_offset as usize, writer)?;
        writer.set_pair();
    }
    Ok(())
}

/// Arrays whose elements can be nil carry their length in `n`, as `table.pack` does.
fn write_length(nilable: bool, length: usize, writer: &mut dyn Writer) {
    if nilable {
        writer.integer(i64::try_from(length).unwrap_or(i64::MAX));
        writer.set_key(&well_known::N);
    }
}

fn write_none(form: OptionForm, writer: &mut dyn Writer) -> Result<(), Trouble> {
    match form {
        OptionForm::Bare | OptionForm::Wrapped => writer.nil(),
        OptionForm::Marked => {
            writer.table(0, 1)?;
            writer.boolean(true);
            writer.set_key(&well_known::NONE);
        }
    }
    Ok(())
}

fn wrapped(
    form: OptionForm,
    writer: &mut dyn Writer,
    payload: impl FnOnce(&mut dyn Writer) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    if form == OptionForm::Bare {
        return payload(writer);
    }
    writer.table(0, 1)?;
    payload(writer)?;
    writer.set_key(&well_known::SOME);
    Ok(())
}

/// A side of a `result`.
struct Side<'a> {
    is_ok: bool,
    payload: Option<&'a Node>,
}

fn result_side<'a>(tag: u32, ok: Option<&'a Node>, err: Option<&'a Node>) -> Result<Side<'a>, Trouble> {
    match tag {
        0 => Ok(Side {
            is_ok: true,
            payload: ok,
        }),
        1 => Ok(Side {
            is_ok: false,
            payload: err,
        }),
        tag => Err(Trouble::BadDiscriminant(tag)),
    }
}

fn write_side(
    side: &Side<'_>,
    writer: &mut dyn Writer,
    mut payload: impl FnMut(&Node, &mut dyn Writer) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let key = if side.is_ok {
        &*well_known::OK
    } else {
        &*well_known::ERR
    };
    writer.table(0, 1)?;
    match side.payload {
        Some(node) => payload(node, writer)?,
        None => writer.boolean(true),
    }
    writer.set_key(key);
    // A nil leaves no trace in a table, so an error that can be nil is told apart by its tag.
    if !side.is_ok && side.payload.is_some_and(|node| node.nilable) {
        writer.string(key.name().as_bytes());
        writer.set_key(&well_known::TAG);
    }
    Ok(())
}

fn case_of(tag: u32, cases: &[Case]) -> Result<&Case, Trouble> {
    cases.get(tag as usize).ok_or(Trouble::BadDiscriminant(tag))
}

fn begin_variant(case: &Case, writer: &mut dyn Writer) -> Result<(), Trouble> {
    writer.table(0, 2)?;
    writer.string(case.key.name().as_bytes());
    writer.set_key(&well_known::TAG);
    Ok(())
}

fn write_char(scalar: u32, writer: &mut dyn Writer) -> Result<(), Trouble> {
    let c = char::from_u32(scalar).ok_or(Trouble::BadChar)?;
    writer.string(c.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(())
}

fn write_case(tag: u32, cases: &[wippy_wit::Key], writer: &mut dyn Writer) -> Result<(), Trouble> {
    let case = cases.get(tag as usize).ok_or(Trouble::BadDiscriminant(tag))?;
    writer.string(case.name().as_bytes());
    Ok(())
}

fn write_flags(
    flags: &[Field],
    writer: &mut dyn Writer,
    word: impl Fn(usize) -> Result<u32, Trouble>,
) -> Result<(), Trouble> {
    writer.table(0, flags.len())?;
    for (index, flag) in flags.iter().enumerate() {
        if word(index / 32)? & (1 << (index % 32)) != 0 {
            writer.boolean(true);
            writer.set_key(&flag.key);
        }
    }
    Ok(())
}
