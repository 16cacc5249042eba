//! `compress`: gzip for clients that take it.

use std::{
    io::Write as _,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body as HttpBody, Frame};

use super::{
    super::{
        answer,
        body::{Aborted, Body},
        inbound::Inbound,
    },
    options::Options,
};

/// How much to compress, and from which size on.
pub(crate) struct Compress {
    level: Compression,
    length_min: u64,
}

impl Compress {
    pub(super) fn new(options: &mut Options<'_>) -> Self {
        let level = options.parsed(
            "compress.level",
            "`fastest`, `default` or `best`",
            |level| match level {
                "fastest" => Some(Compression::fast()),
                "default" => Some(Compression::default()),
                "best" => Some(Compression::best()),
                _ => None,
            },
        );
        Self {
            level: level.unwrap_or_default(),
            length_min: options.number("compress.min.length").unwrap_or(1024),
        }
    }

    /// Compresses a response if that makes it smaller.
    pub(super) fn compress(&self, response: &mut Response<Body>) {
        if !is_compressible(response) {
            return;
        }
        answer::vary(response.headers_mut(), &header::ACCEPT_ENCODING);
        let length = response.body().size_hint().exact();
        if length.is_some_and(|length| length < self.length_min) {
            return;
        }
        let body = std::mem::replace(response.body_mut(), Body::empty());
        *response.body_mut() = compressed(body, self.level);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::ACCEPT_RANGES);
        weaken(headers);
    }
}

/// Whether the client takes gzip.
pub(super) fn is_wanted(inbound: &Inbound) -> bool {
    let values = inbound.parts.headers.get_all(header::ACCEPT_ENCODING);
    let mut codings = values
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    codings.any(|coding| {
        let (name, quality) = coding.split_once(';').unwrap_or((coding, ""));
        let quality = quality.trim().strip_prefix("q=").map(str::parse::<f32>);
        matches!(name.trim(), "gzip" | "*") && !matches!(quality, Some(Ok(quality)) if quality <= 0.0)
    })
}

fn is_compressible(response: &Response<Body>) -> bool {
    let headers = response.headers();
    let status = response.status();
    if headers.contains_key(header::CONTENT_ENCODING)
        || headers.contains_key(header::CONTENT_RANGE)
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
    {
        return false;
    }
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let content_type = content_type
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim();
    // Events have to arrive one by one; pictures and the like are compressed already.
    if content_type == "text/event-stream" {
        return false;
    }
    content_type.starts_with("text/")
        || content_type.ends_with("+json")
        || content_type.ends_with("+xml")
        || matches!(
            content_type,
            "application/json"
                | "application/javascript"
                | "application/xml"
                | "application/wasm"
                | "application/manifest+json"
                | "image/svg+xml"
        )
}

/// The bytes are others now, so that a strong tag would be wrong.
fn weaken(headers: &mut http::HeaderMap) {
    let Some(tag) = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()) else {
        return;
    };
    if !tag.starts_with("W/")
        && let Ok(weak) = HeaderValue::from_str(&format!("W/{tag}"))
    {
        headers.insert(header::ETAG, weak);
    }
}

/// A body that is compressed while it is sent.
struct Gzip {
    body: Body,
    /// Nothing once the end has been sent.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl Gzip {
    fn part(&mut self, data: &[u8]) -> std::io::Result<Vec<u8>> {
        let Some(encoder) = &mut self.encoder else {
            return Ok(Vec::new());
        };
        encoder.write_all(data)?;
        // What was sent has to arrive, so that every part is completed.
        encoder.flush()?;
        Ok(std::mem::take(encoder.get_mut()))
    }

    fn end(&mut self) -> std::io::Result<Vec<u8>> {
        self.encoder.take().map_or(Ok(Vec::new()), GzEncoder::finish)
    }
}

/// What is there already is compressed at once, so that its length is known.
fn compressed(body: Body, level: Compression) -> Body {
    let mut encoder = GzEncoder::new(Vec::new(), level);
    if let Body::Full(bytes) = &body
        && encoder.write_all(bytes).is_ok()
        && let Ok(compressed) = encoder.try_finish().map(|()| std::mem::take(encoder.get_mut()))
    {
        return Body::Full(compressed.into());
    }
    Body::stream(Gzip {
        body,
        encoder: Some(encoder),
    })
}

impl HttpBody for Gzip {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let this = &mut *self;
        loop {
            if this.encoder.is_none() {
                return Poll::Ready(None);
            }
            let frame = match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(frame) => frame.transpose()?,
            };
            let bytes = match frame.map(Frame::into_data) {
                Some(Ok(data)) => this.part(&data),
                Some(Err(_)) => continue,
                None => this.end(),
            };
            match bytes {
                Err(_) => return Poll::Ready(Some(Err(Aborted))),
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes.into())))),
            }
        }
    }
}
