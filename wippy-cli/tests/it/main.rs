//! The command line from outside: every test runs the binary as a shell would and looks at what comes back.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail like tests")]

mod app;
mod broken;
mod configuration;
mod conversions;
mod dev;
mod directories;
mod environment;
mod help;
mod init;
mod live;
mod misbehaving;
mod processes;
mod quickstart;
mod roundtrip;
mod scripts;
mod shell;
mod signals;
mod world;
