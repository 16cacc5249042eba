//! The command line from outside: every test runs the binary as a shell would and looks at what comes back.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail like tests")]

mod app;
mod apps;
mod broken;
mod cached;
mod configuration;
mod conversions;
mod crowd;
mod dev;
mod directories;
mod environment;
mod help;
mod http;
mod inheritance;
mod init;
mod input;
mod isolation;
mod limits;
mod links;
mod live;
mod mediation;
mod members;
mod metrics;
mod misbehaving;
mod nesting;
mod orders;
#[cfg(feature = "otel-test")]
mod otel;
mod policy;
mod pools;
mod privileges;
mod processes;
mod quickstart;
mod reference;
mod rescale;
mod roundtrip;
mod scripts;
mod secrets;
mod security;
mod services;
mod shell;
mod signals;
mod stage;
mod storms;
mod streams;
mod supervisor;
mod tree;
mod world;
