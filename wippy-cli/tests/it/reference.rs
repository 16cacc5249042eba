//! The reference of Lua in `docs/lua-reference.md`: it names everything that a script can use and nothing else, and a test
//! for each that uses it.
//!
//! What there is comes from running scripts, not from their sources: fields of tables are listed, and objects, which list
//! nothing, are asked for every name that is written anywhere in the sources of `wippy-lua`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    thread,
};

use crate::{
    http::site::{Site, indented, index},
    shell::{project, transcript},
};

/// How scripts get one of each kind of object, in a process with all modules. Each is what a heading of the page names.
const OBJECTS: &[(&str, &str)] = &[
    ("Actor", "security.new_actor('ada')"),
    ("Changes", "registry.snapshot():changes()"),
    ("Channel", "channel.new()"),
    ("Differ", "text.diff.new()"),
    ("Duration", "time.parse_duration('1s')"),
    ("Error", "errors.new('no')"),
    ("Executor", "funcs.new()"),
    ("File", "folder:open('file', 'w')"),
    ("Future", "funcs.async('app:target')"),
    ("History", "registry.history()"),
    ("Location", "time.utc"),
    ("Logger", "logger:with({})"),
    ("Message", "message()"),
    ("Payload", "payload.new(1)"),
    ("Policy", "security.policy('app:any')"),
    ("Regexp", "text.regexp.compile('a')"),
    ("Scanner", "folder:open('file', 'r'):scanner()"),
    ("Scope", "security.new_scope()"),
    ("Snapshot", "registry.snapshot()"),
    ("Spawner", "process.with_options({})"),
    ("Splitter", "text.splitter.recursive()"),
    ("Store", "store.get('app:kept')"),
    (
        "Stream",
        "http_client.get('http://ADDRESS/', { stream = true }).stream",
    ),
    ("Subscription", "events.subscribe('orders')"),
    ("Ticker", "time.ticker('1h')"),
    ("Time", "time.now()"),
    ("Timer", "time.timer('1h')"),
    ("TokenStore", "security.token_store('app:tokens')"),
    ("Version", "registry.current_version()"),
    ("Volume", "folder"),
];

/// The same, where a request is answered.
const OBJECTS_OF_REQUESTS: [(&str, &str); 3] = [
    ("Request", "req"),
    ("Response", "res"),
    ("BodyStream", "req:stream()"),
];

/// Lists what there is of `value`: the names in a table, or those among `CANDIDATES` that an object knows.
const LIST: &str = "
local function list(found, owner, value)
  if type(value) == 'table' then
    for name in pairs(value) do found[#found + 1] = owner .. ' ' .. tostring(name) end
  else
    for _, name in ipairs(CANDIDATES) do
      local ok, method = pcall(function() return value[name] end)
      if ok and method ~= nil then found[#found + 1] = owner .. ' ' .. name end
    end
  end
end
-- Tables within a table: `text.regexp` is a part of its own.
local function walk(found, seen, owner, value)
  if type(value) ~= 'table' or seen[value] then return end
  seen[value] = true
  for name, inner in pairs(value) do
    if type(inner) == 'table' and name ~= '_G' then
      walk(found, seen, owner == '_G' and name or owner .. '.' .. name, inner)
    else
      found[#found + 1] = owner .. ' ' .. tostring(name)
    end
  end
end";

/// One row: names that one test uses, or that do not exist.
struct Row {
    /// `text.regexp`, or `Regexp:` for methods.
    owner: String,
    names: Vec<String>,
    /// The test; nothing for what does not exist.
    test: Option<String>,
}

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/lua-reference.md");
    fs::read_to_string(path).unwrap()
}

/// The rows of the page. A heading names whose functions its table lists; `no:` in the last column says that there are none
/// of these names, and why.
fn rows() -> Vec<Row> {
    let mut owner = String::new();
    let mut rows = Vec::new();
    for line in page().lines() {
        if let Some(heading) = line.strip_prefix("##") {
            owner = quoted(heading).first().cloned().unwrap_or_default();
        } else if let Some(cells) = line.strip_prefix("| `").and_then(|rest| rest.strip_suffix(" |")) {
            let (names, cell) = cells
                .split_once(" | ")
                .unwrap_or_else(|| panic!("two columns: {line}"));
            let test = match cell.strip_prefix("no: ") {
                Some(why) => {
                    assert!(!why.is_empty(), "{line}");
                    None
                }
                None => Some(
                    quoted(cell)
                        .first()
                        .unwrap_or_else(|| panic!("a test: {line}"))
                        .clone(),
                ),
            };
            rows.push(Row {
                owner: owner.clone(),
                names: quoted(&format!("`{names}")),
                test,
            });
        }
    }
    assert!(rows.len() > 50, "the page was not understood");
    rows
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(ToOwned::to_owned)
        .collect()
}

/// Every name that is written in the sources of `wippy-lua`: whatever an object knows is among them.
fn candidates() -> BTreeSet<String> {
    fn read(folder: &Path, found: &mut BTreeSet<String>) {
        for file in fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                read(&path, found);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let is_name = |text: &&str| {
                let mut letters = text.bytes();
                letters.next().is_some_and(|letter| letter.is_ascii_alphabetic())
                    && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == b'_')
            };
            found.extend(text.split('"').filter(is_name).map(ToOwned::to_owned));
        }
    }
    let mut found = BTreeSet::new();
    read(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../wippy-lua/src"),
        &mut found,
    );
    assert!(
        found.contains("find_string_submatch"),
        "the sources were not understood"
    );
    found
}

fn list(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let quoted = names.into_iter().map(|name| format!("'{}'", name.as_ref()));
    format!("{{ {} }}", quoted.collect::<Vec<_>>().join(", "))
}

/// Lines that list each object.
fn listing(objects: &[(&str, &str)]) -> String {
    let lines = objects
        .iter()
        .map(|(name, made)| format!("list(found, '{name}:', assert({made}))\n"));
    lines.collect()
}

/// What there is at run time, as `owner name`.
fn real() -> BTreeSet<String> {
    let mut real = of_a_process();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    real.extend(runtime.block_on(of_a_request()));
    real
}

fn of_a_process() -> BTreeSet<String> {
    let modules = wippy_lua::MODULES;
    let requires = modules
        .iter()
        .map(|name| format!("local {name} = require('{name}')\n"));
    let script = format!(
        "{requires}
{LIST}
local function message()
  process.send(process.pid(), 'topic', 1)
  return process.inbox():receive()
end
local function main()
  local found, seen = {{}}, {{}}
  local folder = assert(fs.get('app:folder'))
  for _, name in ipairs({modules}) do walk(found, seen, name, require(name)) end
  walk(found, seen, '_G', _G)
{listing}
  for _, name in ipairs(found) do io.print(name) end
end
return {{ main = main }}",
        requires = requires.collect::<String>(),
        modules = list(modules),
        listing = listing(OBJECTS),
    );
    let script = script
        .replace("CANDIDATES", &list(candidates()))
        .replace("ADDRESS", &answering_once().to_string());
    let project = project(&format!(
        "namespace: app
entries:
  - {{ name: kept, kind: store.memory }}
  - {{ name: tokens, kind: security.token_store, store: kept }}
  - {{ name: folder, kind: fs.directory, directory: data, auto_init: true }}
  - name: any
    kind: security.policy
    policy: {{ actions: none, resources: none, effect: allow }}
  - name: target
    kind: function.lua
    method: main
    source: return {{ main = function() return true end }}
  - name: list
    kind: process.lua
    method: main
    meta: {{ command: {{ name: names }} }}
    modules: [{}]
    source: |
{}",
        modules.join(", "),
        indented(6, &script)
    ));
    let said = transcript(project.path(), &["run", "names"]);
    assert!(said.ends_with("--- exit code 0"), "{said}");
    lines(&said)
}

/// The address of somebody who answers one request.
fn answering_once() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
            .unwrap();
    });
    address
}

async fn of_a_request() -> BTreeSet<String> {
    let body = format!(
        "{LIST}
local found = {{}}
{}
local form = assert(req:parse_multipart())
list(found, 'FormFile:', form.files.doc[1])
list(found, 'FileStream:', form.files.doc[1]:stream())
res:write(table.concat(found, '\\n'))",
        listing(&OBJECTS_OF_REQUESTS[..2])
    );
    let stream = format!(
        "{LIST}
local found = {{}}
{}
res:write(table.concat(found, '\\n'))",
        listing(&OBJECTS_OF_REQUESTS[2..])
    );
    let names = list(candidates());
    let entries =
        [("form", "POST /form", &body), ("stream", "POST /stream", &stream)].map(|(name, route, body)| {
            super::http::site::script(name, route, &body.replace("CANDIDATES", &names))
        });
    let site = Site::new(&index("", &entries.concat())).await;
    let form =
        "--X\r\nContent-Disposition: form-data; name=\"doc\"; filename=\"a.txt\"\r\n\r\nx\r\n--X--\r\n";
    let head = |path: &str| format!("POST {path} HTTP/1.1\ncontent-type: multipart/form-data; boundary=X");
    let mut found = BTreeSet::new();
    for path in ["/form", "/stream"] {
        let reply = site.send(&head(path), form).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        found.extend(lines(reply.text()));
    }
    found
}

fn lines(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| !line.starts_with(['$', '-']))
        .map(ToOwned::to_owned)
        .collect()
}

#[test]
fn the_page_lists_what_there_is() {
    let real = real();
    let mut documented = BTreeSet::new();
    let mut missing = BTreeSet::new();
    for row in rows() {
        for name in &row.names {
            let whole = format!("{} {name}", row.owner);
            let known = if row.test.is_some() {
                &mut documented
            } else {
                &mut missing
            };
            assert!(known.insert(whole.clone()), "`{whole}` has two rows");
        }
    }
    let unlisted: Vec<_> = real.difference(&documented).collect();
    assert!(unlisted.is_empty(), "not in docs/lua-reference.md: {unlisted:#?}");
    let gone: Vec<_> = documented.difference(&real).collect();
    assert!(gone.is_empty(), "there is nothing of this name: {gone:#?}");
    let there: Vec<_> = missing.intersection(&real).collect();
    assert!(
        there.is_empty(),
        "these exist, whatever the page says: {there:#?}"
    );
}

/// Where a test is, and what it says: its own text and what its file has for all its tests.
fn test_text(test: &str, files: &mut BTreeMap<PathBuf, String>) -> Option<String> {
    let parts: Vec<&str> = test.split("::").collect();
    let (name, path) = parts.split_last()?;
    let (krate, path) = path.split_first()?;
    let folder = match *krate {
        "lua" => "../wippy-lua/tests/it",
        "cli" => "tests/it",
        _ => return None,
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(folder)
        .join(format!("{}.rs", path.join("/")));
    if !files.contains_key(&path) {
        files.insert(path.clone(), fs::read_to_string(&path).ok()?);
    }
    let source = files.get(&path)?;
    let mut shared = String::new();
    let mut found = None;
    // Items begin at the margin and end with a brace there.
    for item in source.split_inclusive("\n}\n") {
        let is_test = item.contains("\n#[test]") || item.contains("\n#[tokio::test");
        if is_test && item.contains(&format!("fn {name}()")) {
            found = Some(item.to_owned());
        } else if !is_test {
            shared.push_str(item);
        }
    }
    found.map(|item| item + &shared)
}

/// Whether Lua in `text` uses the name: as a field, a method, a global or a text.
fn uses(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back().unwrap_or(' ');
        let after = text[at + name.len()..].chars().next().unwrap_or(' ');
        let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        !is_word(before) && !is_word(after)
    })
}

#[test]
fn what_is_listed_has_a_test_that_uses_it() {
    let mut files = BTreeMap::new();
    let mut wrong = Vec::new();
    for row in rows() {
        let Some(test) = &row.test else { continue };
        match test_text(test, &mut files) {
            None => wrong.push(format!("there is no test `{test}`")),
            Some(source) => {
                let unused = row.names.iter().filter(|name| !uses(&source, name));
                wrong.extend(unused.map(|name| format!("`{test}` does not use `{name}` of `{}`", row.owner)));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
