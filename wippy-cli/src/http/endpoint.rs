//! Endpoints: calling the function behind a route and answering with what it gives.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
};

use http::{Request, Response, StatusCode};
use wippy_registry::EntryId;
use wippy_security::{CallError, Context, Dispatcher, ErrorKind, Held, Permit, authorize};
use wippy_wit::{Value, ValueReader, ValueWriter};

use super::{
    answer,
    body::{Body, RequestBody, gathered},
    inbound::Inbound,
    mapping::Mapping,
    routes::Router,
    script,
};

/// Bytes of a body that is given to a function as a value, which has to fit into its memory.
const MAPPED_BODY_MAX: usize = 16 << 20;

/// A route and the function behind it.
pub(super) struct Endpoint {
    pub(super) id: EntryId,
    /// The whole path, prefix included.
    pub(super) pattern: Arc<str>,
    pub(super) parameters: Vec<Arc<str>>,
    pub(super) router: Arc<Router>,
    pub(super) function: EntryId,
    pub(super) target: Target,
    /// The function as it was when the routes came into force.
    pub(super) held: OnceLock<Held>,
}

/// How a function takes a request.
#[derive(Clone)]
pub enum Target {
    /// It asks for the request itself and answers it, as scripts do by the module `http`.
    Script,
    /// The request becomes its arguments, and its result the response.
    Mapped(Arc<Mapping>),
    /// It takes the request as it is: a component that exports `wasi:http/incoming-handler`.
    Proxy(Arc<dyn Proxy>),
}

/// The future of an answer.
pub type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, CallError>> + Send>>;

/// A function that takes requests as they are.
pub trait Proxy: Send + Sync {
    /// Answers a request; the parts of the response that come later are in its body. Dropping the future or the body
    /// ends the call.
    fn serve(&self, permit: Permit, context: Context, request: Request<RequestBody>) -> Answering;
}

/// What is known of the functions that endpoints call.
pub trait Functions {
    /// How the function takes requests.
    ///
    /// # Errors
    /// Why it cannot take any.
    fn target(&self, id: &EntryId) -> Result<Target, String>;
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Script => "Script",
            Self::Mapped(_) => "Mapped",
            Self::Proxy(_) => "Proxy",
        })
    }
}

impl Endpoint {
    /// Answers a request.
    pub(super) async fn answer(&self, inbound: Box<Inbound>) -> Response<Body> {
        let call_id = Arc::clone(&inbound.call_id);
        let outcome = match &self.target {
            Target::Script => match self.function(&inbound.context) {
                Ok(function) => return script::answer(function, inbound).await,
                Err(error) => Err(error),
            },
            Target::Mapped(mapping) => self.answer_mapped(mapping, inbound).await,
            Target::Proxy(proxy) => self.answer_proxied(&**proxy, inbound).await,
        };
        outcome.unwrap_or_else(|error| answer::error(&error, &call_id))
    }

    /// Takes hold of the function: requests that have this endpoint get that one, even if it changes or goes while they
    /// are under way.
    pub(super) fn hold(&self, dispatcher: &Dispatcher) -> Option<Held> {
        if let Some(held) = self.held.get() {
            return Some(held.clone());
        }
        let held = dispatcher.resolve(&self.function).ok()?.hold().ok()?;
        Some(self.held.get_or_init(|| held).clone())
    }

    /// The function. That there is none is not the client's fault.
    fn function(&self, context: &Context) -> Result<Held, CallError> {
        self.hold(context.dispatcher()).ok_or_else(|| {
            CallError::new(
                ErrorKind::Unavailable,
                "there is nobody who could answer this request now",
            )
        })
    }

    async fn answer_mapped(
        &self,
        mapping: &Mapping,
        mut inbound: Box<Inbound>,
    ) -> Result<Response<Body>, CallError> {
        let body = if mapping.wants_body() {
            match gathered(inbound.body.take(), MAPPED_BODY_MAX).await {
                Ok(body) => body,
                Err(error) => return Ok(answer::body_error(error, &inbound.call_id)),
            }
        } else {
            bytes::Bytes::new()
        };
        let function = self.function(&inbound.context)?;
        let arguments = mapping.arguments(&inbound, &body)?;
        match call(&inbound.context, &function, &arguments).await {
            Ok(value) => mapping.response(&value),
            Err(error) => mapping.error_response(&error).unwrap_or(Err(error)),
        }
    }

    async fn answer_proxied(
        &self,
        proxy: &dyn Proxy,
        inbound: Box<Inbound>,
    ) -> Result<Response<Body>, CallError> {
        let Inbound {
            parts, body, context, ..
        } = *inbound;
        let permit = authorize(&context, "funcs.call", self.function.as_str())?;
        let body = body.unwrap_or_else(|| {
            use http_body_util::BodyExt as _;
            http_body_util::Empty::new()
                .map_err(|never: std::convert::Infallible| match never {})
                .boxed_unsync()
        });
        let deadline = context.deadline();
        let serving = proxy.serve(permit, context, Request::from_parts(parts, body));
        let Some(deadline) = deadline else {
            return serving.await;
        };
        let late = |_| {
            let message = "the request was not answered before its deadline";
            Err(CallError::new(ErrorKind::Timeout, message))
        };
        tokio::time::timeout_at(deadline, serving)
            .await
            .unwrap_or_else(late)
    }
}

/// Calls a function with owned values.
///
/// # Errors
/// Whatever it or the way to it says.
pub(super) async fn call(
    context: &Context,
    function: &Held,
    arguments: &[Value],
) -> Result<Value, CallError> {
    let mut arguments = ValueReader::arguments(arguments);
    let mut result = ValueWriter::default();
    context
        .dispatcher()
        .call_held(context, function, &mut arguments, &mut result)?
        .await?;
    Ok(result.finish())
}

/// A plain 404.
pub(super) fn not_found(call_id: &str) -> Response<Body> {
    answer::refusal(
        StatusCode::NOT_FOUND,
        ErrorKind::NotFound,
        "there is nothing at this path",
        call_id,
    )
}
