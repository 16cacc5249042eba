//! [`Outgoing`]: what an instance asks the host about its HTTP messages, and how failures are told to guests.

use std::{error::Error as _, io, sync::Arc};

use http::{HeaderName, Request, Response};
use tokio_rustls::rustls;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, RequestOptions, WasiBody, WasiHttpHooks,
    p2::bindings::http::types::{ErrorCode, TlsAlertReceivedPayload},
};
use wippy_security::Context;

use super::{body, client::Client};
use crate::limits::Limits;

/// Writes that a guest may be ahead of the network, and what each may hold: together the memory of one body.
const CHUNKS: usize = 8;
const CHUNK_BYTES: usize = 64 << 10;

/// What an instance asks about its messages.
pub(crate) struct Outgoing {
    client: Arc<Client>,
    /// The context of the call that is running.
    pub(crate) context: Option<Context>,
    head_max: usize,
    body_max: u64,
}

impl Outgoing {
    pub(super) fn new(client: Arc<Client>, limits: &Limits) -> Self {
        Self {
            client,
            context: None,
            head_max: limits.http_header_bytes,
            body_max: limits.http_body_bytes,
        }
    }
}

/// What says when the connection of a response failed.
type Connection = Box<dyn Future<Output = Result<(), Error>> + Send>;

type Sending = Box<dyn Future<Output = Result<(Response<WasiBody>, Connection), Error>> + Send>;

impl WasiHttpHooks for Outgoing {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        DEFAULT_FORBIDDEN_HEADERS.contains(name)
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Connection,
    ) -> Sending {
        let (client, context) = (self.client.clone(), self.context.clone());
        let (head_max, body_max) = (self.head_max, self.body_max);
        let options = options.unwrap_or_default();
        Box::new(async move {
            // While an instance is made there is nobody to ask for.
            let context = context.ok_or(Error::HttpRequestDenied)?;
            let request = request.map(|body| body::at_most(body, body_max, Error::HttpRequestBodySize));
            let response = client.send(&context, request, options, head_max).await?;
            let response = response.map(|body| body::at_most(body, body_max, Error::HttpResponseBodySize));
            // Connections drive themselves: see `Client`.
            Ok((response, Box::new(std::future::ready(Ok(()))) as Connection))
        })
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        CHUNKS
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK_BYTES
    }

    fn p2_error_from_hyper(&mut self, error: &hyper::Error) -> ErrorCode {
        hyper_code(error)
    }

    fn p2_error_from_connect(&mut self, error: &io::Error) -> ErrorCode {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => ErrorCode::ConnectionRefused,
            io::ErrorKind::TimedOut => ErrorCode::ConnectionTimeout,
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => {
                ErrorCode::ConnectionTerminated
            }
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                ErrorCode::DestinationIpUnroutable
            }
            _ => ErrorCode::DestinationUnavailable,
        }
    }

    fn p2_error_from_tls(&mut self, error: &io::Error) -> ErrorCode {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
        match cause {
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
                ErrorCode::TlsCertificateError
            }
            Some(rustls::Error::AlertReceived(alert)) => {
                ErrorCode::TlsAlertReceived(TlsAlertReceivedPayload {
                    alert_id: Some(u8::from(*alert)),
                    alert_message: None,
                })
            }
            Some(_) => ErrorCode::TlsProtocolError,
            None => ErrorCode::ConnectionTerminated,
        }
    }
}

/// The code for what went wrong with a body that is being read.
pub(crate) fn code(error: &Error) -> ErrorCode {
    match error {
        Error::Hyper(error) => hyper_code(error),
        Error::ConnectionReadTimeout => ErrorCode::ConnectionReadTimeout,
        Error::ConnectionTerminated => ErrorCode::ConnectionTerminated,
        Error::HttpResponseBodySize(size) => ErrorCode::HttpResponseBodySize(*size),
        _ => ErrorCode::HttpProtocolError,
    }
}

fn hyper_code(error: &hyper::Error) -> ErrorCode {
    let cause = error.source();
    if let Some(Error::HttpRequestBodySize(size)) = cause.and_then(|cause| cause.downcast_ref()) {
        return ErrorCode::HttpRequestBodySize(*size);
    }
    if error.is_parse_too_large() {
        return ErrorCode::HttpResponseHeaderSectionSize(None);
    }
    if error.is_timeout() {
        return ErrorCode::HttpResponseTimeout;
    }
    let broken: Option<&io::Error> = cause.and_then(|cause| cause.downcast_ref());
    if broken.is_some() || error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return ErrorCode::ConnectionTerminated;
    }
    ErrorCode::HttpProtocolError
}
