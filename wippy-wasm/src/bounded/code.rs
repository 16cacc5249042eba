//! Core functions: the most instructions that one runs, with all that it calls, in its own instance and in others.

use std::collections::HashMap;

use wasmparser::{ExternalKind, FunctionBody, Operator, Parser, Payload, TypeRef};

/// So many instructions are few. Each of them may be the first to touch a page of memory, which takes a microsecond.
const COST_MAX: u32 = 4_096;
/// What a short function of the engine counts.
const SHORT_COST: u32 = 64;
/// So many locals are few: they are on the stack of whoever calls.
const LOCALS_MAX: u32 = 128;
/// So deep may functions call each other.
const DEPTH_MAX: u32 = 16;

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

/// The core modules of a component, and what is made of them.
#[derive(Default)]
pub(super) struct Code<'a> {
    modules: Vec<Functions<'a>>,
    instances: Vec<CoreInstance<'a>>,
    /// What is known of the functions that were looked at, by instance and index: none if they are not bounded, or not
    /// looked at to the end. Two instances of a module may import different functions.
    costs: HashMap<(usize, u32), Option<u32>>,
}

impl<'a> Code<'a> {
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

    /// The most instructions that `function` runs; none if it is not bounded.
    pub(super) fn cost_of(&mut self, function: CoreFunction<'a>) -> Option<u32> {
        self.cost(function, 0)
    }

    fn cost(&mut self, function: CoreFunction<'a>, depth: u32) -> Option<u32> {
        match function {
            CoreFunction::Unknown => None,
            CoreFunction::Short => Some(SHORT_COST),
            CoreFunction::Export(instance, name) => {
                let index = *self.module(instance)?.exports.get(name)?;
                self.cost_in(instance, index, depth)
            }
        }
    }

    /// The same for a function of an instance by its index there.
    fn cost_in(&mut self, instance: usize, index: u32, depth: u32) -> Option<u32> {
        if depth > DEPTH_MAX {
            return None;
        }
        if let Some(known) = self.costs.get(&(instance, index)) {
            return *known;
        }
        // Whoever comes back here while it is being looked at has found a recursion.
        self.costs.insert((instance, index), None);
        let functions = self.module(instance)?;
        let cost = match index.checked_sub(functions.imported()?) {
            Some(position) => {
                let body = functions.bodies.get(position as usize)?.clone();
                self.cost_of_body(instance, &body, depth)
            }
            None => self.cost(self.import(instance, index)?, depth + 1),
        };
        self.costs.insert((instance, index), cost);
        cost
    }

    fn cost_of_body(&mut self, instance: usize, body: &FunctionBody<'a>, depth: u32) -> Option<u32> {
        let mut locals = 0_u32;
        for local in body.get_locals_reader().ok()? {
            locals = locals.checked_add(local.ok()?.0)?;
        }
        let mut cost = 0_u32;
        for operator in body.get_operators_reader().ok()? {
            let own = match operator.ok()? {
                Operator::Call { function_index } => self.cost_in(instance, function_index, depth + 1)?,
                operator if is_constant(&operator) => 0,
                _ => return None,
            };
            cost = cost.checked_add(own)?.checked_add(1)?;
            if cost > COST_MAX {
                return None;
            }
        }
        (locals <= LOCALS_MAX).then_some(cost)
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

/// The functions of a core module.
pub(super) struct Functions<'a> {
    /// Where each that it imports comes from, and its name there. They come first in the count.
    imports: Vec<(&'a str, &'a str)>,
    exports: HashMap<&'a str, u32>,
    bodies: Vec<FunctionBody<'a>>,
}

impl<'a> Functions<'a> {
    /// Reads a module.
    pub(super) fn read(mut parser: Parser, module: &'a [u8]) -> Option<Self> {
        let mut functions = Self {
            imports: Vec::new(),
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
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import.ok()?;
                        if let TypeRef::Func(_) | TypeRef::FuncExact(_) = import.ty {
                            functions.imports.push((import.module, import.name));
                        }
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
    is_simple
        && !matches!(
            operator,
            Operator::Loop { .. } | Operator::CallIndirect { .. } | Operator::MemoryGrow { .. }
        )
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
