//! Signatures: what a function takes and gives, from WIT text or from the types of a component.

use std::{fmt, sync::Arc};

use wit_parser::{Function, FunctionKind, Handle, Resolve, TypeDefKind, TypeId};

use crate::{Document, Type, TypeCase, TypeField, names, types::Name};

/// The name, the parameters and the result of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The name as WIT has it.
    pub name: Arc<str>,
    /// The parameters in order.
    pub params: Box<[(Arc<str>, Type)]>,
    /// The result, if there is one.
    pub result: Option<Type>,
    /// Whether it is an `async func`.
    pub is_async: bool,
}

/// A WIT text that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureError {
    /// What is wrong.
    pub message: String,
    /// Where, in bytes from the start of the text, if it is known.
    pub offset: Option<usize>,
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SignatureError {}

impl SignatureError {
    pub(crate) fn new(message: impl Into<String>, offset: Option<usize>) -> Self {
        Self {
            message: message.into(),
            offset,
        }
    }

    /// Line and column of the place in `text`, the text that was read; both from 1, columns in characters.
    pub fn line_column(&self, text: &str) -> Option<(usize, usize)> {
        let before = text.get(..self.offset?)?;
        let line = before.rsplit('\n').next().unwrap_or(before);
        Some((before.matches('\n').count() + 1, line.chars().count() + 1))
    }
}

impl Signature {
    /// Reads one signature: `answer: func() -> s32;`.
    ///
    /// # Errors
    /// When the text is no WIT, or holds not exactly one function.
    pub fn parse(text: &str) -> Result<Self, SignatureError> {
        let mut signatures = Self::parse_all(text)?;
        let found = signatures.len();
        signatures
            .pop()
            .filter(|_| found == 1)
            .ok_or_else(|| SignatureError::new(format!("expected one function, found {found}"), None))
    }

    /// Reads all functions of a text in any of the forms of [`Document::parse`].
    ///
    /// # Errors
    /// When the text is no WIT.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, SignatureError> {
        Document::parse(text).map(|document| document.functions)
    }

    /// The signature of a function of a resolved WIT package.
    pub fn from_function(resolve: &Resolve, function: &Function) -> Self {
        let params = function.params.iter();
        Self {
            name: function.name.as_str().into(),
            params: params
                .map(|param| (param.name.as_str().into(), from_type(resolve, &param.ty)))
                .collect(),
            result: function.result.as_ref().map(|ty| from_type(resolve, ty)),
            is_async: matches!(
                function.kind,
                FunctionKind::AsyncFreestanding | FunctionKind::AsyncMethod(_) | FunctionKind::AsyncStatic(_)
            ),
        }
    }

    /// Whether a call needs an engine with asynchronous components.
    pub fn needs_async_engine(&self) -> bool {
        self.is_async
            || self
                .params
                .iter()
                .map(|(_, ty)| ty)
                .chain(&self.result)
                .any(Type::is_async)
    }

    /// The signature as a Lua caller sees it: `transform_users(users: {User}) -> {UserView}, error`.
    pub fn to_lua(&self) -> String {
        let params: Vec<_> = self
            .params
            .iter()
            .map(|(name, ty)| format!("{}: {}", names::snake(name), ty.to_lua()))
            .collect();
        let result = match &self.result {
            None => String::new(),
            Some(Type::Result { ok, .. }) => {
                format!(
                    " -> {}, error",
                    ok.as_ref().map_or_else(|| "true".to_owned(), |ok| ok.to_lua())
                )
            }
            Some(ty) => format!(" -> {}", ty.to_lua()),
        };
        format!(
            "{}({}){result}",
            names::snake(short_name(&self.name)),
            params.join(", ")
        )
    }
}

/// `[method]counter.increment` without its prefix.
fn short_name(name: &str) -> &str {
    name.rsplit([']', '.']).next().unwrap_or(name)
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let params: Vec<_> = self
            .params
            .iter()
            .map(|(name, ty)| format!("{}: {ty}", Name(name)))
            .collect();
        write!(
            f,
            "{}: {}func({})",
            Name(&self.name),
            if self.is_async { "async " } else { "" },
            params.join(", ")
        )?;
        if let Some(result) = &self.result {
            write!(f, " -> {result}")?;
        }
        f.write_str(";")
    }
}

fn from_type(resolve: &Resolve, ty: &wit_parser::Type) -> Type {
    use wit_parser::Type as Wit;
    match ty {
        Wit::Bool => Type::Bool,
        Wit::U8 => Type::U8,
        Wit::U16 => Type::U16,
        Wit::U32 => Type::U32,
        Wit::U64 => Type::U64,
        Wit::S8 => Type::S8,
        Wit::S16 => Type::S16,
        Wit::S32 => Type::S32,
        Wit::S64 => Type::S64,
        Wit::F32 => Type::F32,
        Wit::F64 => Type::F64,
        Wit::Char => Type::Char,
        Wit::String => Type::String,
        Wit::ErrorContext => Type::ErrorContext,
        Wit::Id(id) => from_definition(resolve, *id),
    }
}

fn from_definition(resolve: &Resolve, id: TypeId) -> Type {
    let Some(definition) = resolve.types.get(id) else {
        return Type::ErrorContext;
    };
    let name = || definition.name.as_deref().unwrap_or("anonymous").into();
    let inner = |ty: &wit_parser::Type| Arc::new(from_type(resolve, ty));
    match &definition.kind {
        TypeDefKind::Record(record) => Type::Record {
            name: name(),
            fields: record
                .fields
                .iter()
                .map(|field| TypeField {
                    name: field.name.as_str().into(),
                    ty: from_type(resolve, &field.ty),
                })
                .collect(),
        },
        TypeDefKind::Variant(variant) => Type::Variant {
            name: name(),
            cases: variant
                .cases
                .iter()
                .map(|case| TypeCase {
                    name: case.name.as_str().into(),
                    payload: case.ty.as_ref().map(|ty| from_type(resolve, ty)),
                })
                .collect(),
        },
        TypeDefKind::Enum(cases) => Type::Enum {
            name: name(),
            cases: cases.cases.iter().map(|case| case.name.as_str().into()).collect(),
        },
        TypeDefKind::Flags(flags) => Type::Flags {
            name: name(),
            flags: flags.flags.iter().map(|flag| flag.name.as_str().into()).collect(),
        },
        TypeDefKind::Tuple(tuple) => {
            Type::Tuple(tuple.types.iter().map(|ty| from_type(resolve, ty)).collect())
        }
        TypeDefKind::Option(ty) => Type::Option(inner(ty)),
        TypeDefKind::Result(result) => Type::Result {
            ok: result.ok.as_ref().map(inner),
            err: result.err.as_ref().map(inner),
        },
        TypeDefKind::List(ty) => Type::List(inner(ty)),
        TypeDefKind::FixedLengthList(ty, n) => Type::FixedList(inner(ty), *n),
        TypeDefKind::Map(key, value) => Type::Map(inner(key), inner(value)),
        TypeDefKind::Future(ty) => Type::Future(ty.as_ref().map(inner)),
        TypeDefKind::Stream(ty) => Type::Stream(ty.as_ref().map(inner)),
        TypeDefKind::Handle(Handle::Own(id)) => Type::Own(resource_name(resolve, *id)),
        TypeDefKind::Handle(Handle::Borrow(id)) => Type::Borrow(resource_name(resolve, *id)),
        TypeDefKind::Resource => Type::Own(name()),
        TypeDefKind::Type(ty) => from_type(resolve, ty),
        TypeDefKind::Unknown => Type::ErrorContext,
    }
}

fn resource_name(resolve: &Resolve, id: TypeId) -> Arc<str> {
    resolve
        .types
        .get(id)
        .and_then(|definition| definition.name.as_deref())
        .unwrap_or("resource")
        .into()
}
