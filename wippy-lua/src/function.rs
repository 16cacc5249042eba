//! [`LuaFunction`]: a function of a script, callable through the dispatcher.

use std::sync::Arc;

use async_trait::async_trait;
use wippy_security::{Call, CallError, Handler, Permit};

use crate::{Config, Error, Services, Source};

/// A function of a script, behind a bounded set of states.
pub struct LuaFunction {}

impl LuaFunction {
    /// Compiles `source`. Nothing of it runs before the first call.
    ///
    /// # Errors
    /// When the script or a library of it is not Lua, or a listed module does not exist.
    pub fn new(_source: Source, _services: Services, _config: Config) -> Result<Arc<Self>, Error> {
        unimplemented!()
    }
}

#[async_trait]
impl Handler for LuaFunction {
    async fn invoke<'a>(self: Arc<Self>, _permit: Permit, _call: Call<'a>) -> Result<(), CallError> {
        unimplemented!()
    }
}
