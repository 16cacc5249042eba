//! [`WasmProcess`]: a module's method as a process: instantiate, run to its end, release.

use std::sync::Arc;

use wippy_security::{CallError, Ended, Permit, Process, ProcessFuture, Start};
use wippy_wit::{Signature, Value, ValueReader, ValueWriter};

use crate::{
    deadline::Deadline,
    instance::{CallFailure, Instance, Invocation},
    module::Module,
    wasi::Stdio,
};

/// A process entry that is a module's method.
///
/// Its standard streams are the terminal on a host that has one, else they go to the log. A guest that exits with a code
/// other than 0 has failed; the error's details have the `exit_code`.
#[derive(Debug)]
pub struct WasmProcess {
    module: Module,
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

    async fn run(&self, start: Start) -> Result<Value, CallError> {
        let Start {
            context,
            mailbox,
            arguments,
            terminal,
        } = start;
        let module = &self.module;
        let deadline = Deadline::of(&context, &module.limits).begun();
        let stdio = if terminal.is_some() {
            Stdio::Terminal
        } else {
            Stdio::Log
        };
        let argv = terminal.as_ref().map_or(&[][..], |terminal| &terminal.arguments);
        let mut instance = Instance::new(module, deadline, argv, stdio).await?;
        instance.attach(mailbox);
        let (mut reader, mut writer) = (ValueReader::arguments(&arguments), ValueWriter::default());
        let invocation = Invocation {
            method: &module.method,
            keeper: None,
            receiver: None,
            trace: context.traced(),
        };
        let outcome = instance
            .call(module, invocation, &context, deadline, &mut reader, &mut writer)
            .await;
        match outcome {
            Ok(()) if module.is_command() => Ok(Value::Nil),
            Ok(()) => Ok(writer.finish()),
            // The error of `wasi:cli/run` says nothing but that it failed.
            Err(CallFailure::Returned(_)) if module.is_command() => Err(failed(module)),
            Err(CallFailure::Trapped(_, Some(0))) => Ok(Value::Nil),
            Err(failure) => Err(failure.into()),
        }
    }
}

impl Process for WasmProcess {
    fn start(self: Arc<Self>, _: Permit, start: Start) -> ProcessFuture {
        Box::pin(async move { self.run(start).await.map(Ended::Value) })
    }
}

fn failed(module: &Module) -> CallError {
    let details = Value::record([("exit_code", Value::Integer(1))]);
    CallError::internal(format!("{}: the command failed", module.id)).with_details(details)
}
