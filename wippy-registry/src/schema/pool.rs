//! `pool`: how many instances of a function there are and who shares them.

use crate::schema::decoder::Decoder;
use crate::schema::fields::Fields;
use crate::schema::read::{choice, count, non_empty, positive};

const INLINE: &str = "inline";
const IMPLICIT_MAX_SIZE: u32 = 100;
const MAX_SIZE: u32 = 16;
const WORKERS: u32 = 8;
const BUFFER_PER_WORKER: u32 = 64;

/// How a function is instantiated, with every default filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// How many instances there are.
    pub shape: Shape,
    /// Who may get an instance that was used before.
    pub reuse: Reuse,
}

/// How many instances there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `inline`: a fresh one for every call.
    Inline,
    /// `lazy`: none while idle, at most `max_size`.
    Lazy {
        /// The most there can be.
        max_size: u32,
    },
    /// `static`: a fixed number and a queue.
    Static {
        /// How many.
        workers: u32,
        /// How many calls may wait.
        buffer: u32,
    },
    /// `adaptive`: follows the load, at most `max_size`.
    Adaptive {
        /// The most there can be.
        max_size: u32,
    },
    /// `worker_class`: on OS threads of their own.
    Dedicated {
        /// The name of the threads' class.
        class: String,
        /// How many; left to the machine when absent.
        workers: Option<u32>,
    },
}

/// Who may get an instance that was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reuse {
    /// Nobody.
    Never,
    /// The execution that had it.
    Caller,
    /// Calls of the same actor.
    Actor,
    /// Everybody.
    Always,
}

#[derive(Clone, Copy)]
enum Type {
    Inline,
    Lazy,
    Static,
    Adaptive,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            shape: Shape::Lazy {
                max_size: IMPLICIT_MAX_SIZE,
            },
            reuse: Reuse::Caller,
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the form that `fields` reads")]
pub(crate) fn pool(fields: &mut Fields<'_>, decoder: &mut Decoder<'_>) -> Option<Pool> {
    let types = [
        (INLINE, Type::Inline),
        ("lazy", Type::Lazy),
        ("static", Type::Static),
        ("adaptive", Type::Adaptive),
    ];
    let kind = fields.optional(decoder, "type", choice(&types));
    let workers = fields.optional(decoder, "workers", positive::<u32>);
    let size = fields.optional(decoder, "size", positive::<u32>);
    let buffer = fields.optional(decoder, "buffer", count::<u32>);
    let max_size = fields.optional(decoder, "max_size", positive::<u32>);
    let class = fields.optional(decoder, "worker_class", non_empty);
    let reuses = [
        ("caller", Reuse::Caller),
        ("never", Reuse::Never),
        ("actor", Reuse::Actor),
        ("always", Reuse::Always),
    ];
    let reuse = fields.optional(decoder, "reuse", choice(&reuses));

    let fixed = workers.or(size);
    let shape = match (class, kind) {
        (Some(class), _) => Shape::Dedicated {
            class,
            workers: fixed,
        },
        (None, Some(Type::Inline)) => Shape::Inline,
        (None, Some(Type::Lazy)) => Shape::Lazy {
            max_size: max_size.unwrap_or(MAX_SIZE),
        },
        (None, Some(Type::Adaptive)) => Shape::Adaptive {
            max_size: max_size.unwrap_or(MAX_SIZE),
        },
        (None, Some(Type::Static)) => static_shape(fixed.unwrap_or(WORKERS), buffer),
        (None, None) => match fixed {
            Some(workers) => static_shape(workers, buffer),
            None => Shape::Lazy {
                max_size: max_size.unwrap_or(IMPLICIT_MAX_SIZE),
            },
        },
    };
    let default = if shape == Shape::Inline {
        Reuse::Never
    } else {
        Reuse::Caller
    };
    Some(Pool {
        shape,
        reuse: reuse.unwrap_or(default),
    })
}

fn static_shape(workers: u32, buffer: Option<u32>) -> Shape {
    Shape::Static {
        workers,
        buffer: buffer.unwrap_or(workers.saturating_mul(BUFFER_PER_WORKER)),
    }
}
