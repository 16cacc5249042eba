//! Calls that nest from within functions in C, which take native stack that nobody can give back: they are refused before it is used
//! up, on a thread's stack and on a guest's.

use crate::{
    conversions::calls_json,
    shell::{FILES, guest, project, transcript, write},
};

/// `down` calls itself so often, each time from so many calls of `gsub` within each other; `through` does so by way of a guest that
/// is so deep in calls of its own. `executor` takes the way that may run as somebody else. `floor` is a sort within a sort, and so on.
const INDEX: &str = r#"namespace: app
entries:
  - name: down
    kind: function.lua
    modules: [funcs]
    method: run
    source: |
      local funcs = require("funcs")
      local function nest(levels, body)
        if levels == 0 then return body() end
        return (string.gsub("x", "x", function() return nest(levels - 1, body) end))
      end
      local ways = {
        call = function(...) return funcs.call("app:down", ...) end,
        executor = function(...) return funcs.new():call("app:down", ...) end,
        through = function(way, levels, depth, guest)
          return funcs.call("app:relay", guest, "app:text", way .. " " .. levels .. " " .. depth .. " " .. guest)
        end,
      }
      return { run = function(way, levels, depth, guest)
        if depth == 0 then return "bottom" end
        local value, err
        nest(levels, function()
          local ok, caught = pcall(function() value, err = ways[way](way, levels, depth - 1, guest) end)
          if not ok then err = caught end
          return ""
        end)
        return value or tostring(err)
      end }
  - name: text
    kind: function.lua
    modules: [funcs]
    method: run
    source: |
      local funcs = require("funcs")
      return { run = function(text)
        local way, levels, depth, guest = text:match("(%S+) (%S+) (%S+) (%S+)")
        return funcs.call("app:down", way, tonumber(levels), tonumber(depth), tonumber(guest))
      end }
"#;

fn down(way: &str, levels: u32, depth: u32, guest_depth: u32) -> String {
    let folder = project("");
    let relay = guest(folder.path(), "calls-funcs");
    let relay = format!(
        "  - name: relay\n    kind: function.wasm\n{relay}    method: relay-deep\n    imports: [funcs]\n"
    );
    write(
        folder.path(),
        "src/_index.yaml",
        &format!("{INDEX}{FILES}{relay}"),
    );
    let [levels, depth, guest_depth] = [levels, depth, guest_depth].map(|number| number.to_string());
    let way = format!("\"{way}\"");
    transcript(
        folder.path(),
        &["call", "app:down", &way, &levels, &depth, &guest_depth],
    )
}

#[test]
fn calls_that_can_wait_nest_as_deep_as_calls_may() {
    for way in ["call", "executor"] {
        let said = down(way, 0, 60, 0);
        assert!(said.contains("\"bottom\""), "{said}");
    }
}

#[test]
fn calls_from_within_functions_in_c_are_refused_before_the_stack_is_used_up() {
    for way in ["call", "executor"] {
        for levels in [20, 100, 180] {
            let said = down(way, levels, 60, 0);
            assert!(
                said.contains("calls are nested too deeply here"),
                "{way} {levels}: {said}"
            );
        }
    }
}

#[test]
fn so_are_they_on_the_stack_of_a_guest() {
    // How deep this guest can be in calls of its own is some five thousand.
    for guest_depth in [0, 1_000, 4_000] {
        for levels in [0, 20, 180] {
            let said = down("through", levels, 20, guest_depth);
            let is_refused = said.contains("nested too deeply") || said.contains("cannot wait here");
            assert!(
                said.contains("bottom") || is_refused,
                "{guest_depth} {levels}: {said}"
            );
        }
    }
}

/// A function that would end at once if it did not fail, and then go on for ever.
const FAILING: &str = r#"
  - name: f
    kind: function.wat
    source: |
      (module
        (func $for_ever (loop $again (br $again)))
        (func (export "f") (param i32) (result i32)
          (if (local.get 0) (then (call $for_ever) (unreachable)))
          (local.get 0)))
    wit: "f: func(fails: u32) -> u32;"
    method: f
    limits: { max_execution_ms: 200 }
"#;

/// What a guest calls by `call-json` fails on a stack of its own, too, where it is interrupted until its limit. What ends at
/// once would be stopped before.
#[test]
fn what_a_guest_calls_by_json_fails_on_a_stack_of_its_own() {
    let folder = project("");
    let bytes = calls_json();
    std::fs::write(folder.path().join("relay.wasm"), &bytes).unwrap();
    let hash = wippy_wasm::sha256(&bytes);
    let relay = format!(
        "  - name: relay\n    kind: function.wasm\n    fs: files\n    path: relay.wasm\n    hash: {hash}\n    method: relay\n    imports: [funcs]\n"
    );
    let index = format!("namespace: app\nentries:{FAILING}{FILES}{relay}");
    write(folder.path(), "src/_index.yaml", &index);
    let said = transcript(folder.path(), &["call", "app:relay", "app:f", "[1]"]);
    assert!(
        said.contains("the limit `max_execution_ms` of 200 was exceeded"),
        "{said}"
    );
}
