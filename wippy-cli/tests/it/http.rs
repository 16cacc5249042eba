//! HTTP services from outside: real sockets, real clients, some of them hostile.

mod docs;
mod example;
mod hostile;
mod hostile_guests;
mod hostile_http2;
mod idle;
mod kept;
mod live;
mod log;
mod mapped;
mod middleware;
mod program;
mod protocol;
mod routes;
mod scripts;
pub(crate) mod site;
mod stopping;
mod streaming;
mod toolchains;
