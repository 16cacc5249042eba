//! Channels: between coroutines, with clocks and futures, and what happens when nobody is on the other side.

use crate::support::{App, text};

/// Runs `body` and gives what it notes with `note(...)`, a line each.
async fn notes(body: &str) -> String {
    let app = App::new();
    let body = format!(
        "local time, funcs = require('time'), require('funcs')
        local log = {{}}
        local function note(...)
            local words = table.pack(...)
            for i = 1, words.n do words[i] = tostring(words[i]) end
            log[#log + 1] = table.concat(words, ' ')
        end
        {body}
        return table.concat(log, '\\n')"
    );
    match app.run(&body).await {
        Ok(value) => text(&value).to_owned(),
        Err(error) => format!("error: {error}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_sender_without_buffer_waits_for_its_receiver() {
    let log = notes(
        "local ch = channel.new()
        coroutine.spawn(function()
            for i = 1, 3 do note('sent', i, ch:send(i)) end
            ch:close()
        end)
        note('before')
        while true do
            local v, ok = ch:receive()
            note('received', v, ok)
            if not ok then break end
        end",
    );
    insta::assert_snapshot!(log.await, @"
    before
    sent 1 true
    received 1 true
    received 2 true
    sent 2 true
    sent 3 true
    received 3 true
    received nil false
    ");
}

#[tokio::test(start_paused = true)]
async fn a_buffer_takes_what_fits_and_outlives_closing() {
    let log = notes(
        "local ch = channel.new(2)
        note(ch:send('a'), ch:send(nil))
        local r = channel.select{ch:case_send('c'), default = true}
        note('full', r.default, r.ok, r.channel)
        coroutine.spawn(function() note('late', pcall(ch.send, ch, 'd')) end)
        time.sleep('1ms')
        note(ch:receive())
        ch:close()
        ch:close()
        for _ = 1, 3 do note(ch:receive()) end
        note(pcall(ch.send, ch, 'e'))
        time.sleep('1ms')",
    );
    insta::assert_snapshot!(log.await, @"
    true true
    full true true nil
    a true
    nil true
    d true
    nil false
    false the channel is closed: nothing can be sent
    late true true
    ");
}

#[tokio::test(start_paused = true)]
async fn closing_wakes_everybody() {
    let log = notes(
        "local ch, out, done = channel.new(), channel.new(), channel.new(10)
        for i = 1, 2 do coroutine.spawn(function() done:send({i, ch:receive()}) end) end
        coroutine.spawn(function() done:send({3, pcall(out.send, out, 1)}) end)
        coroutine.spawn(function() done:send({4, pcall(channel.select, {out:case_send(1)})}) end)
        time.sleep('1ms')
        ch:close()
        out:close()
        for _ = 1, 4 do note(table.unpack((done:receive()), 1, 3)) end",
    );
    insta::assert_snapshot!(log.await, @"
    1 nil false
    2 nil false
    3 false the channel is closed: nothing can be sent
    4 false the channel is closed: nothing can be sent
    ");
}

#[tokio::test(start_paused = true)]
async fn select_takes_what_is_ready() {
    let log = notes(
        "local a, b, c = channel.new(1), channel.new(), channel.new(1)
        a:send('x')
        local r = channel.select{b:case_receive(), a:case_receive()}
        note(r.channel == a, r.value, r.ok)
        local r = channel.select{b:case_receive(), c:case_send('y')}
        note(r.channel == c, r.value, r.ok)
        note((c:receive()))
        coroutine.spawn(function() time.sleep('1ms') b:send('z') end)
        local r = channel.select{a:case_receive(), b:case_receive()}
        note(r.channel == b, r.value, r.ok)
        coroutine.spawn(function() time.sleep('1ms') note('got', b:receive().w) end)
        local r = channel.select{a:case_receive(), b:case_send({w = 1})}
        note(r.channel == b, r.value.w, r.ok)
        a:close()
        local r = channel.select{a:case_receive(), b:case_receive()}
        note(r.channel == a, r.value, r.ok)
        note(pcall(channel.select, {}))
        note(pcall(channel.select, {a}))
        note(pcall(channel.select, {a:case_send(1), default = true}))",
    );
    insta::assert_snapshot!(log.await, @"
    true x true
    true y true
    y
    true z true
    got 1
    true 1 true
    true nil false
    false a select without cases and without `default` would wait for ever
    false the cases of a select are made by `ch:case_receive()` and `ch:case_send(value)`
    false the channel is closed: nothing can be sent
    ");
}

#[tokio::test(start_paused = true)]
async fn select_is_fair() {
    let log = notes(
        "local a, b, c = channel.new(3000), channel.new(3000), channel.new(3000)
        for _, ch in ipairs{a, b, c} do for i = 1, 3000 do ch:send(i) end end
        local count = {[a] = 0, [b] = 0, [c] = 0}
        for _ = 1, 3000 do
            local r = channel.select{a:case_receive(), b:case_receive(), c:case_receive()}
            count[r.channel] = count[r.channel] + 1
        end
        for _, ch in ipairs{a, b, c} do note(count[ch] > 800 and count[ch] < 1200) end",
    );
    insta::assert_snapshot!(log.await, @r"
    true
    true
    true
    ");
}

#[tokio::test(start_paused = true)]
async fn a_lost_case_leaves_nothing_behind() {
    let log = notes(
        "local ticks, done, never = channel.new(), channel.new(), channel.new()
        coroutine.spawn(function()
            for i = 1, 5000 do ticks:send(i) end
            done:close()
        end)
        local count = 0
        while true do
            local r = channel.select{ticks:case_receive(), done:case_receive(), never:case_send('x'), never:case_receive()}
            if r.channel == done then break end
            count = count + 1
        end
        note(count)
        coroutine.spawn(function() note('never got', (never:receive())) end)
        time.sleep('1ms')
        never:send('at last')
        time.sleep('1ms')",
    );
    insta::assert_snapshot!(log.await, @"
    5000
    never got at last
    ");
}

#[tokio::test(start_paused = true)]
async fn a_select_with_itself_on_both_ends_waits() {
    let log = notes(
        "local ch = channel.new()
        local case = ch:case_send('self')
        local timeout = time.after('5ms')
        local r = channel.select{case, case, timeout:case_receive()}
        note(r.channel == timeout)
        coroutine.spawn(function() note((ch:receive())) end)
        local r = channel.select{case, case}
        note(r.channel == ch, r.value)
        time.sleep('1ms')",
    );
    insta::assert_snapshot!(log.await, @"
    true
    self
    true self
    ");
}

#[tokio::test(start_paused = true)]
async fn clocks_are_channels() {
    let started = tokio::time::Instant::now();
    let log = notes(
        "local begun = time.now()
        local after = time.after('20ms')
        local ticker = time.ticker('5ms')
        local timer = time.timer('1h')
        for i = 1, 3 do
            local r = channel.select{after:case_receive(), ticker:channel():case_receive(), timer:channel():case_receive()}
            note(i, r.channel == ticker:response(), r.ok)
        end
        note('stopped', ticker:stop(), ticker:stop())
        local r = channel.select{after:case_receive(), ticker:channel():case_receive()}
        note(r.channel == after, r.ok)
        note('reset', timer:reset('7ms'))
        note(select(2, timer:channel():receive()), timer:stop(), timer:reset('1ms'))
        note(select(2, timer:channel():receive()))
        local ticker = time.ticker('10ms')
        time.sleep('55ms')
        ticker:response():receive()
        local r = channel.select{ticker:response():case_receive(), default = true}
        note('missed ticks are lost', r.default)
        ticker:response():receive()
        note(time.ticker('0s'))
        note(pcall(function() timer:channel():send(1) end))",
    );
    insta::assert_snapshot!(log.await, @"
    1 true true
    2 true true
    3 true true
    stopped true false
    true true
    reset true
    true false false
    true
    missed ticks are lost true
    nil the duration of a ticker must be longer than zero
    false src/script.lua:30: nothing can be sent to this channel: its values come from elsewhere
    ");
    assert_eq!(started.elapsed().as_millis(), 20 + 7 + 1 + 60);
}

#[tokio::test(start_paused = true)]
async fn a_future_is_a_channel_too() {
    let log = notes(
        "local slow, failing = funcs.async('test:sleep', 20, 'slept'), funcs.async('test:fail')
        local timeout = time.after('10ms')
        local r = channel.select{slow:channel():case_receive(), timeout:case_receive()}
        note('timeout', r.channel == timeout, slow:is_complete(), slow:result())
        local payload, ok = slow:response():receive()
        note(payload:data(), ok, slow:is_complete(), slow:result():data())
        note(slow:response():receive())
        local err, ok = failing:response():receive()
        note(err, err:kind(), ok)
        note(failing:result())
        note(failing:error())
        local never = funcs.async('test:never')
        coroutine.spawn(function() never:cancel() end)
        local err, ok = never:response():receive()
        note(err:kind(), ok, never:is_canceled())",
    );
    insta::assert_snapshot!(log.await, @"
    timeout true false nil nil
    slept true true slept
    nil false
    slow down RATE_LIMITED true
    nil slow down
    slow down true
    CANCELED true true
    ");
}

#[tokio::test(start_paused = true)]
async fn waiting_for_nobody_is_an_error() {
    let log = notes("channel.new():receive()").await;
    insta::assert_snapshot!(log, @"error: src/script.lua:9: deadlock: every coroutine waits for a channel, and nothing can wake one");
    let log = notes(
        "local a, b = channel.new(), channel.new()
        coroutine.spawn(function() a:receive() end)
        note(pcall(channel.select, {b:case_receive(), b:case_send(1)}))",
    );
    insta::assert_snapshot!(log.await, @"false deadlock: every coroutine waits for a channel, and nothing can wake one");
}

#[tokio::test(start_paused = true)]
async fn channels_work_across_nested_coroutines() {
    let log = notes(
        "local ch = channel.new()
        local generator = coroutine.wrap(function()
            for i = 1, 3 do coroutine.yield((ch:receive())) end
        end)
        coroutine.spawn(function() for i = 1, 3 do ch:send(i * 10) end end)
        note(generator(), generator(), generator())
        note(pcall(table.sort, {3, 1, 2}, function(a, b) ch:receive() return a < b end))",
    );
    insta::assert_snapshot!(log.await, @"
    10 20 30
    false src/script.lua:15: a channel cannot be waited for here: a function written in C is on the stack
    ");
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_of_a_hundred_thousand_values() {
    let log = notes(
        "local first = channel.new()
        local last = first
        for _ = 1, 10 do
            local from, to = last, channel.new(16)
            coroutine.spawn(function()
                for v in function() return (from:receive()) end do to:send(v + 1) end
                to:close()
            end)
            last = to
        end
        coroutine.spawn(function() for i = 1, 10000 do first:send(i) end first:close() end)
        local sum = 0
        for v in function() return (last:receive()) end do sum = sum + v end
        note(sum)",
    );
    assert_eq!(log.await, (10_000 * 10_001 / 2 + 10 * 10_000).to_string());
}

#[tokio::test(start_paused = true)]
async fn what_nobody_refers_to_is_collected() {
    let mut app = App::new();
    app.config.memory_limit = 2 << 20;
    let body = "
        local time = require('time')
        local tick = channel.new(1)
        for i = 1, 20000 do
            tick:send(i)
            channel.select{tick:case_receive(), time.after('1h'):case_receive()}
            local ch = channel.new(100)
            ch:send(string.rep('x', 100))
        end
        return 'done'";
    assert_eq!(text(&app.run(body).await.unwrap()), "done");
}

#[tokio::test(start_paused = true)]
async fn a_channel_of_an_earlier_call_is_closed() {
    let app = App::new();
    let body = "
        local time = require('time')
        if kept then return tostring(select(2, kept:receive())) end
        kept = time.after('1h')
        return 'kept'";
    app.add(
        "test:keeps",
        &format!("return {{ main = function() {body} end }}"),
    );
    // Calls of one execution share a state.
    let context = app.context();
    for expected in ["kept", "false"] {
        let found = app.call_in(&context, "test:keeps", &[]).await.unwrap();
        assert_eq!(text(&found), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn misuse_is_explained() {
    let log = notes(
        "local ch = channel.new()
        note(pcall(channel.new, -1))
        note(pcall(channel.new, 'many'))
        note(pcall(ch.send, {}, 1))
        note(pcall(ch.receive))
        note(pcall(ch.case_receive, 3))
        note(pcall(ch.close, 'x'))
        note(pcall(channel.select, 5))
        note(getmetatable(ch), tostring(ch):match('^channel: ') ~= nil)
        note(funcs.call('test:echo', coroutine.create(print)))",
    );
    insta::assert_snapshot!(log.await, @"
    false the size of a channel is between 0 and 1048576
    false bad argument #1 to 'channel.new' (number expected, got string)
    false use `ch:send(value)`, with a colon
    false use `ch:receive()`, with a colon
    false use `ch:case_receive()` or `ch:case_send(value)`, with a colon
    false use `ch:close()`, with a colon
    false bad argument #1 to 'channel.select' (table expected, got number)
    channel true
    nil a coroutine cannot be sent
    ");
}
