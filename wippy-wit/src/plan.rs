//! Plans: a signature compiled once, with everything a call would otherwise look up.
//!
//! Sizes, alignments and flattening follow the [canonical ABI] for 32-bit memories.
//!
//! [canonical ABI]: https://github.com/WebAssembly/component-model/blob/main/design/mvp/CanonicalABI.md

use std::sync::Arc;

use crate::{Key, Signature, Type, TypeCase, names};

/// Parameters that need more core values than this travel through memory (canonical ABI, `MAX_FLAT_PARAMS`).
pub const MAX_FLAT_PARAMS: usize = 16;
/// Results that need more core values than this travel through memory (canonical ABI, `MAX_FLAT_RESULTS`).
pub const MAX_FLAT_RESULTS: usize = 1;

/// A core WebAssembly value type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "WebAssembly's own words")]
pub enum CoreType {
    I32,
    I64,
    F32,
    F64,
}

/// A type with its layout.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Bytes it takes in memory.
    pub size: u32,
    /// Its alignment in memory: 1, 2, 4 or 8.
    pub align: u32,
    /// How many core values it flattens to.
    pub flat: usize,
    /// Whether nil is one of its dynamic forms.
    pub nilable: bool,
    /// Whether writing it may allocate on the receiving side.
    pub allocates: bool,
}

/// The types, with the parts a conversion needs.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the variants are WIT's own words")]
pub enum Kind {
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
    /// `list<u8>`: bytes.
    Bytes,
    List(Box<Node>),
    FixedList(Box<Node>, u32),
    /// A record's fields.
    Record(Box<[Field]>),
    /// A tuple's elements; their keys are unused.
    Tuple(Box<[Field]>),
    Option {
        some: Box<Node>,
        offset: u32,
        form: OptionForm,
    },
    Result {
        ok: Option<Box<Node>>,
        err: Option<Box<Node>>,
        offset: u32,
    },
    /// `tag` is the size of the discriminant: 1, 2 or 4 bytes. Payloads begin at `offset`.
    Variant {
        cases: Box<[Case]>,
        tag: u32,
        offset: u32,
    },
    Enum {
        cases: Box<[Key]>,
        tag: u32,
    },
    Flags {
        flags: Box<[Field]>,
    },
    Own(Arc<str>),
    Borrow(Arc<str>),
    /// `stream<t>`: values that come later, one after another; of a bare `stream` only their number is known.
    Stream(Option<Arc<Node>>),
    /// `future<t>`: one value that comes later.
    Future(Option<Arc<Node>>),
    /// A map: in memory a list of its entries.
    Map(Box<Entry>),
    ErrorContext,
}

/// How an option that is some is told from none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionForm {
    /// By not being nil.
    Bare,
    /// Its payload can be nil itself: `{some = v}`, or nil.
    Wrapped,
    /// Nil would leave no trace where it stands: `{some = v}`, or `{none = true}`.
    Marked,
}

/// An entry of a map.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The type of the keys: booleans, integers, characters or strings.
    pub key: Node,
    /// The type of the values.
    pub value: Node,
    /// Bytes from the start of an entry to its value.
    pub value_offset: u32,
    /// Bytes that an entry takes in memory.
    pub size: u32,
    /// The alignment of an entry.
    pub align: u32,
}

/// A field of a record or an element of a tuple.
#[derive(Debug, Clone)]
pub struct Field {
    /// The name as WIT has it.
    pub key: Key,
    /// The name in `snake_case`, where that differs.
    pub snake: Option<Key>,
    /// Bytes from the start of the whole.
    pub offset: u32,
    /// Its type.
    pub node: Node,
}

/// A case of a variant.
#[derive(Debug, Clone)]
pub struct Case {
    /// The name as WIT has it.
    pub key: Key,
    /// Its payload, if it has one.
    pub payload: Option<Node>,
}

/// A parameter.
#[derive(Debug, Clone)]
pub struct Param {
    /// The name as WIT has it.
    pub name: Arc<str>,
    /// Bytes from the start, where parameters travel through memory.
    pub offset: u32,
    /// Its type.
    pub node: Node,
}

/// A compiled signature.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The signature it was compiled from.
    pub signature: Arc<Signature>,
    /// The parameters.
    pub params: Box<[Param]>,
    /// How many core values the parameters flatten to.
    pub params_flat: usize,
    /// Bytes the parameters take where they travel through memory.
    pub params_size: u32,
    /// The alignment of that.
    pub params_align: u32,
    /// How many arguments a call must give: trailing `option` parameters may be left out.
    pub required: usize,
    /// The result, if there is one.
    pub result: Option<Node>,
}

impl Plan {
    /// Compiles `signature`.
    pub fn new(signature: impl Into<Arc<Signature>>) -> Self {
        let signature = signature.into();
        let (mut offset, mut align) = (0, 1);
        let params: Box<[Param]> = signature
            .params
            .iter()
            .map(|(name, ty)| {
                let node = Node::new(ty);
                offset = align_to(offset, node.align);
                align = align.max(node.align);
                let param = Param {
                    name: name.clone(),
                    offset,
                    node,
                };
                offset = offset.saturating_add(param.node.size);
                param
            })
            .collect();
        let trailing = params.iter().rev().take_while(|param| param.node.nilable).count();
        Self {
            params_flat: params.iter().map(|param| param.node.flat).sum(),
            params_size: align_to(offset, align),
            params_align: align,
            required: params.len() - trailing,
            params,
            result: signature.result.as_ref().map(Node::new),
            signature,
        }
    }

    /// The types of the parameters and of the result.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.params.iter().map(|param| &param.node).chain(&self.result)
    }
}

impl Node {
    /// Compiles one type.
    pub fn new(ty: &Type) -> Self {
        match ty {
            Type::Bool => Self::scalar(Kind::Bool, 1),
            Type::U8 => Self::scalar(Kind::U8, 1),
            Type::S8 => Self::scalar(Kind::S8, 1),
            Type::U16 => Self::scalar(Kind::U16, 2),
            Type::S16 => Self::scalar(Kind::S16, 2),
            Type::U32 => Self::scalar(Kind::U32, 4),
            Type::S32 => Self::scalar(Kind::S32, 4),
            Type::F32 => Self::scalar(Kind::F32, 4),
            Type::S64 => Self::scalar(Kind::S64, 8),
            Type::F64 => Self::scalar(Kind::F64, 8),
            // Above 2^63 a u64 needs an object on the Lua side.
            Type::U64 => Self {
                allocates: true,
                ..Self::scalar(Kind::U64, 8)
            },
            Type::Char => Self {
                allocates: true,
                ..Self::scalar(Kind::Char, 4)
            },
            Type::String => Self::pointer(Kind::String),
            Type::List(t) if **t == Type::U8 => Self::pointer(Kind::Bytes),
            Type::List(t) => Self::pointer(Kind::List(Box::new(Self::new(t)))),
            Type::FixedList(t, n) => {
                let element = Self::new(t);
                let (size, align) = (element.size.saturating_mul(*n), element.align);
                let flat = element.flat.saturating_mul(*n as usize);
                Self {
                    kind: Kind::FixedList(Box::new(element), *n),
                    size,
                    align,
                    flat,
                    nilable: false,
                    allocates: true,
                }
            }
            Type::Tuple(types) => {
                let fields = types.iter().enumerate().map(|(i, ty)| (i.to_string(), ty));
                Self::aggregate(Kind::Tuple, fields)
            }
            Type::Record { fields, .. } => Self::aggregate(
                Kind::Record,
                fields.iter().map(|field| (field.name.to_string(), &field.ty)),
            ),
            Type::Option(t) => {
                let some = Box::new(Self::new(t));
                let (offset, size, align, flat) = payload(1, [&*some]);
                let (form, allocates) = if some.nilable {
                    (OptionForm::Wrapped, true)
                } else {
                    (OptionForm::Bare, some.allocates)
                };
                Self {
                    kind: Kind::Option { some, offset, form },
                    size,
                    align,
                    flat,
                    nilable: true,
                    allocates,
                }
            }
            Type::Result { ok, err } => {
                let compiled = |t: &Option<Arc<Type>>| t.as_ref().map(|t| Box::new(Self::new(t)));
                let (ok, err) = (compiled(ok), compiled(err));
                let (offset, size, align, flat) =
                    payload(1, [&ok, &err].into_iter().flatten().map(|node| &**node));
                Self {
                    kind: Kind::Result { ok, err, offset },
                    size,
                    align,
                    flat,
                    nilable: false,
                    allocates: true,
                }
            }
            Type::Variant { cases, .. } => Self::variant(cases),
            Type::Enum { cases, .. } => {
                let tag = discriminant_size(cases.len());
                let kind = Kind::Enum {
                    cases: cases.iter().map(|name| Key::new(name)).collect(),
                    tag,
                };
                Self {
                    kind,
                    size: tag,
                    align: tag,
                    flat: 1,
                    nilable: false,
                    allocates: true,
                }
            }
            Type::Flags { flags, .. } => Self::flags(flags),
            Type::Own(name) => Self {
                allocates: true,
                ..Self::scalar(Kind::Own(name.clone()), 4)
            },
            Type::Borrow(name) => Self {
                allocates: true,
                ..Self::scalar(Kind::Borrow(name.clone()), 4)
            },
            Type::Stream(t) => Self::later(Kind::Stream, t.as_deref()),
            Type::Future(t) => Self::later(Kind::Future, t.as_deref()),
            Type::ErrorContext => Self {
                allocates: true,
                ..Self::scalar(Kind::ErrorContext, 4)
            },
            Type::Map(key, value) => Self::pointer(Kind::Map(Box::new(Entry::new(key, value)))),
        }
    }

    /// Whether a value of this type holds error contexts, or will, in values that come later.
    pub fn has_error_contexts(&self) -> bool {
        self.holds(&|kind| matches!(kind, Kind::ErrorContext))
    }

    /// How many parts a value of this type has at most that are in memory of their own: strings, lists and maps. None if
    /// there is no bound, as for a list of strings.
    pub fn sequences(&self) -> Option<u32> {
        /// Of one of several nodes.
        fn most<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Option<u32> {
            let mut nodes = nodes.into_iter();
            nodes.try_fold(0, |most: u32, node| Some(most.max(node.sequences()?)))
        }
        match &self.kind {
            Kind::String | Kind::Bytes => Some(1),
            Kind::List(node) => (node.sequences() == Some(0)).then_some(1),
            Kind::Map(entry) => (most([&entry.key, &entry.value]) == Some(0)).then_some(1),
            Kind::FixedList(node, length) => node.sequences()?.checked_mul(*length),
            Kind::Option { some, .. } => some.sequences(),
            Kind::Record(fields) | Kind::Tuple(fields) => fields
                .iter()
                .try_fold(0_u32, |sum, field| sum.checked_add(field.node.sequences()?)),
            Kind::Result { ok, err, .. } => most([ok, err].into_iter().flatten().map(|node| &**node)),
            Kind::Variant { cases, .. } => most(cases.iter().filter_map(|case| case.payload.as_ref())),
            _ => Some(0),
        }
    }

    /// Whether a value of this type holds handles of resources, or will, in values that come later.
    pub fn has_resources(&self) -> bool {
        self.holds(&|kind| matches!(kind, Kind::Own(_) | Kind::Borrow(_)))
    }

    /// Whether a value of this type holds streams or futures.
    pub fn has_streams(&self) -> bool {
        self.holds(&|kind| matches!(kind, Kind::Stream(_) | Kind::Future(_)))
    }

    /// Whether `wanted` is true of this type or of any part of it.
    fn holds(&self, wanted: &dyn Fn(&Kind) -> bool) -> bool {
        let within = |node: &Self| node.holds(wanted);
        wanted(&self.kind)
            || match &self.kind {
                Kind::List(node) | Kind::FixedList(node, _) | Kind::Option { some: node, .. } => within(node),
                Kind::Stream(node) | Kind::Future(node) => node.as_deref().is_some_and(within),
                Kind::Record(fields) | Kind::Tuple(fields) => fields.iter().any(|field| within(&field.node)),
                Kind::Map(entry) => within(&entry.key) || within(&entry.value),
                Kind::Result { ok, err, .. } => [ok, err].into_iter().flatten().any(|node| within(node)),
                Kind::Variant { cases, .. } => {
                    cases.iter().filter_map(|case| case.payload.as_ref()).any(within)
                }
                _ => false,
            }
    }

    /// A handle of values that come later.
    fn later(kind: fn(Option<Arc<Self>>) -> Kind, payload: Option<&Type>) -> Self {
        Self {
            allocates: true,
            ..Self::scalar(kind(payload.map(|payload| Arc::new(Self::new(payload)))), 4)
        }
    }

    fn scalar(kind: Kind, size: u32) -> Self {
        Self {
            kind,
            size,
            align: size,
            flat: 1,
            nilable: false,
            allocates: false,
        }
    }

    /// A pointer and a length.
    fn pointer(kind: Kind) -> Self {
        Self {
            kind,
            size: 8,
            align: 4,
            flat: 2,
            nilable: false,
            allocates: true,
        }
    }

    fn aggregate<'a>(
        kind: fn(Box<[Field]>) -> Kind,
        parts: impl Iterator<Item = (String, &'a Type)>,
    ) -> Self {
        let (mut offset, mut align, mut flat) = (0, 1, 0_usize);
        let fields = parts
            .map(|(name, ty)| {
                let node = Self::new(ty);
                offset = align_to(offset, node.align);
                align = align.max(node.align);
                flat = flat.saturating_add(node.flat);
                let field = Field::new(&name, offset, node);
                offset = offset.saturating_add(field.node.size);
                field
            })
            .collect();
        Self {
            kind: kind(fields),
            size: align_to(offset, align),
            align,
            flat,
            nilable: false,
            allocates: true,
        }
    }

    fn variant(cases: &[TypeCase]) -> Self {
        let cases: Box<[Case]> = cases
            .iter()
            .map(|case| Case {
                key: Key::new(&case.name),
                payload: case.payload.as_ref().map(Self::new),
            })
            .collect();
        let tag = discriminant_size(cases.len());
        let (offset, size, align, flat) = payload(tag, cases.iter().filter_map(|case| case.payload.as_ref()));
        Self {
            kind: Kind::Variant { cases, tag, offset },
            size,
            align,
            flat,
            nilable: false,
            allocates: true,
        }
    }

    fn flags(flags: &[Arc<str>]) -> Self {
        let (size, align) = match flags.len() {
            0 => (0, 1),
            1..=8 => (1, 1),
            9..=16 => (2, 2),
            n => (
                u32::try_from(n.div_ceil(32))
                    .unwrap_or(u32::MAX)
                    .saturating_mul(4),
                4,
            ),
        };
        let flat = flags.len().div_ceil(32);
        let bit = Self::scalar(Kind::Bool, 0);
        let flags = flags
            .iter()
            .map(|name| Field::new(name, 0, bit.clone()))
            .collect();
        Self {
            kind: Kind::Flags { flags },
            size,
            align,
            flat,
            nilable: false,
            allocates: true,
        }
    }
}

impl Entry {
    fn new(key: &Type, value: &Type) -> Self {
        let (key, mut value) = (Node::new(key), Node::new(value));
        if let Kind::Option { form, .. } = &mut value.kind {
            *form = OptionForm::Marked;
            value.nilable = false;
            value.allocates = true;
        }
        let value_offset = align_to(key.size, value.align);
        let align = key.align.max(value.align);
        Self {
            size: align_to(value_offset.saturating_add(value.size), align),
            value_offset,
            align,
            key,
            value,
        }
    }
}

impl Field {
    fn new(name: &str, offset: u32, node: Node) -> Self {
        let snake = names::snake(name);
        let snake = (snake != name).then(|| Key::new(&snake));
        Self {
            key: Key::new(name),
            snake,
            offset,
            node,
        }
    }
}

/// Offset of the payload, size, alignment and flat count of a variant whose discriminant has `tag` bytes.
fn payload<'a>(tag: u32, payloads: impl IntoIterator<Item = &'a Node>) -> (u32, u32, u32, usize) {
    let (mut align, mut size, mut flat) = (1, 0, 0);
    for node in payloads {
        align = align.max(node.align);
        size = size.max(node.size);
        flat = flat.max(node.flat);
    }
    let offset = align_to(tag, align);
    let align = align.max(tag);
    (
        offset,
        align_to(offset.saturating_add(size), align),
        align,
        1 + flat,
    )
}

/// Bytes of the discriminant of a variant with `cases` cases.
fn discriminant_size(cases: usize) -> u32 {
    match cases {
        0..=0x100 => 1,
        0x101..=0x1_0000 => 2,
        _ => 4,
    }
}

fn align_to(offset: u32, align: u32) -> u32 {
    offset.saturating_add(align - 1) & !(align - 1)
}
