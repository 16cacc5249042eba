//! `kebab-case` and `snake_case`: the only translation between WIT names and the names Lua and YAML use.

use std::borrow::Cow;

/// The `snake_case` form of a WIT name: `tag-count` becomes `tag_count`.
pub fn snake(name: &str) -> Cow<'_, str> {
    if name.contains('-') {
        Cow::Owned(name.replace('-', "_"))
    } else {
        Cow::Borrowed(name)
    }
}

/// The `kebab-case` form of a Lua or YAML name: `tag_count` becomes `tag-count`.
pub fn kebab(name: &str) -> Cow<'_, str> {
    if name.contains('_') {
        Cow::Owned(name.replace('_', "-"))
    } else {
        Cow::Borrowed(name)
    }
}

/// Whether two names are the same once the case convention is ignored.
pub fn same(left: &str, right: &str) -> bool {
    left.len() == right.len()
        && left
            .bytes()
            .zip(right.bytes())
            .all(|(a, b)| a == b || matches!((a, b), (b'-', b'_') | (b'_', b'-')))
}
