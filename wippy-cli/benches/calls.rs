//! What a call from Lua to WebAssembly costs, beside the floor under it, measured in one process.
//!
//! Each row is a loop in a script that calls a guest through `funcs.call` – dispatcher, permission check, context and
//! all – and the least that any implementation would have to pay for the same: the engine's statically typed call,
//! and reading or building the same Lua values by the C API. Samples of both alternate, so that what else the machine
//! does hits both; only their ratio means anything elsewhere.
//!
//! `cargo bench -p wippy-cli --bench calls [FILTER]`; `SAMPLES=n` for more of them.
#![allow(
    unsafe_code,
    unused_must_use,
    unreachable_pub,
    missing_docs,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unnecessary_operation,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a benchmark, whose floors are written against the Lua C API as an implementation would be"
)]

mod support;

use std::hint::black_box;

use mlua::{Lua, ffi};
use support::{Rig, Row, Typed, User, users};

fn main() {
    let filter = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let rig = Rig::new();
    let mut rows = Vec::new();
    let wanted = |name: &str| {
        filter
            .as_ref()
            .is_none_or(|filter| name.contains(filter.as_str()))
    };

    let lua_call = support::lua_c_call();
    for (name, floor_name, target, loops, lua_floor) in [
        (
            "add",
            "typed call_async + a C function call from Lua",
            1.2,
            20_000,
            lua_call,
        ),
        // Unlike the others it loops, so it cannot do without a stack of its own.
        (
            "sum",
            "typed call_async + a C function call from Lua",
            1.2,
            20_000,
            lua_call,
        ),
        (
            "div",
            "typed call_async + a C function call from Lua",
            1.2,
            20_000,
            lua_call,
        ),
        ("echo_string", "typed call_async, 100 bytes", 1.8, 10_000, 0.0),
        // Its allocator loops, as that of most guests does, so it needs a stack of its own.
        (
            "greet",
            "typed call_async, 100 bytes, a guest in Rust",
            1.8,
            10_000,
            0.0,
        ),
        ("echo_bytes", "typed call_async, 1 MiB", 1.3, 200, 0.0),
        (
            "import",
            "func_wrap, 100 bytes; ours calls a Lua function",
            2.0,
            5_000,
            0.0,
        ),
    ] {
        if !wanted(name) {
            continue;
        }
        let mut typed = Typed::new(&rig, name);
        let row = Row::measure(|| typed.run(loops) + lua_floor, || rig.run(name, loops));
        rows.push(row.named(name, floor_name, target, rig.allocations(name)));
    }
    if wanted("echo_users") {
        let mut typed = Typed::new(&rig, "lower_users");
        let mut tables = LuaTables::new();
        let row = Row::measure(
            || typed.run(40) + tables.read(40) + tables.build(40),
            || rig.run("echo_users", 40),
        );
        let floor = "typed lower + raw Lua read + raw Lua build, 1,000 users";
        rows.push(row.named("echo_users", floor, 1.3, rig.allocations("echo_users")));
    }
    if wanted("method") {
        let row = Row::measure(|| rig.run("add", 10_000), || rig.run("method", 10_000));
        let floor = "a plain call from Lua, ours; a method of a resource";
        rows.push(row.named("method", floor, 2.0, rig.allocations("method")));
    }
    support::print(&rows);
}

/// The least that reading and building 1,000 user tables can cost.
struct LuaTables {
    lua: Lua,
    table: mlua::Table,
    users: Vec<User>,
}

impl LuaTables {
    fn new() -> Self {
        let lua = Lua::new();
        let table = lua.create_table().unwrap();
        let users = users();
        for (index, user) in users.iter().enumerate() {
            let row = lua.create_table().unwrap();
            row.set("id", user.id).unwrap();
            row.set("name", &*user.name).unwrap();
            row.set("email", &*user.email).unwrap();
            row.set("active", user.active).unwrap();
            table.set(index + 1, row).unwrap();
        }
        Self { lua, table, users }
    }

    /// Copies every field into a flat buffer, with the fastest calls there are.
    fn read(&mut self, loops: u64) -> f64 {
        let keys = self
            .lua
            .create_sequence_from(["id", "name", "email", "active"])
            .unwrap();
        let table = &self.table;
        let mut buffer: Vec<u8> = Vec::with_capacity(1 << 20);
        support::time(loops, || {
            buffer.clear();
            // SAFETY: the stack has room for the few values, and nothing here raises.
            unsafe {
                self.lua
                    .exec_raw::<()>((&keys, table), |l| {
                        let count = ffi::lua_rawlen(l, 2);
                        for index in 1..=count {
                            ffi::lua_rawgeti(l, 2, index as _);
                            for key in 1..=4 {
                                ffi::lua_rawgeti(l, 1, key);
                                ffi::lua_rawget(l, 3);
                                match ffi::lua_type(l, -1) {
                                    ffi::LUA_TSTRING => {
                                        let mut len = 0;
                                        let text = ffi::lua_tolstring(l, -1, &raw mut len);
                                        let bytes = std::slice::from_raw_parts(text.cast::<u8>(), len);
                                        buffer.extend_from_slice(bytes);
                                    }
                                    ffi::LUA_TBOOLEAN => buffer.push(ffi::lua_toboolean(l, -1) as u8),
                                    _ => {
                                        let value = ffi::lua_tointegerx(l, -1, std::ptr::null_mut());
                                        buffer.extend_from_slice(&value.to_le_bytes());
                                    }
                                }
                                ffi::lua_settop(l, 3);
                            }
                            ffi::lua_settop(l, 2);
                        }
                    })
                    .unwrap();
            }
            black_box(&buffer);
        })
    }

    /// Builds the tables again, with the fastest calls there are, the collector running as in a script.
    fn build(&mut self, loops: u64) -> f64 {
        let keys = self
            .lua
            .create_sequence_from(["id", "name", "email", "active"])
            .unwrap();
        let users = &self.users;
        support::time(loops, || {
            // SAFETY: runs under the protected call that `exec_raw` makes; nothing here needs dropping.
            unsafe {
                self.lua
                    .exec_raw::<()>(&keys, |l| {
                        ffi::lua_createtable(l, users.len() as _, 0);
                        for (index, user) in users.iter().enumerate() {
                            ffi::lua_createtable(l, 0, 4);
                            ffi::lua_rawgeti(l, 1, 1);
                            ffi::lua_pushinteger(l, user.id.into());
                            ffi::lua_rawset(l, 3);
                            for (key, text) in [(2, &user.name), (3, &user.email)] {
                                ffi::lua_rawgeti(l, 1, key);
                                ffi::lua_pushlstring(l, text.as_ptr().cast(), text.len());
                                ffi::lua_rawset(l, 3);
                            }
                            ffi::lua_rawgeti(l, 1, 4);
                            ffi::lua_pushboolean(l, user.active.into());
                            ffi::lua_rawset(l, 3);
                            ffi::lua_rawseti(l, 2, (index + 1) as _);
                        }
                        ffi::lua_settop(l, 1);
                    })
                    .unwrap();
            }
        })
    }
}

#[global_allocator]
static COUNTING: support::Counting = support::Counting;
