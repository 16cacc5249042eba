//! Forms with files: `multipart/form-data`, held in memory within a bound.

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyDataStream, Full};
use multer::{Constraints, Multipart, SizeLimit};
use wippy_security::{CallError, ErrorKind};

use super::{Exchange, Limits, failure};

/// Fields of one form; more are refused.
const FIELDS_MAX: usize = 1000;

/// A form.
#[derive(Debug, Default)]
pub(crate) struct Form {
    pub(crate) values: Vec<(String, Bytes)>,
    pub(crate) files: Vec<(String, File)>,
}

/// A file of a form.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) headers: HeaderMap,
    pub(crate) content: Bytes,
}

impl Exchange {
    /// The form that the request's body is.
    ///
    /// # Errors
    /// When it is none, or needs more memory than `max`.
    pub(crate) async fn form(&self, max: usize, limits: Limits) -> Result<Form, CallError> {
        let content_type = self.request.header("content-type").unwrap_or_default();
        let boundary = multer::parse_boundary(&content_type).map_err(|_| {
            failure(
                ErrorKind::Invalid,
                "PARSE_FAILED",
                "the request's body is not `multipart/form-data`",
            )
        })?;
        let body = self
            .input
            .whole(Limits {
                size: limits.size.min(max),
                ..limits
            })
            .await?;
        let constraints =
            Constraints::new().size_limit(SizeLimit::new().whole_stream(max as u64).per_field(max as u64));
        parse(&body, boundary, constraints).await.map_err(|error| {
            failure(
                ErrorKind::Invalid,
                "PARSE_FAILED",
                format!("the form is not valid: {error}"),
            )
        })
    }
}

async fn parse(body: &Bytes, boundary: String, constraints: Constraints) -> Result<Form, multer::Error> {
    let mut multipart = Multipart::with_constraints(
        BodyDataStream::new(Full::new(body.clone())),
        boundary,
        constraints,
    );
    let mut form = Form::default();
    while let Some(field) = multipart.next_field().await? {
        if form.values.len() + form.files.len() >= FIELDS_MAX {
            return Err(multer::Error::StreamSizeExceeded {
                limit: FIELDS_MAX as u64,
            });
        }
        let Some(name) = field.name().map(str::to_owned) else {
            continue;
        };
        match field.file_name().map(str::to_owned) {
            Some(file) => {
                let headers = field.headers().clone();
                let content = field.bytes().await?;
                let file = File {
                    name: file,
                    headers,
                    content,
                };
                form.files.push((name, file));
            }
            None => form.values.push((name, field.bytes().await?)),
        }
    }
    Ok(form)
}
