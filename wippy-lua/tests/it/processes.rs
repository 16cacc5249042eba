//! Processes: messages, events, watching each other, going on as another program.

use std::sync::Arc;

use wippy_lua::LuaProcess;
use wippy_security::{CallError, Host, Running, Spawn};
use wippy_wit::Value;

use crate::support::{App, id, source, text};

/// Runs whatever it is given on the current runtime.
struct Tokio;

impl Host for Tokio {
    fn run(&self, running: Running) -> Result<(), CallError> {
        tokio::spawn(running);
        Ok(())
    }
}

/// An application with processes, all of them on the host `test:host`.
pub(crate) fn application(programs: &[(&str, &str)]) -> App {
    let app = App::new();
    let processes = app.dispatcher.processes();
    processes.insert_host(id("test:host"), Arc::new(Tokio));
    for (name, text) in programs {
        let process = LuaProcess::new(source(name, text), app.services.clone(), app.config.clone());
        processes.insert(id(name), Arc::new(process.unwrap()));
    }
    app
}

/// Runs `body` as a process beside `others`, and gives what it notes with `note(...)`, a line each.
async fn notes(others: &[(&str, &str)], body: &str) -> String {
    let main = format!(
        "local time, funcs = require('time'), require('funcs')
        local HOST, log, names = 'test:host', {{}}, {{}}
        local function call(pid) return names[pid] or tostring(pid) end
        local function note(...)
            local words = table.pack(...)
            for i = 1, words.n do words[i] = call(words[i]) end
            log[#log + 1] = table.concat(words, ' ')
        end
        return {{ main = function(...)
            {body}
            return table.concat(log, '\\n')
        end }}"
    );
    let app = application(&[others, &[("test:main", &main)]].concat());
    match run(&app, "test:main", Vec::new()).await {
        Ok(value) => text(&value).to_owned(),
        Err(error) => format!("error: {error}"),
    }
}

pub(crate) async fn run(app: &App, name: &str, arguments: Vec<Value>) -> Result<Value, CallError> {
    let spawn = Spawn::new(id(name), id("test:host"), arguments);
    let launched = app
        .dispatcher
        .processes()
        .launch(&app.context(), spawn, Vec::new())
        .unwrap();
    (*launched.exit().await).clone()
}

const ECHO: (&str, &str) = (
    "test:echo-process",
    "return { main = function(name)
        if name then process.registry.register(name) end
        local inbox = process.inbox()
        while true do
            local msg = inbox:receive()
            if msg:topic() == 'stop' then return 'stopped', nil end
            process.send(msg:from(), msg:topic(), msg:payload():data())
        end
    end }",
);

const FAILS: (&str, &str) = (
    "test:fails",
    "return { main = function(how)
        if how == 'returns' then return nil, errors.new{message = 'no luck', kind = errors.CONFLICT} end
        if how == 'raises' then error('boom') end
        require('time').sleep('1h')
    end }",
);

#[tokio::test(start_paused = true)]
async fn messages_arrive_in_the_inbox_and_by_topic() {
    let log = notes(
        &[ECHO],
        "local pid = process.spawn('test:echo-process', HOST, 'the echo')
        names[pid], names[process.pid()] = 'PID', 'ME'
        time.sleep('1ms')
        local inbox, numbers = process.inbox(), process.listen('number')
        local whole = process.listen('whole', {message = true})
        note(process.registry.lookup('the echo'))
        note(process.send(pid, 'greeting', {text = 'hello'}))
        process.send('the echo', 'number', 7)
        process.send('the echo', 'whole', 8)
        local msg = inbox:receive()
        note(msg:from(), msg:topic(), msg:payload():data().text)
        note(numbers:receive())
        local msg = whole:receive()
        note(msg:from(), msg:topic(), msg:payload():data())
        process.send(process.pid(), 'number', 1, nil, 3)
        note(numbers:receive()) note(numbers:receive()) note(numbers:receive())
        note(process.listen('number'))
        process.send(process.pid(), 'number', 'left over')
        note(process.unlisten(numbers), numbers:receive())
        local msg = inbox:receive()
        note(msg:topic(), msg:payload():data())
        note(process.unlisten(numbers))
        note(process.listen('@inbox'))
        note(process.send(pid, '@events', 1))
        note(process.send('nobody', 'x'))
        note(pcall(process.send, pid, 'x', print))",
    );
    insta::assert_snapshot!(log.await);
}

#[tokio::test(start_paused = true)]
async fn messages_are_given_as_they_were_sent() {
    let log = notes(
        &[],
        r"names[process.pid()] = 'ME'
        local inbox = process.inbox()
        local function told(...)
            assert(process.send(process.pid(), 'topic', ...))
            return inbox:receive()
        end
        note('nothing', told():payload():data(), #told():payloads(), told(nil):payload():data(), #told(nil):payloads())
        note('scalars', told(true):payload():data(), told(1.5):payload():data(), told('a\0b'):payload():data() == 'a\0b')
        note('several', told(1, 'two', {3}):payload():data(), #told(1, 'two', {3}):payloads())
        local long = ('x'):rep(100000)
        note('long', told(long):payload():data() == long, told(long):payloads()[1]:data() == long)
        local msg = told({ 1 })
        msg:payload():data()[1] = 2
        local kept = msg:payload()
        kept:data()[2] = 2
        note('copies', msg:payload():data()[1], #kept:data(), #msg:payload():data(), msg:payload() == msg:payload())
        note('errors', told(errors.new({ message = 'no', kind = errors.CONFLICT })):payload():data():kind())
        note('formats', told(payload.new(1)):payload():get_format(), told(payload.new(errors.new('x'))):payload():get_format())
        note('strings', told(payload.new('x'):transcode(payload.format.BYTES)):payload():get_format())
        local document = assert(payload.new('{'):transcode(payload.format.STRING))
        note('text', told(document):payload():get_format(), told(document):payload():data())
        for _, wrong in ipairs({ 'none', 7, channel.new(), payload.new(1) }) do
            for _, method in ipairs({ 'from', 'topic', 'payload', 'payloads' }) do
                local given = wrong ~= 'none' and wrong or nil
                note(method, select(2, pcall(function() return msg[method](given) end)))
            end
        end
        note(msg.nothing, msg[1], getmetatable(msg), (tostring(msg):gsub('0x%x+', 'ADDRESS')))
        note(select(2, pcall(function() return msg:nothing() end)))
        note(select(2, pcall(function() msg.topic = 1 end)))
        local send = function(...) return select(2, pcall(process.send, ...)) end
        note(send()) note(send(process.pid())) note(send(process.pid(), nil)) note(send({}, 'x')) note(send(process.pid(), {}))
        note(send('\255', 'x')) note(send(process.pid(), '\255'))
        note(send(7, 'x')) note(process.send(7, 'x'))
        note(process.send(process.pid(), 7, 1), inbox:receive():topic())
        note(send(process.pid(), 'x', 1, print)) note(send(process.pid(), 'x', { deep = { print } }))
        note(send(process.pid(), 'x', channel.new()))
        note(send(process.pid(), 'x', msg))
        note(process.send('{test:host|0x99999}', 'x', 1))
        note(process.send(process.pid(), '@x', 1)) note(send(process.pid(), '@x', print))
        note(process.send('', 'x', 1))
        local deep = {}
        for _ = 1, 200 do deep = { deep } end
        note(send(process.pid(), 'x', deep))
        local whole = process.listen('whole', { message = true })
        coroutine.spawn(function()
            note('waits', process.send(process.pid(), 'whole', { 'w' }))
            process.send(process.pid(), 'whole', 1, 2)
        end)
        note(whole:receive():payload():data()[1])
        local chosen = channel.select{ whole:case_receive(), inbox:case_receive() }
        note(chosen.channel == whole, chosen.ok, chosen.value:payloads()[2]:data())
        process.send(process.pid(), 'whole', 'at once')
        time.sleep('1ms')
        chosen = channel.select{ whole:case_receive(), inbox:case_receive() }
        note(chosen.value:from(), chosen.value:topic(), chosen.value:payload():data())",
    );
    insta::assert_snapshot!(log.await);
}

#[tokio::test(start_paused = true)]
async fn a_payload_is_sent_as_one_and_given_as_a_value() {
    let log = notes(
        &[(
            "test:forwards",
            "return { main = function(to, value)
                    process.send(to, 'started with', type(value), value.total)
                    local msg = process.inbox():receive()
                    process.send(to, 'forwarded', msg:payload())
                    return msg:payload()
                end }",
        )],
        "local document = payload.new({ total = 7 }):transcode(payload.format.JSON)
        local pid = process.spawn_monitored('test:forwards', HOST, process.pid(), document)
        local inbox, raw = process.inbox(), process.listen('raw')
        local msg = inbox:receive()
        note(msg:topic(), msg:payload():data(), msg:payloads()[2]:data())
        process.send(pid, 'document', document)
        msg = inbox:receive()
        note(msg:topic(), msg:payload():get_format(), msg:payload():data().total)
        note(msg:payload():transcode(payload.format.MSGPACK):get_format())
        note('returned', process.events():receive().result.value.total)
        process.send(process.pid(), 'raw', document, payload.new(errors.new('no')))
        note('by topic', raw:receive().total, raw:receive():message())",
    );
    insta::assert_snapshot!(log.await);
}

#[tokio::test(start_paused = true)]
async fn monitors_hear_of_every_end_once() {
    let log = notes(
        &[ECHO, FAILS],
        "local events = process.events()
        local function spawn(name, ...)
            local pid = assert(process.spawn_monitored(...))
            names[pid] = name
            return pid
        end
        local function event()
            local e = events:receive()
            local result = e.result or {}
            note(e.kind, e.from, result.value, result.error)
            return e
        end
        local echo = spawn('echo', 'test:echo-process', HOST)
        process.send(echo, 'stop')
        event()
        process.monitor(echo)
        event()
        spawn('returning', 'test:fails', HOST, 'returns')
        note(event().result.error:kind())
        spawn('raising', 'test:fails', HOST, 'raises')
        note((event().result.error:stack():gsub('\\n.*', '')))
        local sleeping = spawn('sleeping', 'test:fails', HOST)
        note(process.terminate(sleeping))
        event()
        note(process.terminate(sleeping), process.send(sleeping, 'x', 1))
        local other = spawn('other', 'test:fails', HOST)
        process.unmonitor(other)
        process.terminate(other)
        local r = channel.select{events:case_receive(), time.after('1s'):case_receive()}
        note(r.channel == events)
        note(process.exec('test:fails', HOST, 'returns'))
        note(process.spawn('test:nothing', HOST))
        note(process.spawn('test:fails', 'test:nowhere'))
        note(pcall(process.spawn, 'test:fails'))",
    );
    insta::assert_snapshot!(log.await);
}

#[tokio::test(start_paused = true)]
async fn links_fail_together_unless_they_are_trapped() {
    let log = notes(
        &[
            FAILS,
            (
                "test:parent",
                "return { main = function(trap)
                    if trap then process.set_options{trap_links = true} end
                    local child = process.spawn_linked('test:fails', 'test:host', 'raises')
                    local e = process.events():receive()
                    return {e.kind, e.from == child, e.result.error:message()}
                end }",
            ),
        ],
        "note(process.get_options().trap_links, process.set_options{trap = 1})
        local value, err = process.exec('test:parent', HOST, true)
        note(table.unpack(value))
        local value, err = process.exec('test:parent', HOST)
        note(value, (tostring(err):gsub('{[^}]*}', 'PID')))",
    );
    insta::assert_snapshot!(log.await);
}

#[tokio::test(start_paused = true)]
async fn cancelling_is_an_event_with_a_time_limit() {
    let log = notes(
        &[(
            "test:patient",
            "local time = require('time')
            return { main = function(how)
                local e = process.events():receive()
                if how == 'ends' then return {e.kind, e.reason or '', e.from ~= nil} end
                time.sleep('1h')
            end }",
        )],
        "local function spawn(name, how)
            local pid = process.spawn_monitored('test:patient', HOST, how)
            names[pid] = name
            return pid
        end
        local events = process.events()
        local first, second, third = spawn('first', 'ends'), spawn('second', 'stays'), spawn('third', 'stays')
        note(process.cancel(first, 'shutting down'), process.cancel(second, '30ms'), process.cancel(third))
        for _ = 1, 3 do
            local e = events:receive()
            note(e.from, e.result.error, table.unpack(e.result.value or {}))
        end",
    );
    let started = tokio::time::Instant::now();
    insta::assert_snapshot!(log.await);
    // The last one had the five seconds that are usual.
    assert_eq!(started.elapsed().as_millis(), 5000);
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_keeps_everything_but_the_program() {
    let log = notes(
        &[
            (
                "test:one",
                "return { main = function(count)
                    process.registry.register('counter')
                    count = count or 0
                    coroutine.spawn(function() require('time').sleep('1h') end)
                    while true do
                        local msg = process.inbox():receive()
                        if msg:topic() == 'again' then pcall(process.upgrade, nil, count + 1) end
                        if msg:topic() == 'upgrade' then process.upgrade('test:two', process.pid(), count) end
                        if msg:topic() == 'break' then process.upgrade('test:nothing') end
                    end
                end }",
            ),
            (
                "test:two",
                "return { main = function(pid, count)
                    local msg = process.inbox():receive()
                    return {pid == process.pid(), count, msg:topic(), process.registry.lookup('counter') == pid}
                end }",
            ),
        ],
        "local pid = process.spawn_monitored('test:one', HOST)
        for _, topic in ipairs{'again', 'again', 'upgrade', 'last'} do process.send(pid, topic) end
        note(table.unpack(process.events():receive().result.value))
        note(process.registry.lookup('counter'))
        local pid = process.spawn_monitored('test:one', HOST)
        process.send(pid, 'break')
        note(process.events():receive().result.error)",
    );
    insta::assert_snapshot!(log.await);
}

#[tokio::test(start_paused = true)]
async fn a_spawner_sets_conditions() {
    let log = notes(
        &[(
            "test:tells",
            "return { main = function(who)
                local msg = process.inbox():receive()
                return {require('ctx').get('tenant'), msg:topic(), msg:payload():data(), process.registry.lookup('named') == process.pid(), who}
            end }",
        )],
        "local plain = process.with_context({tenant = 'acme'})
        local spawner = plain:with_name('named'):with_message('first', 1):with_message('second', 2)
        note(table.unpack((spawner:exec('test:tells', HOST, 'me'))))
        local pid = spawner:spawn_monitored('test:tells', HOST, 'them')
        note(table.unpack(process.events():receive().result.value))
        plain:with_name('taken'):spawn('test:tells', HOST)
        note(plain:with_name('taken'):spawn('test:tells', HOST))
        note(pcall(process.with_options, {network = 'app:tor'}))
        note(process.registry.register('mine'), process.registry.lookup('mine') == process.pid())
        note(process.registry.register('mine'), process.registry.unregister('mine'), process.registry.unregister('mine'))
        note(process.registry.lookup('mine'))
        note(process.registry.register('mine', nil, process.registry.STRONG))",
    );
    insta::assert_snapshot!(log.await);
}

#[tokio::test(start_paused = true)]
async fn functions_speak_for_their_process_but_have_no_mailbox() {
    let app = application(&[(
        "test:main",
        "return { main = function()
            local funcs = require('funcs')
            local same = funcs.call('test:asks') == process.pid()
            local _, err = funcs.call('test:listens')
            local msg = process.inbox():receive()
            return {same, tostring(err), msg:from() == process.pid(), msg:payload():data()}
        end }",
    )]);
    app.add(
        "test:asks",
        "return { main = function() process.send(process.pid(), 'x', 'from a function') return process.pid() end }",
    );
    app.add(
        "test:listens",
        "return { main = function() return process.inbox() end }",
    );
    let outcome = run(&app, "test:main", Vec::new()).await.unwrap();
    insta::assert_snapshot!(wippy_wit::json::from_value(&outcome).unwrap());
}

#[tokio::test]
async fn order_is_kept_and_nothing_is_lost_between_many() {
    let app = application(&[
        (
            "test:counter",
            "return { main = function(parent, number, count)
                for i = 1, count do process.send(parent, 'count', {number, i}) end
            end }",
        ),
        (
            "test:main",
            "return { main = function(senders, count)
                local counted, last = process.listen('count'), {}
                for i = 1, senders do
                    last[i] = 0
                    process.spawn('test:counter', 'test:host', process.pid(), i, count)
                end
                for _ = 1, senders * count do
                    local v = counted:receive()
                    assert(v[2] == last[v[1]] + 1)
                    last[v[1]] = v[2]
                end
                return 'in order'
            end }",
        ),
    ]);
    let outcome = run(&app, "test:main", vec![Value::Integer(20), Value::Integer(500)])
        .await
        .unwrap();
    assert_eq!(text(&outcome), "in order");
    while !app.dispatcher.processes().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(app.dispatcher.processes().counts().dropped, 0);
}

#[tokio::test]
async fn a_full_mailbox_refuses_and_loses_nothing() {
    let app = application(&[(
        "test:main",
        "return { main = function()
            local sent, err = 0
            repeat
                local ok
                ok, err = process.send(process.pid(), 'x', sent + 1)
                if ok then sent = sent + 1 end
            until err
            local inbox, got = process.inbox(), 0
            while got < sent do
                got = got + 1
                assert(inbox:receive():payload():data() == got)
            end
            local again = process.send(process.pid(), 'x', 0)
            return {sent > 100, err:kind(), err:retryable(), again}
        end }",
    )]);
    let outcome = run(&app, "test:main", Vec::new()).await.unwrap();
    insta::assert_snapshot!(wippy_wit::json::from_value(&outcome).unwrap());
}

#[tokio::test]
async fn a_busy_process_is_terminated_at_once() {
    let app = application(&[
        ("test:busy", "return { main = function() while true do end end }"),
        (
            "test:main",
            "return { main = function()
                local pid = process.spawn_monitored('test:busy', 'test:host')
                require('time').sleep('5ms')
                process.terminate(pid)
                return process.events():receive().result.error:kind()
            end }",
        ),
    ]);
    assert_eq!(
        text(&run(&app, "test:main", Vec::new()).await.unwrap()),
        "CANCELED"
    );
}
