//! `pool` of an entry: the same for functions of every language.

use wippy_registry::schema::pool::{Pool, Reuse, Shape};
use wippy_security::{PoolConfig, Ready};

use super::classes::WorkerClasses;

/// Calls of an entry without a bound of its own that run at once.
const CALLS_MAX: usize = 10_000;

/// What the entry says about its instances.
pub(super) fn config(pool: &Pool, retained_bytes_max: Option<u64>, classes: &WorkerClasses) -> PoolConfig {
    let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let queue = |max_size: usize| max_size.saturating_mul(64);
    let (max_size, queue, ready) = match &pool.shape {
        Shape::Inline => (CALLS_MAX, queue(CALLS_MAX), Ready::Nothing),
        Shape::Lazy { max_size } => (size(*max_size), queue(size(*max_size)), Ready::Nothing),
        Shape::Adaptive { max_size } => (size(*max_size), queue(size(*max_size)), Ready::Following),
        Shape::Static { workers, buffer } => (size(*workers), size(*buffer), Ready::Always(size(*workers))),
        Shape::Dedicated { workers, .. } => {
            let workers = workers.map_or_else(|| classes.default_size(), size);
            (workers, queue(workers), Ready::Nothing)
        }
    };
    let reuse = match (&pool.shape, pool.reuse) {
        (Shape::Inline, _) | (_, Reuse::Never) => wippy_security::Reuse::Never,
        (_, Reuse::Caller) => wippy_security::Reuse::Caller,
        (_, Reuse::Actor) => wippy_security::Reuse::Actor,
        (_, Reuse::Always) => wippy_security::Reuse::Always,
    };
    let retained = retained_bytes_max.filter(|bytes| *bytes > 0);
    PoolConfig {
        max_size,
        queue,
        reuse,
        ready,
        retained_bytes_max: retained.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
    }
}
