//! HTTP services: what listens, which route a request takes, and who answers it.
//!
//! [`Plan`] makes the routes of every service from the entries, with a diagnostic for each that cannot work.
//! [`HttpServer::start`] listens and serves the routes it is given; [`HttpServer::set_routes`] puts others in place
//! while it serves. A request keeps the routes that it began with.
//!
//! The server is hyper with routes of our own (`matchit`) rather than axum: routes that can be replaced as a whole,
//! middleware by name and per router, and time limits for connections all lie below or beside what axum offers, and
//! a request costs one lookup and no boxed layers.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "types, values and kinds of errors are matched for a few of them and everything else alike"
)]

mod access;
mod answer;
mod body;
mod connection;
mod dispatch;
mod endpoint;
mod files;
mod inbound;
mod mapping;
mod middleware;
mod plan;
mod routes;
mod script;
mod server;
mod stream;
mod tls;

pub use self::{
    body::{Aborted, Body, RequestBody},
    endpoint::{Answering, Functions, Proxy, Target},
    mapping::{Mapping, Unmappable},
    middleware::{TokenStore, TokenStores},
    plan::{Plan, Surroundings},
    routes::Routes,
    server::{HttpServer, Running, ServerConfig, StartError},
};
