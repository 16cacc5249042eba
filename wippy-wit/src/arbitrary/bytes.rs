//! Types and values chosen by bytes: for a fuzzer, which keeps and changes those bytes that led to something new.
//!
//! A choice takes one byte, and a number as many as it has itself. Where the bytes end, each further choice is the
//! simplest, so any bytes mean something, and nothing is much larger than they are. A strategy driven by bytes would
//! have neither: alternatives that were not taken get half of what is left, zeros alone are drawn again for ever, and
//! what is kept would mean something else with every version of the generator.

use std::sync::Arc;

use super::{
    DEPTH, INTEGERS, NAMES, case, failure, map, names, packed, record, set_flags, success, unique, variant,
    wrapped,
};
use crate::{Type, Value};

/// So many parts a type has before the rest are leaves.
const TYPE_PARTS: usize = 24;
/// So many parts a value has before further lists and maps are empty.
const VALUE_PARTS: usize = 200;

/// How many names an enum or flags have: few, and as many as change the layout.
const SIZES: [usize; 12] = [1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 70];
/// How long a string is: short, around the lengths from which Lua treats strings otherwise, and long.
const LENGTHS: [usize; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 40, 41, 127, 128, 1_000];

/// What some bytes choose, one after the other.
#[derive(Debug, Clone)]
pub struct Choices<'a> {
    bytes: std::slice::Iter<'a, u8>,
    /// How many parts whatever is being made may still have.
    room: usize,
}

impl<'a> Choices<'a> {
    /// Choices by `bytes`, of which each counts.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes: bytes.iter(),
            room: 0,
        }
    }

    /// A number below `bound`, which is at most 256; 0 where the bytes end.
    pub fn below(&mut self, bound: usize) -> usize {
        let [byte] = self.take();
        usize::from(byte) % bound.max(1)
    }

    /// Any type of which there are plain values: see [`ty`](super::ty).
    pub fn ty(&mut self) -> Type {
        self.room = TYPE_PARTS;
        unique(&self.part(DEPTH), &mut 0)
    }

    /// Any value of `ty` in canonical form: see [`value_of`](super::value_of).
    pub fn value(&mut self, ty: &Type) -> Value {
        self.room = VALUE_PARTS;
        self.value_of(ty)
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        [(); N].map(|()| self.bytes.next().copied().unwrap_or_default())
    }

    fn one_of<'b, T, const N: usize>(&mut self, all: &'b [T; N]) -> &'b T {
        let chosen = self.below(N);
        all.get(chosen).expect("it is below the length")
    }

    fn several<T>(&mut self, many: usize, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..many).map(|_| one(self)).collect()
    }

    /// A type of which parts are nested `depth` deep.
    fn part(&mut self, depth: u32) -> Type {
        const LEAVES: usize = INTEGERS.len() + 8;
        self.room = self.room.saturating_sub(1);
        let nested = depth > 0 && self.room > 0;
        let inner = |choices: &mut Self| choices.part(depth.saturating_sub(1));
        let maybe = |choices: &mut Self| (choices.below(4) < 3).then(|| inner(choices));
        match self.below(if nested { LEAVES + 8 } else { LEAVES }) {
            8 => Type::F32,
            9 => Type::F64,
            10 => Type::Bool,
            11 => Type::Char,
            12 => Type::String,
            13 => Type::List(Arc::new(Type::U8)),
            14 => Type::Enum {
                name: "".into(),
                cases: self.names().collect(),
            },
            15 => Type::Flags {
                name: "".into(),
                flags: self.names().collect(),
            },
            16 => Type::List(Arc::new(inner(self))),
            17 => {
                let len = [1, 2, 3];
                Type::FixedList(Arc::new(inner(self)), *self.one_of(&len))
            }
            18 => Type::Map(Arc::new(self.key()), Arc::new(inner(self))),
            19 => Type::Option(Arc::new(inner(self))),
            20 => Type::Result {
                ok: maybe(self).map(Arc::new),
                err: maybe(self).map(Arc::new),
            },
            21 => {
                let many = 1 + self.below(4);
                Type::Tuple(self.several(many, inner).into())
            }
            22 => {
                let (first, many) = (self.below(NAMES.len()), 1 + self.below(4));
                record(first, self.several(many, inner))
            }
            23 => {
                let (first, many) = (self.below(NAMES.len()), 1 + self.below(4));
                variant(first, self.several(many, maybe))
            }
            integer => INTEGERS.get(integer).cloned().unwrap_or(Type::U8),
        }
    }

    fn names(&mut self) -> impl Iterator<Item = Arc<str>> + use<> {
        names(self.below(NAMES.len()), *self.one_of(&SIZES))
    }

    fn key(&mut self) -> Type {
        match self.below(INTEGERS.len() + 3) {
            8 => Type::Bool,
            9 => Type::Char,
            10 => Type::String,
            integer => INTEGERS.get(integer).cloned().unwrap_or(Type::U8),
        }
    }

    fn value_of(&mut self, ty: &Type) -> Value {
        self.room = self.room.saturating_sub(1);
        match ty {
            Type::Bool => Value::Boolean(self.below(2) == 1),
            Type::U8 => Value::Integer(u8::from_le_bytes(self.take()).into()),
            Type::U16 => Value::Integer(u16::from_le_bytes(self.take()).into()),
            Type::U32 => Value::Integer(u32::from_le_bytes(self.take()).into()),
            Type::U64 => Value::from(u64::from_le_bytes(self.take())),
            Type::S8 => Value::Integer(i8::from_le_bytes(self.take()).into()),
            Type::S16 => Value::Integer(i16::from_le_bytes(self.take()).into()),
            Type::S32 => Value::Integer(i32::from_le_bytes(self.take()).into()),
            Type::S64 => Value::Integer(i64::from_le_bytes(self.take())),
            Type::F32 => {
                let number = f32::from_le_bytes(self.take());
                float(number.into())
            }
            Type::F64 => float(f64::from_le_bytes(self.take())),
            Type::Char => Value::from(String::from(self.char())),
            Type::String => {
                let len = *self.one_of(&LENGTHS);
                Value::from(String::from_iter(self.several(len, Self::char)))
            }
            Type::List(element) if **element == Type::U8 => {
                let len = *self.one_of(&LENGTHS);
                Value::string(self.several(len, Self::take::<1>).concat())
            }
            Type::List(element) => {
                let len = self.len();
                self.elements(element, len)
            }
            Type::FixedList(element, len) => {
                self.elements(element, usize::try_from(*len).unwrap_or(usize::MAX))
            }
            Type::Map(key, value) => {
                let len = self.len();
                map(self.several(len, |choices| (choices.value_of(key), choices.mapped(value))))
            }
            Type::Tuple(types) => {
                let nilable = types.iter().any(Type::is_nilable);
                packed(types.iter().map(|ty| self.value_of(ty)).collect(), nilable)
            }
            Type::Option(_) if self.below(3) == 0 => Value::Nil,
            Type::Option(some) if some.is_nilable() => wrapped(self.value_of(some)),
            Type::Option(some) => self.value_of(some),
            Type::Result { ok, .. } if self.below(2) == 0 => success(self.payload(ok.as_deref())),
            Type::Result { err, .. } => failure(self.payload(err.as_deref()), err.as_deref()),
            Type::Record { fields, .. } => {
                let fields = fields
                    .iter()
                    .map(|field| (field.name.clone(), self.value_of(&field.ty)));
                super::table(fields.collect())
            }
            Type::Variant { cases, .. } => {
                let chosen = self.below(cases.len());
                let Some(chosen) = cases.get(chosen) else {
                    return Value::Nil;
                };
                let payload = chosen.payload.as_ref().map(|ty| self.value_of(ty));
                case(&chosen.name, payload.unwrap_or_default())
            }
            Type::Enum { cases, .. } => {
                let chosen = self.below(cases.len());
                cases.get(chosen).map_or(Value::Nil, |name| Value::from(&**name))
            }
            Type::Flags { flags, .. } => {
                let set = self.several(flags.len().div_ceil(8), Self::take::<1>);
                let set = set.concat();
                let bits = set
                    .iter()
                    .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
                set_flags(flags, bits)
            }
            Type::Own(_) | Type::Borrow(_) | Type::ErrorContext | Type::Future(_) | Type::Stream(_) => {
                Value::Nil
            }
        }
    }

    /// How many elements a list has.
    fn len(&mut self) -> usize {
        if self.room == 0 { 0 } else { self.below(5) }
    }

    fn elements(&mut self, element: &Type, len: usize) -> Value {
        let elements = self.several(len, |choices| choices.value_of(element));
        packed(elements, element.is_nilable())
    }

    /// What stands under a key of a map.
    fn mapped(&mut self, ty: &Type) -> Value {
        match ty {
            Type::Option(_) if self.below(3) == 0 => Value::record([("none", Value::Boolean(true))]),
            Type::Option(some) => wrapped(self.value_of(some)),
            ty => self.value_of(ty),
        }
    }

    /// One side of a result.
    fn payload(&mut self, ty: Option<&Type>) -> Value {
        ty.map_or(Value::Boolean(true), |ty| self.value_of(ty))
    }

    /// Of the first half of all bytes ASCII, of the other half anything.
    fn char(&mut self) -> char {
        let [first] = self.take();
        if first.is_ascii() {
            return first.into();
        }
        let [low, middle, high] = self.take();
        let number = u32::from_le_bytes([low, middle, high, 0]) % 0x11_0000;
        char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER)
    }
}

/// A float; one that is no number has no further bits that a guest could rely on.
fn float(number: f64) -> Value {
    Value::Float(if number.is_nan() { f64::NAN } else { number })
}
