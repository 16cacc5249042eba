//! TLS: the certificate and key of a service, and what is spoken behind them.

use std::{fmt, sync::Arc};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
        version::{TLS12, TLS13},
    },
};
use wippy_registry::schema::http::Tls;

/// What is wrong with a certificate or a key. Neither is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TlsProblem {
    /// The field that is to blame.
    pub(super) field: &'static str,
    pub(super) message: String,
}

impl fmt::Display for TlsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The acceptor of a service. It offers HTTP/2 and HTTP/1.1.
///
/// # Errors
/// When the certificate or the key cannot be read, or do not belong together.
pub(super) fn acceptor(tls: &Tls) -> Result<TlsAcceptor, TlsProblem> {
    let problem = |field, message: String| TlsProblem { field, message };
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(tls.cert.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| problem("tls.cert", format!("the certificate cannot be read: {error}")))?;
    if certificates.is_empty() {
        return Err(problem(
            "tls.cert",
            "there is no PEM certificate in it".to_owned(),
        ));
    }
    let key = PrivateKeyDer::from_pem_slice(tls.key.as_bytes())
        .map_err(|error| problem("tls.key", format!("the private key cannot be read: {error}")))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key))
        .map_err(|error| problem("tls.key", format!("certificate and key cannot be used: {error}")))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
