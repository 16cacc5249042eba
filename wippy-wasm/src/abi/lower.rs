//! Into the guest: arguments from a cursor to core values and guest memory.

use std::{any::Any, mem::MaybeUninit, ptr::NonNull};

use wasmtime::{
    ValRaw,
    component::{
        __internal::{InterfaceType, LowerContext, wasmtime_environ::component::StringEncoding},
        Lower as _, ResourceAny,
    },
};
use wippy_wit::{
    Case, Entry, Error, Field, Kind, MAX_FLAT_PARAMS, Node, OptionForm, Reader, Step,
    accept::{self, Entries, Payload},
};

use super::{UTF16_TAG, flow, out_of_bounds};
use crate::{instance::Invocation, resource::Resource, state::GuestState};

/// Guest memory while arguments are put into it.
pub(super) struct Lowerer<'a, 'b, T: 'static> {
    pub(super) cx: &'a mut LowerContext<'b, T>,
    pub(super) invocation: &'a Invocation<'a>,
    /// The engine's type of the parameter list.
    ty: InterfaceType,
    /// The guest's memory, once it was looked up, until the guest runs.
    memory: Option<NonNull<[u8]>>,
    /// The encoding of its strings, once it was looked up.
    encoding: Option<StringEncoding>,
}

impl<'a, 'b, T> Lowerer<'a, 'b, T> {
    /// For the parameters of a call, whose list is of the engine's type `ty`.
    #[inline]
    pub(super) fn new(
        cx: &'a mut LowerContext<'b, T>,
        invocation: &'a Invocation<'a>,
        ty: InterfaceType,
    ) -> Self {
        Self {
            cx,
            invocation,
            ty,
            memory: None,
            encoding: None,
        }
    }

    /// Room of the guest's own; the address is checked to be aligned and within its memory.
    fn realloc(&mut self, align: u32, size: usize) -> wasmtime::Result<usize> {
        self.memory = None;
        self.cx.realloc(0, 0, align, size)
    }

    #[inline]
    fn memory(&mut self) -> &mut [u8] {
        let memory = match self.memory {
            Some(memory) => memory,
            None => *self.memory.insert(NonNull::from(self.cx.as_slice_mut())),
        };
        // SAFETY: see the fourth point of `super`: `realloc` forgets the address. The engine hands nobody else a slice of the
        // memory while its store is borrowed here.
        unsafe { &mut *memory.as_ptr() }
    }

    fn encoding(&mut self) -> StringEncoding {
        let cx = &self.cx;
        *self.encoding.get_or_insert_with(|| cx.options().string_encoding)
    }

    /// The guest's index for the resource under the cursor.
    fn resource(&mut self, node: &Node, reader: &mut dyn Reader) -> wasmtime::Result<u32> {
        let datum = reader.datum();
        let (Some(resource), Some(keeper)) = (Resource::of(&datum), self.invocation.keeper) else {
            let (Kind::Own(name) | Kind::Borrow(name)) = &node.kind else {
                return Err(unsupported(node));
            };
            return Err(Error::expected(format_args!("resource {name}"), datum.type_name()).into());
        };
        let handle = match node.kind {
            Kind::Own(_) => resource.give(keeper)?,
            _ => resource.lend(keeper)?,
        };
        self.lower_handle(node, handle)
    }

    /// The guest's index for the channel under the cursor.
    fn flow(&mut self, node: &Node, reader: &mut dyn Reader) -> wasmtime::Result<u32> {
        let given = accept::flow(reader, &node.kind)?;
        let method = self.invocation.method;
        let roots = method.plan().params.iter().map(|param| &param.node);
        let ty = method
            .param_handles
            .of(node, roots, self.cx.types, self.ty)
            .ok_or_else(|| unsupported(node))?;
        flow::lower(self.cx, ty, &node.kind, given)
    }

    /// A handle of the guest's own for what the error or the string under the cursor says.
    fn error_context(&mut self, reader: &mut dyn Reader) -> wasmtime::Result<u32> {
        let failure = accept::error_context(reader)?;
        let state: &dyn Any = self.cx.store.data();
        let state = state.downcast_ref::<GuestState>();
        let error_contexts = state.and_then(|state| state.error_contexts.as_deref());
        let error_contexts =
            error_contexts.ok_or_else(|| wasmtime::format_err!("the instance has no error contexts"))?;
        Ok(error_contexts.insert(failure.message())?)
    }

    fn lower_handle(&mut self, node: &Node, handle: ResourceAny) -> wasmtime::Result<u32> {
        let method = self.invocation.method;
        let roots = method.plan().params.iter().map(|param| &param.node);
        let ty = method
            .param_handles
            .of(node, roots, self.cx.types, self.ty)
            .ok_or_else(|| unsupported(node))?;
        let mut index = MaybeUninit::uninit();
        handle.linear_lower_to_flat(self.cx, ty, &mut index)?;
        // SAFETY: lowering wrote it, or failed.
        Ok(unsafe { index.assume_init() }.get_u32())
    }
}

/// Lowers all arguments of a call: directly, or to memory if there are too many.
pub(super) fn lower_arguments<T>(
    cx: &mut Lowerer<'_, '_, T>,
    reader: &mut dyn Reader,
    slots: &mut [ValRaw; MAX_FLAT_PARAMS],
) -> wasmtime::Result<()> {
    let Invocation {
        method,
        keeper,
        receiver,
        ..
    } = *cx.invocation;
    let plan = method.plan();
    if plan.params_flat > MAX_FLAT_PARAMS {
        let base = cx.realloc(plan.params_align, plan.params_size as usize)?;
        for (index, param) in plan.params.iter().enumerate() {
            let at = base + param.offset as usize;
            if let (0, Some(receiver), Some(keeper)) = (index, receiver, keeper) {
                let handle = cx.lower_handle(&param.node, receiver.lend(keeper)?)?;
                put(cx, at, handle.to_le_bytes())?;
                continue;
            }
            let index = index - usize::from(receiver.is_some());
            reader.enter_index(index)?;
            store(cx, &param.node, reader, at)
                .map_err(|error| self::at(error, |error| error.at_argument(index, &param.name)))?;
            reader.leave();
        }
        let [first, ..] = slots;
        *first = ValRaw::i64(i64::try_from(base).unwrap_or(i64::MAX));
        return Ok(());
    }
    let mut rest = slots.as_mut_slice();
    for (index, param) in plan.params.iter().enumerate() {
        let Some((mine, others)) = rest.split_at_mut_checked(param.node.flat) else {
            return Err(wasmtime::format_err!(
                "the plan does not count its own parameters"
            ));
        };
        rest = others;
        if let (0, Some(receiver), Some(keeper), [slot, ..]) = (index, receiver, keeper, &mut *mine) {
            *slot = ValRaw::u32(cx.lower_handle(&param.node, receiver.lend(keeper)?)?);
            continue;
        }
        let index = index - usize::from(receiver.is_some());
        match reader.step_index(index)? {
            Step::Scalar(scalar) => {
                if let (Some(value), [slot]) = (accept::plain(&param.node.kind, scalar), &mut *mine) {
                    *slot = ValRaw::u64(value);
                    continue;
                }
                reader.enter_index(index)?;
            }
            Step::Text(text) => {
                let lowered = lower_text(cx, &param.node, text)
                    .map_err(|error| at(error, |error| error.at_argument(index, &param.name)))?;
                if let (Some((pointer, length)), [first, second]) = (lowered, &mut *mine) {
                    (*first, *second) = (ValRaw::u32(pointer), ValRaw::u32(length));
                    reader.leave();
                    continue;
                }
            }
            Step::Other => {}
        }
        lower_flat(cx, &param.node, reader, mine)
            .map_err(|error| at(error, |error| error.at_argument(index, &param.name)))?;
        reader.leave();
    }
    Ok(())
}

/// Adds a step to the path of a mapping error; others stay as they are.
#[cold]
fn at(error: wasmtime::Error, step: impl FnOnce(Error) -> Error) -> wasmtime::Error {
    match error.downcast::<Error>() {
        Ok(error) => step(error).into(),
        Err(other) => other,
    }
}

/// Lowers the value under the cursor to core values. Slots that a variant's case does not use stay zero.
fn lower_flat<T>(
    cx: &mut Lowerer<'_, '_, T>,
    node: &Node,
    reader: &mut dyn Reader,
    slots: &mut [ValRaw],
) -> wasmtime::Result<()> {
    let Some((first, rest)) = slots.split_first_mut() else {
        return lower_empty(node, reader);
    };
    // `ValRaw`'s constructors extend 32-bit values with zeros to 64 bits, which is what a joined slot asks for.
    match &node.kind {
        Kind::Bool => *first = ValRaw::u32(accept::boolean(reader)?.into()),
        Kind::U8 => *first = ValRaw::u32(accept::u8(reader)?.into()),
        Kind::S8 => *first = ValRaw::i32(accept::s8(reader)?.into()),
        Kind::U16 => *first = ValRaw::u32(accept::u16(reader)?.into()),
        Kind::S16 => *first = ValRaw::i32(accept::s16(reader)?.into()),
        Kind::U32 => *first = ValRaw::u32(accept::u32(reader)?),
        Kind::S32 => *first = ValRaw::i32(accept::s32(reader)?),
        Kind::U64 => *first = ValRaw::u64(accept::u64(reader)?),
        Kind::S64 => *first = ValRaw::i64(accept::s64(reader)?),
        Kind::F32 => *first = ValRaw::f32(accept::float32(reader)?.to_bits()),
        Kind::F64 => *first = ValRaw::f64(accept::float(reader)?.to_bits()),
        Kind::Char => *first = ValRaw::u32(accept::character(reader)?.into()),
        Kind::Enum { cases, .. } => *first = ValRaw::u32(index_u32(accept::enumeration(reader, cases)?)),
        Kind::String | Kind::Bytes | Kind::List(_) | Kind::Map(_) => {
            let (pointer, length) = lower_sequence(cx, node, reader)?;
            *first = ValRaw::u32(pointer);
            if let Some(second) = rest.first_mut() {
                *second = ValRaw::u32(length);
            }
        }
        Kind::Record(fields) => {
            accept::record(reader)?;
            lower_fields(
                cx,
                fields,
                reader,
                slots,
                |reader, index, _| accept::field(reader, fields, index),
                at_field,
            )?;
        }
        Kind::Tuple(fields) => {
            accept::tuple(reader, fields)?;
            lower_fields(
                cx,
                fields,
                reader,
                slots,
                |reader, index, _| reader.enter_index(index),
                at_element,
            )?;
        }
        Kind::FixedList(element, length) => {
            accept::fixed_list(reader, element, *length)?;
            for (index, slots) in slots.chunks_mut(element.flat.max(1)).enumerate() {
                reader.enter_index(index)?;
                lower_flat(cx, element, reader, slots)
                    .map_err(|error| at(error, |error| error.at_index(index)))?;
                reader.leave();
            }
        }
        Kind::Option { some, form, .. } => {
            if let Some(payload) = accept::option(reader, *form)? {
                *first = ValRaw::u32(1);
                lower_payload_flat(cx, some, payload, reader, rest)
                    .map_err(|error| at(error, |error| some_step(error, *form)))?;
            }
        }
        Kind::Result { ok, err, .. } => {
            let (is_ok, payload) = accept::result(reader, ok.as_deref(), err.as_deref())?;
            *first = ValRaw::u32(u32::from(!is_ok));
            if let (Some(node), Payload::Entered) = (if is_ok { ok } else { err }, payload) {
                lower_payload_flat(cx, node, payload, reader, rest)
                    .map_err(|error| at(error, |error| error.at_field(side_name(is_ok))))?;
            }
        }
        Kind::Variant { cases, .. } => {
            let (index, payload) = accept::variant(reader, cases)?;
            *first = ValRaw::u32(index_u32(index));
            if let (
                Some(Case {
                    payload: Some(node),
                    key,
                }),
                Payload::Entered,
            ) = (cases.get(index), payload)
            {
                lower_payload_flat(cx, node, payload, reader, rest)
                    .map_err(|error| at(error, |error| error.at_field(key.name())))?;
            }
        }
        Kind::Flags { flags } => {
            let mut words = [0_u32; FLAG_WORDS_MAX];
            read_flags(reader, flags, &mut words)?;
            for (slot, word) in slots.iter_mut().zip(words) {
                *slot = ValRaw::u32(word);
            }
        }
        Kind::Own(_) | Kind::Borrow(_) => *first = ValRaw::u32(cx.resource(node, reader)?),
        Kind::Stream(_) | Kind::Future(_) => *first = ValRaw::u32(cx.flow(node, reader)?),
        Kind::ErrorContext => *first = ValRaw::u32(cx.error_context(reader)?),
    }
    Ok(())
}

/// The types that flatten to nothing: records and tuples without fields, flags without flags.
fn lower_empty(node: &Node, reader: &mut dyn Reader) -> wasmtime::Result<()> {
    match &node.kind {
        Kind::Tuple(fields) => accept::tuple(reader, fields)?,
        Kind::Flags { flags } => accept::flags(reader, flags, |_| ())?,
        _ => accept::record(reader)?,
    }
    Ok(())
}

/// How a step into a record or a tuple is named in an error's path.
type AtPart = fn(Error, usize, &Field) -> Error;

fn at_field(error: Error, _: usize, field: &Field) -> Error {
    error.at_field(&wippy_wit::names::snake(field.key.name()))
}

fn at_element(error: Error, index: usize, _: &Field) -> Error {
    error.at_index(index)
}

fn side_name(is_ok: bool) -> &'static str {
    if is_ok { "ok" } else { "err" }
}

/// Only options that need a wrapper are a step of the path.
fn some_step(error: Error, form: OptionForm) -> Error {
    match form {
        OptionForm::Bare => error,
        OptionForm::Wrapped | OptionForm::Marked => error.at_field("some"),
    }
}

fn lower_fields<T>(
    cx: &mut Lowerer<'_, '_, T>,
    fields: &[Field],
    reader: &mut dyn Reader,
    slots: &mut [ValRaw],
    enter: impl Fn(&mut dyn Reader, usize, &Field) -> Result<(), Error>,
    step: AtPart,
) -> wasmtime::Result<()> {
    let mut rest = slots;
    for (index, field) in fields.iter().enumerate() {
        let Some((mine, others)) = rest.split_at_mut_checked(field.node.flat) else {
            return Err(wasmtime::format_err!("the plan does not count its own fields"));
        };
        enter(reader, index, field)?;
        lower_flat(cx, &field.node, reader, mine)
            .map_err(|error| at(error, |error| step(error, index, field)))?;
        reader.leave();
        rest = others;
    }
    Ok(())
}

fn lower_payload_flat<T>(
    cx: &mut Lowerer<'_, '_, T>,
    node: &Node,
    payload: Payload,
    reader: &mut dyn Reader,
    slots: &mut [ValRaw],
) -> wasmtime::Result<()> {
    let mine = slots.get_mut(..node.flat).unwrap_or_default();
    lower_flat(cx, node, reader, mine)?;
    if payload == Payload::Entered {
        reader.leave();
    }
    Ok(())
}

/// Stores the value under the cursor at `offset` in guest memory, which has room for it.
pub(super) fn store<T>(
    cx: &mut Lowerer<'_, '_, T>,
    node: &Node,
    reader: &mut dyn Reader,
    offset: usize,
) -> wasmtime::Result<()> {
    match &node.kind {
        Kind::Bool => put(cx, offset, [u8::from(accept::boolean(reader)?)])?,
        Kind::U8 => put(cx, offset, [accept::u8(reader)?])?,
        Kind::S8 => put(cx, offset, accept::s8(reader)?.to_le_bytes())?,
        Kind::U16 => put(cx, offset, accept::u16(reader)?.to_le_bytes())?,
        Kind::S16 => put(cx, offset, accept::s16(reader)?.to_le_bytes())?,
        Kind::U32 => put(cx, offset, accept::u32(reader)?.to_le_bytes())?,
        Kind::S32 => put(cx, offset, accept::s32(reader)?.to_le_bytes())?,
        Kind::U64 => put(cx, offset, accept::u64(reader)?.to_le_bytes())?,
        Kind::S64 => put(cx, offset, accept::s64(reader)?.to_le_bytes())?,
        Kind::F32 => put(cx, offset, accept::float32(reader)?.to_le_bytes())?,
        Kind::F64 => put(cx, offset, accept::float(reader)?.to_le_bytes())?,
        Kind::Char => put(cx, offset, u32::from(accept::character(reader)?).to_le_bytes())?,
        Kind::Enum { cases, tag } => put_tag(cx, offset, *tag, accept::enumeration(reader, cases)?)?,
        Kind::String | Kind::Bytes | Kind::List(_) | Kind::Map(_) => {
            let (pointer, length) = lower_sequence(cx, node, reader)?;
            let both = u64::from(pointer) | u64::from(length) << 32;
            put(cx, offset, both.to_le_bytes())?;
        }
        Kind::Record(fields) => {
            accept::record(reader)?;
            for (index, field) in fields.iter().enumerate() {
                let place = offset + field.offset as usize;
                let step = reader.step_key(&field.key)?;
                let stored = match put_step(cx, &field.node, step, place) {
                    Ok(Stepped::Stored) => continue,
                    Ok(Stepped::Left) => Ok(()),
                    Ok(Stepped::Here) => store(cx, &field.node, reader, place),
                    Ok(Stepped::Before) => {
                        accept::field(reader, fields, index)?;
                        store(cx, &field.node, reader, place)
                    }
                    Err(error) => Err(error),
                };
                stored.map_err(|error| at(error, |error| at_field(error, 0, field)))?;
                reader.leave();
            }
        }
        Kind::Tuple(fields) => {
            accept::tuple(reader, fields)?;
            for (index, field) in fields.iter().enumerate() {
                reader.enter_index(index)?;
                store(cx, &field.node, reader, offset + field.offset as usize)
                    .map_err(|error| at(error, |error| error.at_index(index)))?;
                reader.leave();
            }
        }
        Kind::FixedList(element, length) => {
            accept::fixed_list(reader, element, *length)?;
            store_elements(cx, element, reader, offset, *length as usize)?;
        }
        Kind::Option {
            some,
            offset: payload_at,
            form,
        } => match accept::option(reader, *form)? {
            None => put(cx, offset, [0])?,
            Some(payload) => {
                put(cx, offset, [1])?;
                store_payload(cx, some, payload, reader, offset + *payload_at as usize)
                    .map_err(|error| at(error, |error| some_step(error, *form)))?;
            }
        },
        Kind::Result {
            ok,
            err,
            offset: payload_at,
        } => {
            let (is_ok, payload) = accept::result(reader, ok.as_deref(), err.as_deref())?;
            put(cx, offset, [u8::from(!is_ok)])?;
            if let (Some(node), Payload::Entered) = (if is_ok { ok } else { err }, payload) {
                store_payload(cx, node, payload, reader, offset + *payload_at as usize)
                    .map_err(|error| at(error, |error| error.at_field(side_name(is_ok))))?;
            }
        }
        Kind::Variant {
            cases,
            tag,
            offset: payload_at,
        } => {
            let (index, payload) = accept::variant(reader, cases)?;
            put_tag(cx, offset, *tag, index)?;
            if let (
                Some(Case {
                    payload: Some(node),
                    key,
                }),
                Payload::Entered,
            ) = (cases.get(index), payload)
            {
                store_payload(cx, node, payload, reader, offset + *payload_at as usize)
                    .map_err(|error| at(error, |error| error.at_field(key.name())))?;
            }
        }
        Kind::Flags { flags } => {
            let mut words = [0_u32; FLAG_WORDS_MAX];
            read_flags(reader, flags, &mut words)?;
            for (index, byte) in words
                .iter()
                .flat_map(|word| word.to_le_bytes())
                .take(node.size as usize)
                .enumerate()
            {
                put(cx, offset + index, [byte])?;
            }
        }
        Kind::Own(_) | Kind::Borrow(_) => {
            let handle = cx.resource(node, reader)?;
            put(cx, offset, handle.to_le_bytes())?;
        }
        Kind::Stream(_) | Kind::Future(_) => {
            let handle = cx.flow(node, reader)?;
            put(cx, offset, handle.to_le_bytes())?;
        }
        Kind::ErrorContext => {
            let handle = cx.error_context(reader)?;
            put(cx, offset, handle.to_le_bytes())?;
        }
    }
    Ok(())
}

fn store_payload<T>(
    cx: &mut Lowerer<'_, '_, T>,
    node: &Node,
    payload: Payload,
    reader: &mut dyn Reader,
    offset: usize,
) -> wasmtime::Result<()> {
    store(cx, node, reader, offset)?;
    if payload == Payload::Entered {
        reader.leave();
    }
    Ok(())
}

fn store_elements<T>(
    cx: &mut Lowerer<'_, '_, T>,
    element: &Node,
    reader: &mut dyn Reader,
    base: usize,
    length: usize,
) -> wasmtime::Result<()> {
    for index in 0..length {
        let place = base + index * element.size as usize;
        let step = reader.step_index(index)?;
        let stored = match put_step(cx, element, step, place) {
            Ok(Stepped::Stored) => continue,
            Ok(Stepped::Left) => Ok(()),
            Ok(Stepped::Here) => store(cx, element, reader, place),
            Ok(Stepped::Before) => {
                reader.enter_index(index)?;
                store(cx, element, reader, place)
            }
            Err(error) => Err(error),
        };
        stored.map_err(|error| at(error, |error| error.at_index(index)))?;
        reader.leave();
    }
    Ok(())
}

/// What has come of the value that a step led to.
enum Stepped {
    /// It is stored, and the cursor has not moved.
    Stored,
    /// It is stored, and the cursor is still on it.
    Left,
    /// It is to be stored, and the cursor is on it.
    Here,
    /// It is to be stored, and the cursor has yet to go there.
    Before,
}

/// Stores what `step` led to, if it is a value of `node`'s type as it stands.
#[inline]
fn put_step<T>(
    cx: &mut Lowerer<'_, '_, T>,
    node: &Node,
    step: Step<'_>,
    offset: usize,
) -> wasmtime::Result<Stepped> {
    match step {
        Step::Scalar(scalar) => {
            let Some(value) = accept::plain(&node.kind, scalar) else {
                return Ok(Stepped::Before);
            };
            let [a, b, c, d, ..] = value.to_le_bytes();
            match node.size {
                1 => put(cx, offset, [a])?,
                2 => put(cx, offset, [a, b])?,
                4 => put(cx, offset, [a, b, c, d])?,
                _ => put(cx, offset, value.to_le_bytes())?,
            }
            Ok(Stepped::Stored)
        }
        Step::Text(text) => {
            let Some((pointer, length)) = lower_text(cx, node, text)? else {
                return Ok(Stepped::Here);
            };
            let both = u64::from(pointer) | u64::from(length) << 32;
            put(cx, offset, both.to_le_bytes())?;
            Ok(Stepped::Left)
        }
        Step::Other => Ok(Stepped::Here),
    }
}

/// Puts `text` into memory of the guest's own, if it is a value of `node`'s type as it stands.
#[inline]
fn lower_text<T>(
    cx: &mut Lowerer<'_, '_, T>,
    node: &Node,
    text: &[u8],
) -> wasmtime::Result<Option<(u32, u32)>> {
    let is_fit = match &node.kind {
        Kind::Bytes => true,
        Kind::String => cx.encoding() == StringEncoding::Utf8 && accept::is_utf8(text),
        _ => false,
    };
    if !is_fit {
        return Ok(None);
    }
    lower_bytes(cx, text, 1, text.len()).map(Some)
}

/// Puts a string, bytes, a list or a map into memory of the guest's own and gives its pointer and length.
fn lower_sequence<T>(
    cx: &mut Lowerer<'_, '_, T>,
    node: &Node,
    reader: &mut dyn Reader,
) -> wasmtime::Result<(u32, u32)> {
    match &node.kind {
        Kind::String => {
            let datum = reader.datum();
            if cx.encoding() == StringEncoding::Utf8 {
                let bytes = accept::utf8(&datum)?;
                return lower_bytes(cx, bytes, 1, bytes.len());
            }
            lower_string(cx, accept::string(&datum)?)
        }
        Kind::Bytes => {
            if let wippy_wit::Datum::String(bytes) = reader.datum() {
                return lower_bytes(cx, bytes, 1, bytes.len());
            }
            let byte = Node {
                kind: Kind::U8,
                size: 1,
                align: 1,
                flat: 1,
                nilable: false,
                allocates: false,
            };
            let length = accept::byte_list(reader)?;
            lower_list(cx, &byte, length, reader)
        }
        Kind::List(element) => {
            let length = accept::list(reader, element)?;
            lower_list(cx, element, length, reader)
        }
        Kind::Map(entry) => lower_map(cx, entry, reader),
        _ => Err(unsupported(node)),
    }
}

fn lower_list<T>(
    cx: &mut Lowerer<'_, '_, T>,
    element: &Node,
    length: usize,
    reader: &mut dyn Reader,
) -> wasmtime::Result<(u32, u32)> {
    let size = sequence_size(length, element.size)
        .ok_or_else(|| Error::new(format!("a list of {length} elements is too large")))?;
    let base = cx.realloc(element.align, size)?;
    store_elements(cx, element, reader, base, length)?;
    Ok((index_u32(base), index_u32(length)))
}

/// The bytes of `length` elements of `size` each, unless they are more than the canonical ABI allows.
fn sequence_size(length: usize, size: u32) -> Option<usize> {
    let size = length.checked_mul(size as usize)?;
    (size < SEQUENCE_BYTES_MAX).then_some(size)
}

fn lower_map<T>(
    cx: &mut Lowerer<'_, '_, T>,
    entry: &Entry,
    reader: &mut dyn Reader,
) -> wasmtime::Result<(u32, u32)> {
    let length = Entries::count(reader)?;
    let size = sequence_size(length, entry.size)
        .ok_or_else(|| Error::new(format!("a map of {length} entries is too large")))?;
    let base = cx.realloc(entry.align, size)?;
    let mut entries = Entries::new(reader)?;
    // Nothing runs meanwhile that could change the table, so there are as many as were counted.
    for index in 0..length {
        let place = base + index * entry.size as usize;
        let Some(key) = entries.next(reader, &entry.key)? else {
            return Err(Error::new("the map changed while it was read").into());
        };
        key.read(reader, |reader| store(cx, &entry.key, reader, place))
            .map_err(|error| at(error, |error| entries.at_key(&error)))?;
        entries.enter_value(reader)?;
        store(cx, &entry.value, reader, place + entry.value_offset as usize)
            .map_err(|error| at(error, |error| entries.at_value(error)))?;
        reader.leave();
    }
    Ok((index_u32(base), index_u32(length)))
}

fn lower_bytes<T>(
    cx: &mut Lowerer<'_, '_, T>,
    bytes: &[u8],
    align: u32,
    units: usize,
) -> wasmtime::Result<(u32, u32)> {
    if bytes.len() >= SEQUENCE_BYTES_MAX {
        return Err(Error::new(format!("{} bytes are too many", bytes.len())).into());
    }
    let base = cx.realloc(align, bytes.len())?;
    let memory = cx.memory();
    match memory
        .get_mut(base..)
        .and_then(|memory| memory.get_mut(..bytes.len()))
    {
        Some(room) => room.copy_from_slice(bytes),
        None => return Err(out_of_bounds()),
    }
    Ok((index_u32(base), index_u32(units)))
}

/// Strings go in the encoding that the component chose; few choose anything but UTF-8.
fn lower_string<T>(cx: &mut Lowerer<'_, '_, T>, text: &str) -> wasmtime::Result<(u32, u32)> {
    match cx.encoding() {
        StringEncoding::Utf8 => lower_bytes(cx, text.as_bytes(), 1, text.len()),
        StringEncoding::Utf16 => {
            let bytes = utf16_bytes(text);
            lower_bytes(cx, &bytes, 2, bytes.len() / 2)
        }
        StringEncoding::CompactUtf16 => {
            let latin1: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
            if let Some(bytes) = latin1 {
                return lower_bytes(cx, &bytes, 2, bytes.len());
            }
            let bytes = utf16_bytes(text);
            let (pointer, units) = lower_bytes(cx, &bytes, 2, bytes.len() / 2)?;
            Ok((pointer, units | UTF16_TAG))
        }
    }
}

fn utf16_bytes(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// The canonical ABI's limit for a string or a list, less one bit for the tag of compact UTF-16.
const SEQUENCE_BYTES_MAX: usize = 1 << 31;
/// Flags travel in at most this many words: the ABI's sixteen flat values bound them in parameters, and nothing
/// larger is met in practice.
const FLAG_WORDS_MAX: usize = 64;

fn read_flags(
    reader: &mut dyn Reader,
    flags: &[Field],
    words: &mut [u32; FLAG_WORDS_MAX],
) -> Result<(), Error> {
    if flags.len() > FLAG_WORDS_MAX * 32 {
        return Err(Error::new(format!(
            "flags with more than {} members are not supported",
            FLAG_WORDS_MAX * 32
        )));
    }
    accept::flags(reader, flags, |index| {
        if let Some(word) = words.get_mut(index / 32) {
            *word |= 1 << (index % 32);
        }
    })
}

fn put<T, const N: usize>(
    cx: &mut Lowerer<'_, '_, T>,
    offset: usize,
    bytes: [u8; N],
) -> wasmtime::Result<()> {
    let room = cx
        .memory()
        .get_mut(offset..)
        .and_then(|memory| memory.first_chunk_mut::<N>());
    *room.ok_or_else(out_of_bounds)? = bytes;
    Ok(())
}

fn put_tag<T>(cx: &mut Lowerer<'_, '_, T>, offset: usize, size: u32, index: usize) -> wasmtime::Result<()> {
    let [a, b, c, d] = index_u32(index).to_le_bytes();
    match size {
        1 => put(cx, offset, [a]),
        2 => put(cx, offset, [a, b]),
        _ => put(cx, offset, [a, b, c, d]),
    }
}

/// Offsets and counts in a 32-bit memory; larger ones were refused before.
fn index_u32(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cold]
fn unsupported(node: &Node) -> wasmtime::Error {
    let what = match &node.kind {
        Kind::Own(name) | Kind::Borrow(name) => format!("resource `{name}`"),
        _ => "this type".to_owned(),
    };
    Error::new(format!("values of type {what} cannot cross this call")).into()
}
