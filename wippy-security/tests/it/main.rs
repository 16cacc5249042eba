//! Policies, scopes, groups, the guard and its audit trail, from the outside.

mod allocation;
mod conditions;
mod expressions;
mod guard;
mod patterns;
mod policies;
mod properties;
mod support;
