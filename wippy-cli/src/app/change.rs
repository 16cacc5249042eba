//! Changing an application while it runs: by a set of changes, or to what its files say now.

use std::sync::Arc;

use wippy_registry::{ChangeSet, Version};
use wippy_security::CallError;

use super::App;
use crate::{
    boot,
    live::{Live, Refusal},
    report::Problems,
};

impl App {
    /// Makes everything ready that the changes are about, and then makes them, all or none. Calls in flight finish on what
    /// they began with.
    ///
    /// # Errors
    /// What is wrong with the entries as they would be; nothing changes then.
    pub async fn change(&self, changes: ChangeSet) -> Result<Version, CallError> {
        let live = Arc::clone(&self.prepared.live);
        let outcome = elsewhere(live, move |live| live.change(changes)).await;
        Ok(outcome??)
    }

    /// Makes the entries what the project's files say now; entries that came while the application ran stay. `None` when
    /// the files say what they said before.
    ///
    /// # Errors
    /// What is wrong with the files; nothing changes then.
    pub async fn reload(&self) -> Result<Option<Version>, Problems> {
        let live = Arc::clone(&self.prepared.live);
        let (root, settings) = (self.root.clone(), live.ground().settings.clone());
        let outcome = elsewhere(live, move |live| live.reload(boot::load(&root, &settings))).await;
        match outcome {
            Ok(Ok(version)) => Ok(version),
            Ok(Err(Refusal::Problems(problems))) => Err(problems),
            Ok(Err(Refusal::Registry(error))) => Err(Problems::message("registry", error.to_string())),
            Err(error) => Err(Problems::message("interrupted", error.to_string())),
        }
    }
}

/// Compiling may take long, so it is done where that does not matter. Once begun, it goes on to its end.
async fn elsewhere<T: Send + 'static>(
    live: Arc<Live>,
    change: impl FnOnce(&Live) -> Result<T, Refusal> + Send + 'static,
) -> Result<Result<T, Refusal>, CallError> {
    tokio::task::spawn_blocking(move || change(&live))
        .await
        .map_err(|_| CallError::internal("the change was interrupted"))
}
