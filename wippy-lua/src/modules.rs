//! The modules.
/// Their names.
pub const MODULES: &[&str] = &["ctx", "errors", "funcs", "io", "json", "logger", "time"];
