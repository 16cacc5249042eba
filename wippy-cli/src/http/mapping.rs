//! Requests as arguments and results as responses, by a function's signature: what `transport: wasi-http` means for a
//! function that does not speak HTTP itself.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use wippy_security::{CallError, ErrorKind};
use wippy_wit::{Node, Signature, Type, TypeField, Value, json, names};

use super::{answer, body::Body, inbound::Inbound};

/// How one signature takes requests and gives responses.
pub struct Mapping {
    argument: Argument,
    result: Outcome,
    /// The record of the errors, if it is a response.
    error: Option<Outcome>,
}

/// What the function is given.
enum Argument {
    Nothing,
    Body(Text),
    /// A record of these fields.
    Record(Vec<(Arc<str>, Part, Form)>),
}

/// Whether bytes have to be text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Text {
    Utf8,
    Bytes,
}

/// A part of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Method,
    Path,
    Query,
    Headers,
    Params,
    Body,
}

/// In which form a part is wanted.
#[derive(Clone, PartialEq, Eq)]
enum Form {
    /// One string, or bytes; absent is nothing if `optional`.
    Text { text: Text, optional: bool },
    /// A list of pairs.
    Tuples,
    /// A list of records with these two fields.
    Records(Arc<str>, Arc<str>),
    /// A map.
    Map,
}

/// What the function gives.
enum Outcome {
    Nothing,
    Text,
    Bytes,
    /// A record of these fields.
    Response {
        status: Arc<str>,
        headers: Option<(Arc<str>, Form)>,
        body: Option<Arc<str>>,
    },
    Json(Box<Node>),
}

/// A signature that no request can be mapped to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmappable(String);

impl fmt::Display for Unmappable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unmappable {}

impl Mapping {
    /// The mapping of a signature.
    ///
    /// # Errors
    /// When its parameters cannot be made of a request.
    pub fn new(signature: &Signature) -> Result<Self, Unmappable> {
        let argument = match &*signature.params {
            [] => Argument::Nothing,
            [(name, ty)] => argument(name, ty)?,
            params => {
                return Err(Unmappable(format!(
                    "a function behind an endpoint has one parameter at most, `{}` has {}",
                    signature.name,
                    params.len()
                )));
            }
        };
        let (ok, err) = match &signature.result {
            Some(Type::Result { ok, err }) => (ok.as_deref(), err.as_deref()),
            other => (other.as_ref(), None),
        };
        let error = err
            .map(outcome)
            .filter(|error| matches!(error, Outcome::Response { .. }));
        Ok(Self {
            argument,
            result: ok.map_or(Outcome::Nothing, outcome),
            error,
        })
    }

    /// Whether the body has to be there before the call.
    pub(super) fn wants_body(&self) -> bool {
        match &self.argument {
            Argument::Nothing => false,
            Argument::Body(_) => true,
            Argument::Record(fields) => fields.iter().any(|(_, part, _)| *part == Part::Body),
        }
    }

    /// The arguments for a request.
    ///
    /// # Errors
    /// When what has to be text is not.
    pub(super) fn arguments(&self, inbound: &Inbound, body: &Bytes) -> Result<Vec<Value>, CallError> {
        Ok(match &self.argument {
            Argument::Nothing => Vec::new(),
            Argument::Body(text) => vec![bytes("body", body, *text)?],
            Argument::Record(fields) => {
                let mut record = Vec::with_capacity(fields.len());
                for (name, part, form) in fields {
                    record.push((name.as_bytes(), part.value(form, inbound, body)?));
                }
                vec![Value::record(record)]
            }
        })
    }

    /// The response that a result is.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn response(&self, value: &Value) -> Result<Response<Body>, CallError> {
        self.result.response(value)
    }

    /// The response that an error is, if the signature says that it is one.
    pub(super) fn error_response(&self, error: &CallError) -> Option<Result<Response<Body>, CallError>> {
        let outcome = self.error.as_ref()?;
        let Outcome::Response { status, .. } = outcome else {
            return None;
        };
        // Traps and refusals have details of another kind.
        field(error.details(), status)?;
        Some(outcome.response(error.details()))
    }
}

fn argument(name: &str, ty: &Type) -> Result<Argument, Unmappable> {
    if let Some(text) = text_of(ty) {
        return Ok(Argument::Body(text));
    }
    let Type::Record { name: record, fields } = ty else {
        return Err(Unmappable(format!(
            "parameter `{name}` is `{ty}`: expected `string`, `list<u8>`, or a record of parts of a request"
        )));
    };
    let part = |field: &TypeField| {
        let part = Part::named(&field.name).ok_or_else(|| {
            Unmappable(format!(
                "record `{record}` has the field `{}`: expected `method`, `path`, `query`, `headers`, `params`, `body`",
                field.name
            ))
        })?;
        let form = part.form(&field.ty).ok_or_else(|| {
            Unmappable(format!(
                "field `{}` of record `{record}` is `{}`: expected {}",
                field.name,
                field.ty,
                part.expected()
            ))
        })?;
        Ok((Arc::clone(&field.name), part, form))
    };
    Ok(Argument::Record(
        fields.iter().map(part).collect::<Result<_, _>>()?,
    ))
}

fn text_of(ty: &Type) -> Option<Text> {
    match ty {
        Type::String => Some(Text::Utf8),
        Type::List(element) if **element == Type::U8 => Some(Text::Bytes),
        _ => None,
    }
}

impl Part {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "method" => Self::Method,
            "path" => Self::Path,
            "query" => Self::Query,
            "headers" => Self::Headers,
            "params" => Self::Params,
            "body" => Self::Body,
            _ => return None,
        })
    }

    fn is_list(self) -> bool {
        matches!(self, Self::Query | Self::Headers | Self::Params)
    }

    fn form(self, ty: &Type) -> Option<Form> {
        let (inner, optional) = match ty {
            Type::Option(inner) => (&**inner, true),
            other => (other, false),
        };
        let form = match text_of(inner) {
            Some(text) => Form::Text { text, optional },
            None if optional => return None,
            None => pairs_of(inner)?,
        };
        let fits = match form {
            Form::Text { .. } => !matches!(self, Self::Headers | Self::Params),
            Form::Tuples | Form::Records(..) | Form::Map => self.is_list(),
        };
        fits.then_some(form)
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Method | Self::Path => "`string`",
            Self::Query => "`string` or `list<tuple<string, string>>`",
            Self::Headers | Self::Params => "`list<tuple<string, string>>`",
            Self::Body => "`string`, `list<u8>`, or an `option` of one of them",
        }
    }

    fn value(self, form: &Form, inbound: &Inbound, body: &Bytes) -> Result<Value, CallError> {
        let Form::Text { text, optional } = form else {
            return Ok(form.pairs(self.pairs(inbound)));
        };
        Ok(match self {
            Self::Method => Value::from(inbound.parts.method.as_str()),
            Self::Path => Value::from(inbound.parts.uri.path()),
            Self::Query => match inbound.parts.uri.query() {
                None if *optional => Value::Nil,
                query => Value::from(query.unwrap_or_default()),
            },
            Self::Body if *optional && body.is_empty() => Value::Nil,
            Self::Body => bytes("body", body, *text)?,
            Self::Headers | Self::Params => Value::Nil,
        })
    }

    fn pairs(self, inbound: &Inbound) -> Vec<(String, Vec<u8>)> {
        match self {
            Self::Headers => inbound
                .parts
                .headers
                .iter()
                .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
                .collect(),
            Self::Params => inbound
                .params
                .iter()
                .map(|(name, value)| (name.to_string(), value.clone().into_bytes()))
                .collect(),
            Self::Query => wippy_lua::http::query(&inbound.parts.uri)
                .map(|(name, value)| (name.into_owned(), value.into_owned().into_bytes()))
                .collect(),
            Self::Method | Self::Path | Self::Body => Vec::new(),
        }
    }
}

/// A list or a map of pairs of strings.
fn pairs_of(ty: &Type) -> Option<Form> {
    match ty {
        Type::Map(key, value) if text_of(key).is_some() && text_of(value).is_some() => Some(Form::Map),
        Type::List(element) => match &**element {
            Type::Tuple(parts) => match &**parts {
                [key, value] if text_of(key).is_some() && text_of(value).is_some() => Some(Form::Tuples),
                _ => None,
            },
            Type::Record { fields, .. } => match &**fields {
                [key, value] if text_of(&key.ty).is_some() && text_of(&value.ty).is_some() => {
                    Some(Form::Records(Arc::clone(&key.name), Arc::clone(&value.name)))
                }
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

impl Form {
    fn pairs(&self, pairs: Vec<(String, Vec<u8>)>) -> Value {
        let text = |bytes: Vec<u8>| Value::from(String::from_utf8_lossy(&bytes).into_owned());
        match self {
            Self::Map => Value::record(pairs.into_iter().map(|(name, value)| (name, text(value)))),
            Self::Records(key, value_key) => Value::array(pairs.into_iter().map(|(name, value)| {
                Value::record([(&**key, Value::from(name)), (&**value_key, text(value))])
            })),
            Self::Tuples | Self::Text { .. } => Value::array(
                pairs
                    .into_iter()
                    .map(|(name, value)| Value::array([Value::from(name), text(value)])),
            ),
        }
    }
}

fn bytes(what: &str, body: &Bytes, text: Text) -> Result<Value, CallError> {
    if text == Text::Utf8
        && let Err(error) = std::str::from_utf8(body)
    {
        let at = error.valid_up_to();
        return Err(CallError::invalid(format!(
            "the {what} is not UTF-8 at byte {at}"
        )));
    }
    Ok(Value::string(body))
}

fn outcome(ty: &Type) -> Outcome {
    match (text_of(ty), ty) {
        (Some(Text::Utf8), _) => Outcome::Text,
        (Some(Text::Bytes), _) => Outcome::Bytes,
        (None, Type::Record { fields, .. }) => {
            response_of(fields).unwrap_or_else(|| Outcome::Json(Box::new(Node::new(ty))))
        }
        _ => Outcome::Json(Box::new(Node::new(ty))),
    }
}

/// A record with a `status`, and nothing that is not a part of a response.
fn response_of(fields: &[TypeField]) -> Option<Outcome> {
    let (mut status, mut headers, mut body) = (None, None, None);
    for field in fields {
        let name = Arc::clone(&field.name);
        let inner = match &field.ty {
            Type::Option(inner) => &**inner,
            other => other,
        };
        match &*field.name {
            "status" if is_integer(&field.ty) => status = Some(name),
            "headers" => headers = Some((name, pairs_of(inner)?)),
            "body" => {
                text_of(inner)?;
                body = Some(name);
            }
            _ => return None,
        }
    }
    Some(Outcome::Response {
        status: status?,
        headers,
        body,
    })
}

fn is_integer(ty: &Type) -> bool {
    matches!(
        ty,
        Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::S8 | Type::S16 | Type::S32 | Type::S64
    )
}

impl Outcome {
    fn response(&self, value: &Value) -> Result<Response<Body>, CallError> {
        let ok = StatusCode::OK;
        Ok(match (self, value) {
            (Self::Nothing, _) | (_, Value::Nil) => answer::status(StatusCode::NO_CONTENT),
            (Self::Text, Value::String(text)) => {
                answer::with_body(ok, "text/plain; charset=utf-8", text.to_vec())
            }
            (Self::Bytes, Value::String(bytes)) => {
                answer::with_body(ok, "application/octet-stream", bytes.to_vec())
            }
            (
                Self::Response {
                    status,
                    headers,
                    body,
                },
                value,
            ) => {
                let headers = headers
                    .as_ref()
                    .and_then(|(name, form)| Some((field(value, name)?, form)));
                written(
                    field(value, status),
                    headers,
                    body.as_ref().and_then(|name| field(value, name)),
                )?
            }
            (Self::Json(node), value) => {
                let document = json::from_typed(node, value)
                    .map_err(|error| CallError::internal(format!("the result has no JSON form: {error}")))?;
                answer::json(ok, &document)
            }
            (Self::Text | Self::Bytes, _) => return Err(CallError::internal("the result is no text")),
        })
    }
}

/// A field under its WIT name, or the form of it that Lua uses.
fn field<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    value.get(name).or_else(|| value.get(&names::snake(name)))
}

fn written(
    status: Option<&Value>,
    headers: Option<(&Value, &Form)>,
    body: Option<&Value>,
) -> Result<Response<Body>, CallError> {
    let body = match body {
        Some(Value::String(body)) => body.to_vec(),
        _ => Vec::new(),
    };
    let mut response = Response::new(Body::Full(body.into()));
    *response.status_mut() = status_of(status)?;
    if let Some((value, form)) = headers {
        for (name, value) in named(value, form) {
            let (Some(name), Some(value)) = (header_name(name), header_value(value)) else {
                return Err(CallError::internal(
                    "the response has a header that HTTP does not allow",
                ));
            };
            if !is_framing(&name) {
                response.headers_mut().append(name, value);
            }
        }
    }
    Ok(response)
}

fn status_of(value: Option<&Value>) -> Result<StatusCode, CallError> {
    let number = match value {
        Some(Value::Integer(number)) => u16::try_from(*number).ok(),
        _ => None,
    };
    number
        .and_then(|number| StatusCode::from_u16(number).ok())
        .filter(|status| !status.is_informational())
        .ok_or_else(|| {
            CallError::new(
                ErrorKind::Internal,
                "the response has a status that HTTP does not have",
            )
        })
}

/// The pairs of a lifted list or map.
fn named<'v>(value: &'v Value, form: &Form) -> Vec<(&'v Value, &'v Value)> {
    let Value::Table(table) = value else {
        return Vec::new();
    };
    let pair = |element: &'v Value| match (form, element) {
        (Form::Records(key, value_key), element) => Some((field(element, key)?, field(element, value_key)?)),
        (_, Value::Table(pair)) => Some((pair.array.first()?, pair.array.get(1)?)),
        _ => None,
    };
    if *form == Form::Map {
        return table.pairs.iter().map(|(name, value)| (name, value)).collect();
    }
    table.array.iter().filter_map(pair).collect()
}

fn header_name(value: &Value) -> Option<HeaderName> {
    HeaderName::from_bytes(value.as_str()?.as_bytes()).ok()
}

fn header_value(value: &Value) -> Option<HeaderValue> {
    if let Value::String(bytes) = value {
        HeaderValue::from_bytes(bytes).ok()
    } else {
        None
    }
}

/// The server frames bodies itself.
fn is_framing(name: &HeaderName) -> bool {
    use http::header::{CONNECTION, CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING, UPGRADE};
    [CONNECTION, CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING, UPGRADE].contains(name)
}
