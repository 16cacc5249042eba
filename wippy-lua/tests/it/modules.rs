//! The modules, as scripts use them.

use std::sync::Arc;

use wippy_lua::Services;
use wippy_wit::{Value, json};

use crate::support::{App, Screen, text};

#[tokio::test(start_paused = true)]
async fn a_process_talks_to_its_terminal() {
    let screen = Arc::new(Screen::default());
    screen.input.lock().unwrap().push("Ada\r\n".to_owned());
    let mut app = App::new();
    app.services = Services {
        terminal: Some(screen.clone()),
        ..Services::default()
    };
    let script = "
        local io, json, time = require('io'), require('json'), require('time')
        local function main(name)
            io.write('name? ')
            local typed = io.readline()
            io.print('hello', typed, name)
            print('and', nil, 3)
            io.eprint('careful')
            time.sleep('10ms')
            io.print(json.encode(io.args()), io.readline() == nil, process.id(), process.pid())
            return 0
        end
        return { main = main }";
    let code = app.process(script, vec!["Bob".into()]).await.unwrap();
    assert_eq!(code, Value::Integer(0));
    insta::assert_snapshot!(*screen.output.lock().unwrap(), @r#"
    name? hello	Ada	Bob
    and	nil	3
    ! careful
    ["--loud"]	true	test:process	nil
    "#);
}

/// A terminal that notes whether keys arrive one by one.
#[derive(Default)]
struct Keys(std::sync::Mutex<Vec<bool>>);

impl wippy_lua::Terminal for Keys {
    fn write(&self, _: &[u8]) -> std::io::Result<()> {
        Ok(())
    }

    fn write_error(&self, _: &[u8]) -> std::io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> std::io::Result<()> {
        Ok(())
    }

    fn read(&self, len: usize) -> std::io::Result<Vec<u8>> {
        Ok(vec![b'x'; len.min(5000)])
    }

    fn read_line(&self) -> std::io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn set_raw(&self, is_raw: bool) -> std::io::Result<()> {
        self.0.lock().unwrap().push(is_raw);
        Ok(())
    }
}

#[tokio::test]
async fn raw_mode_ends_with_the_last_who_wanted_it_or_with_the_script() {
    for (body, expected) in [
        (
            "io.raw(true) io.raw() io.raw(false) io.raw(false) io.raw(false)",
            vec![true, false],
        ),
        ("io.raw() io.raw() io.raw(false)", vec![true, false]),
        ("io.raw(false) io.flush()", vec![]),
        ("io.raw(true) error('no')", vec![true, false]),
    ] {
        let keys = Arc::new(Keys::default());
        let mut app = App::new();
        app.services.terminal = Some(keys.clone());
        let script = format!("local io = require('io') return {{ main = function() {body} end }}");
        let _ = app.process(&script, Vec::new()).await;
        assert_eq!(*keys.0.lock().unwrap(), expected, "{body}");
    }
}

#[tokio::test]
async fn what_is_read_is_bounded() {
    let mut app = App::new();
    app.services.terminal = Some(Arc::new(Keys::default()));
    let script = "local io = require('io') return { main = function()
        return table.concat({ #io.read(), #io.read(0), #io.read(-1), #io.read(3), #io.read(4000) }, ' ')
    end }";
    let read = app.process(script, Vec::new()).await.unwrap();
    assert_eq!(text(&read), "1024 1024 1024 3 4000");
}

#[tokio::test]
async fn a_terminal_that_has_no_raw_mode_says_so() {
    let mut app = App::new();
    app.services.terminal = Some(Arc::new(Screen::default()));
    let script = "return { main = function() local ok, err = require('io').raw(true) return err:kind() end }";
    let kind = app.process(script, Vec::new()).await.unwrap();
    assert_eq!(text(&kind), "INTERNAL");
}

#[tokio::test(start_paused = true)]
async fn a_script_without_terminal_has_no_io() {
    let app = App::new();
    let error = app.run("require('io')").await.unwrap_err();
    assert!(error.message().contains("needs a terminal"), "{error}");
    assert_eq!(
        app.run("print('to the log') return 1").await.unwrap(),
        Value::Integer(1)
    );
}

#[tokio::test(start_paused = true)]
async fn json_goes_both_ways() {
    let app = App::new();
    let body = r#"
        local json = require('json')
        local value = json.decode('{"a": [1, 2.5, null, "x"], "b": {"c": true}, "n": 9007199254740993}')
        local bad, err = json.decode('{')
        local odd, why = json.encode({f = print})
        return { json.encode({ 1, 2.5, "x" }), json.encode(value.b), json.encode({}), value.n, value.a[3] == nil,
            err:kind(), why:message() }"#;
    let shown = json::from_value(&app.run(body).await.unwrap())
        .unwrap()
        .to_string();
    insta::assert_snapshot!(shown, @r#"["[1,2.5,\"x\"]","{\"c\":true}","[]",9007199254740993,true,"INTERNAL","json.encode: .f: a function cannot be sent"]"#);
}

#[tokio::test(start_paused = true)]
async fn time_has_durations_and_moments() {
    let app = App::new();
    let body = "
        local time = require('time')
        local t = time.date(2024, 2, 28, 23, 59, 58, 0, time.utc)
        local later = t:add('1h30m')
        return {
            tostring(t), t:format('Mon Jan 2 15:04:05 2006'), t:format(time.DATE_ONLY), t:weekday(), t:year_day(),
            tostring(later:sub(t)), later:after(t), t:add_date(0, 0, 2):format(time.RFC3339),
            tostring(time.parse_duration('1h15m30.5s')), time.parse_duration('250ms'):seconds(),
            time.unix(1700000000):utc():format(time.DATE_TIME), 5 * time.SECOND,
            time.parse(time.DATE_ONLY, '2024-03-01'):unix(), select(2, time.parse_duration('1 week')):kind(),
            tostring(time.parse_duration('1500us')), tostring(time.parse_duration('-90s')),
            time.parse('2024-03-01T10:00:00+02:00'):utc():format(time.RFC3339),
        }";
    let shown = json::from_value(&app.run(body).await.unwrap()).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&shown).unwrap(), @r#"
    [
      "2024-02-28T23:59:58Z",
      "Wed Feb 28 23:59:58 2024",
      "2024-02-28",
      3,
      59,
      "1h30m0s",
      true,
      "2024-03-01T23:59:58Z",
      "1h15m30.5s",
      0.25,
      "2023-11-14 22:13:20",
      5000000000,
      1709251200,
      "INVALID",
      "1.5ms",
      "-1m30s",
      "2024-03-01T08:00:00Z"
    ]
    "#);
}

#[tokio::test(start_paused = true)]
async fn sleeping_takes_its_time() {
    let app = App::new();
    let started = tokio::time::Instant::now();
    app.run("local time = require('time') time.sleep('1.5s') time.sleep(500 * time.MILLISECOND) time.sleep(time.parse_duration('1s'))")
        .await
        .unwrap();
    assert_eq!(started.elapsed().as_millis(), 3000);
}

#[tokio::test(start_paused = true)]
async fn errors_are_objects() {
    let app = App::new();
    let body = "
        local inner = errors.new{message = 'missing', kind = errors.NOT_FOUND, details = {id = 7}}
        local outer = errors.wrap(inner, 'loading')
        local plain = errors.new('just text')
        local ok, raised = pcall(error, outer)
        return {
            tostring(outer), outer:kind(), outer:details().id, errors.is(outer, errors.NOT_FOUND),
            plain:kind(), plain:retryable(), raised == outer, errors.is('text', errors.INTERNAL), 'because: ' .. inner,
            type(errors.call_stack(inner)),
        }";
    let shown = json::from_value(&app.run(body).await.unwrap())
        .unwrap()
        .to_string();
    insta::assert_snapshot!(shown, @r#"["loading: missing","NOT_FOUND",7,true,"UNKNOWN",false,true,true,"because: missing","table"]"#);
}

#[tokio::test(start_paused = true)]
async fn loggers_take_fields() {
    let app = App::new();
    let body = "
        local logger = require('logger')
        logger:info('plain')
        logger:with({request = 1}):named('db'):warn('slow', {ms = 20, f = print})
        return 'logged'";
    assert_eq!(text(&app.run(body).await.unwrap()), "logged");
}
