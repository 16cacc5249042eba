//! Policies, scopes, groups, the guard and its audit trail, from the outside.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail like tests")]

mod allocation;
mod binding;
mod conditions;
mod context;
mod expressions;
mod guard;
mod identity;
mod metrics;
mod network;
mod patterns;
mod policies;
mod processes;
mod properties;
mod store;
mod support;
mod tokens;
mod trace;
