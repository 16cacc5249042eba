//! Which functions of a component end by themselves within a few thousand instructions, whatever they are given.
//!
//! Such a function need not be able to be interrupted, so it can run without a stack of its own, which is half of what a
//! small call costs. The proof is simple on purpose: the function and all it calls have no loop, no recursion, no call
//! whose target is not known, and no instruction that takes longer the larger its operands are.

use std::collections::{HashMap, HashSet};

use wasmparser::{
    CanonicalFunction, CanonicalOption, ComponentAlias, ComponentExternalKind, ExternalKind, FunctionBody,
    Instance, Operator, Parser, Payload, TypeRef,
};

/// So many instructions are few. Each of them may be the first to touch a page of memory, which takes a microsecond.
const COST_MAX: u32 = 4_096;
/// So many locals are few: they are on the stack of whoever calls.
const LOCALS_MAX: u32 = 128;
/// So deep may functions call each other.
const DEPTH_MAX: u32 = 16;

/// The names of the functions that `component` exports by itself, not in an interface, and that are bounded. A component
/// that is put together in a way that is not understood here has none.
pub(crate) fn functions(component: &[u8]) -> HashSet<String> {
    read(component).unwrap_or_default()
}

/// What is known of the parts of a component, by their indices.
#[derive(Default)]
struct Parts<'a> {
    modules: Vec<Functions<'a>>,
    /// The module of each core instance, if it is one of a module.
    instances: Vec<Option<u32>>,
    /// The instance and the name of each core function.
    core_functions: Vec<(u32, &'a str)>,
    /// The core functions that each function runs; none if that is not known.
    functions: Vec<Option<Vec<u32>>>,
}

fn read(component: &[u8]) -> Option<HashSet<String>> {
    let mut parts = Parts::default();
    let mut bounded = HashSet::new();
    let mut parser = Parser::new(0);
    let mut rest = component;
    loop {
        let wasmparser::Chunk::Parsed { consumed, payload } = parser.parse(rest, true).ok()? else {
            return None;
        };
        rest = rest.get(consumed..)?;
        match payload {
            Payload::ModuleSection {
                parser,
                unchecked_range: range,
            } => {
                parts
                    .modules
                    .push(Functions::read(parser, component.get(range.clone())?)?);
                rest = component.get(range.end..)?;
            }
            Payload::ComponentSection {
                unchecked_range: range,
                ..
            } => rest = component.get(range.end..)?,
            Payload::InstanceSection(section) => {
                for instance in section {
                    parts.instances.push(match instance.ok()? {
                        Instance::Instantiate { module_index, .. } => Some(module_index),
                        Instance::FromExports(_) => None,
                    });
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    parts.alias(&alias.ok()?)?;
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    parts.canonical(function.ok()?)?;
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    let export = export.ok()?;
                    if export.kind != ComponentExternalKind::Func {
                        continue;
                    }
                    let function = parts.functions.get(export.index as usize)?.clone();
                    if function.as_ref().is_some_and(|all| parts.are_bounded(all)) {
                        bounded.insert(export.name.name.to_owned());
                    }
                    parts.functions.push(function);
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section {
                    // Types are harmless; anything else takes part in the count of indices.
                    let wasmparser::ComponentTypeRef::Type(_) = import.ok()?.ty else {
                        return None;
                    };
                }
            }
            Payload::End(_) => return Some(bounded),
            _ => {}
        }
    }
}

impl<'a> Parts<'a> {
    fn alias(&mut self, alias: &ComponentAlias<'a>) -> Option<()> {
        match alias {
            ComponentAlias::CoreInstanceExport {
                kind: ExternalKind::Func | ExternalKind::FuncExact,
                instance_index,
                name,
            } => self.core_functions.push((*instance_index, name)),
            ComponentAlias::InstanceExport {
                kind: ComponentExternalKind::Func,
                ..
            } => self.functions.push(None),
            ComponentAlias::InstanceExport {
                kind: ComponentExternalKind::Module,
                ..
            }
            | ComponentAlias::Outer {
                kind: wasmparser::ComponentOuterAliasKind::CoreModule,
                ..
            } => return None,
            _ => {}
        }
        Some(())
    }

    fn canonical(&mut self, function: CanonicalFunction) -> Option<()> {
        // All others make core functions.
        let CanonicalFunction::Lift {
            core_func_index,
            options,
            ..
        } = function
        else {
            return None;
        };
        let mut all = Some(vec![core_func_index]);
        for option in options {
            match (option, &mut all) {
                (CanonicalOption::PostReturn(index), Some(all)) => all.push(index),
                (CanonicalOption::Async | CanonicalOption::Callback(_) | CanonicalOption::Gc, all) => {
                    *all = None;
                }
                _ => {}
            }
        }
        self.functions.push(all);
        Some(())
    }

    fn are_bounded(&mut self, core_functions: &[u32]) -> bool {
        core_functions
            .iter()
            .all(|function| self.cost_of(*function).is_some())
    }

    /// The most instructions that a core function runs; none if it is not bounded.
    fn cost_of(&mut self, core_function: u32) -> Option<u32> {
        let (instance, name) = *self.core_functions.get(core_function as usize)?;
        let module = (*self.instances.get(instance as usize)?)?;
        self.modules.get_mut(module as usize)?.cost_of(name)
    }
}

/// The functions of a core module.
struct Functions<'a> {
    /// They come first in the count.
    imported: u32,
    exports: HashMap<&'a str, u32>,
    bodies: Vec<FunctionBody<'a>>,
    /// What is known of the functions that were looked at: none if they are not bounded, or not looked at to the end.
    costs: HashMap<u32, Option<u32>>,
}

impl<'a> Functions<'a> {
    fn read(mut parser: Parser, module: &'a [u8]) -> Option<Self> {
        let mut functions = Self {
            imported: 0,
            exports: HashMap::new(),
            bodies: Vec::new(),
            costs: HashMap::new(),
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
                        if let TypeRef::Func(_) | TypeRef::FuncExact(_) = import.ok()?.ty {
                            functions.imported += 1;
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

    fn cost_of(&mut self, export: &str) -> Option<u32> {
        let index = *self.exports.get(export)?;
        self.cost(index, 0)
    }

    /// The most instructions that the function runs; none if it is not bounded.
    fn cost(&mut self, index: u32, depth: u32) -> Option<u32> {
        if depth > DEPTH_MAX {
            return None;
        }
        if let Some(known) = self.costs.get(&index) {
            return *known;
        }
        // Whoever comes back here while it is being looked at has found a recursion.
        self.costs.insert(index, None);
        let position = index.checked_sub(self.imported)?;
        let body = self.bodies.get(position as usize)?.clone();
        let cost = self.cost_of_body(&body, depth);
        self.costs.insert(index, cost);
        cost
    }

    fn cost_of_body(&mut self, body: &FunctionBody<'a>, depth: u32) -> Option<u32> {
        let mut locals = 0_u32;
        for local in body.get_locals_reader().ok()? {
            locals = locals.checked_add(local.ok()?.0)?;
        }
        let mut cost = 0_u32;
        for operator in body.get_operators_reader().ok()? {
            let own = match operator.ok()? {
                Operator::Call { function_index } => self.cost(function_index, depth + 1)?,
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
