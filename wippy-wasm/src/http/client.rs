//! [`Client`]: makes the requests of all guests, over connections that are used again.
//!
//! Every request is asked about twice: its URL, and the address that its connection goes to, be it a new connection or
//! one that another guest opened. Names are looked up once for each connection, so an answer that changes in between
//! changes nothing.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, Uri,
    header::{Entry, HOST},
};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use tokio::time::timeout;
use tokio_rustls::rustls::ClientConfig;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, io::TokioIo};
use wippy_security::{Context, Resolver, TracePlace};

use super::{
    body::Incoming,
    connect,
    destination::{Destination, Origin},
    idle::{Connection, Idle},
};

/// What holds where a guest sets no timeouts; its call's own deadline holds in any case.
const CONNECT_MAX: Duration = Duration::from_secs(30);
const SILENCE_MAX: Duration = Duration::from_mins(10);

/// More than any real response has: connections serve guests of different limits, which are looked at afterwards.
const HEADERS_MAX: usize = 256;
const HEAD_BYTES_MAX: usize = 256 << 10;

/// Makes requests.
pub(crate) struct Client {
    idle: Arc<Idle>,
    extra_roots: Vec<Vec<u8>>,
    resolver: Option<Arc<dyn Resolver>>,
    /// Made for the first request that needs it.
    tls: OnceLock<Arc<ClientConfig>>,
}

impl Client {
    pub(crate) fn new(extra_roots: Vec<Vec<u8>>, resolver: Option<Arc<dyn Resolver>>) -> Arc<Self> {
        Arc::new(Self {
            idle: Arc::default(),
            extra_roots,
            resolver,
            tls: OnceLock::new(),
        })
    }

    /// Makes a request for `context`, and returns when the head of the response is there.
    pub(super) async fn send(
        &self,
        context: &Context,
        mut request: Request<WasiBody>,
        options: RequestOptions,
        head_max: usize,
    ) -> Result<Response<WasiBody>, Error> {
        if request.method() == Method::CONNECT {
            // A tunnel would go where nobody asked.
            return Err(Error::HttpRequestMethodInvalid);
        }
        let destination = Destination::of(request.uri())?;
        if !destination.is_allowed(context, request.method().as_str()) {
            return Err(Error::HttpRequestDenied);
        }
        *request.uri_mut() = Uri::from(destination.path_and_query()?);
        let host: HeaderValue = destination.authority()?;
        request.headers_mut().insert(HOST, host);
        hand_on(context, request.headers_mut());
        let origin = destination.origin;
        loop {
            let kept = self
                .idle
                .take(&origin, |address| origin.may_be_at(context, address.ip()));
            let was_kept = kept.is_some();
            let mut connection = match kept {
                Some(connection) => connection,
                None => self.connect(context, &origin, &options).await?,
            };
            let patience = options.first_byte_timeout.unwrap_or(SILENCE_MAX);
            let sending = connection.sender.try_send_request(request);
            match timeout(patience, sending).await {
                Ok(Ok(response)) => {
                    check_head(&response, head_max)?;
                    return Ok(self.receive(response, origin, connection, &options));
                }
                Ok(Err(mut failure)) => match failure.take_message() {
                    // The server closed the connection while it waited; nothing was sent.
                    Some(unsent) if was_kept => request = unsent,
                    _ => return Err(failure.into_error().into()),
                },
                Err(_) => return Err(Error::ConnectionReadTimeout),
            }
        }
    }

    async fn connect(
        &self,
        context: &Context,
        origin: &Origin,
        options: &RequestOptions,
    ) -> Result<Connection, Error> {
        let patience = options.connect_timeout.unwrap_or(CONNECT_MAX);
        let connecting = async {
            let resolver = self.resolver.as_deref();
            let (stream, address) =
                connect::connect(context, origin, patience, resolver, || self.tls()).await?;
            let (sender, connection) = http1::Builder::new()
                .max_buf_size(HEAD_BYTES_MAX)
                .max_headers(HEADERS_MAX)
                .handshake(TokioIo::new(stream))
                .await?;
            // It ends when the other side closes it, or when nobody can use it any more. What went wrong with it is
            // told to whoever was using it.
            tokio::spawn(async move {
                let _ = connection.await;
            });
            Ok(Connection { sender, address })
        };
        timeout(patience, connecting)
            .await
            .unwrap_or(Err(Error::ConnectionTimeout))
    }

    /// The response as the guest reads it; when it is read to its end its connection is used again.
    fn receive(
        &self,
        response: Response<hyper::body::Incoming>,
        origin: Origin,
        mut connection: Connection,
        options: &RequestOptions,
    ) -> Response<WasiBody> {
        let idle = Arc::downgrade(&self.idle);
        tokio::spawn(async move {
            let is_ready = connection.sender.ready().await.is_ok();
            if let Some(idle) = idle.upgrade().filter(|_| is_ready) {
                idle.put(origin, connection);
            }
        });
        let patience = options.between_bytes_timeout.unwrap_or(SILENCE_MAX);
        response.map(|body| Incoming::new(body, patience).boxed_unsync())
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, Error> {
        if let Some(config) = self.tls.get() {
            return Ok(config.clone());
        }
        let config = connect::tls_config(&self.extra_roots)?;
        Ok(self.tls.get_or_init(|| config).clone())
    }
}

/// Says which call the request is made for, unless the guest said so itself.
fn hand_on(context: &Context, headers: &mut HeaderMap) {
    if let Some(place) = context.trace()
        && let Entry::Vacant(header) = headers.entry(TracePlace::HEADER)
        && let Ok(place) = HeaderValue::try_from(place.to_string())
    {
        header.insert(place);
    }
}

fn check_head<B>(response: &Response<B>, max: usize) -> Result<(), Error> {
    let fields = response.headers().iter();
    let size: usize = fields
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if size <= max {
        return Ok(());
    }
    Err(Error::HttpResponseHeaderSectionSize(u32::try_from(size).ok()))
}
