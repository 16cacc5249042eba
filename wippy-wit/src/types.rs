//! WIT types as plain data, with the names of their parts, printable as WIT and as Lua.

use std::{fmt, sync::Arc};

/// A WIT type. Shared parts are behind [`Arc`]s, so clones are cheap.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are WIT's own words")]
pub enum Type {
    Bool,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    F32,
    F64,
    Char,
    String,
    ErrorContext,
    List(Arc<Type>),
    /// A list of a fixed length.
    FixedList(Arc<Type>, u32),
    Tuple(Arc<[Type]>),
    Option(Arc<Type>),
    Result {
        ok: Option<Arc<Type>>,
        err: Option<Arc<Type>>,
    },
    Record {
        name: Arc<str>,
        fields: Arc<[TypeField]>,
    },
    Variant {
        name: Arc<str>,
        cases: Arc<[TypeCase]>,
    },
    Enum {
        name: Arc<str>,
        cases: Arc<[Arc<str>]>,
    },
    Flags {
        name: Arc<str>,
        flags: Arc<[Arc<str>]>,
    },
    Map(Arc<Type>, Arc<Type>),
    Own(Arc<str>),
    Borrow(Arc<str>),
    Future(Option<Arc<Type>>),
    Stream(Option<Arc<Type>>),
}

/// A field of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeField {
    /// The name as WIT has it.
    pub name: Arc<str>,
    /// Its type.
    pub ty: Type,
}

/// A case of a variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeCase {
    /// The name as WIT has it.
    pub name: Arc<str>,
    /// Its payload, if it has one.
    pub payload: Option<Type>,
}

impl Type {
    /// Whether nil is one of this type's own dynamic forms.
    pub fn is_nilable(&self) -> bool {
        matches!(self, Self::Option(_))
    }

    /// Whether a value of this type can only live in an engine with asynchronous components.
    pub fn is_async(&self) -> bool {
        match self {
            Self::Future(_) | Self::Stream(_) => true,
            Self::List(t) | Self::FixedList(t, _) | Self::Option(t) => t.is_async(),
            Self::Tuple(types) => types.iter().any(Self::is_async),
            Self::Result { ok, err } => [ok, err].into_iter().flatten().any(|t| t.is_async()),
            Self::Record { fields, .. } => fields.iter().any(|f| f.ty.is_async()),
            Self::Variant { cases, .. } => cases
                .iter()
                .filter_map(|c| c.payload.as_ref())
                .any(Self::is_async),
            Self::Map(k, v) => k.is_async() || v.is_async(),
            _ => false,
        }
    }

    /// The type as a Lua annotation: `{User}`, `string?`, `{[string]: number}`.
    pub fn to_lua(&self) -> String {
        match self {
            Self::Bool => "boolean".into(),
            Self::U8 | Self::U16 | Self::U32 | Self::U64 | Self::S8 | Self::S16 | Self::S32 | Self::S64 => {
                "integer".into()
            }
            Self::F32 | Self::F64 => "number".into(),
            Self::Char | Self::String => "string".into(),
            Self::ErrorContext => "error".into(),
            Self::List(t) if **t == Self::U8 => "string".into(),
            Self::List(t) | Self::FixedList(t, _) => format!("{{{}}}", t.to_lua()),
            Self::Tuple(types) => format!(
                "{{{}}}",
                types.iter().map(Self::to_lua).collect::<Vec<_>>().join(", ")
            ),
            Self::Option(t) if matches!(**t, Self::Result { .. }) => format!("({})?", t.to_lua()),
            Self::Option(t) => format!("{}?", t.to_lua()),
            Self::Result { ok, err } => {
                let side =
                    |t: &Option<Arc<Self>>| t.as_ref().map_or_else(|| "true".to_owned(), |t| t.to_lua());
                format!("{{ok: {}}} | {{err: {}}}", side(ok), side(err))
            }
            Self::Record { name, .. }
            | Self::Variant { name, .. }
            | Self::Enum { name, .. }
            | Self::Flags { name, .. }
            | Self::Own(name)
            | Self::Borrow(name) => pascal(name),
            Self::Map(k, v) => match &**v {
                // A nil in a table is no entry.
                Self::Option(some) => {
                    format!(
                        "{{[{}]: {{some: {}}} | {{none: true}}}}",
                        k.to_lua(),
                        some.to_lua()
                    )
                }
                v => format!("{{[{}]: {}}}", k.to_lua(), v.to_lua()),
            },
            Self::Future(t) | Self::Stream(t) => t
                .as_ref()
                .map_or_else(|| "channel".to_owned(), |t| format!("channel<{}>", t.to_lua())),
        }
    }
}

/// `user-view` as a type name in Lua: `UserView`.
fn pascal(name: &str) -> String {
    name.split('-')
        .flat_map(|part| {
            let mut chars = part.chars();
            chars
                .next()
                .map(|first| first.to_ascii_uppercase())
                .into_iter()
                .chain(chars)
                .collect::<Vec<_>>()
        })
        .collect()
}

impl fmt::Display for Type {
    /// The type as WIT writes it; named types by their name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let optional = |t: &Option<Arc<Self>>| t.as_ref().map_or_else(|| "_".to_owned(), ToString::to_string);
        match self {
            Self::Bool => f.write_str("bool"),
            Self::U8 => f.write_str("u8"),
            Self::U16 => f.write_str("u16"),
            Self::U32 => f.write_str("u32"),
            Self::U64 => f.write_str("u64"),
            Self::S8 => f.write_str("s8"),
            Self::S16 => f.write_str("s16"),
            Self::S32 => f.write_str("s32"),
            Self::S64 => f.write_str("s64"),
            Self::F32 => f.write_str("f32"),
            Self::F64 => f.write_str("f64"),
            Self::Char => f.write_str("char"),
            Self::String => f.write_str("string"),
            Self::ErrorContext => f.write_str("error-context"),
            Self::List(t) => write!(f, "list<{t}>"),
            Self::FixedList(t, n) => write!(f, "list<{t}, {n}>"),
            Self::Tuple(types) => {
                write!(
                    f,
                    "tuple<{}>",
                    types
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                        .join(", ")
                )
            }
            Self::Option(t) => write!(f, "option<{t}>"),
            Self::Result { ok: None, err: None } => f.write_str("result"),
            Self::Result {
                ok: Some(ok),
                err: None,
            } => write!(f, "result<{ok}>"),
            Self::Result { ok, err } => write!(f, "result<{}, {}>", optional(ok), optional(err)),
            Self::Record { name, .. }
            | Self::Variant { name, .. }
            | Self::Enum { name, .. }
            | Self::Flags { name, .. }
            | Self::Own(name) => Name(name).fmt(f),
            Self::Map(k, v) => write!(f, "map<{k}, {v}>"),
            Self::Borrow(name) => write!(f, "borrow<{}>", Name(name)),
            Self::Future(None) => f.write_str("future"),
            Self::Stream(None) => f.write_str("stream"),
            Self::Future(Some(t)) => write!(f, "future<{t}>"),
            Self::Stream(Some(t)) => write!(f, "stream<{t}>"),
        }
    }
}

/// A name as WIT writes it: with a `%` in front where it would be a keyword.
pub(crate) struct Name<'a>(pub(crate) &'a str);

const KEYWORDS: [&str; 43] = [
    "use",
    "type",
    "func",
    "u8",
    "u16",
    "u32",
    "u64",
    "s8",
    "s16",
    "s32",
    "s64",
    "f32",
    "f64",
    "char",
    "resource",
    "own",
    "borrow",
    "record",
    "flags",
    "variant",
    "enum",
    "bool",
    "string",
    "option",
    "result",
    "future",
    "stream",
    "error-context",
    "list",
    "map",
    "as",
    "from",
    "static",
    "interface",
    "tuple",
    "import",
    "export",
    "world",
    "package",
    "constructor",
    "include",
    "with",
    "async",
];

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if KEYWORDS.contains(&self.0) {
            f.write_str("%")?;
        }
        f.write_str(self.0)
    }
}
