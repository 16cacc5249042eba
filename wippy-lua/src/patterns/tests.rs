//! The walk goes the way that Lua goes: both find the same matches.

use mlua::Lua;
use proptest::prelude::*;

use super::{Capture, STEPS_MAX, Stop, Walk};

/// Where a match at the start of `text` ends, if there is one; nothing if the pattern is wrong.
fn walked(text: &str, pattern: &str) -> Result<Option<usize>, ()> {
    let mut walk = Walk {
        text: text.as_bytes(),
        pattern: pattern.as_bytes(),
        steps_left: STEPS_MAX,
        depth: 0,
        level: 0,
        captures: [(0, Capture::Open); super::CAPTURES_MAX],
    };
    match walk.matched(0, 0) {
        Ok(end) => Ok(end),
        Err(Stop::Wrong) => Err(()),
        Err(Stop::TooLong) => panic!("`{pattern}` is too long for `{text}`"),
    }
}

/// The same by Lua.
fn by_lua(lua: &Lua, text: &str, pattern: &str) -> Result<Option<usize>, ()> {
    let find = "function(t, p) local _, e = t:find('^' .. p) return e end";
    let find: mlua::Function = lua.load(find).eval().unwrap();
    find.call((text, pattern)).map_err(drop)
}

fn patterns() -> impl Strategy<Value = String> {
    let pieces = vec![
        "a", "b", "%a", "%S", "%d", ".", "[ab]", "[^a]", "[a-c%d]", "[]a]", "(", ")", "()", "%1", "%2",
        "%bab", "%f[a]", "%f[%A]", "*", "+", "-", "?", "$", "%%", "[", "%", "]", " ",
    ];
    prop::collection::vec(prop::sample::select(pieces), 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_walk_ends_where_lua_ends(text in "[ab1% ]{0,12}", pattern in patterns()) {
        let lua = Lua::new();
        // Lua may find out that a pattern is wrong after it matched: a capture was not closed.
        if let Ok(end) = by_lua(&lua, &text, &pattern) {
            prop_assert_eq!(walked(&text, &pattern), Ok(end));
        }
    }
}
