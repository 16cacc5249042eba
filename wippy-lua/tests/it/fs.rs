//! `fs`: files, directories, handles, scanners, and that nothing leads out.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    sync::Arc,
};

use tempfile::TempDir;
use wippy_lua::Reuse;
use wippy_security::CallError;
use wippy_wit::Value;

use crate::{
    support::App,
    world::{Files, only, shown},
};

fn app(mode: u32) -> (App, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut app = App::new();
    app.services.world.volumes = Some(Arc::new(Files::new(folder.path(), mode)));
    (app, folder)
}

async fn run(app: &App, body: &str) -> Result<Value, CallError> {
    app.run(&format!(
        "local fs = require('fs')\nlocal vol = fs.get('test:files')\n{body}"
    ))
    .await
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn files_are_written_and_read() {
    let (app, folder) = app(0o750);
    let body = "
        assert(vol:writefile('/a.txt', 'one\\n'))
        assert(vol:writefile('a.txt', 'two\\n', 'a'))
        local exclusive, exists = vol:writefile('/a.txt', 'x', 'wx')
        assert(vol:write_file('b.bin', 'x\\0\\255y', 'wx'))
        local source = vol:open('/a.txt', 'r')
        source:seek('set', 4)
        assert(vol:writefile('copy.txt', source))
        source:close()
        local absent, missing = vol:readfile('/nothing')
        local stat = vol:stat('/a.txt')
        return { vol:readfile('a.txt'), exclusive == nil, exists:kind(), #vol:read_file('b.bin'), vol:readfile('copy.txt'),
            absent == nil, missing:kind(), missing:message(), stat.name, stat.size, stat.type == fs.type.FILE, stat.is_dir,
            stat.modified > 1700000000, vol:exists('/a.txt'), vol:exists('/c'), vol:isdir('/'), vol:isdir('/a.txt'),
            vol:remove('/a.txt'), vol:exists('/a.txt') }";
    let value = run(&app, body).await.unwrap();
    insta::assert_snapshot!(shown(&value), @r#"["one\ntwo\n",true,"ALREADY_EXISTS",4,"two\n",true,"NOT_FOUND","`/nothing`: there is no such file or directory","a.txt",8,true,false,true,true,false,true,false,true,false]"#);
    assert_eq!(fs::read(folder.path().join("b.bin")).unwrap(), b"x\0\xffy");
    assert_eq!(mode_of(&folder.path().join("b.bin")), 0o640);
}

#[tokio::test]
async fn directories_are_made_listed_and_walked() {
    let (app, folder) = app(0o750);
    let body = "
        assert(vol:mkdir('/logs'))
        assert(vol:mkdir('logs/old'))
        vol:writefile('logs/b', '')
        vol:writefile('logs/a', '')
        local names = {}
        for entry in vol:readdir('/logs') do names[#names + 1] = entry.name .. ' ' .. entry.type end
        local parents, missing = vol:mkdir('/x/y')
        local again, exists = vol:mkdir('/logs')
        local full, kept = vol:remove('/logs')
        local none, file = vol:chdir('/logs/a')
        assert(vol:chdir('logs'))
        assert(vol:chdir('old/../old'))
        local inside = vol:pwd()
        vol:writefile('deep', 'x')
        assert(vol:chdir('..'))
        local iterator, why = vol:readdir('/nothing')
        return { names, parents == nil, missing:kind(), exists:kind(), kept:message(), file:message(), inside, vol:pwd(),
            vol:readfile('old/deep'), iterator == nil, why:kind(), vol:remove('old/deep'), vol:remove('old') }";
    let value = run(&app, body).await.unwrap();
    insta::assert_snapshot!(shown(&value), @r#"[["a file","b file","old directory"],true,"NOT_FOUND","ALREADY_EXISTS","`/logs`: the directory is not empty","`/logs/a`: it is no directory","/logs/old","/logs","x",true,"NOT_FOUND",true,true]"#);
    assert_eq!(mode_of(&folder.path().join("logs")), 0o750);
}

#[tokio::test]
async fn nothing_leads_out() {
    let (app, folder) = app(0o755);
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    symlink(outside.path(), folder.path().join("link")).unwrap();
    symlink(outside.path().join("secret"), folder.path().join("file")).unwrap();
    symlink("../..", folder.path().join("up")).unwrap();
    fs::create_dir(folder.path().join("inner")).unwrap();
    fs::write(folder.path().join("inner/fine"), "fine").unwrap();
    symlink("inner/fine", folder.path().join("good")).unwrap();
    let absolute = outside.path().join("secret");
    let body = format!(
        "
        local refused = {{}}
        local function try(what, ...)
            local value, err = vol[what](vol, ...)
            refused[#refused + 1] = (value == nil or value == false) and (err and err:kind() or 'false') or 'ALLOWED ' .. what
            local tells = err and err:message():find('{outside}', 1, true)
            assert(not tells or (...):find('{outside}', 1, true), err and err:message())
        end
        for _, path in ipairs({{ '../secret', '/../secret', 'inner/../../secret', 'link/secret', 'file', 'up/secret' }}) do
            try('readfile', path)
            try('writefile', path, 'x')
            try('open', path, 'w')
            try('stat', path)
        end
        try('readfile', '{absolute}')
        try('mkdir', 'link/made')
        try('remove', 'link/secret')
        try('readdir', 'up')
        try('chdir', '..')
        try('chdir', 'link')
        try('remove', '/')
        try('readfile', '')
        try('readfile', 'a\\0b')
        local counted = {{}}
        for _, kind in ipairs(refused) do counted[kind] = (counted[kind] or 0) + 1 end
        return {{ counted, vol:readfile('inner/../good') }}",
        outside = outside.path().display(),
        absolute = absolute.display(),
    );
    let value = run(&app, &body).await.unwrap();
    insta::assert_snapshot!(shown(&value), @r#"[{"INVALID":3,"NOT_FOUND":1,"PERMISSION_DENIED":29},"fine"]"#);
    assert_eq!(fs::read_to_string(&absolute).unwrap(), "secret");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn handles_read_write_and_seek() {
    let (app, folder) = app(0o755);
    let body = "
        local file = vol:open('/f', 'w+')
        local written = file:write('hello world')
        local at = file:seek(fs.seek.SET, 6)
        local word = file:read(3)
        local here = file:seek()
        local rest = file:read()
        local ended, over = file:read(10)
        local back = file:seek('end', -5)
        local odd, wrong = file:seek('middle', 0)
        local stat = file:stat()
        assert(file:sync())
        assert(file:close())
        assert(file:close())
        local closed, gone = file:read()
        local scanner, unscanned = file:scanner()
        local reader = vol:open('f')
        local unwritten, readonly = reader:write('x')
        local mode, unknown = vol:open('f', 'rw')
        return { written, at, word, here, rest, ended == nil, over:kind(), back, wrong:kind(), stat.size, stat.name,
            closed == nil, gone:kind(), scanner == nil, unscanned:kind(), unwritten == nil, readonly:kind(), unknown:kind() }";
    let value = run(&app, body).await.unwrap();
    insta::assert_snapshot!(shown(&value), @r#"[11,6,"wor",9,"ld",true,"NOT_FOUND",6,"INVALID",11,"f",true,"INTERNAL",true,"INVALID",true,"INTERNAL","INVALID"]"#);
    assert_eq!(
        fs::read_to_string(folder.path().join("f")).unwrap(),
        "hello world"
    );
}

#[tokio::test]
async fn files_come_in_pieces() {
    let (app, folder) = app(0o755);
    fs::write(folder.path().join("lines"), "one\r\n\ntwo words\nlast").unwrap();
    fs::write(folder.path().join("runes"), "aé\u{ff}€\n".as_bytes()).unwrap();
    fs::write(folder.path().join("broken"), b"a\xe2\x82z\xf0").unwrap();
    fs::write(folder.path().join("long"), "x".repeat(3 << 20)).unwrap();
    let many: Vec<String> = (0..20_000)
        .map(|number| format!("line number {number}"))
        .collect();
    fs::write(folder.path().join("many"), many.join("\n")).unwrap();
    let body = "
        local function pieces(name, split)
            local file = vol:open(name)
            local scanner = file:scanner(split)
            local found = {}
            while scanner:scan() do found[#found + 1] = scanner:text() end
            local err = scanner:err()
            file:close()
            return found, err and err:message()
        end
        local count, last = 0, nil
        for line in vol:open('many'):lines() do count, last = count + 1, line end
        local long, too_long = pieces('long', 'words')
        local odd, unknown = vol:open('lines'):scanner('pages')
        return { pieces('lines'), pieces('lines', 'words'), pieces('runes', 'runes'), pieces('broken', 'runes'),
            #pieces('broken', 'bytes'), count, last, #long, too_long, unknown:kind() }";
    let value = run(&app, body).await.unwrap();
    insta::assert_snapshot!(shown(&value), @r#"[["one","","two words","last"],["one","two","words","last"],["a","é","ÿ","€","\n"],["a","�","�","z","�"],5,20000,"line number 19999",0,"a piece of the file is longer than 1 MiB","INVALID"]"#);
}

#[tokio::test]
async fn large_files_are_read_in_parts_and_many_are_not_held_open() {
    let (app, folder) = app(0o755);
    let large = fs::File::create(folder.path().join("large")).unwrap();
    large.set_len((64 << 20) + 1).unwrap();
    fs::write(folder.path().join("small"), "x").unwrap();
    let body = "
        local whole, why = vol:readfile('large')
        local file = vol:open('large')
        file:seek('end', -3)
        local part = file:read(100000000)
        local open = { file }
        local err
        while not err and #open < 1000 do open[#open + 1], err = vol:open('small') end
        file:close()
        local again = vol:open('small')
        return { why:message(), #part, #open, err:kind(), again ~= nil }";
    let value = run(&app, body).await.unwrap();
    insta::assert_snapshot!(shown(&value), @r#"["`large`: it is larger than 64 MiB; open it and read it in parts",3,256,"RATE_LIMITED",true]"#);
}

#[tokio::test]
async fn a_volume_is_worth_nothing_to_one_who_may_not_have_it() {
    let (mut app, folder) = app(0o755);
    app.config.pool.reuse = Reuse::Always;
    fs::write(folder.path().join("f"), "content").unwrap();
    app.add(
        "test:script",
        "local vol, file
        return { main = function()
            local fs = require('fs')
            if not vol then vol = fs.get('test:files') file = vol:open('f') end
            local content, err = vol:readfile('f')
            local part, handle = file:read(3)
            local again, get = fs.get('test:files')
            return { content, err and err:message(), part, handle and handle:kind(), get and get:kind() }
        end }",
    );
    let may = only(&app, &[("fs.get", "test:files")]);
    let value = app.call_in(&may, "test:script", &[]).await.unwrap();
    insta::assert_snapshot!(shown(&value), @r#"{"1":"content","3":"con"}"#);
    let value = app.call_in(&only(&app, &[]), "test:script", &[]).await.unwrap();
    insta::assert_snapshot!(shown(&value), @r#"[null,"actor `ada` may not do `fs.get` on `test:files`",null,"PERMISSION_DENIED","PERMISSION_DENIED"]"#);
    let unknown = app
        .run("return require('fs').get('test:other')")
        .await
        .unwrap_err();
    assert_eq!(unknown.message(), "there is no volume `test:other`");
}

#[tokio::test]
async fn a_volume_that_cannot_be_written_to_is_only_read() {
    let (app, folder) = app(0o555);
    fs::write(folder.path().join("f"), "content").unwrap();
    let body = "
        local _, write = vol:writefile('f', 'x')
        local _, mkdir = vol:mkdir('d')
        local _, remove = vol:remove('f')
        return { vol:readfile('f'), write:kind(), mkdir:kind(), remove:kind() }";
    let value = run(&app, body).await.unwrap();
    insta::assert_snapshot!(shown(&value), @r#"["content","PERMISSION_DENIED","PERMISSION_DENIED","PERMISSION_DENIED"]"#);
}
