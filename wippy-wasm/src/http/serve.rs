//! Requests that guests answer: a fresh instance for each, streaming both ways.
//!
//! The guest runs where its caller polls until it answers, and that is all for most. One that has not ended when the
//! head of its response is there goes on as a task of its own, at the pace at which its body is read. That task ends
//! with the guest, by the call's deadline, or because whoever wanted the response dropped it.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, ready},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header::CONTENT_LENGTH};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::{sync::oneshot, task::AbortHandle};
use wasmtime::component::Resource;
use wasmtime_wasi_http::{
    Error, WasiHttpView as _,
    p2::{
        bindings::http::types::{ErrorCode, Scheme},
        body::HyperOutgoingBody,
        types::{HostIncomingRequest, HostResponseOutparam},
    },
};
use wippy_registry::EntryId;
use wippy_security::{CallError, Context, ErrorKind, Permit};
use wippy_wit::Value;

use crate::{
    deadline::{self, Deadline},
    function::WasmFunction,
    instance::Instance,
    module::Module,
    trap,
};

/// What a guest says through its `response-outparam`.
type Answer = Result<Response<HyperOutgoingBody>, ErrorCode>;

type Running = Pin<Box<dyn Future<Output = Result<(), CallError>> + Send>>;

impl WasmFunction {
    /// Answers an HTTP request by the guest's `wasi:http/incoming-handler`, in a fresh instance.
    ///
    /// Returns as soon as the head of the response is there. Its body comes as the guest writes it, with trailers if it
    /// writes any, and fails if the guest does. Dropping the future or the response's body cancels the guest. The
    /// request needs a `host` header or an authority; without a scheme it counts as `http`.
    ///
    /// # Errors
    /// What stopped the guest before it answered, [`ErrorKind::Invalid`] for a request that names no host, and what the
    /// guest itself gave instead of a response.
    pub async fn serve<B>(
        self: Arc<Self>,
        _permit: Permit,
        context: &Context,
        request: Request<B>,
    ) -> Result<Response<ResponseBody>, CallError>
    where
        B: Body<Data = Bytes> + Send + 'static,
    {
        let id = self.module.id.clone();
        // The client of a request for the head wants no body: dropping that one says nothing.
        let bodiless = request.method() == Method::HEAD;
        let (sender, receiver) = oneshot::channel();
        let failed = Arc::new(AtomicBool::new(false));
        let class = self.module.class.clone();
        let answering = self.answer(context.clone(), request, sender, failed.clone());
        let guest: Running = match class {
            None => Box::pin(answering),
            Some(class) => Box::pin(async move { class.run(answering).await? }),
        };
        let (answer, guest) = until_answered(&id, guest, receiver).await?;
        let response = answer.map_err(|code| refused(&id, &code))?;
        let running = guest.map(|guest| go_on(id.clone(), guest));
        Ok(ResponseBody::of(response, bodiless, id, failed, running))
    }

    /// Runs the guest to its end; if it fails, `failed` says so before the instance is gone.
    async fn answer<B>(
        self: Arc<Self>,
        context: Context,
        request: Request<B>,
        sender: oneshot::Sender<Answer>,
        failed: Arc<AtomicBool>,
    ) -> Result<(), CallError>
    where
        B: Body<Data = Bytes> + Send + 'static,
    {
        let module = &self.module;
        module
            .require_http_handler()
            .map_err(|error| CallError::internal(format!("{}: {error}", module.id)))?;
        let deadline = Deadline::of(&context, &module.limits).begun();
        let expired = |exceeded| trap::exceeded(exceeded, module.id.as_str(), &module.method_name);
        let _slot = deadline::within(deadline, self.pool.slot(&module.id))
            .await
            .map_err(expired)??;
        let mut instance = self.instantiate(&context, deadline).await?;
        let handling = handle(&mut instance, module, &context, deadline, request, sender);
        let outcome = deadline::within(deadline, handling).await;
        let outcome = outcome.map_err(expired).flatten();
        // What is left of a body ends with the instance, and must not look like its end then.
        failed.store(outcome.is_err(), Ordering::Release);
        drop(instance);
        outcome
    }
}

async fn handle<B>(
    instance: &mut Instance,
    module: &Module,
    context: &Context,
    deadline: Deadline,
    request: Request<B>,
    sender: oneshot::Sender<Answer>,
) -> Result<(), CallError>
where
    B: Body<Data = Bytes> + Send + 'static,
{
    let (store, function) = instance.parts();
    let scheme = match request.uri().scheme_str() {
        Some("https") => Scheme::Https,
        _ => Scheme::Http,
    };
    let request = request.map(|body| body.map_err(|_| Error::ConnectionTerminated));
    let state = store.data_mut();
    state.begin(Some(context.callee()), deadline);
    let request = state
        .http()
        .new_incoming_request(scheme, request)
        .map_err(|_| CallError::invalid("the request names no host"))?;
    let failed = |error: &wasmtime::Error| trap::classify(error, module, &module.method_name);
    let answer = state.http().new_response_outparam(sender);
    let answer = answer.map_err(|error| failed(&error))?;
    let function = function
        .typed::<(Resource<HostIncomingRequest>, Resource<HostResponseOutparam>), ()>(&*store)
        .map_err(|error| failed(&error))?;
    let outcome = function.call_async(store, (request, answer)).await;
    outcome.map_err(|error| failed(&error))
}

/// Runs the guest until it answers; with it, if it has not ended by then.
async fn until_answered(
    id: &EntryId,
    mut guest: Running,
    mut receiver: oneshot::Receiver<Answer>,
) -> Result<(Answer, Option<Running>), CallError> {
    let silent = || CallError::internal(format!("{id}: the guest ended without a response"));
    let ended = poll_fn(|cx| {
        if let Poll::Ready(outcome) = guest.as_mut().poll(cx) {
            return Poll::Ready(Ok(outcome));
        }
        Pin::new(&mut receiver).poll(cx).map(Err)
    });
    match ended.await {
        // Nothing was sent yet: what one says that answered and then failed is the failure.
        Ok(outcome) => {
            outcome?;
            let answer = receiver.try_recv().map_err(|_| silent())?;
            Ok((answer, None))
        }
        Err(Ok(answer)) => Ok((answer, Some(guest))),
        // It threw the means to answer away: nothing can follow.
        Err(Err(_)) => Err(silent()),
    }
}

/// Lets a guest go on after it answered.
fn go_on(id: EntryId, guest: Running) -> AbortHandle {
    let going_on = async move {
        guest.await.unwrap_or_else(|error| report(&id, &error));
    };
    tokio::spawn(going_on).abort_handle()
}

/// There is nobody left to tell but the log.
fn report(id: &EntryId, error: &CallError) {
    let entry = id.as_str();
    tracing::warn!(target: "wippy::guest", entry, kind = error.kind().as_str(), "failed after its response began: {error}");
}

/// What a guest gave instead of a response.
fn refused(id: &EntryId, code: &ErrorCode) -> CallError {
    let kind = match code {
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => ErrorKind::PermissionDenied,
        ErrorCode::DnsTimeout
        | ErrorCode::ConnectionTimeout
        | ErrorCode::ConnectionReadTimeout
        | ErrorCode::ConnectionWriteTimeout
        | ErrorCode::HttpResponseTimeout => ErrorKind::Timeout,
        ErrorCode::DestinationUnavailable
        | ErrorCode::DestinationIpUnroutable
        | ErrorCode::ConnectionRefused
        | ErrorCode::ConnectionTerminated
        | ErrorCode::ConnectionLimitReached => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    };
    let code = format!("{code:?}");
    let code = code.trim_start_matches("ErrorCode::");
    CallError::new(kind, format!("{id}: the guest answered with the error `{code}`"))
        .with_details(Value::record([("code", Value::string(code))]))
}

/// The body of a response as the guest writes it. Dropping it before its end cancels the guest.
pub struct ResponseBody {
    body: HyperOutgoingBody,
    id: EntryId,
    /// Bytes that are still to come, where the response says how many.
    left: Option<u64>,
    /// Whether the guest failed.
    failed: Arc<AtomicBool>,
    /// Whether all that anybody wants of the body was read.
    complete: bool,
    /// The guest, if it had not ended when it answered.
    running: Option<AbortHandle>,
}

impl ResponseBody {
    fn of(
        response: Response<HyperOutgoingBody>,
        bodiless: bool,
        id: EntryId,
        failed: Arc<AtomicBool>,
        running: Option<AbortHandle>,
    ) -> Response<Self> {
        let bodiless = bodiless
            || matches!(
                response.status(),
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
        let length = response.headers().get(CONTENT_LENGTH);
        let left = length.and_then(|length| length.to_str().ok()?.parse().ok());
        response.map(|body| Self {
            body,
            id,
            left,
            failed,
            complete: bodiless || left == Some(0),
            running,
        })
    }

    fn count(&mut self, frame: &Frame<Bytes>) {
        match (frame.data_ref(), &mut self.left) {
            (Some(data), Some(left)) => {
                *left = left.saturating_sub(u64::try_from(data.len()).unwrap_or(u64::MAX));
                self.complete |= *left == 0;
            }
            (Some(_), None) => {}
            (None, _) => self.complete = true,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = CallError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                self.count(&frame);
                Some(Ok(frame))
            }
            None if !self.failed.load(Ordering::Acquire) => {
                self.complete = true;
                None
            }
            Some(Err(_)) | None => {
                let message = format!("{}: the guest failed before the end of its response", self.id);
                Some(Err(CallError::internal(message)))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // Whatever a guest does after its response was read is its own affair, until its deadline.
        if let Some(running) = self.running.take().filter(|_| !self.complete) {
            running.abort();
        }
    }
}

impl std::fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseBody")
            .field("entry", &self.id)
            .finish_non_exhaustive()
    }
}
