//! A real HTTP server on loopback.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{Sleep, sleep},
};
use wasmtime_wasi_http::io::TokioIo;

/// A failing body closes the connection.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A server; dropping it stops it.
pub struct Server {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Serves what `answer` gives.
    pub async fn start<F, A>(answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::start_on(answer, |stream| async { Some(stream) }).await
    }

    /// The same over streams that `accept` makes of connections.
    pub async fn start_on<F, A, S, C, T>(answer: F, accept: S) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
        S: Fn(TcpStream) -> C + Send + 'static,
        C: Future<Output = Option<T>> + Send,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = connections.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                let answer = answer.clone();
                let Some(stream) = accept(stream).await else {
                    continue;
                };
                let service = service_fn(move |request| {
                    let answer = answer(request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self {
            address,
            connections,
            accepting,
        }
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A response with a whole body.
pub fn text(text: impl Into<String>) -> Response<Body> {
    let body = http_body_util::Full::new(Bytes::from(text.into()));
    Response::new(body.map_err(|never| match never {}).boxed_unsync())
}

/// A part of a body.
pub enum Step {
    Data(&'static str),
    Trailers(HeaderMap),
    Wait(Duration),
    /// The same again and again.
    Repeat(Bytes),
    Fail,
}

/// A body that comes step by step.
pub fn steps(steps: impl IntoIterator<Item = Step>) -> Body {
    let steps = steps.into_iter().collect();
    Steps { steps, wait: None }.boxed_unsync()
}

struct Steps {
    steps: VecDeque<Step>,
    wait: Option<Pin<Box<Sleep>>>,
}

impl http_body::Body for Steps {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            if let Some(wait) = &mut self.wait {
                std::task::ready!(wait.as_mut().poll(cx));
                self.wait = None;
            }
            return Poll::Ready(match self.steps.pop_front() {
                None => None,
                Some(Step::Data(text)) => Some(Ok(Frame::data(Bytes::from(text)))),
                Some(Step::Trailers(fields)) => Some(Ok(Frame::trailers(fields))),
                Some(Step::Fail) => Some(Err(io::Error::other("as asked"))),
                Some(Step::Repeat(bytes)) => {
                    self.steps.push_front(Step::Repeat(bytes.clone()));
                    Some(Ok(Frame::data(bytes)))
                }
                Some(Step::Wait(time)) => {
                    self.wait = Some(Box::pin(sleep(time)));
                    continue;
                }
            });
        }
    }
}
