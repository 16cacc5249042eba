//! What Lua scripts can reach: functions of modules and globals, and methods of what these give out.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use super::{compare, try_without};
use crate::{
    shell::{project, transcript},
    stage::Stage,
};

/// A function or method, the action and the resource it takes, and a script that uses it and answers `value` or `nil, err`.
type Guarded = (&'static str, &'static str, &'static str, &'static str);

const FUNCTIONS: &[Guarded] = &[
    (
        "funcs.call",
        "funcs.call",
        "app:target",
        "return funcs.call('app:target')",
    ),
    (
        "funcs.async",
        "funcs.call",
        "app:target",
        "return funcs.async('app:target'):await()",
    ),
    (
        "security.new_actor",
        "security.actor.create",
        "root",
        "return security.new_actor('root') ~= nil",
    ),
    (
        "security.new_scope",
        "security.scope.create",
        "custom",
        "return security.new_scope() ~= nil",
    ),
    (
        "security.policy",
        "security.policy.get",
        "app:any",
        "return answer(security.policy('app:any'))",
    ),
    (
        "security.named_scope",
        "security.policy_group.get",
        "app:group",
        "return answer(security.named_scope('app:group'))",
    ),
    (
        "security.token_store",
        "security.token_store.get",
        "app:tokens",
        "return answer(security.token_store('app:tokens'))",
    ),
];

const METHODS: &[Guarded] = &[
    ("funcs:call", "funcs.call", "app:target", "return funcs.new():call('app:target')"),
    ("funcs:async", "funcs.call", "app:target", "return funcs.new():async('app:target'):await()"),
    ("funcs:with_actor", "funcs.security", "security", "return answer(funcs.new():with_actor(security.actor()))"),
    ("funcs:with_scope", "funcs.security", "security", "return answer(funcs.new():with_scope(security.scope()))"),
    ("funcs:with_context", "funcs.context", "context", "return answer(funcs.new():with_context({ a = 1 }))"),
    ("security/objects:with", "security.scope.create", "custom",
        "return security.scope():with(security.policy('app:any')) ~= nil"),
    ("security/objects:without", "security.scope.create", "custom", "return security.scope():without('app:any') ~= nil"),
    ("security/tokens:create", "security.token.create", "app:tokens",
        "return security.token_store('app:tokens'):create(security.actor(), security.named_scope('app:group'))"),
    ("security/tokens:validate", "security.token.validate", "app:tokens", "
        local tokens = security.token_store('app:tokens')
        local actor, _, err = tokens:validate(tokens:create(security.actor(), security.named_scope('app:group')))
        return actor and actor:id() or nil, err"),
    ("security/tokens:revoke", "security.token.revoke", "app:tokens",
        "return security.token_store('app:tokens'):revoke('token')"),
];

/// What needs no permission: it works on its arguments, or on what the call or the entry has anyway.
const HARMLESS_FUNCTIONS: &[&str] = &[
    // Lua's own.
    "assert",
    "error",
    "getmetatable",
    "ipairs",
    "next",
    "pairs",
    "pcall",
    "rawequal",
    "rawget",
    "rawlen",
    "rawset",
    "require",
    "select",
    "setmetatable",
    "tonumber",
    "tostring",
    "type",
    "xpcall",
    "coroutine.*",
    "math.*",
    "string.*",
    "table.*",
    "utf8.*",
    "debug.traceback",
    "os.clock",
    "os.date",
    "os.difftime",
    "os.time",
    // Values of the running call and of the running script.
    "ctx.all",
    "ctx.get",
    "process.id",
    "process.pid",
    "security.actor",
    "security.scope",
    // Asks what the running call may do.
    "security.can",
    // A builder that does nothing by itself.
    "funcs.new",
    // Values.
    "errors.call_stack",
    "errors.is",
    "errors.new",
    "errors.wrap",
    "json.decode",
    "json.encode",
    // The terminal that a process owns because its host gave it to it.
    "io.args",
    "io.eprint",
    "io.flush",
    "io.print",
    "io.read",
    "io.readline",
    "io.write",
    // The log. What is said there is said by the entry.
    "print",
    "logger.*",
    // The clock.
    "time.date",
    "time.now",
    "time.parse",
    "time.parse_duration",
    "time.sleep",
    "time.unix",
];

const HARMLESS_METHODS: &[&str] = &[
    // Only ever nearer.
    "funcs:with_options",
    // A call that was allowed.
    "funcs:await",
    "funcs:cancel",
    "funcs:channel",
    "funcs:error",
    "funcs:is_canceled",
    "funcs:is_complete",
    "funcs:receive",
    "funcs:response",
    "funcs:result",
    "logger:*",
    // What was given already, and what it would decide.
    "security/objects:contains",
    "security/objects:evaluate",
    "security/objects:id",
    "security/objects:meta",
    "security/objects:policies",
    "security/tokens:close",
    "time:*",
];

/// All modules, the globals, and the functions in them, by name.
const WALK: &str = "
local function walk(found, seen, prefix, table)
  if seen[table] then return end
  seen[table] = true
  for name, value in pairs(table) do
    if type(name) == 'string' then
      if type(value) == 'function' then found[#found + 1] = prefix .. name
      elseif type(value) == 'table' and name ~= '_G' then walk(found, seen, prefix .. name .. '.', value) end
    end
  end
end
local io = require('io')
local function main()
  local found = {}
  walk(found, {}, '', _G)
  for _, name in ipairs({MODULES}) do
    local module = require(name)
    if type(module) == 'userdata' then found[#found + 1] = name .. ':userdata' end
    if type(module) == 'table' then walk(found, {}, name .. '.', module) end
  end
  for _, name in ipairs(found) do io.print(name) end
end
return { main = main }";

#[test]
fn every_function_is_known() {
    let names: Vec<String> = wippy_lua::MODULES
        .iter()
        .map(|name| format!("'{name}'"))
        .collect();
    let names = names.join(", ");
    let walk = WALK.trim().replace("MODULES", &names).replace('\n', "\n      ");
    let project = project(&format!(
        "namespace: app\nentries:\n  - name: walk\n    kind: process.lua\n    method: main\n    \
         meta: {{ command: {{ name: walk }} }}\n    modules: [{names}]\n    source: |\n      {walk}\n"
    ));
    let said = transcript(project.path(), &["run", "walk"]);
    assert!(said.ends_with("--- exit code 0"), "{said}");
    let real: BTreeSet<String> = said
        .lines()
        .filter(|line| !line.starts_with(['$', '-']))
        .map(ToOwned::to_owned)
        .collect();
    let guarded = FUNCTIONS.iter().map(|(name, ..)| *name);
    let listed: Vec<&str> = guarded.chain(HARMLESS_FUNCTIONS.iter().copied()).collect();
    compare("functions", &real, &listed);
}

#[test]
fn every_method_is_known() {
    let mut real = BTreeSet::new();
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wippy-lua/src/modules");
    read_methods(&modules, "", &mut real);
    assert!(real.len() > 30, "the sources were not understood: {real:?}");
    let guarded = METHODS.iter().map(|(name, ..)| *name);
    let listed: Vec<&str> = guarded.chain(HARMLESS_METHODS.iter().copied()).collect();
    compare("methods", &real, &listed);
}

/// The methods that sources define, as `file:method`: userdata show them to nobody at run time.
fn read_methods(folder: &Path, prefix: &str, found: &mut BTreeSet<String>) {
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let name = format!("{prefix}{stem}");
        if path.is_dir() {
            read_methods(&path, &format!("{name}/"), found);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let defined = text.split("methods.add_").skip(1);
        let defined = defined.filter_map(|text| text.split_once('('));
        let blocking = text
            .split("&method")
            .skip(1)
            .map(|text| ("", text.trim_start_matches('(')));
        for (_, text) in defined.chain(blocking) {
            let literal = text.trim_start().strip_prefix('"');
            let method = literal.and_then(|text| text.split('"').next());
            if let Some(method) = method.filter(|method| !method.starts_with("__")) {
                found.insert(format!("{name}:{method}"));
            }
        }
    }
}

#[test]
fn what_is_guarded_is_refused_without_its_permission() {
    let entries = "namespace: app
entries:
  - { name: kept, kind: store.memory }
  - { name: tokens, kind: security.token_store, store: kept }
  - name: any
    kind: security.policy
    policy: { actions: none, resources: none, effect: allow }
    groups: [group]
  - name: target
    kind: function.lua
    method: main
    source: return { main = function() return true end }
";
    let modules: Vec<&str> = wippy_lua::MODULES
        .iter()
        .copied()
        .filter(|name| *name != "io")
        .collect();
    let requires = modules
        .iter()
        .map(|name| format!("local {name} = require('{name}')"));
    let requires = requires.collect::<Vec<_>>().join(" ");
    let rows = || FUNCTIONS.iter().chain(METHODS);
    let mut index = entries.to_owned();
    for (number, (_, _, _, script)) in rows().enumerate() {
        let _ = write!(
            index,
            "  - name: row_{number}
    kind: function.lua
    method: main
    modules: [{}]
    source: |
      {requires}
      local function answer(value, err) return value ~= nil or nil, err end
      return {{ main = function()
        {}
      end }}
",
            modules.join(", "),
            script.trim().replace('\n', "\n        ")
        );
    }
    let stage = Stage::new(project(&index));
    let wrong: Vec<String> = rows()
        .enumerate()
        .filter_map(|(index, (name, action, resource, _))| {
            let wrong = try_without(&stage, &format!("app:row_{index}"), (action, resource), &[])?;
            Some(format!("{name}: {wrong}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
