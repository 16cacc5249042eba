//! Things that a script keeps: volumes, files, stores, snapshots. Each of their methods asks again, so that what one call
//! was given is worth nothing in another that may not have it.

use std::fmt::Write as _;

use wippy_wit::Value;

use super::{context, is_refusal};
use crate::{shell::project, stage::Stage};

/// A kind of thing: how a script comes by it, the action and resource, and its methods, each with a use of `kept`.
type Kind = (
    &'static str,
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

const VOLUME: Kind = (
    "assert(fs.get('app:folder'))",
    "fs.get",
    "app:folder",
    &[
        ("fs:readfile", "return answer(kept:readfile('file'))"),
        ("fs:read_file", "return answer(kept:read_file('file'))"),
        ("fs:writefile", "return answer(kept:writefile('new', 'x'))"),
        ("fs:write_file", "return answer(kept:write_file('new', 'x'))"),
        ("fs:exists", "return answer(kept:exists('file'))"),
        ("fs:isdir", "return answer(kept:isdir('file'))"),
        ("fs:stat", "return answer(kept:stat('file'))"),
        ("fs:mkdir", "return answer(kept:mkdir('made'))"),
        ("fs:remove", "return answer(kept:remove('none'))"),
        ("fs:readdir", "return answer(kept:readdir('/'))"),
        ("fs:chdir", "return answer(kept:chdir('/'))"),
        ("fs:open", "return answer(kept:open('file'))"),
    ],
);

const FILE: Kind = (
    "assert(assert(fs.get('app:folder')):open('file', 'r+'))",
    "fs.get",
    "app:folder",
    &[
        ("fs/file:read", "return answer(kept:read(1))"),
        ("fs/file:write", "return answer(kept:write('x'))"),
        ("fs/file:seek", "return answer(kept:seek('set', 0))"),
        ("fs/file:stat", "return answer(kept:stat())"),
        ("fs/file:sync", "return answer(kept:sync())"),
        ("fs/file:scanner", "return answer(kept:scanner())"),
        // A loop has no place for an error, so it is raised.
        (
            "fs/file:lines",
            "for line in kept:lines() do return line end return true",
        ),
        // What is opened in one volume is a source for a write to another.
        (
            "fs:writefile",
            "return answer(assert(fs.get('app:other')):writefile('copy', kept))",
        ),
    ],
);

const STORE: &[(&str, &str, &str)] = &[
    ("store:get", "store.key.get", "return answer(kept:get('key'))"),
    ("store:entry", "store.key.get", "return answer(kept:entry('key'))"),
    ("store:set", "store.key.set", "return answer(kept:set('key', 1))"),
    ("store:put", "store.key.set", "return answer(kept:put('key', 1))"),
    (
        "store:delete",
        "store.key.delete",
        "return answer(kept:delete('other'))",
    ),
    ("store:has", "store.key.has", "return answer(kept:has('key'))"),
    ("store:list", "store.key.list", "return answer(kept:list())"),
    ("store:info", "store.info", "return answer(kept:info())"),
];

const SNAPSHOT: Kind = (
    "assert(registry.snapshot())",
    "registry.get",
    "app:target",
    &[("registry:get", "return answer(kept:get('app:target'))")],
);

const HISTORY: Kind = (
    "assert(registry.history())",
    "registry.get",
    "app:target",
    &[(
        "registry/versions:snapshot_at",
        "return answer(kept:snapshot_at(registry.current_version()):get('app:target'))",
    )],
);

const CHANGES: Kind = (
    "assert(registry.snapshot():changes():update({ id = 'app:target', kind = 'registry.entry', data = {} }))",
    "registry.apply",
    "app:target",
    &[("registry/changes:apply", "return answer(kept:apply())")],
);

/// What shows a list of entries or variables leaves out what the caller may not see.
const FILTERED: &[(&str, &str, &str, &str)] = &[
    (
        "registry:find",
        "registry.get",
        "app:target",
        "return ids(registry.snapshot():find())",
    ),
    (
        "registry:entries",
        "registry.get",
        "app:target",
        "return ids(registry.snapshot():entries())",
    ),
    (
        "registry:namespace",
        "registry.get",
        "app:target",
        "return ids(registry.snapshot():namespace('app'))",
    ),
    (
        "registry.find",
        "registry.get",
        "app:target",
        "return ids(registry.find({}))",
    ),
    (
        "env.get_all",
        "env.get",
        "COLOR",
        "
        local names = ' '
        for name in pairs(assert(env.get_all())) do names = names .. name .. ' ' end
        return names",
    ),
];

/// It answers whether there is more, and has no place for an error: who may not read finds nothing.
const SCAN: (&str, &str) = (
    "fs/file:scan",
    "if how == 'make' then kept = assert(assert(fs.get('app:folder')):open('file')):scanner() return true end
    return kept:scan()",
);

/// A method, what it takes, where it comes from and how it is used.
struct Use {
    name: &'static str,
    action: &'static str,
    resource: &'static str,
    make: &'static str,
    script: &'static str,
}

fn uses() -> Vec<Use> {
    let kinds = [VOLUME, FILE, SNAPSHOT, HISTORY, CHANGES];
    let of_kinds = kinds.into_iter().flat_map(|(make, action, resource, methods)| {
        methods.iter().map(move |&(name, script)| Use {
            name,
            action,
            resource,
            make,
            script,
        })
    });
    let of_stores = STORE.iter().map(|&(name, action, script)| Use {
        name,
        action,
        resource: "app:kept",
        make: "assert(store.get('app:kept'))",
        script,
    });
    of_kinds.chain(of_stores).collect()
}

/// The methods that are tried here.
pub(super) fn methods() -> impl Iterator<Item = &'static str> {
    let filtered = FILTERED.iter().map(|(name, ..)| *name);
    let kept = uses().into_iter().map(|kept| kept.name);
    kept.chain(filtered.filter(|name| name.contains(':')))
        .chain([SCAN.0])
}

/// An application whose function `row_N` does what the N-th script says, which has `modules`.
fn stage(scripts: impl Iterator<Item = String>) -> Stage {
    let mut index = "namespace: app
entries:
  - { name: kept, kind: store.memory }
  - { name: vars, kind: env.storage.memory }
  - { name: color, kind: env.variable, variable: COLOR, default: red, storage: vars }
  - { name: folder, kind: fs.directory, directory: data, auto_init: true }
  - { name: other, kind: fs.directory, directory: other, auto_init: true }
  - { name: target, kind: registry.entry, data: {} }
"
    .to_owned();
    for (number, script) in scripts.enumerate() {
        let _ = write!(
            index,
            "  - name: row_{number}
    kind: function.lua
    method: main
    pool: {{ reuse: always }}
    modules: [env, fs, registry, store]
    source: |
      local env, fs, registry, store = require('env'), require('fs'), require('registry'), require('store')
      local function answer(value, err) if err then return nil, err end return value ~= nil end
      local function ids(entries)
        local ids = ' '
        for _, entry in ipairs(assert(entries)) do ids = ids .. entry.id .. ' ' end
        return ids
      end
      local kept
      return {{ main = function(how)
        {}
      end }}
",
            script.trim().replace('\n', "\n        ")
        );
    }
    let project = project(&index);
    std::fs::create_dir_all(project.path().join("data")).unwrap();
    std::fs::write(project.path().join("data/file"), "one\ntwo\n").unwrap();
    Stage::new(project)
}

#[test]
fn what_is_kept_takes_the_permission_of_each_use() {
    let stage = stage(uses().iter().map(|Use { make, script, .. }| {
        format!("if how == 'make' then kept = {make} return true end\nif not kept then return 'nothing is kept' end\n{script}")
    }));
    let mut wrong = Vec::new();
    for (number, kept) in uses().iter().enumerate() {
        let Use {
            name,
            action,
            resource,
            ..
        } = kept;
        let row = format!("app:row_{number}");
        let call = |denied, how: &str| stage.call(&context(&stage, denied), &row, &[how.into()]);
        // Twice, so that the thing is there when it is used.
        for how in ["make", "use", "make"] {
            if let Err(error) = call(None, how)
                && is_refusal(&error)
            {
                wrong.push(format!("{name}: {how} is refused with every permission: {error}"));
            }
        }
        let expected = format!("actor `eve` may not do `{action}` on `{resource}`");
        match call(Some((action, resource)), "use") {
            Err(error) if is_refusal(&error) && error.message().contains(&expected) => {}
            other => wrong.push(format!("{name}: not refused: {other:?}")),
        }
        // And for who may, it is as good as before.
        if let Err(error) = call(None, "use")
            && is_refusal(&error)
        {
            wrong.push(format!("{name}: refused later: {error}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn lists_leave_out_what_may_not_be_seen() {
    let stage = stage(FILTERED.iter().map(|(.., script)| (*script).to_owned()));
    for (number, (name, action, resource, _)) in FILTERED.iter().enumerate() {
        let shows = |denied| {
            let listed = stage.call(
                &context(&stage, denied),
                &format!("app:row_{number}"),
                &["".into()],
            );
            let listed = listed.unwrap_or_else(|error| panic!("{name}: {error}"));
            listed.as_str().unwrap().contains(&format!(" {resource} "))
        };
        assert!(shows(None), "{name}");
        assert!(!shows(Some((action, resource))), "{name}");
    }
}

#[test]
fn a_scanner_finds_nothing_for_who_may_not_read() {
    let stage = stage([SCAN.1.to_owned()].into_iter());
    let scan = |denied, how: &str| stage.call(&context(&stage, denied), "app:row_0", &[how.into()]);
    let denied = Some(("fs.get", "app:folder"));
    assert_eq!(scan(None, "make"), Ok(Value::Boolean(true)));
    assert_eq!(scan(denied, "use"), Ok(Value::Boolean(false)));
    assert_eq!(scan(None, "use"), Ok(Value::Boolean(true)));
}
