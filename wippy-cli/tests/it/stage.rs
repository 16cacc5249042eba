//! [`Stage`]: an application that is loaded in this process, whose functions are called in any context.

use std::sync::Arc;

use tempfile::TempDir;
use tokio::runtime::Runtime;
use wippy_cli::{App, Config};
use wippy_registry::EntryId;
use wippy_security::{Actor, CallError, Context};
use wippy_wit::{Value, ValueReader, ValueWriter};

pub(crate) fn id(text: &str) -> EntryId {
    text.parse().unwrap()
}

/// A loaded application and what it needs to run.
pub(crate) struct Stage {
    pub(crate) runtime: Runtime,
    pub(crate) app: App,
    _project: TempDir,
}

impl Stage {
    pub(crate) fn new(project: TempDir) -> Self {
        let app = App::load(project.path(), &Config::default())
            .unwrap_or_else(|problems| panic!("{}", problems.render()));
        Self {
            runtime: Runtime::new().unwrap(),
            app,
            _project: project,
        }
    }

    /// A context in which `actor` acts under these policies of the application.
    pub(crate) fn acting(&self, actor: Actor, policies: &[&str]) -> Context {
        let ids: Vec<_> = policies.iter().map(|name| id(name)).collect();
        let scope = self.app.dispatcher().policies().gather([], &ids).unwrap();
        let (actor, scope) = (Some(Arc::new(actor)), Some(Arc::new(scope)));
        self.app.context().with_identity(actor, scope)
    }

    pub(crate) fn call(
        &self,
        context: &Context,
        name: &str,
        arguments: &[Value],
    ) -> Result<Value, CallError> {
        self.runtime.block_on(self.call_within(context, name, arguments))
    }

    /// As [`call`](Self::call), for those who are in the runtime already.
    pub(crate) async fn call_within(
        &self,
        context: &Context,
        name: &str,
        arguments: &[Value],
    ) -> Result<Value, CallError> {
        let dispatcher = self.app.dispatcher();
        let function = dispatcher.resolve(&id(name))?;
        let (mut reader, mut writer) = (ValueReader::arguments(arguments), ValueWriter::default());
        dispatcher
            .call(context, &function, &mut reader, &mut writer)?
            .await?;
        Ok(writer.finish())
    }
}
