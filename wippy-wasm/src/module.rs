//! [`Module`]: an entry's component, compiled, checked and linked, from which instances are made.

use std::{borrow::Cow, sync::Arc};

use wasmtime::component::InstancePre;
use wippy_registry::EntryId;
use wippy_security::{CallError, ErrorKind};
use wippy_wit::{Node, Plan, Signature};

use crate::{
    Binary, Engine, Error, Limits, WasiConfig, WorkerClass, artifact,
    census::Census,
    component::{Component, Method},
    engine::{Counting, Origin},
    exports::Surface,
    hosts::Grants,
    http::Client,
    output::Journal,
    slots::{Place, Slots},
    state::GuestState,
    template::Template,
};

/// What an entry says about its module.
#[derive(Debug, Clone)]
pub struct Spec<'a> {
    /// The entry.
    pub id: EntryId,
    /// The module.
    pub binary: Binary<'a>,
    /// The WIT of a core module.
    pub wit: Option<&'a str>,
    /// The function.
    pub method: &'a str,
    /// The capabilities.
    pub imports: &'a [String],
    /// The WASI section.
    pub wasi: WasiConfig,
    /// The limits of each instance.
    pub limits: Limits,
}

/// An entry's component, ready to be instantiated.
#[derive(Clone)]
pub struct Module {
    pub(crate) id: EntryId,
    pub(crate) method_name: Arc<str>,
    pub(crate) method: Arc<Method>,
    pub(crate) component: Arc<Component>,
    template: Arc<Template>,
    pub(crate) limits: Limits,
    /// Only for entries that declare a WASI import.
    pub(crate) wasi: Option<Arc<WasiConfig>>,
    /// Whether calls carry their context along.
    pub(crate) acts: bool,
    /// Only for entries that declare `wasi:http`.
    pub(crate) http: Option<Arc<Client>>,
    pub(crate) slots: Arc<Slots>,
    /// Where its instances are counted, if they are.
    pub(crate) census: Option<Arc<Census>>,
    pub(crate) origin: Origin,
    /// The threads that its calls run on, if they have their own.
    pub(crate) class: Option<Arc<WorkerClass>>,
}

impl Engine {
    /// Makes a module ready: checks its hash, makes a component of it, finds its method, checks that the entry grants
    /// what it imports, compiles and links it. This takes tens of milliseconds and belongs on a thread that may block.
    ///
    /// # Errors
    /// Everything that is wrong with it, in one go where the checks do not depend on each other.
    pub fn prepare(&self, spec: Spec<'_>) -> Result<Module, Vec<Error>> {
        let one = |error: Error| vec![error];
        let source = spec.binary.source(spec.wit).map_err(one)?;
        let bytes = || spec.binary.component(spec.wit, spec.method);
        let (component, origin) = self
            .component(source, Counting::of(&spec.limits), bytes)
            .map_err(one)?;
        let found = component.surface.find(spec.method);
        let grants = Grants::of(spec.imports, &component.surface);
        let (function, grants) = match (found, grants) {
            (Ok(function), Ok(grants)) => (function, grants),
            (found, grants) => {
                let errors = found.err().into_iter().chain(grants.err().unwrap_or_default());
                return Err(errors.collect());
            }
        };
        let unknown = || {
            one(Error::UnknownMethod {
                method: spec.method.to_owned(),
                exports: component.surface.paths(),
            })
        };
        let method = component.method(function).ok_or_else(unknown)?.clone();
        supported(method.plan()).map_err(one)?;
        Ok(Module {
            id: spec.id,
            method_name: spec.method.into(),
            method,
            limits: spec.limits,
            wasi: grants.wasi().then(|| Arc::new(spec.wasi)),
            acts: grants.acts(),
            http: grants.http().then(|| self.http_client().clone()),
            template: component.template(grants, || self.reserve()).map_err(one)?,
            slots: self.slots(),
            census: self.census(),
            origin,
            class: None,
            component,
        })
    }

    /// What a module offers and needs, without compiling it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn inspect(bytes: &[u8]) -> Result<Surface, Error> {
        if wasmparser::Parser::is_component(bytes) {
            return Surface::read(bytes);
        }
        artifact::component(Cow::Borrowed(bytes), None, "method").and_then(|bytes| Surface::read(&bytes))
    }
}

/// What cannot be called is refused here, not at the first call.
fn supported(plan: &Plan) -> Result<(), Error> {
    let unsupported = |why: &str| {
        let message = format!("`{}` {why}", plan.signature);
        Err(Error::Unsupported { message })
    };
    if plan.nodes().any(Node::has_streams) && plan.nodes().any(Node::has_resources) {
        return unsupported("has both streams and resources: an instance is kept by one or the other");
    }
    Ok(())
}

impl Module {
    /// What instances are made from that live in `place`.
    ///
    /// # Errors
    /// When the machine has no room there.
    pub(crate) async fn instances(&self, place: Place) -> Result<&InstancePre<GuestState>, CallError> {
        let pre = self.template.at(&self.component, place).await;
        pre.map_err(|error| {
            let message = format!("{}: no room for more instances: {error}", self.id);
            CallError::new(ErrorKind::Unavailable, message)
        })
    }

    /// What a fresh instance writes to, if it can write at all.
    pub(crate) fn journal(&self) -> Option<Arc<Journal>> {
        (self.acts || self.wasi.is_some())
            .then(|| Arc::new(Journal::new(self.id.as_str(), self.limits.output_bytes)))
    }

    /// The same, with calls that run on the threads of `class`.
    #[must_use]
    pub fn on(mut self, class: Arc<WorkerClass>) -> Self {
        self.class = Some(class);
        self
    }

    /// Whether a call of its method that is made from here provably ends within a few thousand instructions, unless it fails:
    /// then it needs no stack of its own to be interrupted on.
    pub fn ends_at_once(&self) -> bool {
        self.method.ends_at_once()
    }

    /// The entry that it belongs to.
    pub fn id(&self) -> &EntryId {
        &self.id
    }

    /// The signature of its method.
    pub fn signature(&self) -> &Arc<Signature> {
        &self.method.function.signature
    }

    /// Whether its method answers HTTP requests, `wasi:http/incoming-handler#handle`: then
    /// [`WasmFunction::serve`](crate::WasmFunction::serve) calls it.
    pub fn is_http_handler(&self) -> bool {
        let function = &self.method.function;
        let interface = function.interface.as_deref();
        interface.is_some_and(|name| name.starts_with("wasi:http/incoming-handler@0.2."))
            && function.signature.name.as_ref() == "handle"
    }

    /// An error unless its method answers HTTP requests.
    ///
    /// # Errors
    /// [`Error::NotHttpHandler`].
    pub fn require_http_handler(&self) -> Result<(), Error> {
        if self.is_http_handler() && self.http.is_some() {
            return Ok(());
        }
        Err(Error::NotHttpHandler {
            method: self.method_name.to_string(),
            exports: self.component.surface.paths(),
        })
    }

    /// Whether its method is a command's entry point, `wasi:cli/run`.
    pub fn is_command(&self) -> bool {
        self.method
            .function
            .interface
            .as_deref()
            .is_some_and(|name| name.starts_with("wasi:cli/run@"))
    }
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Module")
            .field("id", &self.id)
            .field("method", &self.method_name)
            .finish_non_exhaustive()
    }
}
