//! HTTP services from outside: real sockets, real clients, some of them hostile.

mod example;
mod hostile;
mod idle;
mod live;
mod log;
mod mapped;
mod middleware;
mod program;
mod protocol;
mod routes;
mod scripts;
mod site;
