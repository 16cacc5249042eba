//! Streams and futures, seen from a script: what it gives, what a real guest is given, what comes back.
//!
//! A case is a file of Lua expressions, each the arguments of one call; `readme.lua` explains the form.

use std::{fmt::Write as _, path::Path};

use wippy_wit::Value;

use crate::roundtrip::echo::Rig;

/// The methods that scripts call by name.
const METHODS: [&str; 4] = ["count", "sum", "double", "open"];

fn rig() -> Rig {
    let rig = Rig::new();
    let guest = guest("streams");
    for method in METHODS {
        rig.guest(method, &guest, method, &[]);
    }
    rig
}

fn guest(name: &str) -> Vec<u8> {
    std::fs::read(fixtures::wasm(name)).unwrap()
}

#[test]
fn every_form_is_taken_or_refused() {
    let rig = rig();
    insta::glob!("../../../fixtures/cases/wit/streams", "*.lua", |path| {
        insta::assert_snapshot!(transcript(&rig, path));
    });
}

/// Every expression of a case with what became of it, below the method.
fn transcript(rig: &Rig, path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let mut method = None;
    let mut expressions = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(name) = line.strip_prefix("--- method ") {
            method = Some(name);
        } else if !line.starts_with("--") {
            expressions.push(line);
        }
    }
    let method = method.unwrap();
    rig.guest("f", &guest("streams"), method, &[]);
    let cases = expressions.join(" end,\n    function() return ");
    let support = include_str!("streams.lua");
    rig.script(
        "cases",
        &format!(
            "{support}\nlocal cases = {{\n    function() return {cases} end,\n}}\n\
             return {{ main = function(index) return outcome(cases[index]) end }}\n"
        ),
    );
    let mut transcript = method.to_owned();
    for (index, expression) in expressions.iter().enumerate() {
        let index = Value::Integer(i64::try_from(index + 1).unwrap());
        let outcome = match rig.call("cases", &[index]) {
            Ok(outcome) => outcome.as_str().unwrap_or("no text").to_owned(),
            Err(error) => format!("raised {} {}", error.kind(), error.message()),
        };
        let _ = write!(transcript, "\n\n{expression}\n    {outcome}");
    }
    transcript
}

/// Runs `body` in a script that has `call`, with the guest `stray-streams` beside the other.
fn script(body: &str) -> Value {
    let rig = rig();
    let stray = guest("stray-streams");
    for method in ["trap-after", "endless", "forget", "first"] {
        rig.guest(method, &stray, method, &[]);
    }
    let support = include_str!("streams.lua");
    rig.script(
        "body",
        &format!("{support}\nreturn {{ main = function() {body} end }}"),
    );
    rig.call("body", &[]).unwrap()
}

#[test]
fn a_failure_is_raised_after_what_came_before() {
    let told = script(
        "local numbers = call('trap-after', 2)
         local first, second = numbers:receive(), numbers:receive()
         local ok, failure = pcall(numbers.receive, numbers)
         local value, open = numbers:receive()
         return { first, second, tostring(ok), failure:kind(), value == nil, open }",
    );
    assert_eq!(
        told,
        Value::array([
            Value::Integer(1),
            Value::Integer(2),
            Value::from("false"),
            Value::from("INTERNAL"),
            Value::Boolean(true),
            Value::Boolean(false)
        ])
    );
}

#[test]
fn a_failure_ends_a_select_and_a_wait_in_another_coroutine() {
    let told = script(
        "local numbers = call('trap-after', 1)
         local got = channel.new(4)
         coroutine.spawn(function()
             while true do
                 local ok, result = pcall(channel.select, { numbers:case_receive() })
                 if not ok then got:send(result:kind()) return end
                 got:send(result.value)
             end
         end)
         return { (got:receive()), (got:receive()) }",
    );
    assert_eq!(told, Value::array([Value::Integer(1), Value::from("INTERNAL")]));
}

#[test]
fn a_channel_has_script_and_guest_as_its_receivers() {
    let told = script(
        "local ch = channel.new()
         coroutine.spawn(function()
             ch:send(1)
             ch:send(2)
             ch:close()
         end)
         local first = ch:receive()
         return { first, (call('sum', ch)) }",
    );
    assert_eq!(told, Value::array([Value::Integer(1), Value::Integer(2)]));
}

#[test]
fn a_channel_goes_on_when_its_guest_wants_no_more() {
    let told = script(
        "local ch = channel.new(3)
         ch:send(1)
         local first = call('first', ch)
         ch:send(2)
         return { first, (ch:receive()) }",
    );
    assert_eq!(told, Value::array([Value::Integer(1), Value::Integer(2)]));
}

#[test]
fn calls_in_the_background_take_channels() {
    let told = script(
        "local ch = channel.new()
         local sum = funcs.async('test:sum', ch)
         for number = 1, 200 do ch:send(number) end
         ch:close()
         local outcome = sum:response():receive()
         return outcome:data()",
    );
    assert_eq!(told, Value::Integer(20_100));
}

#[test]
fn a_closed_channel_stops_its_guest() {
    // Were one of them to go on, there would be no place for all.
    let told = script(
        "local sum = 0
         for _ = 1, 300 do
             local numbers = call('endless')
             sum = sum + numbers:receive()
             numbers:close()
         end
         return sum",
    );
    assert_eq!(told, Value::Integer(300));
}

#[test]
fn a_channel_that_is_forgotten_stops_its_guest() {
    let told = script(
        "local sum = 0
         for _ = 1, 300 do
             sum = sum + assert(call('endless')):receive()
             -- Enough garbage for it to be collected.
             for _ = 1, 20000 do local _ = {} end
         end
         return sum",
    );
    assert_eq!(told, Value::Integer(300));
}

#[test]
fn a_script_that_ends_stops_its_guests() {
    let rig = rig();
    rig.guest("forget", &guest("stray-streams"), "forget", &[]);
    rig.script(
        "body",
        "local funcs = require('funcs')
         kept = {}
         return { main = function() kept[#kept + 1] = funcs.call('test:forget') return #kept end }",
    );
    for round in 1..=100 {
        assert!(rig.call("body", &[]).is_ok(), "{round}");
    }
}
