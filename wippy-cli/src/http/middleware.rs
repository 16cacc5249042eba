//! Middleware by name: what runs before a request is matched to a route, and what runs between the match and the
//! answer.
//!
//! The names and options of an entry are read once, into layers; a layer looks at the request before it is answered
//! and may answer it itself, and at the response afterwards.

mod compress;
mod cors;
mod firewall;
mod options;
mod ratelimit;
mod real_ip;
mod token_auth;

use http::Response;
use wippy_registry::{EntryId, Namespace, schema::http::Middleware, suggest};

use super::{body::Body, inbound::Inbound};

pub(super) use ratelimit::RateLimit;
pub use token_auth::{TokenStore, TokenStores};

use self::{
    compress::Compress, cors::Cors, firewall::Firewall, options::Options, real_ip::RealIp,
    token_auth::TokenAuth,
};

/// One middleware of a router or of static files.
pub(super) enum Layer {
    Compress(Compress),
    Cors(Cors),
    RateLimit(RateLimit),
    RealIp(RealIp),
    TokenAuth(TokenAuth),
    Firewall(Firewall),
    /// Known by name, without a part in answering.
    Silent,
}

/// Where a middleware stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Before the route is known.
    BeforeMatch,
    /// After.
    AfterMatch,
}

/// What is wrong with middleware, and where in the entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// The field: `middleware` or an option.
    pub(super) field: Field,
    pub(super) message: String,
    pub(super) suggestion: Option<String>,
    pub(super) is_warning: bool,
}

/// A part of a middleware's declaration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field {
    /// The item of that index.
    Name(usize),
    /// The option of that name.
    Option(String),
}

/// What layers are made with.
#[derive(Clone, Copy)]
pub(super) struct Making<'a> {
    /// The entry's, for relative references.
    pub(super) namespace: &'a Namespace,
    pub(super) place: Place,
    pub(super) stores: &'a dyn TokenStores,
}

/// Middleware of the public documentation that runs before the match.
const BEFORE: [&str; 5] = ["compress", "cors", "ratelimit", "real_ip", "token_auth"];
/// That which runs after.
const AFTER: [&str; 2] = ["endpoint_firewall", "resource_firewall"];
/// That which other parts of the program make superfluous: it is accepted, and does nothing here.
const SILENT: [&str; 2] = ["metrics", "otel"];
/// That which is left out for now.
const ABSENT: [&str; 3] = ["sendfile", "sse_relay", "websocket_relay"];

/// Makes the layers of a declaration; what cannot be made is left out and reported.
pub(super) fn layers(declared: &Middleware, making: Making<'_>) -> (Vec<Layer>, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut options = Options::new(&declared.options);
    let mut layers = Vec::new();
    for (index, name) in declared.names.iter().enumerate() {
        match layer(name, &mut options, making) {
            Some(layer) => layers.push(layer),
            None => problems.push(unknown(index, name, making.place)),
        }
    }
    problems.extend(options.finish(&declared.names));
    (layers, problems)
}

fn layer(name: &str, options: &mut Options<'_>, making: Making<'_>) -> Option<Layer> {
    Some(match (making.place, name) {
        (Place::BeforeMatch, "compress") => Layer::Compress(Compress::new(options)),
        (Place::BeforeMatch, "cors") => Layer::Cors(Cors::new(options)),
        (Place::BeforeMatch, "ratelimit") => Layer::RateLimit(RateLimit::new(options)),
        (Place::BeforeMatch, "real_ip") => Layer::RealIp(RealIp::new(options)),
        (Place::BeforeMatch, "token_auth") => Layer::TokenAuth(TokenAuth::new(options, making)),
        (Place::AfterMatch, "endpoint_firewall") => Layer::Firewall(Firewall::of_endpoint(options)),
        (Place::AfterMatch, "resource_firewall") => {
            Layer::Firewall(Firewall::of_resource(options, making.namespace))
        }
        (Place::BeforeMatch, name) if SILENT.contains(&name) => Layer::Silent,
        _ => return None,
    })
}

fn unknown(index: usize, name: &str, place: Place) -> Problem {
    let (here, there, other) = match place {
        Place::BeforeMatch => (&BEFORE[..], &AFTER[..], "post_middleware"),
        Place::AfterMatch => (&AFTER[..], &BEFORE[..], "middleware"),
    };
    let mut suggestion = None;
    let message = if there.contains(&name) || (place == Place::AfterMatch && SILENT.contains(&name)) {
        format!("`{name}` belongs to `{other}`")
    } else if ABSENT.contains(&name) {
        format!("this runtime does not have the middleware `{name}`")
    } else {
        suggestion = suggest::closest(name, here.iter().copied()).map(ToOwned::to_owned);
        format!("there is no middleware `{name}`")
    };
    Problem {
        field: Field::Name(index),
        message,
        suggestion,
        is_warning: false,
    }
}

impl Layer {
    /// Looks at a request. An answer ends the request here.
    pub(super) async fn before(
        &self,
        inbound: &mut Inbound,
        endpoint: Option<&EntryId>,
    ) -> Option<Response<Body>> {
        match self {
            Self::Cors(cors) => cors.preflight(inbound),
            Self::RateLimit(limit) => limit.check(inbound),
            Self::RealIp(real_ip) => {
                real_ip.find(inbound);
                None
            }
            Self::TokenAuth(auth) => {
                auth.authenticate(inbound).await;
                None
            }
            Self::Firewall(firewall) => firewall.check(inbound, endpoint),
            Self::Compress(_) | Self::Silent => None,
        }
    }

    /// What it has to remember of a request for [`after`](Self::after).
    pub(super) fn remember(&self, inbound: &Inbound) -> Memory {
        match self {
            Self::Cors(cors) => Memory::Cors(cors.allowed(inbound)),
            Self::Compress(_) => Memory::Compress(compress::is_wanted(inbound)),
            Self::RateLimit(_) | Self::RealIp(_) | Self::TokenAuth(_) | Self::Firewall(_) | Self::Silent => {
                Memory::Nothing
            }
        }
    }

    /// Looks at a response.
    pub(super) fn after(&self, memory: Memory, response: &mut Response<Body>) {
        match (self, memory) {
            (Self::Cors(cors), Memory::Cors(allowed)) => cors.allow(allowed, response),
            (Self::Compress(compress), Memory::Compress(true)) => compress.compress(response),
            _ => {}
        }
    }
}

/// What a layer knows of a request when its response comes.
pub(super) enum Memory {
    Nothing,
    /// The origin that may see the response.
    Cors(Option<http::HeaderValue>),
    /// Whether the client takes compressed bodies.
    Compress(bool),
}
