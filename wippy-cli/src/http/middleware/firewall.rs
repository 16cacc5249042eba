//! `endpoint_firewall` and `resource_firewall`: who may go on, now that it is known where to.

use http::{HeaderValue, Response, StatusCode, header};
use wippy_registry::{EntryId, Namespace};
use wippy_security::{ErrorKind, authorize};

use super::{
    super::{answer, body::Body, inbound::Inbound},
    options::Options,
};

/// An action, and on what.
pub(crate) struct Firewall {
    action: String,
    /// The endpoint when there is none.
    resource: Option<EntryId>,
}

impl Firewall {
    pub(super) fn of_endpoint(options: &mut Options<'_>) -> Self {
        Self {
            action: action(options, "endpoint_firewall.action"),
            resource: None,
        }
    }

    pub(super) fn of_resource(options: &mut Options<'_>, namespace: &Namespace) -> Self {
        const TARGET: &str = "resource_firewall.target";
        let resource = options.parsed(TARGET, "the id of an entry", |target| {
            EntryId::resolve(target, namespace).ok()
        });
        if options.text(TARGET).is_none() {
            options.report(
                TARGET,
                format!("`resource_firewall` needs `{TARGET}`, the id of an entry"),
            );
        }
        Self {
            action: action(options, "resource_firewall.action"),
            resource,
        }
    }

    /// Refuses a request that comes from nobody, or from somebody who may not do it.
    ///
    /// The guard allows what has no actor or no scope unless it is strict. A firewall never does: whoever puts one up
    /// wants to know who comes.
    pub(super) fn check(&self, inbound: &Inbound, endpoint: Option<&EntryId>) -> Option<Response<Body>> {
        let context = &inbound.context;
        if context.actor().is_none() {
            let message = "who asks is not known: a valid token is needed";
            let mut response = answer::refusal(
                StatusCode::UNAUTHORIZED,
                ErrorKind::PermissionDenied,
                message,
                &inbound.call_id,
            );
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
            return Some(response);
        }
        let resource = self.resource.as_ref().or(endpoint)?;
        let is_allowed =
            context.scope().is_some() && authorize(context, &self.action, resource.as_str()).is_ok();
        (!is_allowed).then(|| {
            answer::refusal(
                StatusCode::FORBIDDEN,
                ErrorKind::PermissionDenied,
                "this is not permitted",
                &inbound.call_id,
            )
        })
    }
}

fn action(options: &mut Options<'_>, name: &'static str) -> String {
    options.text(name).unwrap_or("access").to_owned()
}
