//! `logger` and `print`: what arrives in the log.

use std::{
    io,
    sync::{Arc, Mutex},
};

use tracing_subscriber::fmt::MakeWriter;

use crate::{processes, support::App};

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn records_carry_fields_entry_and_pid() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.clone())
        .without_time()
        .with_ansi(false)
        .with_max_level(tracing::Level::DEBUG)
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let app = App::new();
    let body = "
        local logger = require('logger')
        logger:debug('one')
        logger:info('two', { key = 'value', list = { 1, 2 }, nested = { deep = true } })
        local child = logger:with({ request = 1, user = 'ada' })
        child:warn('three', { user = 'bob' })
        child:named('db'):named('pool'):error('four')
        logger:info('five')
        local unnamed, err = logger:named('')
        assert(unnamed == nil and err:kind() == errors.INVALID)
        assert(select(2, child:named('')):kind() == errors.INVALID)
        print('six', nil, 7)";
    app.run(body).await.unwrap();
    let process = "return { main = function() print('seven') require('logger'):info('eight') end }";
    let app = processes::application(&[("test:process", process)]);
    processes::run(&app, "test:process", Vec::new()).await.unwrap();
    insta::assert_snapshot!(String::from_utf8(log.0.lock().unwrap().clone()).unwrap());
}
