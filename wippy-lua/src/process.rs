//! [`LuaProcess`]: a script that runs on its own.

use wippy_security::{CallError, Context};
use wippy_wit::Value;

use crate::{Config, Error, Services, Source};

/// A script that runs on its own, from its method's beginning to its end.
pub struct LuaProcess {}

impl LuaProcess {
    /// Compiles `source`. Nothing of it runs before [`run`](Self::run).
    ///
    /// # Errors
    /// When the script or a library of it is not Lua, or a listed module does not exist.
    pub fn new(_source: Source, _services: Services, _config: Config) -> Result<Self, Error> {
        unimplemented!()
    }

    /// Runs the method with `arguments` under `context`, in a state of its own, and answers what it returns.
    /// Dropping the future ends the process.
    ///
    /// # Errors
    /// Whatever the method returns as its error or raises.
    pub async fn run(&self, _context: Context, _arguments: Vec<Value>) -> Result<Value, CallError> {
        unimplemented!()
    }
}
