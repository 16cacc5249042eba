//! `cors`: which origins may see responses, and what they may send.

use http::{HeaderValue, Method, Response, StatusCode, header};

use super::{
    super::{answer, body::Body, inbound::Inbound},
    options::Options,
};

/// The rules of one router.
pub(crate) struct Cors {
    origins: Origins,
    methods: HeaderValue,
    headers: HeaderValue,
    exposed: Option<HeaderValue>,
    credentials: bool,
    max_age: HeaderValue,
    private_network: bool,
}

enum Origins {
    Any,
    Some(Vec<Origin>),
}

enum Origin {
    Exact(String),
    /// What stands before and after the star of `https://*.example.com`.
    Wildcard(String, String),
}

const NAMES: [&str; 7] = [
    "cors.allow.origins",
    "cors.allow.methods",
    "cors.allow.headers",
    "cors.expose.headers",
    "cors.allow.credentials",
    "cors.max.age",
    "cors.allow.private.network",
];

impl Cors {
    pub(super) fn new(options: &mut Options<'_>) -> Self {
        let [
            origins,
            methods,
            headers,
            exposed,
            credentials,
            max_age,
            private_network,
        ] = NAMES;
        let allowed = Origins::new(options.list(origins));
        let mut credentials_allowed = options.flag(credentials);
        if credentials_allowed && matches!(allowed, Origins::Any) {
            // Browsers refuse the pair, and naming every origin instead would let all of them act for their visitors.
            options.warn(
                credentials,
                format!("`{credentials}` needs the origins to be listed in `{origins}`; it has no effect"),
            );
            credentials_allowed = false;
        }
        let age: u32 = options.number(max_age).unwrap_or(86_400);
        Self {
            origins: allowed,
            methods: list(options, methods)
                .unwrap_or(HeaderValue::from_static("GET,POST,PUT,DELETE,OPTIONS,PATCH")),
            headers: list(options, headers).unwrap_or(HeaderValue::from_static(
                "Origin,Content-Type,Accept,Authorization,X-Requested-With",
            )),
            exposed: list(options, exposed),
            credentials: credentials_allowed,
            max_age: HeaderValue::from(age),
            private_network: options.flag(private_network),
        }
    }

    /// The value of `Access-Control-Allow-Origin` for a request that comes from a page that may see the response.
    pub(super) fn allowed(&self, inbound: &Inbound) -> Option<HeaderValue> {
        let origin = inbound.parts.headers.get(header::ORIGIN)?;
        match &self.origins {
            Origins::Any => Some(HeaderValue::from_static("*")),
            Origins::Some(origins) => {
                let text = origin.to_str().ok()?;
                origins
                    .iter()
                    .any(|known| known.matches(text))
                    .then(|| origin.clone())
            }
        }
    }

    /// The answer to a browser that asks what it may do.
    pub(super) fn preflight(&self, inbound: &Inbound) -> Option<Response<Body>> {
        let headers = &inbound.parts.headers;
        if inbound.method() != Method::OPTIONS || !headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        {
            return None;
        }
        let mut response = answer::status(StatusCode::NO_CONTENT);
        let allowed = self.allowed(inbound);
        let is_allowed = allowed.is_some();
        self.allow(allowed, &mut response);
        let answered = response.headers_mut();
        answer::vary(answered, &header::ACCESS_CONTROL_REQUEST_METHOD);
        answer::vary(answered, &header::ACCESS_CONTROL_REQUEST_HEADERS);
        if is_allowed {
            answered.insert(header::ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
            answered.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, self.headers.clone());
            answered.insert(header::ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
            if self.private_network && headers.contains_key("access-control-request-private-network") {
                answered.insert(
                    "access-control-allow-private-network",
                    HeaderValue::from_static("true"),
                );
            }
        }
        Some(response)
    }

    /// Says in a response who may see it.
    pub(super) fn allow(&self, allowed: Option<HeaderValue>, response: &mut Response<Body>) {
        let headers = response.headers_mut();
        if let Origins::Some(_) = self.origins {
            answer::vary(headers, &header::ORIGIN);
        }
        let Some(origin) = allowed else { return };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.credentials {
            headers.insert(
                header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        }
        if let Some(exposed) = &self.exposed {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
        }
    }
}

/// A list as a header's value.
fn list(options: &mut Options<'_>, name: &'static str) -> Option<HeaderValue> {
    let text = options.list(name)?.join(",");
    let value = HeaderValue::from_str(&text).ok();
    if value.is_none() {
        options.report(name, format!("`{name}` has a character that no header can have"));
    }
    value
}

impl Origins {
    fn new(listed: Option<Vec<String>>) -> Self {
        match listed {
            None => Self::Any,
            Some(listed) if listed.iter().any(|origin| origin == "*") => Self::Any,
            Some(listed) => Self::Some(listed.into_iter().map(Origin::new).collect()),
        }
    }
}

impl Origin {
    fn new(text: String) -> Self {
        match text.split_once('*') {
            Some((before, after)) => Self::Wildcard(before.to_owned(), after.to_owned()),
            None => Self::Exact(text),
        }
    }

    fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Exact(known) => origin.eq_ignore_ascii_case(known),
            // Without a scheme, `*.example.com` is about the host.
            Self::Wildcard(before, after) => {
                let rest = if before.is_empty() {
                    origin.split_once("://").map(|(_, host)| host)
                } else {
                    origin.strip_prefix(before.as_str())
                };
                let name = rest.and_then(|rest| rest.strip_suffix(after.as_str()));
                name.is_some_and(|name| !name.is_empty() && !name.contains('/'))
            }
        }
    }
}
