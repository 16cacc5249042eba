//! Responses, whole or as streams.

use std::{collections::BTreeMap, sync::Arc};

use mlua::{IntoLua, Lua, Table, UserData, UserDataMethods, UserDataRef, Value as LuaValue};
use reqwest::{
    Response,
    header::{HeaderMap, SET_COOKIE},
};
use tokio::sync::Mutex;
use wippy_security::CallError;
use wippy_wit::Value;

use super::{
    super::ledger::{Charge, Ledger},
    route,
};
use crate::{errors, methods, suspend::suspending, values};

/// What one read of a stream gives unless it is said, and at most.
const READ: usize = 64 << 10;
const READ_MAX: usize = 1 << 20;

/// What a server answered.
pub(super) struct Received {
    status: u16,
    headers: HeaderMap,
    url: String,
    content: Content,
}

enum Content {
    /// With what it is charged until the script has it.
    Whole(Vec<u8>, Option<Charge>),
    Stream(Stream),
}

/// A response that comes as it is read.
#[derive(Clone)]
struct Stream {
    /// Nothing once it is closed.
    flow: Arc<Mutex<Option<Flow>>>,
}

struct Flow {
    response: Response,
    /// What came and was not read yet.
    rest: Vec<u8>,
    /// How much more may come.
    left: usize,
}

impl Received {
    /// The whole response. What comes counts against the script's memory as it comes: many may come at once.
    pub(super) async fn whole(
        mut response: Response,
        limit: usize,
        ledger: &Ledger,
    ) -> Result<Self, CallError> {
        let mut received = Self::head(&response, Content::Whole(Vec::new(), None));
        let mut charge = ledger.take(0).ok_or_else(errors::out_of_memory)?;
        let mut body = Vec::new();
        let announced = response
            .content_length()
            .and_then(|length| usize::try_from(length).ok());
        if announced.is_some_and(|length| length > limit) {
            return Err(too_large(limit));
        }
        let url = response.url().clone();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| route::failed(&url, &error))?
        {
            if body.len() + chunk.len() > limit {
                return Err(too_large(limit));
            }
            if !charge.grow(chunk.len(), ledger) {
                return Err(errors::out_of_memory());
            }
            body.extend_from_slice(&chunk);
        }
        received.content = Content::Whole(body, Some(charge));
        Ok(received)
    }

    pub(super) fn stream(response: Response, limit: usize) -> Self {
        let received = Self::head(&response, Content::Whole(Vec::new(), None));
        let flow = Flow {
            response,
            rest: Vec::new(),
            left: limit,
        };
        Self {
            content: Content::Stream(Stream {
                flow: Arc::new(Mutex::new(Some(flow))),
            }),
            ..received
        }
    }

    fn head(response: &Response, content: Content) -> Self {
        Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            url: response.url().to_string(),
            content,
        }
    }
}

#[cold]
fn too_large(limit: usize) -> CallError {
    CallError::invalid(format!(
        "the response is larger than {limit} bytes; `max_response_body` is the limit, `stream` reads in parts"
    ))
}

impl Flow {
    /// At most `len` bytes; none at the end.
    async fn read(&mut self, len: usize) -> Result<Vec<u8>, CallError> {
        if self.rest.is_empty() {
            let url = self.response.url().clone();
            let chunk = self
                .response
                .chunk()
                .await
                .map_err(|error| route::failed(&url, &error))?;
            let chunk = chunk.unwrap_or_default();
            self.left = self
                .left
                .checked_sub(chunk.len())
                .ok_or_else(|| too_large(self.left))?;
            self.rest.extend_from_slice(&chunk);
        }
        let taken = self.rest.len().min(len);
        Ok(self.rest.drain(..taken).collect())
    }
}

/// A response on its way to a script.
pub(super) struct Answered(pub(super) Received);

impl IntoLua for Answered {
    fn into_lua(self, lua: &Lua) -> mlua::Result<LuaValue> {
        let Received {
            status,
            headers,
            url,
            content,
        } = self.0;
        let table = lua.create_table()?;
        table.raw_set("status_code", status)?;
        table.raw_set("headers", shown_headers(lua, &headers)?)?;
        table.raw_set("cookies", lua.create_table_from(cookies(&headers))?)?;
        table.raw_set("url", url)?;
        match content {
            Content::Whole(body, _charge) => {
                table.raw_set("body_size", body.len())?;
                table.raw_set("body", lua.create_string(body)?)?;
            }
            Content::Stream(stream) => {
                table.raw_set("body_size", -1)?;
                table.raw_set("stream", stream)?;
            }
        }
        Ok(LuaValue::Table(table))
    }
}

/// Headers under the names that people know: `Content-Type`. What comes more than once is joined.
fn shown_headers(lua: &Lua, headers: &HeaderMap) -> mlua::Result<Table> {
    let mut shown: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for (name, value) in headers {
        shown
            .entry(capitalised(name.as_str()))
            .or_default()
            .push(value.as_bytes().to_vec());
    }
    let table = lua.create_table()?;
    for (name, values) in shown {
        table.raw_set(name, lua.create_string(values.join(&b", "[..]))?)?;
    }
    Ok(table)
}

fn capitalised(name: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    };
    let words: Vec<String> = name.split('-').map(word).collect();
    words.join("-")
}

/// The cookies that are set, without what is said about them.
fn cookies(headers: &HeaderMap) -> BTreeMap<String, String> {
    let each = headers.get_all(SET_COOKIE).iter();
    each.filter_map(|cookie| {
        let (pair, _) = cookie
            .to_str()
            .ok()?
            .split_once(';')
            .unwrap_or((cookie.to_str().ok()?, ""));
        let (name, value) = pair.split_once('=')?;
        Some((name.trim().to_owned(), value.trim().to_owned()))
    })
    .collect()
}

const STREAM: &str = "http_client.stream";

impl UserData for Stream {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods::find(methods, STREAM);
    }
}

/// Makes the methods of streams.
pub(super) fn install(lua: &Lua) -> mlua::Result<()> {
    let read = suspending(lua, |_, (this, len): (UserDataRef<Stream>, Option<usize>)| {
        let flow = this.flow.clone();
        let len = len.unwrap_or(READ).clamp(1, READ_MAX);
        Ok(async move {
            let outcome = match flow.lock().await.as_mut() {
                Some(flow) => flow.read(len).await,
                None => Err(CallError::invalid("the stream is closed")),
            };
            let outcome = outcome.map(|bytes| {
                if bytes.is_empty() {
                    Value::Nil
                } else {
                    Value::string(bytes)
                }
            });
            move |lua: &Lua| values::answer(lua, outcome)
        })
    })?;
    let close = suspending(lua, |_, this: UserDataRef<Stream>| {
        let flow = this.flow.clone();
        Ok(async move {
            flow.lock().await.take();
            move |lua: &Lua| values::answer(lua, Ok(true.into()))
        })
    })?;
    methods::install(lua, STREAM, [("read", read), ("close", close)])
}
