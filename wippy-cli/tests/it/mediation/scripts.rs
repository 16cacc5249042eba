//! What Lua scripts can reach: functions of modules and globals, and methods of what these give out.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use super::{compare, kept, try_without};
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
    ("env.get", "env.get", "COLOR", "return env.get('COLOR')"),
    ("env.set", "env.set", "COLOR", "return env.set('COLOR', 'red')"),
    (
        "events.send",
        "events.send",
        "orders",
        "return events.send('orders', 'placed', '/1')",
    ),
    (
        "events.subscribe",
        "events.subscribe",
        "orders",
        "return answer(events.subscribe('orders'))",
    ),
    (
        "fs.get",
        "fs.get",
        "app:folder",
        "return answer(fs.get('app:folder'))",
    ),
    (
        "store.get",
        "store.get",
        "app:kept",
        "return answer(store.get('app:kept'))",
    ),
    (
        "registry.get",
        "registry.get",
        "app:target",
        "return answer(registry.get('app:target'))",
    ),
    (
        "registry.apply_version",
        "registry.apply_version",
        "1",
        "return answer(registry.apply_version(1))",
    ),
    (
        "process.spawn",
        "process.spawn",
        "app:doing",
        "return process.spawn('app:doing', 'app:host')",
    ),
    (
        "process.spawn_monitored",
        "process.spawn.monitored",
        "app:doing",
        "return process.spawn_monitored('app:doing', 'app:host')",
    ),
    (
        "process.spawn_linked",
        "process.spawn.linked",
        "app:doing",
        "return process.spawn_linked('app:doing', 'app:host')",
    ),
    (
        "process.spawn_linked_monitored",
        "process.host",
        "app:host",
        "return process.exec('app:doing', 'app:host', 'spawn_linked_monitored', 'app:doing', 'app:host')",
    ),
    (
        "process.exec",
        "process.exec",
        "app:doing",
        "return process.exec('app:doing', 'app:host')",
    ),
    (
        "process.send",
        "process.send",
        "nobody",
        "return process.send('nobody', 'x')",
    ),
    (
        "process.terminate",
        "process.terminate",
        "nobody",
        "return process.terminate('nobody')",
    ),
    (
        "process.cancel",
        "process.cancel",
        "nobody",
        "return process.cancel('nobody')",
    ),
    (
        "process.monitor",
        "process.monitor",
        "nobody",
        "return process.exec('app:doing', 'app:host', 'monitor', 'nobody')",
    ),
    (
        "process.unmonitor",
        "process.unmonitor",
        "nobody",
        "return process.exec('app:doing', 'app:host', 'unmonitor', 'nobody')",
    ),
    (
        "process.link",
        "process.link",
        "nobody",
        "return process.exec('app:doing', 'app:host', 'link', 'nobody')",
    ),
    (
        "process.unlink",
        "process.unlink",
        "nobody",
        "return process.exec('app:doing', 'app:host', 'unlink', 'nobody')",
    ),
    (
        "process.upgrade",
        "process.spawn",
        "app:other",
        "return process.exec('app:doing', 'app:host', 'upgrade', 'app:other')",
    ),
    (
        "process.registry.register",
        "process.registry.register",
        "mine",
        "return process.registry.register('mine')",
    ),
    (
        "process.registry.unregister",
        "process.registry.unregister",
        "mine",
        "return process.registry.unregister('mine')",
    ),
    (
        "process.with_context",
        "process.context",
        "context",
        "return process.with_context({ a = 1 }):spawn('app:doing', 'app:host')",
    ),
    (
        "http_client.get",
        "http_client.request",
        URL,
        "return answer(http_client.get('http://127.0.0.1:9/'))",
    ),
    (
        "http_client.head",
        "http_client.request",
        URL,
        "return answer(http_client.head('http://127.0.0.1:9/'))",
    ),
    (
        "http_client.post",
        "http_client.request",
        URL,
        "return answer(http_client.post('http://127.0.0.1:9/'))",
    ),
    (
        "http_client.put",
        "http_client.request",
        URL,
        "return answer(http_client.put('http://127.0.0.1:9/'))",
    ),
    (
        "http_client.patch",
        "http_client.request",
        URL,
        "return answer(http_client.patch('http://127.0.0.1:9/'))",
    ),
    (
        "http_client.delete",
        "http_client.request",
        URL,
        "return answer(http_client.delete('http://127.0.0.1:9/'))",
    ),
    (
        "http_client.request",
        "http_client.request",
        URL,
        "return answer(http_client.request('GET', 'http://127.0.0.1:9/'))",
    ),
    (
        "http_client.request_batch",
        "http_client.request",
        URL,
        "local _, errors = http_client.request_batch({{'GET', 'http://127.0.0.1:9/'}}) return nil, errors[1]",
    ),
];

/// An address where nobody listens.
const URL: &str = "http://127.0.0.1:9/";

const METHODS: &[Guarded] = &[
    ("process/spawner:with_context", "process.context", "context",
        "return process.with_options({}):with_context({ a = 1 }):spawn('app:doing', 'app:host')"),
    ("process/spawner:with_actor", "process.security", "security",
        "return process.with_options({}):with_actor(security.actor()):spawn('app:doing', 'app:host')"),
    ("process/spawner:with_scope", "process.security", "security",
        "return process.with_options({}):with_scope(security.scope()):spawn('app:doing', 'app:host')"),
    ("process/spawner:with_name", "process.registry.register", "named",
        "return process.with_options({}):with_name('named'):spawn('app:doing', 'app:host')"),
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
    // They work on their arguments.
    "base64.*",
    "crypto.*",
    "hash.*",
    "json.validate",
    "json.validate_string",
    "payload.new",
    "text.*",
    "uuid.*",
    "yaml.*",
    "http_client.encode_uri",
    "http_client.decode_uri",
    "registry.parse_id",
    // Between the coroutines of one state.
    "channel.*",
    // They show only what `env.get` and `registry.get` allow: see [`kept`].
    "env.get_all",
    "registry.find",
    "registry.snapshot",
    "registry.snapshot_at",
    // Numbers and times of versions, and differences of what a script has already.
    "registry.build_delta",
    "registry.current_version",
    "registry.history",
    "registry.versions",
    // The request that the running call answers.
    "http.request",
    "http.response",
    // What was sent to the process that runs, and how that behaves.
    "process.events",
    "process.get_options",
    "process.inbox",
    "process.listen",
    "process.set_options",
    "process.unlisten",
    // A name is no secret: what is done by it is asked about.
    "process.registry.lookup",
    // A builder that does nothing by itself.
    "process.with_options",
    // Points in time.
    "time.after",
    "time.fixed_zone",
    "time.load_location",
    "time.ticker",
    "time.timer",
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
    "unpack",
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
    "io.raw",
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
    // What was given by a function that asked.
    "events:*",
    "http_client/*",
    // Where in a volume a script is, and what it has read or put aside already.
    "fs:pwd",
    "fs/file:close",
    "fs/file:err",
    "fs/file:text",
    "store:release",
    // Changes that are collected; applying them asks.
    "registry:changes",
    "registry/changes:create",
    "registry/changes:delete",
    "registry/changes:ops",
    "registry/changes:update",
    // Numbers of versions.
    "registry:version",
    "registry/versions:get_version",
    "registry/versions:id",
    "registry/versions:next",
    "registry/versions:previous",
    "registry/versions:string",
    "registry/versions:versions",
    // A call that was allowed.
    "future:*",
    // The request that the running call answers.
    "http/*",
    // What arrived.
    "message:*",
    "payload:*",
    // A builder that does nothing by itself.
    "process/spawner:with_message",
    "process/spawner:with_options",
    "text/*",
    "time/*",
    "timers:*",
    // Only ever nearer.
    "funcs:with_options",
    "logger:*",
    // What was given already, and what it would decide.
    "security/objects:contains",
    "security/objects:evaluate",
    "security/objects:id",
    "security/objects:meta",
    "security/objects:policies",
    "security/tokens:close",
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
    let guarded = guarded.chain(kept::methods());
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
        let installed = text.split("methods::install(").skip(1).map(first_list);
        let listed = text.split("METHODS: &Methods = &").skip(1).map(first_list);
        let installed = installed.chain(listed);
        let installed = installed.flat_map(|list| list.split('(').skip(1).map(|text| ("", text)));
        for (_, text) in defined.chain(blocking).chain(installed) {
            let literal = text.trim_start().strip_prefix('"');
            let method = literal.and_then(|text| text.split('"').next());
            if let Some(method) = method.filter(|method| !method.starts_with("__")) {
                found.insert(format!("{name}:{method}"));
            }
        }
    }
}

/// The first list in a text, brackets left out.
fn first_list(text: &str) -> &str {
    let text = text.split_once('[').map_or("", |(_, list)| list);
    let mut depth = 1;
    let end = text.find(|letter| {
        depth += match letter {
            '[' => 1,
            ']' => -1,
            _ => 0,
        };
        depth == 0
    });
    text.get(..end.unwrap_or(0)).unwrap()
}

#[test]
fn what_is_guarded_is_refused_without_its_permission() {
    let entries = "namespace: app
entries:
  - { name: kept, kind: store.memory }
  - { name: tokens, kind: security.token_store, store: kept }
  - { name: vars, kind: env.storage.memory }
  - { name: color, kind: env.variable, variable: COLOR, storage: vars }
  - { name: folder, kind: fs.directory, directory: data, auto_init: true }
  - { name: host, kind: process.host }
  - name: doing
    kind: process.lua
    method: main
    source: return { main = function(what, ...) if what then return process[what](...) end return true end }
  - name: other
    kind: process.lua
    method: main
    source: return { main = function() return true end }
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
