//! `http_client`: requests to other machines, checked at every step.
//!
//! The URL is asked for by `http_client.request`, again after each redirect. A host's name is resolved once; every address
//! that is not public is asked for by `http_client.private_ip`, and only the addresses that passed are connected to, so a
//! name that resolves to something else a moment later changes nothing.

mod options;
mod response;
mod route;
mod tls;
mod uri;

use std::sync::Arc;

use mlua::{IntoLuaMulti, Lua, MultiValue, Table, Value as LuaValue};
use reqwest::{
    Method,
    header::{Entry, HeaderMap, HeaderValue},
};
use tokio::{sync::Semaphore, task::JoinSet};
use wippy_security::{CallError, Context, TracePlace, authorize, authorize_with};

pub use self::route::HttpClients;
use self::{
    options::Options,
    response::{Answered, Received},
};
use super::{Environment, Ledger};
use crate::{errors, permission::invocation, suspend::suspending, values};

/// How many redirects are followed.
const REDIRECTS_MAX: usize = 10;

/// How many requests one batch has at most, and how many of them run at once.
const BATCH_MAX: usize = 100;
const BATCH_RUNNING_MAX: usize = 16;

/// Opens the module.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn open(lua: &Lua, environment: &Environment) -> mlua::Result<Table> {
    let clients = &environment.world.http;
    let module = lua.create_table()?;
    for method in ["get", "post", "put", "patch", "delete", "head"] {
        let (fixed, clients) = (method.to_ascii_uppercase(), clients.clone());
        let function = suspending(lua, move |lua, (url, options): (String, Option<Table>)| {
            Ok(one(Request::begin(lua, &clients, &fixed, &url, options.as_ref())))
        })?;
        module.raw_set(method, function)?;
    }
    let used = clients.clone();
    let request = suspending(
        lua,
        move |lua, (method, url, options): (String, String, Option<Table>)| {
            Ok(one(Request::begin(lua, &used, &method, &url, options.as_ref())))
        },
    )?;
    module.raw_set("request", request)?;
    let used = clients.clone();
    let batch = suspending(lua, move |lua, requests: Table| {
        Ok(many(begin_batch(lua, &used, &requests)?))
    })?;
    module.raw_set("request_batch", batch)?;
    module.raw_set(
        "encode_uri",
        lua.create_function(|_, text: String| Ok(uri::encode(&text)))?,
    )?;
    module.raw_set(
        "decode_uri",
        lua.create_function(|lua, text: String| {
            values::answer(lua, uri::decode(&text).map(wippy_wit::Value::string))
        })?,
    )?;
    response::install(lua)?;
    Ok(module)
}

/// A request under the context of who makes it.
struct Request {
    context: Context,
    clients: HttpClients,
    options: Options,
    ledger: Ledger,
}

impl Request {
    fn begin(
        lua: &Lua,
        clients: &HttpClients,
        method: &str,
        url: &str,
        options: Option<&Table>,
    ) -> Result<Self, CallError> {
        Ok(Self {
            context: invocation(lua)?,
            clients: clients.clone(),
            options: Options::read(method, url, options)?,
            ledger: Ledger::of(lua),
        })
    }

    /// Makes the request, and those that redirects lead to.
    async fn run(self) -> Result<Received, CallError> {
        let Self {
            context,
            clients,
            mut options,
            ledger,
        } = self;
        let timeout = options.timeout;
        let stream = options.stream;
        let limit = options.max_response_body;
        let answered = async {
            for _ in 0..=REDIRECTS_MAX {
                let _now = authorize_with(
                    &context,
                    "http_client.request",
                    &options.shown_url(),
                    &options.meta(),
                )?;
                if options.tls.as_ref().is_some_and(|tls| tls.accepts_any) {
                    let _now = authorize(&context, "http_client.insecure_tls", &options.shown_url())?;
                }
                let client = clients.find(&context, &options.url, options.tls.as_ref()).await?;
                let mut request = options.request();
                hand_on(&context, request.headers_mut());
                let response = client
                    .execute(request)
                    .await
                    .map_err(|error| route::failed(&options.url, &error))?;
                match options.redirected(&response)? {
                    Some(next) => options = next,
                    None if stream => return Ok(Received::stream(response, limit)),
                    None => return Received::whole(response, limit, &ledger).await,
                }
            }
            Err(CallError::invalid(format!(
                "`{}` is redirected more than {REDIRECTS_MAX} times",
                options.shown_url()
            )))
        };
        tokio::time::timeout(timeout, answered)
            .await
            .unwrap_or_else(|_| Err(route::late(timeout)))
    }
}

async fn one(
    begun: Result<Request, CallError>,
) -> impl FnOnce(&Lua) -> mlua::Result<MultiValue> + Send + 'static {
    let outcome = match begun {
        Ok(request) => request.run().await,
        Err(error) => Err(error),
    };
    move |lua: &Lua| match outcome {
        Ok(received) => Answered(received).into_lua_multi(lua),
        Err(error) => values::refuse(lua, error),
    }
}

/// Reads `{{method, url, options}, ...}`.
fn begin_batch(
    lua: &Lua,
    clients: &HttpClients,
    requests: &Table,
) -> mlua::Result<Vec<Result<Request, CallError>>> {
    let mut begun = Vec::new();
    for request in requests.sequence_values::<Table>() {
        let request = request?;
        let (method, url): (String, String) = (request.raw_get(1)?, request.raw_get(2)?);
        let options: Option<Table> = request.raw_get(3)?;
        if begun.len() >= BATCH_MAX {
            return Err(errors::raise(CallError::invalid(format!(
                "a batch has {BATCH_MAX} requests at most"
            ))));
        }
        let request = Request::begin(lua, clients, &method, &url, options.as_ref()).and_then(|request| {
            if request.options.stream {
                return Err(CallError::invalid("a request of a batch cannot be streamed"));
            }
            Ok(request)
        });
        begun.push(request);
    }
    Ok(begun)
}

/// All at once: the responses and, if there are any, the errors, each at the position of its request.
async fn many(
    begun: Vec<Result<Request, CallError>>,
) -> impl FnOnce(&Lua) -> mlua::Result<MultiValue> + Send + 'static {
    let places = Arc::new(Semaphore::new(BATCH_RUNNING_MAX));
    let mut running = JoinSet::new();
    let mut outcomes: Vec<Result<Received, CallError>> = Vec::new();
    for (index, request) in begun.into_iter().enumerate() {
        outcomes.push(Err(CallError::internal("the request was interrupted")));
        let places = places.clone();
        running.spawn(async move {
            let _place = places.acquire_owned().await;
            let outcome = match request {
                Ok(request) => request.run().await,
                Err(error) => Err(error),
            };
            (index, outcome)
        });
    }
    while let Some(ended) = running.join_next().await {
        if let Ok((index, outcome)) = ended
            && let Some(place) = outcomes.get_mut(index)
        {
            *place = outcome;
        }
    }
    move |lua: &Lua| {
        let (responses, failures) = (lua.create_table()?, lua.create_table()?);
        let mut has_failed = false;
        for (index, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Ok(received) => responses.raw_set(index + 1, Answered(received))?,
                Err(error) => {
                    has_failed = true;
                    failures.raw_set(index + 1, errors::to_lua(lua, error)?)?;
                }
            }
        }
        let failures = if has_failed {
            LuaValue::Table(failures)
        } else {
            LuaValue::Nil
        };
        (responses, failures).into_lua_multi(lua)
    }
}

/// Says which call the request is made for, unless the script said so itself.
fn hand_on(context: &Context, headers: &mut HeaderMap) {
    if let Some(place) = context.trace()
        && let Entry::Vacant(header) = headers.entry(TracePlace::HEADER)
        && let Ok(place) = HeaderValue::try_from(place.to_string())
    {
        header.insert(place);
    }
}

/// A method by its name.
fn method(name: &str) -> Result<Method, CallError> {
    match Method::from_bytes(name.as_bytes()) {
        // A tunnel would go where nobody asked.
        Ok(Method::CONNECT) => Err(CallError::invalid(
            "requests cannot be made with the method CONNECT",
        )),
        Ok(method) => Ok(method),
        Err(_) => Err(CallError::invalid(format!("`{name}` is no method of HTTP"))),
    }
}
