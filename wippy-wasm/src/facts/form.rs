//! Facts as bytes: every part in the order of its declaration, texts and lists after their lengths. Whoever changes the
//! form, or what is found out about components, bumps the form of the cache's files.

use std::sync::Arc;

use wippy_wit::{Signature, Type, TypeCase, TypeField};

use super::Facts;
use crate::{
    bounded::Cost,
    exports::{ExportedFunction, Surface},
};

/// Types are nested less deep than this; the engine takes none that are deeper.
const DEPTH_MAX: u32 = 200;

/// Types without parts, by what stands for them.
const SIMPLE: [Type; 14] = [
    Type::Bool,
    Type::U8,
    Type::U16,
    Type::U32,
    Type::U64,
    Type::S8,
    Type::S16,
    Type::S32,
    Type::S64,
    Type::F32,
    Type::F64,
    Type::Char,
    Type::String,
    Type::ErrorContext,
];

/// What stands for the others.
mod tag {
    pub(super) const LIST: u8 = 32;
    pub(super) const FIXED_LIST: u8 = 33;
    pub(super) const TUPLE: u8 = 34;
    pub(super) const OPTION: u8 = 35;
    pub(super) const RESULT: u8 = 36;
    pub(super) const RECORD: u8 = 37;
    pub(super) const VARIANT: u8 = 38;
    pub(super) const ENUM: u8 = 39;
    pub(super) const FLAGS: u8 = 40;
    pub(super) const MAP: u8 = 41;
    pub(super) const OWN: u8 = 42;
    pub(super) const BORROW: u8 = 43;
    pub(super) const FUTURE: u8 = 44;
    pub(super) const STREAM: u8 = 45;
}

pub(super) fn write(facts: &Facts) -> Vec<u8> {
    let Facts { surface, bounded } = facts;
    let mut out = Out(Vec::new());
    out.list(&surface.exports, |out, export| {
        out.option(export.interface.as_ref(), |out, name| out.text(name));
        out.signature(&export.signature);
    });
    out.list(&surface.imports, |out, import| out.text(import));
    out.flag(surface.has_error_contexts);
    let bounded: Vec<_> = bounded.iter().collect();
    out.list(&bounded, |out, ((interface, name), cost)| {
        out.option(interface.as_ref(), |out, name| out.text(name));
        out.text(name);
        out.number(cost.call);
        out.option(cost.allocation.as_ref(), |out, cost| out.number(*cost));
        out.flag(cost.has_dead_ends);
    });
    out.0
}

pub(super) fn read(bytes: &[u8]) -> Option<Facts> {
    let mut rest = In {
        rest: bytes,
        depth: 0,
    };
    let mut interface: Option<Arc<str>> = None;
    let exports = rest.list(|rest| {
        let name = rest.option(In::text)?;
        // Functions of one interface follow each other and share its name.
        if interface.as_deref() != name {
            interface = name.map(Arc::from);
        }
        Some(ExportedFunction {
            interface: interface.clone(),
            signature: Arc::new(rest.signature()?),
        })
    })?;
    let facts = Facts {
        surface: Surface {
            exports,
            imports: rest.list(|rest| rest.text().map(str::to_owned))?,
            has_error_contexts: rest.flag()?,
        },
        bounded: rest.list(|rest| {
            let interface = rest.option(In::text)?.map(str::to_owned);
            let name = (interface, rest.text()?.to_owned());
            let cost = Cost {
                call: rest.number()?,
                allocation: rest.option(In::number)?,
                has_dead_ends: rest.flag()?,
            };
            Some((name, cost))
        })?,
    };
    rest.rest.is_empty().then_some(facts)
}

/// Bytes that are written.
struct Out(Vec<u8>);

impl Out {
    fn flag(&mut self, flag: bool) {
        self.0.push(flag.into());
    }

    fn number(&mut self, number: u32) {
        self.0.extend(number.to_le_bytes());
    }

    fn count(&mut self, count: usize) {
        // What is longer cannot come out of a component, whose own counts have 32 bits; it would not be read back.
        self.number(u32::try_from(count).unwrap_or(u32::MAX));
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.extend(text.as_bytes());
    }

    fn list<T>(&mut self, items: &[T], write: impl Fn(&mut Self, &T)) {
        self.count(items.len());
        for item in items {
            write(self, item);
        }
    }

    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn signature(&mut self, signature: &Signature) {
        let Signature {
            name,
            params,
            result,
            is_async,
        } = signature;
        self.text(name);
        self.list(params, |out, (name, ty)| {
            out.text(name);
            out.ty(ty);
        });
        self.option(result.as_ref(), Self::ty);
        self.flag(*is_async);
    }

    fn ty(&mut self, ty: &Type) {
        if let Some(place) = SIMPLE.iter().position(|simple| simple == ty) {
            // There are a few.
            return self.0.push(u8::try_from(place).unwrap_or(u8::MAX));
        }
        match ty {
            Type::List(element) => self.parts(tag::LIST, &[element]),
            Type::FixedList(element, length) => {
                self.parts(tag::FIXED_LIST, &[element]);
                self.number(*length);
            }
            Type::Tuple(elements) => {
                self.0.push(tag::TUPLE);
                self.list(elements, Self::ty);
            }
            Type::Option(some) => self.parts(tag::OPTION, &[some]),
            Type::Result { ok, err } => {
                self.0.push(tag::RESULT);
                self.option(ok.as_deref(), Self::ty);
                self.option(err.as_deref(), Self::ty);
            }
            Type::Record { name, fields } => {
                self.named(tag::RECORD, name);
                self.list(fields, |out, field| {
                    out.text(&field.name);
                    out.ty(&field.ty);
                });
            }
            Type::Variant { name, cases } => {
                self.named(tag::VARIANT, name);
                self.list(cases, |out, case| {
                    out.text(&case.name);
                    out.option(case.payload.as_ref(), Self::ty);
                });
            }
            Type::Enum { name, cases: names } => {
                self.named(tag::ENUM, name);
                self.list(names, |out, name| out.text(name));
            }
            Type::Flags { name, flags: names } => {
                self.named(tag::FLAGS, name);
                self.list(names, |out, name| out.text(name));
            }
            Type::Map(key, value) => self.parts(tag::MAP, &[key, value]),
            Type::Own(name) => self.named(tag::OWN, name),
            Type::Borrow(name) => self.named(tag::BORROW, name),
            Type::Future(value) => {
                self.0.push(tag::FUTURE);
                self.option(value.as_deref(), Self::ty);
            }
            Type::Stream(element) => {
                self.0.push(tag::STREAM);
                self.option(element.as_deref(), Self::ty);
            }
            // They are among the simple ones.
            Type::Bool
            | Type::U8
            | Type::U16
            | Type::U32
            | Type::U64
            | Type::S8
            | Type::S16
            | Type::S32
            | Type::S64
            | Type::F32
            | Type::F64
            | Type::Char
            | Type::String
            | Type::ErrorContext => {}
        }
    }

    fn parts(&mut self, tag: u8, parts: &[&Type]) {
        self.0.push(tag);
        for part in parts {
            self.ty(part);
        }
    }

    fn named(&mut self, tag: u8, name: &str) {
        self.0.push(tag);
        self.text(name);
    }
}

/// Bytes that are read.
struct In<'a> {
    rest: &'a [u8],
    /// How deep in types.
    depth: u32,
}

impl<'a> In<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn number(&mut self) -> Option<u32> {
        let (number, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u32::from_le_bytes(*number))
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        str::from_utf8(text).ok()
    }

    fn name(&mut self) -> Option<Arc<str>> {
        self.text().map(Arc::from)
    }

    fn list<T, C: FromIterator<T>>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<C> {
        let count = self.number()?;
        // Each item has a byte at least, so a wrong count ends with the bytes.
        (0..count).map(|_| read(self)).collect()
    }

    #[expect(
        clippy::option_option,
        reason = "nothing was written, or something, or what cannot be read"
    )]
    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.flag()? {
            read(self).map(Some)
        } else {
            Some(None)
        }
    }

    fn signature(&mut self) -> Option<Signature> {
        let name = self.name()?;
        let params: Vec<_> = self.list(|rest| Some((rest.name()?, rest.ty()?)))?;
        Some(Signature {
            name,
            params: params.into(),
            result: self.option(Self::ty)?,
            is_async: self.flag()?,
        })
    }

    fn ty(&mut self) -> Option<Type> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        let ty = self.ty_within();
        self.depth -= 1;
        ty
    }

    fn ty_within(&mut self) -> Option<Type> {
        let tag = self.byte()?;
        if let Some(simple) = SIMPLE.get(usize::from(tag)) {
            return Some(simple.clone());
        }
        Some(match tag {
            tag::LIST => Type::List(self.part()?),
            tag::FIXED_LIST => Type::FixedList(self.part()?, self.number()?),
            tag::TUPLE => Type::Tuple(self.parts(Self::ty)?),
            tag::OPTION => Type::Option(self.part()?),
            tag::RESULT => Type::Result {
                ok: self.option(Self::part)?,
                err: self.option(Self::part)?,
            },
            tag::RECORD => Type::Record {
                name: self.name()?,
                fields: self.parts(|rest| {
                    Some(TypeField {
                        name: rest.name()?,
                        ty: rest.ty()?,
                    })
                })?,
            },
            tag::VARIANT => Type::Variant {
                name: self.name()?,
                cases: self.parts(|rest| {
                    Some(TypeCase {
                        name: rest.name()?,
                        payload: rest.option(Self::ty)?,
                    })
                })?,
            },
            tag::ENUM => Type::Enum {
                name: self.name()?,
                cases: self.parts(Self::name)?,
            },
            tag::FLAGS => Type::Flags {
                name: self.name()?,
                flags: self.parts(Self::name)?,
            },
            tag::MAP => Type::Map(self.part()?, self.part()?),
            tag::OWN => Type::Own(self.name()?),
            tag::BORROW => Type::Borrow(self.name()?),
            tag::FUTURE => Type::Future(self.option(Self::part)?),
            tag::STREAM => Type::Stream(self.option(Self::part)?),
            _ => return None,
        })
    }

    fn part(&mut self) -> Option<Arc<Type>> {
        self.ty().map(Arc::new)
    }

    fn parts<T>(&mut self, read: impl FnMut(&mut Self) -> Option<T>) -> Option<Arc<[T]>> {
        let parts: Vec<T> = self.list(read)?;
        Some(parts.into())
    }
}
