//! What a request says, read the way scripts ask for it.

use std::{borrow::Cow, sync::Arc};

use http::{HeaderMap, HeaderName, Uri, header, request::Parts};
use percent_encoding::percent_decode;

/// A request, matched to a route.
#[derive(Debug)]
pub struct Request {
    /// Method, target, headers.
    pub parts: Parts,
    /// The parameters of the route, by name, decoded.
    pub params: Vec<(Arc<str>, String)>,
    /// The client: address and port, or the address alone when a proxy told it.
    pub remote_address: Arc<str>,
}

impl Request {
    /// The path as it was sent.
    pub fn path(&self) -> &str {
        self.parts.uri.path()
    }

    /// The value of a parameter of the route.
    pub fn param(&self, name: &str) -> Option<&str> {
        let mut params = self.params.iter();
        params
            .find(|(known, _)| **known == *name)
            .map(|(_, value)| value.as_str())
    }

    /// The parameters of the query, decoded, in their order.
    pub fn query(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        query(&self.parts.uri)
    }

    /// A header's values, joined by commas as HTTP allows; nothing when it is absent. Bytes that are not UTF-8 are
    /// replaced.
    pub fn header(&self, name: &str) -> Option<String> {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        joined(&self.parts.headers, &name)
    }

    /// Every header by its lower-case name.
    pub fn headers(&self) -> impl Iterator<Item = (&str, String)> {
        let headers = &self.parts.headers;
        headers
            .keys()
            .filter_map(|name| Some((name.as_str(), joined(headers, name)?)))
    }

    /// The authority that was asked for.
    pub fn host(&self) -> Option<Cow<'_, str>> {
        // HTTP/2 has it in the target.
        match self.parts.headers.get(header::HOST) {
            Some(host) => Some(String::from_utf8_lossy(host.as_bytes())),
            None => self
                .parts
                .uri
                .authority()
                .map(|authority| Cow::Borrowed(authority.as_str())),
        }
    }

    /// Whether the body's type is `wanted`, without regard to its parameters.
    pub fn is_content_type(&self, wanted: &str) -> bool {
        self.header("content-type")
            .is_some_and(|actual| essence(&actual).eq_ignore_ascii_case(essence(wanted)))
    }

    /// Whether the client takes a type. One that says nothing takes everything.
    pub fn accepts(&self, wanted: &str) -> bool {
        let Some(accept) = self.header("accept") else {
            return true;
        };
        let wanted = essence(wanted);
        let (group, _) = wanted.split_once('/').unwrap_or((wanted, ""));
        // The most exact range decides; a quality of nought refuses.
        let exactness = |range: &str| match range.split_once('/') {
            _ if range.eq_ignore_ascii_case(wanted) => Some(3),
            Some((known, "*")) if known.eq_ignore_ascii_case(group) => Some(2),
            Some(("*", "*")) => Some(1),
            _ => None,
        };
        let best = accept
            .split(',')
            .filter_map(|range| Some((exactness(essence(range))?, !is_refused(range))))
            .max_by_key(|(exactness, _)| *exactness);
        best.is_some_and(|(_, is_accepted)| is_accepted)
    }
}

/// The parameters of a target's query, decoded, in their order.
pub fn query(uri: &Uri) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let pairs = uri.query().unwrap_or_default().split('&');
    pairs.filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    })
}

fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    let mut joined = String::from_utf8_lossy(values.next()?.as_bytes()).into_owned();
    let separator = if name == header::COOKIE { "; " } else { ", " };
    for value in values {
        joined.push_str(separator);
        joined.push_str(&String::from_utf8_lossy(value.as_bytes()));
    }
    Some(joined)
}

/// A media type without its parameters.
fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

fn is_refused(range: &str) -> bool {
    let mut parameters = range.split(';').skip(1).map(str::trim);
    let quality = parameters.find_map(|parameter| parameter.strip_prefix("q="));
    quality.is_some_and(|quality| quality.trim().parse::<f32>().is_ok_and(|quality| quality <= 0.0))
}

/// `a+b%20c` as a form writes it.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['+', '%']) {
        return Cow::Borrowed(text);
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_decode(spaced.as_bytes()).decode_utf8_lossy().into_owned())
}
