//! The command line from outside: every test runs the binary as a shell would and looks at what comes back.

mod app;
mod broken;
mod configuration;
mod help;
mod init;
mod quickstart;
mod shell;
