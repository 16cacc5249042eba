//! [`WasmProcess`]: a module's method as a process: instantiate, run to its end, release.

use std::sync::Arc;

use wippy_security::{CallError, Context};
use wippy_wit::{Signature, Value, ValueReader, ValueWriter};

use crate::{
    deadline,
    instance::{CallFailure, Instance, Invocation},
    module::Module,
    wasi::Stdio,
};

/// A process entry that is a module's method.
#[derive(Debug)]
pub struct WasmProcess {
    module: Module,
}

/// What a process is started with.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// The arguments of the method.
    pub arguments: Vec<Value>,
    /// The arguments of the command line, for guests that ask WASI for them.
    pub argv: Vec<String>,
    /// Where its standard streams go.
    pub stdio: Stdio,
}

/// How a process ended by itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Exit {
    /// Its method returned this.
    Value(Value),
    /// It exited with this code.
    Code(i32),
}

impl WasmProcess {
    /// The method of `module`.
    pub fn new(module: Module) -> Self {
        Self { module }
    }

    /// The signature of the method; none for a command, which takes its arguments from WASI.
    pub fn signature(&self) -> Option<&Arc<Signature>> {
        (!self.module.is_command()).then(|| self.module.signature())
    }

    /// Runs the process to its end. Dropping the future terminates it.
    ///
    /// # Errors
    /// Whatever stopped it: its own error, a trap, a limit.
    pub async fn run(&self, context: &Context, start: Start) -> Result<Exit, CallError> {
        let module = &self.module;
        let deadline = deadline::of(context, &module.limits);
        let mut instance = Instance::new(module, deadline, &start.argv, start.stdio).await?;
        let (mut reader, mut writer) = (ValueReader::arguments(&start.arguments), ValueWriter::default());
        let invocation = Invocation {
            method: &module.method,
            keeper: None,
            receiver: None,
        };
        match instance
            .call(module, invocation, context, deadline, &mut reader, &mut writer)
            .await
        {
            Ok(()) if module.is_command() => Ok(Exit::Code(0)),
            Ok(()) => Ok(Exit::Value(writer.finish())),
            // The error of `wasi:cli/run` says nothing but that it failed.
            Err(CallFailure::Returned(_)) if module.is_command() => Ok(Exit::Code(1)),
            Err(CallFailure::Trapped(_, Some(code))) => Ok(Exit::Code(code)),
            Err(failure) => Err(failure.into()),
        }
    }
}
