//! HTTP entries: the routes of every service, checked while everything else is.

use std::sync::Arc;

use wippy_registry::{Diagnostic, EntryId};

use super::Prepared;
use crate::http::{Functions, Mapping, Plan, Surroundings, Target, TokenStore, TokenStores};

impl Prepared {
    /// Plans the routes of all services. Functions with problems of their own are left out quietly.
    pub(super) fn plan_http(&mut self, diagnostics: &mut Vec<Diagnostic>) {
        let surroundings = Surroundings {
            functions: self,
            stores: &NoTokens,
            folder: &|id| self.directories.path(id).map(ToOwned::to_owned),
        };
        let (plan, mut problems) = Plan::new(&self.entries, surroundings);
        diagnostics.append(&mut problems);
        self.http = plan;
    }
}

impl Functions for Prepared {
    fn target(&self, id: &EntryId) -> Result<Target, String> {
        let Some(function) = self.functions.get(id) else {
            return Ok(Target::Script);
        };
        // A component that exports `wasi:http/incoming-handler` becomes a `Target::Proxy` here.
        let mapping = Mapping::new(function.wit_signature()).map_err(|error| error.to_string())?;
        Ok(Target::Mapped(Arc::new(mapping)))
    }
}

/// Until `security.token_store` entries are made ready, there is none that `token_auth` could name.
struct NoTokens;

impl TokenStores for NoTokens {
    fn find(&self, _: &EntryId) -> Option<Arc<dyn TokenStore>> {
        None
    }
}
