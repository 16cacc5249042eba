//! The same component without error contexts: numbers in their place, which look the same to its code.
//!
//! In memory and as core values, the handle of an error context is a `u32`. Each of the built-in functions has the core
//! type that a function of the host has once it is lowered with the same options, so code needs no change:
//!
//! | built-in | function | core type |
//! |---|---|---|
//! | `error-context.new` | `func(message: string) -> u32` | `(i32, i32) -> i32` |
//! | `error-context.debug-message` | `func(context: u32) -> string` | `(i32, i32) -> ()` |
//! | `error-context.drop` | `func(context: u32)` | `(i32) -> ()` |
//!
//! Functions are imported by the outermost component, in front of everything else, so what it has of its own moves up
//! by as many places. Handles belong to a component and not to its instance alone, so components within another that
//! use the built-in functions themselves would take each other's numbers for their own; they are refused.

use wasm_encoder::{
    CanonicalFunctionSection, Component, ComponentImportSection, ComponentSectionId, ComponentTypeRef,
    ComponentTypeSection, ComponentValType, PrimitiveValType, RawSection,
    reencode::{self, Reencode, ReencodeComponent, component_utils},
};
use wasmparser::{CanonicalFunction, Parser, Payload};

use super::{DEBUG_MESSAGE, DROP, NEW};
use crate::Error;

/// Whether a component, or one within it, uses the built-in functions.
pub(crate) fn has_built_ins(component: &[u8]) -> bool {
    let is_built_in = |function: &CanonicalFunction| {
        matches!(
            function,
            CanonicalFunction::ErrorContextNew { .. }
                | CanonicalFunction::ErrorContextDebugMessage { .. }
                | CanonicalFunction::ErrorContextDrop
        )
    };
    // What cannot be read is found by whoever compiles it.
    Parser::new(0)
        .parse_all(component)
        .map_while(Result::ok)
        .filter_map(|payload| match payload {
            Payload::ComponentCanonicalSection(section) => Some(section),
            _ => None,
        })
        .flat_map(IntoIterator::into_iter)
        .map_while(Result::ok)
        .any(|function| is_built_in(&function))
}

/// The component without error contexts.
///
/// # Errors
/// [`Error::Unsupported`] when components within it use the built-in functions, [`Error::Invalid`] when it cannot be read.
pub(crate) fn substitute(component: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = Component::new();
    import_functions(&mut out);
    let mut substitution = Substitution { depth: 0 };
    match substitution.parse_component(&mut out, Parser::new(0), component) {
        Ok(()) => Ok(out.finish()),
        Err(reencode::Error::UserError(within)) => Err(Error::Unsupported {
            message: within.to_string(),
        }),
        Err(error) => Err(Error::Invalid {
            message: error.to_string(),
        }),
    }
}

/// Where the functions and their types stand in the outermost component.
const NEW_INDEX: u32 = 0;
const DEBUG_MESSAGE_INDEX: u32 = 1;
const DROP_INDEX: u32 = 2;
/// How far everything else moves up.
const ADDED: u32 = 3;

fn import_functions(component: &mut Component) {
    let handle = ("context", ComponentValType::from(PrimitiveValType::U32));
    let message = ("message", ComponentValType::from(PrimitiveValType::String));
    let mut types = ComponentTypeSection::new();
    types.function().params([message]).result(Some(handle.1));
    types.function().params([handle]).result(Some(message.1));
    types.function().params([handle]).result(None);
    component.section(&types);
    let mut imports = ComponentImportSection::new();
    for (name, index) in [
        (NEW, NEW_INDEX),
        (DEBUG_MESSAGE, DEBUG_MESSAGE_INDEX),
        (DROP, DROP_INDEX),
    ] {
        imports.import(name, ComponentTypeRef::Func(index));
    }
    component.section(&imports);
}

/// Writes a component again, as another.
struct Substitution {
    /// How many scopes there are around what is being written.
    depth: u32,
}

/// A component within another uses a built-in function.
#[derive(Debug, thiserror::Error)]
#[error("a component within it makes or reads `error-context`: only the outermost one can")]
struct Within;

impl Reencode for Substitution {
    type Error = Within;
}

impl ReencodeComponent for Substitution {
    fn push_depth(&mut self) {
        self.depth += 1;
    }

    fn pop_depth(&mut self) {
        self.depth -= 1;
    }

    fn component_type_index(&mut self, index: u32) -> u32 {
        self.outer_component_type_index(0, index)
    }

    fn outer_component_type_index(&mut self, count: u32, index: u32) -> u32 {
        let is_outermost = count == self.depth;
        index + if is_outermost { ADDED } else { 0 }
    }

    fn component_func_index(&mut self, index: u32) -> u32 {
        index + if self.depth == 0 { ADDED } else { 0 }
    }

    fn component_primitive_val_type(&mut self, ty: wasmparser::PrimitiveValType) -> PrimitiveValType {
        match ty {
            wasmparser::PrimitiveValType::ErrorContext => PrimitiveValType::U32,
            other => other.into(),
        }
    }

    fn component_val_type(&mut self, ty: wasmparser::ComponentValType) -> ComponentValType {
        match ty {
            wasmparser::ComponentValType::Primitive(ty) => self.component_primitive_val_type(ty).into(),
            wasmparser::ComponentValType::Type(index) => {
                ComponentValType::Type(self.component_type_index(index))
            }
        }
    }

    fn parse_component_canonical(
        &mut self,
        section: &mut CanonicalFunctionSection,
        function: CanonicalFunction,
    ) -> Result<(), reencode::Error<Within>> {
        let (index, options) = match function {
            CanonicalFunction::ErrorContextNew { options } => (NEW_INDEX, options),
            CanonicalFunction::ErrorContextDebugMessage { options } => (DEBUG_MESSAGE_INDEX, options),
            CanonicalFunction::ErrorContextDrop => (DROP_INDEX, Box::default()),
            other => return component_utils::parse_component_canonical(self, section, other),
        };
        if self.depth > 0 {
            return Err(reencode::Error::UserError(Within));
        }
        let options = options.iter().map(|option| self.canonical_option(*option));
        section.lower(index, options.collect::<Result<Vec<_>, _>>()?);
        Ok(())
    }

    /// Core modules stay as they are.
    fn parse_component_submodule(
        &mut self,
        component: &mut Component,
        _: Parser,
        module: &[u8],
    ) -> Result<(), reencode::Error<Within>> {
        component.section(&RawSection {
            id: ComponentSectionId::CoreModule.into(),
            data: module,
        });
        Ok(())
    }
}
