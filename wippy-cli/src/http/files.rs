//! Static files: what stands in a folder under a path, with ranges, caching and an index.
//!
//! A path is taken apart before it is looked up, and the folder is opened as a capability, so that neither `..` nor a
//! link leads out of it. What begins with a dot is not served, but for `.well-known`.

mod range;
mod types;

use std::{
    io::{self, Read as _, Seek as _, SeekFrom},
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::SystemTime,
};

use bytes::Bytes;
use cap_std::{ambient_authority, fs::Dir};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use percent_encoding::percent_decode_str;
use tokio::task::{JoinHandle, spawn_blocking};

use self::range::Range;
use super::{
    answer,
    body::{Aborted, Body},
    endpoint::not_found,
    inbound::Inbound,
};

/// What a file is read in.
const PIECE: usize = 64 << 10;

/// A folder that is served.
pub(super) struct Files {
    /// The folder; it is opened for each request, since it may be replaced as a whole.
    pub(super) folder: PathBuf,
    /// The file of a folder.
    pub(super) index: String,
    /// Whether paths without a file get the index.
    pub(super) is_application: bool,
    pub(super) cache: Option<HeaderValue>,
}

/// What was found in the folder.
enum Entry {
    File(Opened),
    /// A folder that was asked for without the slash at its end.
    Folder,
    Nothing,
}

/// A file that is about to be sent.
struct Opened {
    file: std::fs::File,
    length: u64,
    modified: Option<SystemTime>,
    content_type: &'static str,
}

impl Files {
    /// Answers a request for the file at `rest`, which is the path behind that of the files.
    pub(super) async fn answer(self: Arc<Self>, inbound: Box<Inbound>, rest: &str) -> Response<Body> {
        if !matches!(*inbound.method(), Method::GET | Method::HEAD) {
            return other_method(&inbound);
        }
        let Some(path) = relative(rest) else {
            return not_found(&inbound.call_id);
        };
        let files = Arc::clone(&self);
        let found = spawn_blocking(move || files.find(&path)).await;
        let mut response = match found {
            Ok(Ok(Entry::File(file))) => send(file, &inbound.parts.headers),
            Ok(Ok(Entry::Folder)) => return to_folder(&inbound),
            Ok(Ok(Entry::Nothing)) => return not_found(&inbound.call_id),
            Ok(Err(error)) => {
                tracing::error!(target: "wippy::http", call_id = &*inbound.call_id, "a file cannot be read: {error}");
                return answer::status(StatusCode::INTERNAL_SERVER_ERROR);
            }
            Err(_) => return answer::status(StatusCode::INTERNAL_SERVER_ERROR),
        };
        if let Some(cache) = &self.cache {
            response
                .headers_mut()
                .insert(header::CACHE_CONTROL, cache.clone());
        }
        response
    }

    fn find(&self, path: &str) -> io::Result<Entry> {
        let folder = match Dir::open_ambient_dir(&self.folder, ambient_authority()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Entry::Nothing),
            folder => folder?,
        };
        let found = self.look(&folder, path)?;
        if matches!(found, Entry::Nothing) && self.is_application {
            return open(&folder, &self.index);
        }
        Ok(found)
    }

    fn look(&self, folder: &Dir, path: &str) -> io::Result<Entry> {
        if path.is_empty() || path.ends_with('/') {
            return match open(folder, &format!("{path}{}", self.index))? {
                Entry::Folder => Ok(Entry::Nothing),
                found => Ok(found),
            };
        }
        open(folder, path)
    }
}

fn open(folder: &Dir, path: &str) -> io::Result<Entry> {
    let file = match folder.open(path) {
        Ok(file) => file,
        Err(error) => return absent(error),
    };
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Ok(Entry::Folder);
    }
    // Anything else than a file could keep its reader waiting for ever.
    if !metadata.is_file() {
        return Ok(Entry::Nothing);
    }
    Ok(Entry::File(Opened {
        length: metadata.len(),
        modified: metadata.modified().ok().map(cap_std::time::SystemTime::into_std),
        file: file.into_std(),
        content_type: types::of(path),
    }))
}

/// A path that leads nowhere, or out of the folder, is one without a file.
fn absent(error: io::Error) -> io::Result<Entry> {
    use io::ErrorKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound, PermissionDenied};
    match error.kind() {
        NotFound | PermissionDenied | NotADirectory | InvalidInput | InvalidFilename => Ok(Entry::Nothing),
        _ => Err(error),
    }
}

/// The path inside the folder; nothing for one that names no file on purpose.
fn relative(rest: &str) -> Option<String> {
    let decoded = percent_decode_str(rest).decode_utf8().ok()?;
    let path = decoded.strip_prefix('/').unwrap_or(&decoded);
    let is_fine = |part: &str| part == ".well-known" || !part.starts_with('.');
    let is_plain = !path.contains(['\\', '\0']) && !path.starts_with('/') && path.split('/').all(is_fine);
    is_plain.then(|| path.to_owned())
}

fn other_method(inbound: &Inbound) -> Response<Body> {
    let is_options = inbound.method() == Method::OPTIONS;
    let status = if is_options {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::METHOD_NOT_ALLOWED
    };
    let mut response = answer::status(status);
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
    response
}

/// Links in an index are relative to a path that ends with a slash.
fn to_folder(inbound: &Inbound) -> Response<Body> {
    let path = inbound.parts.uri.path();
    // Only the last segment is named, so that the answer cannot lead to another host.
    let name = path.rsplit('/').next().unwrap_or_default();
    let query = inbound.parts.uri.query();
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let mut response = answer::status(StatusCode::PERMANENT_REDIRECT);
    if let Ok(location) = HeaderValue::from_str(&format!("./{name}/{query}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// The response with a file or a part of it.
fn send(mut opened: Opened, asked: &HeaderMap) -> Response<Body> {
    let tag = tag(&opened);
    let modified = opened.modified.map(httpdate::fmt_http_date);
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(opened.content_type),
    );
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    let mut set = |name, text: &Option<String>| {
        if let Some(value) = text.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.insert(name, value);
        }
    };
    set(header::ETAG, &tag);
    set(header::LAST_MODIFIED, &modified);
    if is_unchanged(asked, tag.as_deref(), opened.modified) {
        return with(StatusCode::NOT_MODIFIED, headers, Body::empty());
    }
    match range::asked(asked, opened.length, tag.as_deref(), modified.as_deref()) {
        Range::Whole => {
            let length = opened.length;
            with(StatusCode::OK, headers, body(opened.file, length))
        }
        Range::Part { start, length } => {
            if opened.file.seek(SeekFrom::Start(start)).is_err() {
                return answer::status(StatusCode::INTERNAL_SERVER_ERROR);
            }
            let last = start + length - 1;
            let value = format!("bytes {start}-{last}/{}", opened.length);
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(header::CONTENT_RANGE, value);
            }
            with(StatusCode::PARTIAL_CONTENT, headers, body(opened.file, length))
        }
        Range::Unsatisfiable => {
            headers.remove(header::CONTENT_TYPE);
            if let Ok(value) = HeaderValue::from_str(&format!("bytes */{}", opened.length)) {
                headers.insert(header::CONTENT_RANGE, value);
            }
            with(StatusCode::RANGE_NOT_SATISFIABLE, headers, Body::empty())
        }
    }
}

fn with(status: StatusCode, headers: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// What tells one state of a file from another.
fn tag(opened: &Opened) -> Option<String> {
    let since = opened.modified?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(format!("\"{:x}-{:x}\"", opened.length, since.as_nanos()))
}

fn is_unchanged(asked: &HeaderMap, tag: Option<&str>, modified: Option<SystemTime>) -> bool {
    let text = |name| {
        asked
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    if let Some(known) = text(header::IF_NONE_MATCH) {
        let weak = |tag: &str| tag.trim().strip_prefix("W/").unwrap_or(tag.trim()).to_owned();
        return known.trim() == "*"
            || tag.is_some_and(|tag| known.split(',').any(|known| weak(known) == tag));
    }
    let since = text(header::IF_MODIFIED_SINCE).and_then(|since| httpdate::parse_http_date(since).ok());
    // Dates have no fractions of seconds.
    match (since, modified) {
        (Some(since), Some(modified)) => modified
            .duration_since(since)
            .map_or(true, |later| later.as_secs() == 0),
        _ => false,
    }
}

fn body(file: std::fs::File, length: u64) -> Body {
    Body::stream(FileBody {
        rest: length,
        state: Reading::Idle(file),
    })
}

/// A file that is read while it is sent.
struct FileBody {
    rest: u64,
    state: Reading,
}

enum Reading {
    Idle(std::fs::File),
    Running(JoinHandle<io::Result<(std::fs::File, Vec<u8>)>>),
    Done,
}

impl HttpBody for FileBody {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        if self.rest == 0 {
            return Poll::Ready(None);
        }
        let mut task = match std::mem::replace(&mut self.state, Reading::Done) {
            Reading::Idle(file) => {
                let wanted = usize::try_from(self.rest).map_or(PIECE, |rest| rest.min(PIECE));
                spawn_blocking(move || piece(file, wanted))
            }
            Reading::Running(task) => task,
            Reading::Done => return Poll::Ready(Some(Err(Aborted))),
        };
        let Poll::Ready(outcome) = Pin::new(&mut task).poll(cx) else {
            self.state = Reading::Running(task);
            return Poll::Pending;
        };
        match outcome {
            // A file that became shorter cannot be sent as it was announced.
            Ok(Ok((file, bytes))) if !bytes.is_empty() => {
                self.rest = self.rest.saturating_sub(bytes.len() as u64);
                self.state = Reading::Idle(file);
                Poll::Ready(Some(Ok(Frame::data(bytes.into()))))
            }
            _ => Poll::Ready(Some(Err(Aborted))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest)
    }
}

fn piece(mut file: std::fs::File, wanted: usize) -> io::Result<(std::fs::File, Vec<u8>)> {
    let mut bytes = Vec::with_capacity(wanted);
    (&mut file).take(wanted as u64).read_to_end(&mut bytes)?;
    Ok((file, bytes))
}
