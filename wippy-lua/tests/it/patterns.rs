//! The private tests of how patterns are walked, which the library itself has no test binary for.

#[path = "../../src/patterns.rs"]
#[expect(dead_code, reason = "only its own tests use it here")]
mod walk;
