//! Random types and values, for property tests of whatever carries values.
//!
//! Names are drawn from those that are easy to get wrong: WIT keywords, the mapping's own words, and such that differ
//! between `kebab-case` and `snake_case`.

mod bytes;

use std::{fmt::Write as _, sync::Arc};

use proptest::{
    collection::vec,
    prelude::{BoxedStrategy, Just, Strategy, any},
    prop_oneof,
    sample::select,
    strategy::Union,
};

pub use self::bytes::Choices;
use crate::{Table, Type, TypeCase, TypeField, Value, types::Name};

/// How deep [`ty`] nests types.
const DEPTH: u32 = 5;

/// Any type of which there are plain values. Named types have names that are unique within the type.
pub fn ty() -> BoxedStrategy<Type> {
    leaf()
        .prop_recursive(DEPTH, 24, 4, |inner| {
            let arc = inner.clone().prop_map(Arc::new).boxed();
            let list = arc.clone().prop_map(Type::List);
            let fixed = (arc.clone(), 1_u32..4).prop_map(|(element, len)| Type::FixedList(element, len));
            let map = (key().prop_map(Arc::new), arc.clone()).prop_map(|(key, value)| Type::Map(key, value));
            let payload = maybe(inner.clone());
            prop_oneof![
                2 => list,
                1 => fixed,
                1 => map,
                2 => arc.clone().prop_map(Type::Option),
                1 => (maybe(arc.clone()), maybe(arc)).prop_map(|(ok, err)| Type::Result { ok, err }),
                1 => vec(inner.clone(), 1..5).prop_map(|types| Type::Tuple(types.into())),
                2 => (0_usize..100, vec(inner, 1..5)).prop_map(|(first, types)| record(first, types)),
                2 => (0_usize..100, vec(payload, 1..5)).prop_map(|(first, payloads)| variant(first, payloads)),
            ]
        })
        .prop_map(|ty| unique(&ty, &mut 0))
        .boxed()
}

/// A type and a value of it, in canonical form.
pub fn ty_and_value() -> BoxedStrategy<(Type, Value)> {
    ty().prop_flat_map(|ty| (Just(ty.clone()), value_of(&ty))).boxed()
}

fn maybe<T: Clone + std::fmt::Debug + 'static>(some: BoxedStrategy<T>) -> BoxedStrategy<Option<T>> {
    prop_oneof![1 => Just(None), 3 => some.prop_map(Some)].boxed()
}

const INTEGERS: [Type; 8] = [
    Type::U8,
    Type::U16,
    Type::U32,
    Type::U64,
    Type::S8,
    Type::S16,
    Type::S32,
    Type::S64,
];

/// The types that the keys of a map may have.
fn key() -> impl Strategy<Value = Type> {
    prop_oneof![
        2 => select(INTEGERS.to_vec()),
        1 => Just(Type::Bool),
        1 => Just(Type::Char),
        3 => Just(Type::String),
    ]
}

fn leaf() -> impl Strategy<Value = Type> {
    prop_oneof![
        3 => select(INTEGERS.to_vec()),
        1 => select(vec![Type::F32, Type::F64]),
        1 => Just(Type::Bool),
        1 => Just(Type::Char),
        2 => Just(Type::String),
        1 => Just(Type::List(Arc::new(Type::U8))),
        1 => (0_usize..100, sizes()).prop_map(|(first, len)| Type::Enum {
            name: "".into(),
            cases: names(first, len).collect(),
        }),
        1 => (0_usize..100, sizes()).prop_map(|(first, len)| Type::Flags {
            name: "".into(),
            flags: names(first, len).collect(),
        }),
    ]
}

/// Few names mostly, and now and then as many as change the layout.
fn sizes() -> BoxedStrategy<usize> {
    prop_oneof![6 => 1_usize..6, 1 => prop_oneof![Just(8_usize), Just(9), Just(16), Just(17), Just(33), Just(70)]]
        .boxed()
}

fn record(first: usize, types: Vec<Type>) -> Type {
    let names = names(first, types.len());
    let fields = names
        .zip(types)
        .map(|(name, ty)| TypeField { name, ty })
        .collect();
    Type::Record {
        name: "".into(),
        fields,
    }
}

fn variant(first: usize, payloads: Vec<Option<Type>>) -> Type {
    let names = names(first, payloads.len());
    let cases = names
        .zip(payloads)
        .map(|(name, payload)| TypeCase { name, payload })
        .collect();
    Type::Variant {
        name: "".into(),
        cases,
    }
}

const NAMES: [&str; 20] = [
    "name",
    "tag-count",
    "n",
    "tag",
    "value",
    "some",
    "none",
    "ok",
    "err",
    "list",
    "string",
    "x",
    "a-b-c",
    "true",
    "inf",
    "URL",
    "nil",
    "end",
    "length",
    "v2",
];

fn names(first: usize, len: usize) -> impl Iterator<Item = Arc<str>> {
    (0..len).map(move |index| match NAMES.get((first + index) % NAMES.len()) {
        Some(name) if index < NAMES.len() => (*name).into(),
        _ => format!("m{index}").into(),
    })
}

/// The same type, in which every named part has its own name.
fn unique(ty: &Type, count: &mut usize) -> Type {
    let mut name = |kind: &str| -> Arc<str> {
        *count += 1;
        format!("{kind}-t{count}").into()
    };
    match ty {
        Type::Enum { cases, .. } => Type::Enum {
            name: name("enum"),
            cases: cases.clone(),
        },
        Type::Flags { flags, .. } => Type::Flags {
            name: name("flags"),
            flags: flags.clone(),
        },
        Type::Record { fields, .. } => Type::Record {
            name: name("record"),
            fields: fields
                .iter()
                .map(|field| TypeField {
                    name: field.name.clone(),
                    ty: unique(&field.ty, count),
                })
                .collect(),
        },
        Type::Variant { cases, .. } => Type::Variant {
            name: name("variant"),
            cases: cases
                .iter()
                .map(|case| TypeCase {
                    name: case.name.clone(),
                    payload: case.payload.as_ref().map(|payload| unique(payload, count)),
                })
                .collect(),
        },
        Type::List(element) => Type::List(unique(element, count).into()),
        Type::FixedList(element, len) => Type::FixedList(unique(element, count).into(), *len),
        Type::Map(key, value) => Type::Map(key.clone(), unique(value, count).into()),
        Type::Option(some) => Type::Option(unique(some, count).into()),
        Type::Tuple(types) => Type::Tuple(types.iter().map(|ty| unique(ty, count)).collect()),
        Type::Result { ok, err } => {
            let mut side = |ty: &Option<Arc<Type>>| ty.as_ref().map(|ty| Arc::new(unique(ty, count)));
            Type::Result {
                ok: side(ok),
                err: side(err),
            }
        }
        other => other.clone(),
    }
}

/// Any value of `ty`, in canonical form: the one that a lift gives. Types that only the engine carries have nil.
pub fn value_of(ty: &Type) -> BoxedStrategy<Value> {
    match ty {
        Type::Bool => any::<bool>().prop_map(Value::Boolean).boxed(),
        Type::U8 => integer(any::<u8>()),
        Type::U16 => integer(any::<u16>()),
        Type::U32 => integer(any::<u32>()),
        Type::S8 => integer(any::<i8>()),
        Type::S16 => integer(any::<i16>()),
        Type::S32 => integer(any::<i32>()),
        Type::S64 => integer(any::<i64>()),
        Type::U64 => prop_oneof![any::<u64>(), 0..9_u64, Just(u64::MAX)]
            .prop_map(Value::from)
            .boxed(),
        Type::F32 => prop_oneof![
            any::<f32>(),
            Just(f32::NAN),
            Just(f32::INFINITY),
            Just(f32::NEG_INFINITY),
            Just(-0.0)
        ]
        // In the interpreter a cast gives a NaN other bits each time, as it may, and values are compared by theirs.
        .prop_map(|value| {
            Value::Float(if cfg!(miri) && value.is_nan() {
                0.0
            } else {
                value.into()
            })
        })
        .boxed(),
        Type::F64 => prop_oneof![
            any::<f64>(),
            Just(f64::NAN),
            Just(f64::INFINITY),
            Just(f64::NEG_INFINITY),
            Just(-0.0)
        ]
        .prop_map(Value::Float)
        .boxed(),
        Type::Char => any::<char>().prop_map(|c| Value::from(String::from(c))).boxed(),
        Type::String => text(),
        Type::List(element) if **element == Type::U8 => {
            vec(any::<u8>(), 0..6).prop_map(Value::string).boxed()
        }
        Type::List(element) => elements(element, 0, 4),
        Type::FixedList(element, len) => {
            let len = usize::try_from(*len).unwrap_or(usize::MAX);
            elements(element, len, len)
        }
        Type::Tuple(types) => {
            let nilable = types.iter().any(Type::is_nilable);
            let elements: Vec<_> = types.iter().map(value_of).collect();
            elements
                .prop_map(move |elements| packed(elements, nilable))
                .boxed()
        }
        Type::Option(some) => {
            let nested = some.is_nilable();
            let wrap = move |value| if nested { wrapped(value) } else { value };
            prop_oneof![1 => Just(Value::Nil), 2 => value_of(some).prop_map(wrap)].boxed()
        }
        Type::Result { ok, err } => {
            let ty = err.clone();
            let ok = side(ok.as_deref()).prop_map(success);
            let err = side(err.as_deref()).prop_map(move |payload| failure(payload, ty.as_deref()));
            prop_oneof![ok, err].boxed()
        }
        Type::Record { fields, .. } => {
            let names: Vec<_> = fields.iter().map(|field| field.name.clone()).collect();
            let values: Vec<_> = fields.iter().map(|field| value_of(&field.ty)).collect();
            values
                .prop_map(move |values| table(names.iter().cloned().zip(values).collect()))
                .boxed()
        }
        Type::Variant { cases, .. } => {
            let any = |any: &TypeCase| {
                let name = any.name.clone();
                let payload = any
                    .payload
                    .as_ref()
                    .map_or_else(|| Just(Value::Nil).boxed(), value_of);
                payload.prop_map(move |payload| case(&name, payload)).boxed()
            };
            Union::new(cases.iter().map(any)).boxed()
        }
        Type::Enum { cases, .. } => Union::new(cases.iter().map(|case| Just(Value::from(&**case)))).boxed(),
        Type::Flags { flags, .. } => {
            let flags = flags.clone();
            vec(any::<bool>(), flags.len())
                .prop_map(move |set| set_flags(&flags, set))
                .boxed()
        }
        Type::Map(key, value) => {
            let value = if let Type::Option(some) = &**value {
                let none = Value::record([("none", Value::Boolean(true))]);
                prop_oneof![1 => Just(none), 2 => value_of(some).prop_map(wrapped)].boxed()
            } else {
                value_of(value)
            };
            vec((value_of(key), value), 0..4).prop_map(map).boxed()
        }
        Type::Own(_) | Type::Borrow(_) | Type::ErrorContext | Type::Future(_) | Type::Stream(_) => {
            Just(Value::Nil).boxed()
        }
    }
}

/// `{some = v}`.
fn wrapped(value: Value) -> Value {
    table(vec![("some".into(), value)])
}

/// A map of the entries, the first of those that have the same key.
fn map(entries: Vec<(Value, Value)>) -> Value {
    let mut pairs: Vec<(Value, Value)> = Vec::new();
    for (key, value) in entries {
        if pairs.iter().all(|(other, _)| *other != key) {
            pairs.push((key, value));
        }
    }
    Value::Table(Box::new(Table {
        array: Vec::new(),
        pairs,
    }))
}

/// The value of a result that went well.
fn success(payload: Value) -> Value {
    table(vec![("ok".into(), payload)])
}

/// The value of a result that did not, with a payload of the type `ty`.
fn failure(payload: Value, ty: Option<&Type>) -> Value {
    let nilable = ty.is_some_and(Type::is_nilable);
    let tag = if nilable { Value::from("err") } else { Value::Nil };
    table(vec![("err".into(), payload), ("tag".into(), tag)])
}

/// A variant's value.
fn case(name: &str, payload: Value) -> Value {
    table(vec![("tag".into(), Value::from(name)), ("value".into(), payload)])
}

/// A table of those flags that are set.
fn set_flags(flags: &[Arc<str>], set: impl IntoIterator<Item = bool>) -> Value {
    let set = flags.iter().zip(set).filter(|(_, set)| *set);
    Value::record(set.map(|(flag, _)| (flag.as_bytes(), Value::Boolean(true))))
}

fn integer<T: Into<i64>>(numbers: impl Strategy<Value = T> + 'static) -> BoxedStrategy<Value> {
    numbers.prop_map(|value| Value::Integer(value.into())).boxed()
}

fn text() -> BoxedStrategy<Value> {
    vec(
        prop_oneof![3 => proptest::char::range(' ', '~'), 1 => any::<char>()],
        0..6,
    )
    .prop_map(|chars| Value::from(String::from_iter(chars)))
    .boxed()
}

fn elements(element: &Type, least: usize, most: usize) -> BoxedStrategy<Value> {
    let nilable = element.is_nilable();
    vec(value_of(element), least..=most)
        .prop_map(move |elements| packed(elements, nilable))
        .boxed()
}

fn packed(elements: Vec<Value>, nilable: bool) -> Value {
    let n = i64::try_from(elements.len()).unwrap_or(i64::MAX);
    let mut array = Value::array(elements);
    if let Value::Table(table) = &mut array
        && nilable
    {
        table.pairs.push((Value::from("n"), Value::Integer(n)));
    }
    array
}

fn side(ty: Option<&Type>) -> BoxedStrategy<Value> {
    ty.map_or_else(|| Just(Value::Boolean(true)).boxed(), value_of)
}

/// A table of those fields that are not nil.
fn table(fields: Vec<(Arc<str>, Value)>) -> Value {
    let fields = fields.into_iter().filter(|(_, value)| !value.is_nil());
    Value::record(fields.map(|(name, value)| (name.as_bytes().to_vec(), value)))
}

/// A WIT text that defines what `ty` is made of, and a function `echo` that takes and gives it.
pub fn document(ty: &Type) -> String {
    let mut text = String::new();
    define(ty, &mut text);
    let _ = writeln!(text, "echo: func(value: {ty}) -> {ty};");
    text
}

/// Appends the definitions of the named parts of `ty`, innermost first.
fn define(ty: &Type, text: &mut String) {
    let list = |names: &[Arc<str>]| {
        names
            .iter()
            .map(|name| Name(name).to_string())
            .collect::<Vec<_>>()
            .join(", ")
    };
    match ty {
        Type::Enum { name, cases } => {
            let _ = writeln!(text, "enum {} {{ {} }}", Name(name), list(cases));
        }
        Type::Flags { name, flags } => {
            let _ = writeln!(text, "flags {} {{ {} }}", Name(name), list(flags));
        }
        Type::Record { name, fields } => {
            fields.iter().for_each(|field| define(&field.ty, text));
            let fields: Vec<_> = fields
                .iter()
                .map(|field| format!("{}: {}", Name(&field.name), field.ty))
                .collect();
            let _ = writeln!(text, "record {} {{ {} }}", Name(name), fields.join(", "));
        }
        Type::Variant { name, cases } => {
            cases
                .iter()
                .filter_map(|case| case.payload.as_ref())
                .for_each(|ty| define(ty, text));
            let case = |case: &TypeCase| match &case.payload {
                Some(payload) => format!("{}({payload})", Name(&case.name)),
                None => Name(&case.name).to_string(),
            };
            let cases: Vec<_> = cases.iter().map(case).collect();
            let _ = writeln!(text, "variant {} {{ {} }}", Name(name), cases.join(", "));
        }
        Type::List(ty)
        | Type::FixedList(ty, _)
        | Type::Option(ty)
        | Type::Future(Some(ty))
        | Type::Stream(Some(ty)) => define(ty, text),
        Type::Tuple(types) => types.iter().for_each(|ty| define(ty, text)),
        Type::Result { ok, err } => [ok, err].into_iter().flatten().for_each(|ty| define(ty, text)),
        Type::Map(key, value) => [key, value].into_iter().for_each(|ty| define(ty, text)),
        Type::Own(name) | Type::Borrow(name) => {
            let _ = writeln!(text, "resource {};", Name(name));
        }
        _ => {}
    }
}
