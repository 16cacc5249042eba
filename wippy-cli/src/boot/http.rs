//! HTTP entries: the routes of every service, checked while everything else is.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use http_body_util::BodyExt as _;
use hyper::Request;
use wippy_registry::{Diagnostic, EntryId, Linked, schema::Config};
use wippy_security::{Actor, CallError, CallMetrics, Context, Dispatcher, Permit, Scope, Span};
use wippy_wasm::WasmFunction;

use super::Directories;
use crate::{
    http::{
        Aborted, Answering, Body, Functions, Mapping, Plan, Proxy, RequestBody, Surroundings, Target,
        TokenStore, TokenStores,
    },
    metrics::Metrics,
};

/// Plans the routes of all services.
pub(super) fn plan(
    linked: &Linked,
    functions: &BTreeMap<EntryId, Arc<WasmFunction>>,
    directories: &Directories,
    dispatcher: &Arc<Dispatcher>,
    metrics: Option<&Arc<Metrics>>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Plan {
    let surroundings = Surroundings {
        functions: &Known { functions, metrics },
        stores: &Tokens { linked, dispatcher },
        folder: &|id| directories.path(id).map(ToOwned::to_owned),
    };
    let (plan, mut problems) = Plan::new(&linked.entries, surroundings);
    diagnostics.append(&mut problems);
    plan
}

/// The WebAssembly functions; everything else that can be called is a script.
struct Known<'a> {
    functions: &'a BTreeMap<EntryId, Arc<WasmFunction>>,
    metrics: Option<&'a Arc<Metrics>>,
}

impl Functions for Known<'_> {
    fn target(&self, id: &EntryId) -> Result<Target, String> {
        let Some(function) = self.functions.get(id) else {
            return Ok(Target::Script);
        };
        if function.is_http_handler() {
            return Ok(Target::Proxy(Arc::new(Component {
                id: id.clone(),
                function: Arc::clone(function),
                metrics: self.metrics.map(|metrics| metrics.calls(id)),
            })));
        }
        let mapping = Mapping::new(function.wit_signature()).map_err(|error| error.to_string())?;
        Ok(Target::Mapped(Arc::new(mapping)))
    }
}

/// A component that takes requests as they are.
struct Component {
    id: EntryId,
    function: Arc<WasmFunction>,
    /// Where its calls are counted, if they are. They count until the head of the response is there.
    metrics: Option<Arc<CallMetrics>>,
}

impl Proxy for Component {
    fn serve(&self, permit: Permit, context: Context, request: Request<RequestBody>) -> Answering {
        let function = Arc::clone(&self.function);
        let watch = self
            .metrics
            .as_ref()
            .map(|metrics| metrics.watch(context.deadline()));
        let (span, context) = Span::call(&context, &self.id);
        Box::pin(async move {
            let served = function.serve(permit, &context, request).await;
            let failure = served.as_ref().err().map(CallError::kind);
            if let Some(watch) = watch {
                watch.end(failure);
            }
            if let Some(span) = span {
                span.end(failure);
            }
            let response = served?;
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
