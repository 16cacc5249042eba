//! [`Options`]: what a request says, as scripts write it.

use std::time::Duration;

use mlua::{Table, Value as LuaValue};
use reqwest::{
    Body, Method, Request, Response, StatusCode, Url,
    header::{
        AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HeaderMap, HeaderName,
        HeaderValue, LOCATION, PROXY_AUTHORIZATION, TRANSFER_ENCODING,
    },
};
use wippy_security::CallError;
use wippy_wit::Value;

use super::{method, tls::Tls, uri};
use crate::errors;

/// How long a request takes at most unless it is said.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How large a response is at most unless it is said.
const RESPONSE_MAX: usize = 32 << 20;

/// Options that are documented and not there yet: to do without them would be something else.
const MISSING: &[&str] = &["unix_socket", "overlay_network"];

/// Headers that say where a request goes and where it ends. The guard was asked about the URL: with these a request could
/// go elsewhere, or carry another one.
const FIXED: &[&str] = &[
    "connection",
    "content-length",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What a request says.
#[derive(Clone)]
pub(super) struct Options {
    method: Method,
    pub(super) url: Url,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
    pub(super) tls: Option<Tls>,
    pub(super) timeout: Duration,
    pub(super) stream: bool,
    pub(super) max_response_body: usize,
}

impl Options {
    pub(super) fn read(name: &str, url: &str, table: Option<&Table>) -> Result<Self, CallError> {
        let mut url = parse_url(url)?;
        let mut options = Self {
            method: method(name)?,
            headers: credentials(&mut url)?,
            url,
            body: None,
            tls: None,
            timeout: TIMEOUT,
            stream: false,
            max_response_body: RESPONSE_MAX,
        };
        if let Some(table) = table {
            options.fill(table).map_err(|error| mistake(&error))?;
        }
        Ok(options)
    }

    fn fill(&mut self, table: &Table) -> mlua::Result<()> {
        for name in MISSING {
            if !table.raw_get::<LuaValue>(*name)?.is_nil() {
                return Err(invalid(format!("the option `{name}` is not supported")));
            }
        }
        let query = pairs(table, "query")?;
        if !query.is_empty() {
            let known = self
                .url
                .query()
                .map(|known| format!("{known}&"))
                .unwrap_or_default();
            self.url
                .set_query(Some(&format!("{known}{}", uri::pairs(&query))));
        }
        self.fill_body(table)?;
        for (name, value) in pairs(table, "headers")? {
            self.set_header(&name, &value)?;
        }
        let cookies: Vec<String> = pairs(table, "cookies")?
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if !cookies.is_empty() {
            self.set_header("cookie", &cookies.join("; "))?;
        }
        if let Some(auth) = table.raw_get::<Option<Table>>("auth")? {
            let (user, password): (String, Option<String>) = (auth.raw_get("user")?, auth.raw_get("pass")?);
            let text = format!("{user}:{}", password.unwrap_or_default());
            self.set_header("authorization", &format!("Basic {}", base64(text.as_bytes())))?;
        }
        if let Some(tls) = table.raw_get::<Option<Table>>("tls")? {
            self.tls = Some(Tls::read(&tls)?);
        }
        if let Some(timeout) = timeout(&table.raw_get::<LuaValue>("timeout")?)? {
            self.timeout = timeout;
        }
        self.stream = table.raw_get::<Option<bool>>("stream")?.unwrap_or(false);
        if let Some(limit) = table
            .raw_get::<Option<usize>>("max_response_body")?
            .filter(|limit| *limit > 0)
        {
            self.max_response_body = limit;
        }
        Ok(())
    }

    /// The body: as it is, as a form, or as a form with files.
    fn fill_body(&mut self, table: &Table) -> mlua::Result<()> {
        let form = pairs(table, "form")?;
        let files: Option<Table> = table.raw_get("files")?;
        if let Some(files) = files {
            let boundary = boundary();
            self.body = Some(multipart(&boundary, &form, &files)?);
            self.set_header(
                "content-type",
                &format!("multipart/form-data; boundary={boundary}"),
            )?;
        } else if !form.is_empty() {
            self.body = Some(uri::pairs(&form).into_bytes());
            self.set_header("content-type", "application/x-www-form-urlencoded")?;
        }
        if let Some(body) = table.raw_get::<Option<mlua::LuaString>>("body")? {
            self.body = Some(body.as_bytes().to_vec());
        }
        Ok(())
    }

    fn set_header(&mut self, name: &str, value: &str) -> mlua::Result<()> {
        let header = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| invalid(format!("`{name}` is no name of a header")))?;
        if FIXED.contains(&header.as_str()) {
            return Err(invalid(format!(
                "the header `{header}` cannot be set: it follows from the URL and the body"
            )));
        }
        let value = HeaderValue::from_bytes(value.as_bytes())
            .map_err(|_| invalid(format!("the header `{name}` has a value that cannot be sent")))?;
        self.headers.insert(header, value);
        Ok(())
    }

    /// The URL as the guard and messages see it: without what stays here.
    pub(super) fn shown_url(&self) -> String {
        let mut url = self.url.clone();
        url.set_fragment(None);
        url.to_string()
    }

    /// What policies may ask about the request as `meta.…`.
    pub(super) fn meta(&self) -> Value {
        let port = self.url.port_or_known_default().unwrap_or_default();
        Value::record([
            ("method", Value::from(self.method.as_str())),
            ("scheme", Value::from(self.url.scheme())),
            ("host", Value::from(self.url.host_str().unwrap_or_default())),
            ("port", Value::Integer(port.into())),
            ("path", Value::from(self.url.path())),
        ])
    }

    pub(super) fn request(&self) -> Request {
        let mut request = Request::new(self.method.clone(), self.url.clone());
        *request.headers_mut() = self.headers.clone();
        *request.body_mut() = self.body.clone().map(Body::from);
        request
    }

    /// The request that a response asks for instead, if it is a redirect.
    pub(super) fn redirected(&self, response: &Response) -> Result<Option<Self>, CallError> {
        let status = response.status();
        let is_redirect = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
        let Some(location) = response.headers().get(LOCATION).filter(|_| is_redirect) else {
            return Ok(None);
        };
        let invalid =
            || CallError::invalid(format!("`{}` is redirected to what is no URL", self.shown_url()));
        let location = location.to_str().map_err(|_| invalid())?;
        let url = self.url.join(location).map_err(|_| invalid())?;
        let mut url = checked(url)?;
        // Whom a server takes somebody for is not for another server to say.
        credentials(&mut url)?;
        let mut next = Self { url, ..self.clone() };
        let is_elsewhere = next.url.origin() != self.url.origin();
        if is_elsewhere {
            // What was meant for one host is not for another.
            for secret in [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION] {
                next.headers.remove(secret);
            }
            next.tls = None;
        }
        let becomes_get = status == StatusCode::SEE_OTHER && self.method != Method::HEAD
            || matches!(status.as_u16(), 301 | 302) && self.method == Method::POST;
        if becomes_get {
            next.method = Method::GET;
            next.body = None;
            for about_body in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING, TRANSFER_ENCODING] {
                next.headers.remove(about_body);
            }
        }
        Ok(Some(next))
    }
}

fn parse_url(text: &str) -> Result<Url, CallError> {
    let url = Url::parse(text).map_err(|error| {
        // What stands before an `@` may be a password.
        let shown = text
            .rsplit_once('@')
            .map_or(text.to_owned(), |(_, rest)| format!("…@{rest}"));
        CallError::invalid(format!("`{shown}` is no URL: {error}"))
    })?;
    checked(url)
}

/// Takes a name and a password out of a URL, which are shown in many places, and puts them where they belong.
fn credentials(url: &mut Url) -> Result<HeaderMap, CallError> {
    let mut headers = HeaderMap::new();
    let (user, password) = (url.username(), url.password());
    if user.is_empty() && password.is_none() {
        return Ok(headers);
    }
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).collect::<Vec<u8>>();
    let pair = [&decoded(user)[..], b":", &decoded(password.unwrap_or_default())].concat();
    let invalid = || CallError::invalid("the name and the password in the URL cannot be sent");
    let mut value = HeaderValue::from_str(&format!("Basic {}", base64(&pair))).map_err(|_| invalid())?;
    value.set_sensitive(true);
    headers.insert(AUTHORIZATION, value);
    url.set_password(None)
        .and_then(|()| url.set_username(""))
        .map_err(|()| invalid())?;
    Ok(headers)
}

fn checked(mut url: Url) -> Result<Url, CallError> {
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(CallError::invalid(format!(
            "a URL begins with http:// or https://, not {}:",
            url.scheme()
        )));
    }
    // A name with and without a dot at its end is the same one, and the guard is to see one of them.
    let shorter = url
        .domain()
        .and_then(|domain| domain.strip_suffix('.'))
        .map(str::to_owned);
    if let Some(domain) = shorter {
        url.set_host(Some(&domain))
            .map_err(|error| CallError::invalid(format!("`{domain}` is no host: {error}")))?;
    }
    Ok(url)
}

/// What is wrong with the options: in words of ours, or in those of the binding.
fn mistake(error: &mlua::Error) -> CallError {
    if let mlua::Error::ExternalError(_) = error {
        return errors::from_mlua(error, None);
    }
    CallError::invalid(format!("the request's options: {error}"))
}

fn invalid(message: String) -> mlua::Error {
    errors::raise(CallError::invalid(message))
}

/// A table of names and texts, in the order of the names.
fn pairs(table: &Table, name: &str) -> mlua::Result<Vec<(String, String)>> {
    let Some(table) = table.raw_get::<Option<Table>>(name)? else {
        return Ok(Vec::new());
    };
    let mut pairs = table
        .pairs::<String, String>()
        .collect::<mlua::Result<Vec<(String, String)>>>()?;
    pairs.sort();
    Ok(pairs)
}

/// Seconds, or a text such as `1m30s`.
fn timeout(value: &LuaValue) -> mlua::Result<Option<Duration>> {
    let duration = if let LuaValue::String(text) = value {
        wippy_registry::schema::duration::parse(&text.to_string_lossy())
    } else if let LuaValue::Integer(seconds) = value {
        u64::try_from(*seconds).ok().map(Duration::from_secs)
    } else {
        value
            .as_number()
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    };
    match duration {
        Some(duration) if !duration.is_zero() => Ok(Some(duration)),
        Some(_) => Ok(None),
        None if value.is_nil() => Ok(None),
        None => Err(invalid(
            "`timeout` is a number of seconds, or a text such as \"30s\"".to_owned(),
        )),
    }
}

/// Something that stands in no file by accident.
fn boundary() -> String {
    use std::hash::{BuildHasher as _, RandomState};
    let part = || RandomState::new().hash_one(0_u8);
    format!("wippy-{:016x}{:016x}", part(), part())
}

fn multipart(boundary: &str, form: &[(String, String)], files: &Table) -> mlua::Result<Vec<u8>> {
    let quoted = |text: &str| text.replace('"', "%22").replace(['\r', '\n'], " ");
    let mut body = Vec::new();
    for (name, value) in form {
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"\r\n\r\n{value}\r\n",
            quoted(name)
        );
        body.extend(head.into_bytes());
    }
    for file in files.sequence_values::<Table>() {
        let file = file?;
        let name: String = file.raw_get("name")?;
        let filename: Option<String> = file.raw_get("filename")?;
        let content: mlua::LuaString = file.raw_get("content")?;
        let filename = filename.unwrap_or_else(|| name.clone());
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"; filename=\"{}\"\r\nContent-Type: application/octet-stream\r\n\r\n",
            quoted(&name),
            quoted(&filename)
        );
        body.extend(head.into_bytes());
        body.extend_from_slice(&content.as_bytes());
        body.extend(b"\r\n");
    }
    body.extend(format!("--{boundary}--\r\n").into_bytes());
    Ok(body)
}

/// Base64, for the one header that needs it.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let letter = LETTERS.get((bits >> (18 - 6 * place) & 63) as usize);
            text.push(if place <= chunk.len() {
                letter.copied().map_or('=', char::from)
            } else {
                '='
            });
        }
    }
    text
}
