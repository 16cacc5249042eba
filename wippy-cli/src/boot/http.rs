//! HTTP entries: the routes of every service, checked while everything else is.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use http_body_util::BodyExt as _;
use hyper::Request;
use wippy_registry::{Diagnostic, EntryId, Linked, schema::Config};
use wippy_security::{Actor, CallError, Context, Dispatcher, Permit, Scope};
use wippy_wasm::WasmFunction;

use super::Directories;
use crate::http::{
    Aborted, Answering, Body, Functions, Mapping, Plan, Proxy, RequestBody, Surroundings, Target, TokenStore,
    TokenStores,
};

/// Plans the routes of all services.
pub(super) fn plan(
    linked: &Linked,
    functions: &BTreeMap<EntryId, Arc<WasmFunction>>,
    directories: &Directories,
    dispatcher: &Arc<Dispatcher>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Plan {
    let surroundings = Surroundings {
        functions: &Known(functions),
        stores: &Tokens { linked, dispatcher },
        folder: &|id| directories.path(id).map(ToOwned::to_owned),
    };
    let (plan, mut problems) = Plan::new(&linked.entries, surroundings);
    diagnostics.append(&mut problems);
    plan
}

/// The WebAssembly functions; everything else that can be called is a script.
struct Known<'a>(&'a BTreeMap<EntryId, Arc<WasmFunction>>);

impl Functions for Known<'_> {
    fn target(&self, id: &EntryId) -> Result<Target, String> {
        let Some(function) = self.0.get(id) else {
            return Ok(Target::Script);
        };
        if function.is_http_handler() {
            return Ok(Target::Proxy(Arc::new(Component(Arc::clone(function)))));
        }
        let mapping = Mapping::new(function.wit_signature()).map_err(|error| error.to_string())?;
        Ok(Target::Mapped(Arc::new(mapping)))
    }
}

/// A component that takes requests as they are.
struct Component(Arc<WasmFunction>);

impl Proxy for Component {
    fn serve(&self, permit: Permit, context: Context, request: Request<RequestBody>) -> Answering {
        let function = Arc::clone(&self.0);
        Box::pin(async move {
            let response = function.serve(permit, &context, request).await?;
            // What went wrong is in the log already; the client sees that the response has no end.
            Ok(response.map(|body| Body::stream(body.map_err(|_| Aborted))))
        })
    }
}

/// The token stores of the application.
struct Tokens<'a> {
    linked: &'a Linked,
    dispatcher: &'a Arc<Dispatcher>,
}

impl TokenStores for Tokens<'_> {
    fn find(&self, id: &EntryId) -> Option<Arc<dyn TokenStore>> {
        let entry = self.linked.get(id)?;
        let store = || Tokened {
            id: id.clone(),
            dispatcher: Arc::clone(self.dispatcher),
        };
        matches!(entry.config, Config::TokenStore(_)).then(|| Arc::new(store()) as Arc<dyn TokenStore>)
    }
}

/// A token store as it is when it is asked.
struct Tokened {
    id: EntryId,
    dispatcher: Arc<Dispatcher>,
}

#[async_trait]
impl TokenStore for Tokened {
    async fn validate(&self, token: &str) -> Result<(Arc<Actor>, Arc<Scope>), CallError> {
        let stores = self.dispatcher.token_stores();
        let context = Context::root(Arc::clone(&self.dispatcher));
        let grant = stores.get(&self.id)?.redeem(&context, token)?;
        Ok((grant.actor, grant.scope))
    }
}
