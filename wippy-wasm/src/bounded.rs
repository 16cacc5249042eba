//! Which functions of a component end by themselves within a few thousand instructions, whatever they are given, unless
//! they fail.
//!
//! Such a function need not be able to be interrupted, so it can run without a stack of its own, which is half of what a
//! small call costs. The proof is simple on purpose: the function and all it calls have no loop, no recursion and no call
//! whose target is not known. Instructions that take longer the larger their operands are count as many: the engine could not
//! interrupt one of them anywhere.
//!
//! A call with a trap behind it is a dead end, such as that of a panic: whatever it leads to, the call that came into it fails,
//! and its instance is gone. That may take as long as it likes as far as the proof goes, since it can be cut short at any
//! time. What it must not do is wait for something or take a stack that is not its own. The first needs a host function, which
//! these components do not import, or an asynchronous one of a component within, which only engines have that are made for
//! those; that, and whose stack it is, is for whoever calls to see to.
//!
//! The arguments that are in memory of their own belong to a call: the guest's allocator makes room for each of them.
//!
//! [`assembly`] says which core functions an exported function runs, and [`code`] what those run.

mod assembly;
mod code;

use std::collections::BTreeMap;

/// So many instructions are few. Each of them may be the first to touch a page of memory, which takes a microsecond. What
/// is given to calls and blocks, and what they give, counts like instructions: each of these values may have a place on the
/// stack, which is that of whoever calls.
const COST_MAX: u32 = 4_096;

/// Functions that are bounded, each by the name of the interface that exports it, if one does, and its own.
pub(crate) type Names = BTreeMap<(Option<String>, String), Cost>;

/// The most that a bounded function takes, in instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    /// A call, but for making room for its arguments.
    pub(crate) call: u32,
    /// Making room for one of them; none if that is not bounded.
    pub(crate) allocation: Option<u32>,
    /// Whether either may come into a dead end: it fails then, but not within so many instructions, nor on little stack.
    pub(crate) has_dead_ends: bool,
}

impl Cost {
    /// Whether a call with so many arguments in memory of their own takes few instructions.
    pub(crate) fn is_small(self, arguments: u32) -> bool {
        let allocations = match arguments {
            0 => Some(0),
            _ => self.allocation.and_then(|cost| cost.checked_mul(arguments)),
        };
        allocations
            .and_then(|cost| cost.checked_add(self.call))
            .is_some_and(|cost| cost <= COST_MAX)
    }
}

/// The functions that `component` exports, by itself or in an interface, and that are bounded. A component that is put
/// together in a way that is not understood here has none.
pub(crate) fn functions(component: &[u8]) -> Names {
    assembly::bounded(component).unwrap_or_default()
}
