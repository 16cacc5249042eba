//! `http.service`, `http.router`, `http.endpoint`, `http.static`: what listens and who answers.

use std::time::Duration;

use indexmap::IndexMap;

use crate::diagnostic::Diagnostic;
use crate::id::EntryId;
use crate::schema::decoder::Decoder;
use crate::schema::duration::duration;
use crate::schema::fields::{Fields, fields};
use crate::schema::lifecycle::{self, Lifecycle};
use crate::schema::read::{
    boolean, choice, list, named, non_empty, plain, positive, reference, text, written,
};
use crate::schema::reference::Target;
use crate::suggest;
use crate::yaml::Node;

const METHODS: [&str; 10] = [
    "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "*",
];

/// A server on one address.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// The host part of `addr`; `None` is every interface.
    pub host: Option<String>,
    /// The port; 0 lets the system choose.
    pub port: u16,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Certificate and key, when the server speaks TLS itself.
    pub tls: Option<Tls>,
    /// Sizes of the relay between requests and processes.
    pub relay: Relay,
    /// How it starts and stops, and whom its requests act for at first.
    pub lifecycle: Lifecycle,
}

/// How long parts of a request may take. Zero is no limit; what is absent is for the server to choose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// Reading a request.
    pub read: Option<Duration>,
    /// Writing a response.
    pub write: Option<Duration>,
    /// Keeping an idle connection.
    pub idle: Option<Duration>,
}

/// Certificate and key of a server.
#[derive(Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificate chain, PEM text or a file.
    pub cert: String,
    /// The private key, PEM text or a file.
    pub key: String,
}

/// Sizes of the relay between requests and processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relay {
    /// Messages that may wait.
    pub buffer_size: Option<u32>,
    /// Workers.
    pub worker_count: Option<u32>,
}

/// Endpoints under a prefix.
#[derive(Clone, Debug, PartialEq)]
pub struct Router {
    /// The `http.service` entry.
    pub server: EntryId,
    /// The prefix of every path, `""` or starting with `/`.
    pub prefix: String,
    /// Middleware before routing.
    pub middleware: Middleware,
    /// Middleware after routing.
    pub post_middleware: Middleware,
}

/// Names of middleware in order, and their options by dotted name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Middleware {
    /// The names, outermost first.
    pub names: Vec<String>,
    /// `cors.allow.origins` and so on.
    pub options: IndexMap<String, String>,
}

/// One path and who answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The `http.router` entry.
    pub router: EntryId,
    /// The method, upper-case; `*` is any.
    pub method: String,
    /// The path, checked: `/users/{id}`, `/files/{rest...}`.
    pub path: String,
    /// The `function.*` entry.
    pub func: EntryId,
}

/// Files under a path.
#[derive(Clone, Debug, PartialEq)]
pub struct Static {
    /// The `http.service` entry.
    pub server: EntryId,
    /// The path that the files are under.
    pub path: String,
    /// The `fs.*` entry.
    pub fs: EntryId,
    /// The directory inside it.
    pub directory: Option<String>,
    /// Whether paths without a file get the index.
    pub spa: bool,
    /// The file of a directory.
    pub index: Option<String>,
    /// `Cache-Control` of every answer.
    pub cache: Option<String>,
    /// Middleware around it.
    pub middleware: Middleware,
}

impl std::fmt::Debug for Tls {
    /// Leaves the key out.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Tls")
            .field("cert", &self.cert)
            .finish_non_exhaustive()
    }
}

pub(crate) fn service(decoder: &mut Decoder<'_>) -> Option<Service> {
    let mut entry = decoder.fields();
    let address = entry.required(decoder, "addr", address);
    let timeouts = entry
        .optional(decoder, "timeouts", fields(timeouts))
        .unwrap_or_default();
    let tls = entry.optional(decoder, "tls", fields(tls));
    let relay = entry.optional(decoder, "host", fields(relay)).unwrap_or_default();
    let lifecycle = lifecycle::field(&mut entry, decoder);
    entry.finish(decoder);
    let (host, port) = address?;
    Some(Service {
        host,
        port,
        timeouts,
        tls,
        relay,
        lifecycle,
    })
}

#[expect(clippy::unnecessary_wraps, reason = "the form that `fields` reads")]
fn timeouts(timeouts: &mut Fields<'_>, decoder: &mut Decoder<'_>) -> Option<Timeouts> {
    Some(Timeouts {
        read: timeouts.optional(decoder, "read", duration),
        write: timeouts.optional(decoder, "write", duration),
        idle: timeouts.optional(decoder, "idle", duration),
    })
}

fn tls(tls: &mut Fields<'_>, decoder: &mut Decoder<'_>) -> Option<Tls> {
    let _ = tls.optional(decoder, "mode", choice(&[("manual", ())]));
    let cert = tls.required(decoder, "cert", non_empty);
    let key = tls.required(decoder, "key", non_empty);
    Some(Tls {
        cert: cert?,
        key: key?,
    })
}

#[expect(clippy::unnecessary_wraps, reason = "the form that `fields` reads")]
fn relay(relay: &mut Fields<'_>, decoder: &mut Decoder<'_>) -> Option<Relay> {
    Some(Relay {
        buffer_size: relay.optional(decoder, "buffer_size", positive),
        worker_count: relay.optional(decoder, "worker_count", positive),
    })
}

/// `:8080`, `127.0.0.1:0`, `[::1]:80`.
fn address(node: &Node, decoder: &mut Decoder<'_>) -> Option<(Option<String>, u16)> {
    let text = text(node, decoder)?;
    let parsed = text.rsplit_once(':').and_then(|(host, port)| {
        let host = match host.strip_prefix('[') {
            Some(rest) => rest
                .strip_suffix(']')
                .filter(|address| address.parse::<std::net::Ipv6Addr>().is_ok())?,
            None if host
                .contains(|letter: char| letter == ':' || letter == '/' || letter.is_whitespace()) =>
            {
                return None;
            }
            None => host,
        };
        Some(((!host.is_empty()).then(|| host.to_owned()), port.parse().ok()?))
    });
    match parsed {
        Some(address) => Some(address),
        None => decoder.invalid(node, "an address such as `:8080` or `127.0.0.1:0`"),
    }
}

pub(crate) fn router(decoder: &mut Decoder<'_>) -> Option<Router> {
    let mut entry = decoder.fields();
    let server = parent("server", Target::Server, decoder);
    let prefix = entry.optional(decoder, "prefix", prefix).unwrap_or_default();
    let middleware = Middleware {
        names: entry
            .optional(decoder, "middleware", list(non_empty))
            .unwrap_or_default(),
        options: entry
            .optional(decoder, "options", named(plain))
            .unwrap_or_default(),
    };
    let post_middleware = Middleware {
        names: entry
            .optional(decoder, "post_middleware", list(non_empty))
            .unwrap_or_default(),
        options: entry
            .optional(decoder, "post_options", named(plain))
            .unwrap_or_default(),
    };
    entry.finish(decoder);
    Some(Router {
        server: server?,
        prefix,
        middleware,
        post_middleware,
    })
}

/// `meta.server` and `meta.router`.
fn parent(name: &'static str, target: Target, decoder: &mut Decoder<'_>) -> Option<EntryId> {
    let mut id = None;
    decoder.meta(|meta, decoder| id = meta.required(decoder, name, reference(target)));
    id
}

fn prefix(node: &Node, decoder: &mut Decoder<'_>) -> Option<String> {
    let prefix = text(node, decoder)?;
    if prefix.is_empty() || prefix.starts_with('/') {
        Some(prefix)
    } else {
        decoder.invalid(node, "a path that starts with `/`")
    }
}

pub(crate) fn endpoint(decoder: &mut Decoder<'_>) -> Option<Endpoint> {
    let mut entry = decoder.fields();
    let router = parent("router", Target::Router, decoder);
    let method = entry.required(decoder, "method", method);
    let path = entry.required(decoder, "path", path_pattern);
    let func = entry.required(decoder, "func", reference(Target::Function));
    entry.finish(decoder);
    Some(Endpoint {
        router: router?,
        method: method?,
        path: path?,
        func: func?,
    })
}

fn method(node: &Node, decoder: &mut Decoder<'_>) -> Option<String> {
    let method = text(node, decoder)?.to_ascii_uppercase();
    if METHODS.contains(&method.as_str()) {
        return Some(method);
    }
    let message = format!("`{}`: `{}` is not an HTTP method", decoder.path(), written(node));
    decoder.report(
        Diagnostic::error("invalid-value", message)
            .primary(node.written_span(), "")
            .did_you_mean(suggest::closest(&method, METHODS)),
    );
    None
}

fn path_pattern(node: &Node, decoder: &mut Decoder<'_>) -> Option<String> {
    let path = text(node, decoder)?;
    match check_pattern(&path) {
        Ok(()) => Some(path),
        Err(reason) => {
            let message = format!(
                "`{}`: path `{}` cannot be matched: {reason}",
                decoder.path(),
                written(node)
            );
            decoder.report(Diagnostic::error("invalid-path", message).primary(node.written_span(), ""));
            None
        }
    }
}

fn check_pattern(path: &str) -> Result<(), String> {
    let Some(rest) = path.strip_prefix('/') else {
        return Err("it does not start with `/`".to_owned());
    };
    let mut names: Vec<&str> = Vec::new();
    let segments: Vec<&str> = rest.split('/').collect();
    for (index, segment) in segments.iter().enumerate() {
        let inner = segment
            .strip_prefix('{')
            .and_then(|segment| segment.strip_suffix('}'));
        let Some(inner) = inner else {
            if segment.contains(['{', '}']) {
                return Err(format!("segment `{segment}` is neither text nor one `{{name}}`"));
            }
            continue;
        };
        let name = inner.strip_suffix("...").unwrap_or(inner);
        if name.is_empty()
            || !name
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        {
            return Err(format!("`{{{inner}}}` has no name of letters, digits and `_`"));
        }
        if inner.ends_with("...") && index + 1 != segments.len() {
            return Err(format!(
                "`{{{inner}}}` takes the rest of the path, so nothing can follow it"
            ));
        }
        if names.contains(&name) {
            return Err(format!("`{name}` stands in it twice"));
        }
        names.push(name);
    }
    Ok(())
}

pub(crate) fn static_files(decoder: &mut Decoder<'_>) -> Option<Static> {
    let mut entry = decoder.fields();
    let server = parent("server", Target::Server, decoder);
    let path = entry.required(decoder, "path", prefix);
    let fs = entry.required(decoder, "fs", reference(Target::FileSystem));
    let directory = entry.optional(decoder, "directory", non_empty);
    let direct = serving(&mut entry, decoder);
    let nested = entry
        .optional(
            decoder,
            "static_options",
            fields(|options, decoder| Some(serving(options, decoder))),
        )
        .unwrap_or_default();
    let middleware = Middleware {
        names: entry
            .optional(decoder, "middleware", list(non_empty))
            .unwrap_or_default(),
        options: entry
            .optional(decoder, "options", named(plain))
            .unwrap_or_default(),
    };
    entry.finish(decoder);
    Some(Static {
        server: server?,
        path: path?,
        fs: fs?,
        directory,
        spa: nested.spa.or(direct.spa).unwrap_or(false),
        index: nested.index.or(direct.index),
        cache: nested.cache.or(direct.cache),
        middleware,
    })
}

#[derive(Default)]
struct Serving {
    spa: Option<bool>,
    index: Option<String>,
    cache: Option<String>,
}

fn serving(fields: &mut Fields<'_>, decoder: &mut Decoder<'_>) -> Serving {
    Serving {
        spa: fields.optional(decoder, "spa", boolean),
        index: fields.optional(decoder, "index", non_empty),
        cache: fields.optional(decoder, "cache", text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_patterns() {
        for path in ["/", "/users/{id}", "/files/{rest...}", "/a/{b_1}/c"] {
            assert_eq!(check_pattern(path), Ok(()), "{path}");
        }
        for path in [
            "",
            "users",
            "/{}",
            "/{a b}",
            "/x{id}",
            "/{rest...}/x",
            "/{a}/{a}",
            "/{a",
        ] {
            assert!(check_pattern(path).is_err(), "{path}");
        }
    }
}
