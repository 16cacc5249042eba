//! [`HttpServer`]: one service. It listens, keeps the time of its connections, and hands requests to their routes.

use std::{
    convert::Infallible,
    fmt, io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use http::{Method, Request, Response, StatusCode, request::Parts};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;
use wippy_registry::{EntryId, schema::http::Service};
use wippy_security::{Context, ErrorKind, Span, SpanKind, TracePlace};

use super::{
    access::{Access, Counted, Record},
    answer,
    body::{Body, Patience, received},
    connection::{Activity, Limits, Timed},
    dispatch::{Trace, dispatch, finish},
    inbound::{Client, Inbound},
    routes::Routes,
    stream::{Pace, Streams},
    tls,
};
use crate::metrics::HttpMetrics;

/// Bytes of a request's target; longer ones are answered with 414.
const TARGET_MAX: usize = 8 << 10;
/// Bytes of a request's head on HTTP/1; longer ones are answered with 431.
const HEAD_MAX: usize = 64 << 10;
/// Bytes of a request's headers on HTTP/2.
const HEADERS_MAX: u32 = 64 << 10;
/// Bytes of a body that are taken at all; what announces more is answered with 413.
const BODY_MAX: u64 = 120 << 20;
/// Requests that one HTTP/2 connection may have under way.
const STREAMS_MAX: u32 = 200;

/// How often an HTTP/2 client is asked whether it is there.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// How long sending a head may take when the service does not say.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the next part of a body may take.
const PART_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a client may take nothing of what it is sent.
const STALL_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a connection without requests is kept.
const IDLE_TIMEOUT: Duration = Duration::from_mins(2);

/// What a server is started with.
pub struct ServerConfig {
    /// The entry.
    pub id: EntryId,
    /// What it says.
    pub service: Service,
    /// Makes the context that a request begins with: the service's own actor and scope, as they are now.
    pub context: Box<dyn Fn() -> Context + Send + Sync>,
    /// Where its requests are counted, if they are.
    pub(crate) metrics: Option<Arc<HttpMetrics>>,
}

/// A service does not start.
#[derive(Debug)]
pub enum StartError {
    /// Its address cannot be listened on.
    Listen {
        /// The address as it was written.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// Its certificate cannot be used.
    Tls(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { address, error } => write!(f, "cannot listen on `{address}`: {error}"),
            Self::Tls(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for StartError {}

/// One service that listens.
pub struct HttpServer {
    config: ServerConfig,
    routes: ArcSwap<Routes>,
    limits: Limits,
    patience: BodyPatience,
}

/// How long the body of a request may take.
#[derive(Debug, Clone, Copy)]
enum BodyPatience {
    /// Head and body together.
    Whole(Duration),
    /// Each part of it.
    Each(Duration),
    Endless,
}

/// A service at work. Dropping it leaves the service running; [`stop`](Self::stop) ends it.
pub struct Running {
    server: Arc<HttpServer>,
    address: SocketAddr,
    is_secure: bool,
    stopping: CancellationToken,
    aborting: CancellationToken,
    connections: TaskTracker,
}

impl HttpServer {
    /// Listens on the service's address and begins to serve `routes`.
    ///
    /// # Errors
    /// When the address is not to be had, or the certificate cannot be used.
    pub async fn start(config: ServerConfig, routes: Arc<Routes>) -> Result<Running, StartError> {
        let service = &config.service;
        let tls = match &service.tls {
            Some(tls) => Some(tls::acceptor(tls).map_err(|problem| StartError::Tls(problem.to_string()))?),
            None => None,
        };
        let (listener, address) = listen(service).await?;
        routes.hold((config.context)().dispatcher());
        let timeouts = &service.timeouts;
        let or = |given: Option<Duration>, default| match given {
            Some(Duration::ZERO) => None,
            Some(given) => Some(given),
            None => Some(default),
        };
        let server = Arc::new(Self {
            limits: Limits {
                head: or(timeouts.read, HEAD_TIMEOUT),
                idle: or(timeouts.idle, IDLE_TIMEOUT),
                stall: or(timeouts.write, STALL_TIMEOUT),
            },
            patience: match timeouts.read {
                Some(Duration::ZERO) => BodyPatience::Endless,
                Some(read) => BodyPatience::Whole(read),
                None => BodyPatience::Each(PART_TIMEOUT),
            },
            routes: ArcSwap::new(routes),
            config,
        });
        let running = Running {
            server,
            address,
            is_secure: tls.is_some(),
            stopping: CancellationToken::new(),
            aborting: CancellationToken::new(),
            connections: TaskTracker::new(),
        };
        running.connections.spawn(running.accept(listener, tls));
        Ok(running)
    }

    /// Serves other routes from now on. Requests that have begun keep theirs, and the functions behind them.
    pub fn set_routes(&self, routes: Arc<Routes>) {
        routes.hold((self.config.context)().dispatcher());
        routes.continue_from(&self.routes.load());
        self.routes.store(routes);
    }

    /// The entry.
    pub fn id(&self) -> &EntryId {
        &self.config.id
    }

    /// How long its requests may take to come to their end when it stops.
    pub fn stop_timeout(&self) -> Duration {
        self.config.service.lifecycle.stop_timeout
    }
}

impl Running {
    /// The server.
    pub fn server(&self) -> &Arc<HttpServer> {
        &self.server
    }

    /// The address that it listens on, with the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it speaks TLS.
    pub fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        // One of the tasks accepts.
        self.connections
            .len()
            .saturating_sub(usize::from(!self.stopping.is_cancelled()))
    }

    /// Stops listening, lets requests that have begun come to their end within `grace`, and ends those that do not.
    /// True if all did.
    pub async fn stop(self, grace: Duration) -> bool {
        self.stopping.cancel();
        self.connections.close();
        let drained = tokio::time::timeout(grace, self.connections.wait()).await.is_ok();
        if !drained {
            self.aborting.cancel();
            self.connections.wait().await;
        }
        drained
    }

    fn accept(
        &self,
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (server, connections) = (Arc::clone(&self.server), self.connections.clone());
        let (stopping, aborting) = (self.stopping.clone(), self.aborting.clone());
        async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = stopping.cancelled() => return,
                };
                match accepted {
                    Ok((stream, peer)) => {
                        let connection = Connection {
                            server: Arc::clone(&server),
                            peer,
                            stopping: stopping.clone(),
                        };
                        let (tls, aborting) = (tls.clone(), aborting.clone());
                        connections.spawn(async move {
                            tokio::select! {
                                () = connection.serve(stream, tls) => {}
                                () = aborting.cancelled() => {}
                            }
                        });
                    }
                    Err(error) => pause(&error).await,
                }
            }
        }
    }
}

/// A connection that went away before it was accepted is no problem. Anything else, above all a lack of descriptors,
/// is still there at once after.
async fn pause(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    ) {
        tracing::warn!(target: "wippy::http", "a connection cannot be accepted: {error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn listen(service: &Service) -> Result<(TcpListener, SocketAddr), StartError> {
    let port = service.port;
    let bound = match &service.host {
        Some(host) => TcpListener::bind((host.as_str(), port)).await,
        // Every interface of both families, where the system has both.
        None => match TcpListener::bind(("::", port)).await {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                TcpListener::bind(("0.0.0.0", port)).await
            }
            bound => bound,
        },
    };
    bound
        .and_then(|listener| {
            let address = listener.local_addr()?;
            Ok((listener, address))
        })
        .map_err(|error| StartError::Listen {
            address: format!("{}:{port}", service.host.as_deref().unwrap_or_default()),
            error,
        })
}

/// One connection.
struct Connection {
    server: Arc<HttpServer>,
    peer: SocketAddr,
    stopping: CancellationToken,
}

impl Connection {
    async fn serve(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        let _ = stream.set_nodelay(true);
        let Some(tls) = tls else {
            return self.speak(stream).await;
        };
        let limit = self.server.limits.head.unwrap_or(HEAD_TIMEOUT);
        match tokio::time::timeout(limit, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.speak(stream).await,
            Ok(Err(error)) => tracing::debug!(target: "wippy::http", peer = %self.peer, "no TLS: {error}"),
            Err(_) => {
                tracing::debug!(target: "wippy::http", peer = %self.peer, "the TLS handshake took too long");
            }
        }
    }

    async fn speak(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Self {
            server,
            peer,
            stopping,
        } = self;
        let activity = Arc::new(Activity::default());
        let timed = Timed::new(stream, server.limits, Arc::clone(&activity));
        let client = Client {
            ip: peer.ip().to_canonical(),
            text: SocketAddr::new(peer.ip().to_canonical(), peer.port())
                .to_string()
                .into(),
        };
        let service = service_fn(|request| {
            let (server, client) = (Arc::clone(&server), client.clone());
            let activity = Arc::clone(&activity);
            async move { Ok::<_, Infallible>(server.handle(request, client, activity).await) }
        });
        let protocol = protocol(server.limits.stall);
        let connection = protocol.serve_connection(TokioIo::new(timed), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stopping.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(target: "wippy::http", %peer, "a connection ended: {error}");
        }
    }
}

/// Both versions of HTTP, told apart by how a client begins.
fn protocol(stall: Option<Duration>) -> auto::Builder<Streams> {
    let mut protocol = auto::Builder::new(Streams { stall });
    // Time is kept by `Timed`.
    protocol
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(HEAD_MAX);
    protocol
        .http2()
        .timer(TokioTimer::new())
        // A peer that is gone without a word does not answer.
        .keep_alive_interval(PING_INTERVAL)
        .max_header_list_size(HEADERS_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .max_send_buf_size(HEAD_MAX);
    protocol
}

impl HttpServer {
    async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        client: Client,
        activity: Arc<Activity>,
    ) -> Response<Counted> {
        let version = request.version();
        activity.begin(version);
        let call_id: Arc<str> = Uuid::now_v7().to_string().into();
        let mut access = Access {
            record: Access::is_logged().then(|| record(&request, &client, &call_id)),
            watch: self.config.metrics.as_ref().map(HttpMetrics::watch),
            activity,
            pace: Pace::current(),
        };
        let is_head = request.method() == Method::HEAD;
        let mut trace = Trace::default();
        let mut response = self.answer(request, client, &call_id, &mut trace).await;
        finish(&mut response, version, is_head, &call_id);
        if let Some(span) = trace.span.take() {
            end(span, trace.route.as_deref(), response.status());
        }
        if let Some(record) = &mut access.record {
            record.route = trace.route;
            record.entry = trace.entry;
            record.status = Some(response.status());
            if let Some(client) = trace.client {
                record.client = client;
            }
        }
        if let Some(watch) = &mut access.watch {
            watch.status = Some(response.status());
        }
        response.map(|body| Counted::new(body, access))
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        client: Client,
        call_id: &Arc<str>,
        trace: &mut Trace,
    ) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let target = parts
            .uri
            .path_and_query()
            .map_or(0, |target| target.as_str().len());
        if target > TARGET_MAX {
            let message = "the target of the request is too long";
            return answer::refusal(StatusCode::URI_TOO_LONG, ErrorKind::Invalid, message, call_id);
        }
        if http_body::Body::size_hint(&body).lower() > BODY_MAX {
            return answer::body_error(wippy_lua::http::BodyError::TooLarge, call_id);
        }
        // What one request leaves with a function is for none that comes later.
        let mut context = (self.config.context)()
            .with_own_execution()
            .with_call_id(Arc::clone(call_id));
        if let Some(write) = self
            .config
            .service
            .timeouts
            .write
            .filter(|write| !write.is_zero())
        {
            context = context.with_timeout(write);
        }
        context = traced(context, &parts, trace);
        let patience = match self.patience {
            BodyPatience::Whole(read) => Patience::Until(tokio::time::Instant::now() + read),
            BodyPatience::Each(part) => Patience::Each(part),
            BodyPatience::Endless => Patience::Endless,
        };
        let inbound = Box::new(Inbound {
            body: received(body, patience),
            parts,
            client,
            call_id: Arc::clone(call_id),
            context,
            params: Vec::new(),
        });
        dispatch(&self.routes.load_full(), inbound, trace).await
    }
}

/// The context of a request as a part of the trace that it says it belongs to, or of one that begins with it.
fn traced(context: Context, parts: &Parts, trace: &mut Trace) -> Context {
    let header = parts.headers.get(TracePlace::HEADER);
    let place = header.and_then(|place| place.to_str().ok()?.parse().ok());
    let context = match place {
        Some(place) => context.with_trace(place),
        None if context.dispatcher().tracer().is_none() => return context,
        None => context,
    };
    let (mut span, context) = Span::enter(&context, SpanKind::Server, parts.method.as_str());
    if let Some(span) = &mut span {
        span.set("http.request.method", parts.method.as_str());
        span.set("url.path", parts.uri.path());
        if let Some(call_id) = context.call_id() {
            span.set("wippy.call_id", call_id);
        }
    }
    trace.span = span;
    context
}

/// The head of the response is there.
fn end(mut span: Span, route: Option<&str>, status: StatusCode) {
    if let Some(route) = route {
        span.append(route);
        span.set("http.route", route);
    }
    span.set("http.response.status_code", status.as_str());
    span.end(status.is_server_error().then_some(ErrorKind::Internal));
}

fn record(request: &Request<Incoming>, client: &Client, call_id: &Arc<str>) -> Record {
    Record {
        began: Instant::now(),
        call_id: Arc::clone(call_id),
        client: Arc::clone(&client.text),
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        route: None,
        entry: None,
        status: None,
        bytes: 0,
        is_complete: false,
    }
}
