//! The crate from outside: projects to diagnostics, change sets to versions.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests may fail like tests"
)]

mod load;
mod projects;
mod query;
mod registry;
