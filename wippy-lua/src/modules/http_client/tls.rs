//! [`Tls`]: the option `tls` of a request, as whom it shows itself and whom it believes.

use mlua::{LuaString, Table, Value as LuaValue};
use reqwest::{Certificate, ClientBuilder, Identity};
use wippy_security::CallError;

use crate::errors;

/// As whom a request shows itself, and whom it believes.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Tls {
    /// A certificate and its key, as PEM.
    identity: Option<Vec<u8>>,
    /// Certificates to believe instead of those that everybody does, as PEM.
    ca: Option<Vec<u8>>,
    /// Whether any certificate will do, which takes a permission of its own.
    pub(super) accepts_any: bool,
}

/// The fields of the option.
const FIELDS: [&str; 5] = ["ca", "cert", "insecure_skip_verify", "key", "server_name"];

impl Tls {
    /// Reads `{cert=, key=, ca=, insecure_skip_verify=}`.
    ///
    /// # Errors
    /// When a field makes no sense, or a certificate or key is none.
    pub(super) fn read(table: &Table) -> mlua::Result<Self> {
        for pair in table.pairs::<String, LuaValue>() {
            let (name, _) = pair?;
            if !FIELDS.contains(&name.as_str()) {
                return Err(invalid(format!("there is no option `tls.{name}`")));
            }
        }
        if !table.raw_get::<LuaValue>("server_name")?.is_nil() {
            return Err(invalid(
                "the option `tls.server_name` is not supported: the name is that of the URL".to_owned(),
            ));
        }
        let text = |name: &str| -> mlua::Result<Option<Vec<u8>>> {
            let text: Option<LuaString> = table.raw_get(name)?;
            Ok(text.map(|text| text.as_bytes().to_vec()))
        };
        let identity = match (text("cert")?, text("key")?) {
            (Some(cert), Some(key)) => Some([key, cert].join(&b'\n')),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                return Err(invalid("`tls.cert` and `tls.key` belong together".to_owned()));
            }
        };
        let tls = Self {
            identity,
            ca: text("ca")?,
            accepts_any: table
                .raw_get::<Option<bool>>("insecure_skip_verify")?
                .unwrap_or_default(),
        };
        // What is wrong with it is said before anything is connected to.
        drop(tls.apply(ClientBuilder::new()).map_err(errors::raise)?);
        Ok(tls)
    }

    /// Has a client do so.
    ///
    /// # Errors
    /// When a certificate or key is none.
    pub(super) fn apply(&self, mut builder: ClientBuilder) -> Result<ClientBuilder, CallError> {
        if let Some(identity) = &self.identity {
            let identity = Identity::from_pem(identity).map_err(|_| {
                CallError::invalid("`tls.cert` and `tls.key` are no certificate and key in PEM format")
            })?;
            builder = builder.identity(identity);
        }
        if let Some(ca) = &self.ca {
            let certificates = Certificate::from_pem_bundle(ca).ok();
            let certificates = certificates.filter(|certificates| !certificates.is_empty());
            let certificates =
                certificates.ok_or_else(|| CallError::invalid("`tls.ca` is no certificate in PEM format"))?;
            builder = builder.tls_certs_only(certificates);
        }
        Ok(builder.tls_danger_accept_invalid_certs(self.accepts_any))
    }
}

fn invalid(message: String) -> mlua::Error {
    errors::raise(CallError::invalid(message))
}
