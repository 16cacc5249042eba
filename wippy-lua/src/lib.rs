//! stub
mod error; mod services; mod source;
pub use error::Error; pub use services::{Services, Terminal}; pub use source::{Config, Library, Source};
use wippy_registry::EntryId; use std::sync::Arc; use wippy_security::{Call, CallError, Handler, Permit, Context}; use wippy_wit::Value;
pub const MODULES: &[&str] = &["ctx", "errors", "funcs", "io", "json", "logger", "time"];
pub fn check(_id: Option<&EntryId>, _name: &str, _text: &str) -> Result<(), Error> { Ok(()) }
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Required { pub name: String, pub line: usize, pub column: usize }
pub fn required(_text: &str) -> Vec<Required> { Vec::new() }
pub struct LuaFunction {}
impl LuaFunction { pub fn new(_source: Source, _services: Services, _config: Config) -> Result<Arc<Self>, Error> { Ok(Arc::new(Self{})) } }
#[async_trait::async_trait]
impl Handler for LuaFunction { async fn invoke<'a>(self: Arc<Self>, _permit: Permit, _call: Call<'a>) -> Result<(), CallError> { Err(CallError::internal("stub")) } }
pub struct LuaProcess {}
impl LuaProcess {
    pub fn new(_source: Source, _services: Services, _config: Config) -> Result<Self, Error> { Ok(Self{}) }
    pub async fn run(&self, _context: Context, _arguments: Vec<Value>) -> Result<Value, CallError> { Err(CallError::internal("stub")) }
}
