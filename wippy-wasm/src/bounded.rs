//! Which functions of a component end by themselves within a few thousand instructions, whatever they are given.
//!
//! Such a function need not be able to be interrupted, so it can run without a stack of its own, which is half of what a
//! small call costs. The proof is simple on purpose: the function and all it calls have no loop, no recursion, no call
//! whose target is not known, and no instruction that takes longer the larger its operands are.
//!
//! [`assembly`] says which core functions an exported function runs, and [`code`] what those run.

mod assembly;
mod code;

use std::collections::BTreeSet;

/// Functions, each by the name of the interface that exports it, if one does, and its own.
pub(crate) type Names = BTreeSet<(Option<String>, String)>;

/// The functions that `component` exports, by itself or in an interface, and that are bounded. A component that is put
/// together in a way that is not understood here has none.
pub(crate) fn functions(component: &[u8]) -> Names {
    assembly::bounded(component).unwrap_or_default()
}
