//! Core functions: the most instructions that one runs, with all that it calls, in its own instance and in others.

use std::collections::HashMap;

use wasmparser::{
    BlockType, CompositeInnerType, ExternalKind, FunctionBody, Operator, Parser, Payload, TypeRef,
};

use super::COST_MAX;

/// What a short function of the engine counts.
const SHORT_COST: u32 = 64;
/// What it counts to copy or fill memory: a call may do so three times. How much that is nobody knows, but no engine
/// interrupts it either.
const BULK_COST: u32 = 1_024;
/// What it counts to grow memory.
const GROW_COST: u32 = 512;
/// So many parameters and locals are few: they are on the stack of whoever calls.
const LOCALS_MAX: u32 = 128;
/// So deep may functions call each other.
const DEPTH_MAX: u32 = 16;
/// So much may be looked at of one component: instructions, and parts of which it is put together. A component that is
/// instantiated in a component, again and again, is small and has many.
const LOOKS_MAX: usize = 1 << 20;

/// A core function of a component.
#[derive(Clone, Copy)]
pub(super) enum CoreFunction<'a> {
    Unknown,
    /// One of the engine's own that takes about as long whatever it is given.
    Short,
    /// What an instance of a module exports under a name.
    Export(usize, &'a str),
}

/// A core instance of a component.
pub(super) enum CoreInstance<'a> {
    Unknown,
    /// One of a module, with the instances that its imports come from, by name.
    OfModule {
        module: usize,
        arguments: HashMap<&'a str, usize>,
    },
    /// One that was made of functions.
    OfFunctions(HashMap<&'a str, CoreFunction<'a>>),
}

/// What bounds a function that is bounded.
#[derive(Clone, Copy)]
pub(super) struct Bound {
    /// The most instructions that it runs before it returns, fails, or comes into a dead end.
    pub(super) cost: u32,
    /// Whether it may come into one: it is not bounded from then on.
    pub(super) has_dead_ends: bool,
}

impl Bound {
    const DEAD_END: Self = Self {
        cost: 1,
        has_dead_ends: true,
    };

    pub(super) const fn of(cost: u32) -> Self {
        Self {
            cost,
            has_dead_ends: false,
        }
    }

    /// One after the other.
    pub(super) fn and(self, other: Self) -> Option<Self> {
        Some(Self {
            cost: self.cost.checked_add(other.cost)?,
            has_dead_ends: self.has_dead_ends || other.has_dead_ends,
        })
    }
}

/// The core modules of a component, and what is made of them.
pub(super) struct Code<'a> {
    modules: Vec<Functions<'a>>,
    instances: Vec<CoreInstance<'a>>,
    /// What is known of the functions that were looked at, by instance and index: none if they are not bounded, or not
    /// looked at to the end. Two instances of a module may import different functions.
    bounds: HashMap<(usize, u32), Option<Bound>>,
    /// How much may still be looked at.
    looks_left: usize,
}

impl<'a> Code<'a> {
    pub(super) fn new() -> Self {
        Self {
            modules: Vec::new(),
            instances: Vec::new(),
            bounds: HashMap::new(),
            looks_left: LOOKS_MAX,
        }
    }

    /// Counts what is looked at; none if it is too much.
    pub(super) fn look_at(&mut self, parts: usize) -> Option<()> {
        self.looks_left = self.looks_left.checked_sub(parts)?;
        Some(())
    }

    pub(super) fn add_module(&mut self, module: Functions<'a>) -> usize {
        self.modules.push(module);
        self.modules.len() - 1
    }

    pub(super) fn add_instance(&mut self, instance: CoreInstance<'a>) -> usize {
        self.instances.push(instance);
        self.instances.len() - 1
    }

    /// The function that `instance` exports as `name`.
    pub(super) fn export(&self, instance: usize, name: &'a str) -> CoreFunction<'a> {
        match self.instances.get(instance) {
            Some(CoreInstance::OfModule { .. }) => CoreFunction::Export(instance, name),
            Some(CoreInstance::OfFunctions(functions)) => {
                functions.get(name).copied().unwrap_or(CoreFunction::Unknown)
            }
            Some(CoreInstance::Unknown) | None => CoreFunction::Unknown,
        }
    }

    /// What bounds `function`; none if it is not bounded.
    pub(super) fn bound_of(&mut self, function: CoreFunction<'a>) -> Option<Bound> {
        self.bound(function, 0)
    }

    fn bound(&mut self, function: CoreFunction<'a>, depth: u32) -> Option<Bound> {
        match function {
            CoreFunction::Unknown => None,
            CoreFunction::Short => Some(Bound::of(SHORT_COST)),
            CoreFunction::Export(instance, name) => {
                let index = *self.module(instance)?.exports.get(name)?;
                self.bound_in(instance, index, depth)
            }
        }
    }

    /// The same for a function of an instance by its index there.
    fn bound_in(&mut self, instance: usize, index: u32, depth: u32) -> Option<Bound> {
        if depth > DEPTH_MAX {
            return None;
        }
        if let Some(known) = self.bounds.get(&(instance, index)) {
            return *known;
        }
        self.look_at(1)?;
        // Whoever comes back here while it is being looked at has found a recursion.
        self.bounds.insert((instance, index), None);
        let functions = self.module(instance)?;
        let bound = match index.checked_sub(functions.imported()?) {
            Some(position) => {
                let body = functions.bodies.get(position as usize)?.clone();
                let params = functions.arity_of(index)?.params;
                self.bound_of_body(instance, &body, params, depth)
            }
            None => self.bound(self.import(instance, index)?, depth + 1),
        };
        self.bounds.insert((instance, index), bound);
        bound
    }

    fn bound_of_body(
        &mut self,
        instance: usize,
        body: &FunctionBody<'a>,
        params: u32,
        depth: u32,
    ) -> Option<Bound> {
        let mut locals = params;
        for local in body.get_locals_reader().ok()? {
            locals = locals.checked_add(local.ok()?.0)?;
        }
        let mut bound = Bound::of(0);
        let mut operators = body.get_operators_reader().ok()?.into_iter().peekable();
        while let Some(operator) = operators.next() {
            self.look_at(1)?;
            let before_trap = matches!(operators.peek(), Some(Ok(Operator::Unreachable)));
            let own = match operator.ok()? {
                Operator::Call { .. } | Operator::CallIndirect { .. } if before_trap => Bound::DEAD_END,
                Operator::Call { function_index } => {
                    let arity = self.module(instance)?.arity_of(function_index)?;
                    let called = self.bound_in(instance, function_index, depth + 1)?;
                    called.and(Bound::of(arity.values()?))?
                }
                Operator::Block { blockty } | Operator::If { blockty } => {
                    Bound::of(self.module(instance)?.arity_of_block(blockty)?.values()?)
                }
                Operator::MemoryCopy { .. } | Operator::MemoryFill { .. } => Bound::of(BULK_COST),
                Operator::MemoryGrow { .. } => Bound::of(GROW_COST),
                operator if is_constant(&operator) => Bound::of(0),
                _ => return None,
            };
            bound = bound.and(own)?.and(Bound::of(1))?;
            if bound.cost > COST_MAX {
                return None;
            }
        }
        (locals <= LOCALS_MAX).then_some(bound)
    }

    fn module(&self, instance: usize) -> Option<&Functions<'a>> {
        match self.instances.get(instance)? {
            CoreInstance::OfModule { module, .. } => self.modules.get(*module),
            CoreInstance::Unknown | CoreInstance::OfFunctions(_) => None,
        }
    }

    /// The function that `instance` imports at `index`.
    fn import(&self, instance: usize, index: u32) -> Option<CoreFunction<'a>> {
        let CoreInstance::OfModule { module, arguments } = self.instances.get(instance)? else {
            return None;
        };
        let (from, name) = self.modules.get(*module)?.imports.get(index as usize)?;
        Some(self.export(*arguments.get(from)?, name))
    }
}

/// How many values something takes and gives.
#[derive(Clone, Copy)]
struct Arity {
    params: u32,
    results: u32,
}

impl Arity {
    fn values(self) -> Option<u32> {
        self.params.checked_add(self.results)
    }
}

/// The functions of a core module.
pub(super) struct Functions<'a> {
    /// Where each that it imports comes from, and its name there. They come first in the count.
    imports: Vec<(&'a str, &'a str)>,
    /// Of each type; none if it is not that of functions.
    arities: Vec<Option<Arity>>,
    /// The type of each function, imported ones first.
    types: Vec<u32>,
    exports: HashMap<&'a str, u32>,
    bodies: Vec<FunctionBody<'a>>,
}

impl<'a> Functions<'a> {
    /// Reads a module.
    pub(super) fn read(mut parser: Parser, module: &'a [u8]) -> Option<Self> {
        let mut functions = Self {
            imports: Vec::new(),
            arities: Vec::new(),
            types: Vec::new(),
            exports: HashMap::new(),
            bodies: Vec::new(),
        };
        let mut rest = module;
        loop {
            let wasmparser::Chunk::Parsed { consumed, payload } = parser.parse(rest, true).ok()? else {
                return None;
            };
            rest = rest.get(consumed..)?;
            match payload {
                Payload::TypeSection(section) => {
                    for group in section {
                        for ty in group.ok()?.into_types() {
                            let arity = match &ty.composite_type.inner {
                                CompositeInnerType::Func(function) => Some(Arity {
                                    params: u32::try_from(function.params().len()).ok()?,
                                    results: u32::try_from(function.results().len()).ok()?,
                                }),
                                _ => None,
                            };
                            functions.arities.push(arity);
                        }
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import.ok()?;
                        if let TypeRef::Func(ty) | TypeRef::FuncExact(ty) = import.ty {
                            functions.imports.push((import.module, import.name));
                            functions.types.push(ty);
                        }
                    }
                }
                Payload::FunctionSection(section) => {
                    for ty in section {
                        functions.types.push(ty.ok()?);
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export.ok()?;
                        if let ExternalKind::Func | ExternalKind::FuncExact = export.kind {
                            functions.exports.insert(export.name, export.index);
                        }
                    }
                }
                Payload::CodeSectionEntry(body) => functions.bodies.push(body),
                Payload::End(_) => return Some(functions),
                _ => {}
            }
        }
    }

    fn arity_of(&self, function: u32) -> Option<Arity> {
        self.arity_of_type(*self.types.get(function as usize)?)
    }

    fn arity_of_type(&self, ty: u32) -> Option<Arity> {
        *self.arities.get(ty as usize)?
    }

    fn arity_of_block(&self, ty: BlockType) -> Option<Arity> {
        match ty {
            BlockType::Empty => Some(Arity {
                params: 0,
                results: 0,
            }),
            BlockType::Type(_) => Some(Arity {
                params: 0,
                results: 1,
            }),
            BlockType::FuncType(ty) => self.arity_of_type(ty),
        }
    }

    fn imported(&self) -> Option<u32> {
        u32::try_from(self.imports.len()).ok()
    }
}

/// Whether an instruction takes about as long whatever its operands are, and only ever goes forward.
fn is_constant(operator: &Operator<'_>) -> bool {
    let is_simple = matches!(
        proposal(operator),
        "mvp" | "sign_extension" | "saturating_float_to_int" | "simd" | "relaxed_simd" | "wide_arithmetic"
    );
    is_simple && !matches!(operator, Operator::Loop { .. } | Operator::CallIndirect { .. })
}

/// The proposal by which an instruction came into the language.
fn proposal(operator: &Operator<'_>) -> &'static str {
    macro_rules! proposals {
        ($(@$proposal:ident $operator:ident $({ $($field:ident: $ty:ty),* })? => $visit:ident ($($arity:tt)*))*) => {
            match operator {
                $(Operator::$operator { .. } => stringify!($proposal),)*
                _ => "unknown",
            }
        };
    }
    wasmparser::for_each_operator!(proposals)
}
