//! [`CallError`]: the one error that guests and remote callers see, with a closed set of kinds.

use std::{any::Any, borrow::Cow, fmt, str::FromStr};

use wippy_wit::{Foreign, Value};

/// What kind of failure it is. The set is closed: every error of every layer maps to one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The thing does not exist.
    NotFound,
    /// The thing exists already.
    AlreadyExists,
    /// The request itself is wrong; repeating it will not help.
    Invalid,
    /// The guard refused.
    PermissionDenied,
    /// It cannot be served now.
    Unavailable,
    /// The callee failed in a way that is its own fault.
    Internal,
    /// It was cancelled.
    Canceled,
    /// It collides with another change.
    Conflict,
    /// The deadline passed.
    Timeout,
    /// Too much at once.
    RateLimited,
    /// Nothing more is known.
    Unknown,
}

impl ErrorKind {
    /// All kinds.
    pub const ALL: [Self; 11] = [
        Self::NotFound,
        Self::AlreadyExists,
        Self::Invalid,
        Self::PermissionDenied,
        Self::Unavailable,
        Self::Internal,
        Self::Canceled,
        Self::Conflict,
        Self::Timeout,
        Self::RateLimited,
        Self::Unknown,
    ];

    /// The name that users see: `NOT_FOUND`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::Invalid => "INVALID",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::Unavailable => "UNAVAILABLE",
            Self::Internal => "INTERNAL",
            Self::Canceled => "CANCELED",
            Self::Conflict => "CONFLICT",
            Self::Timeout => "TIMEOUT",
            Self::RateLimited => "RATE_LIMITED",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// Whether an error of this kind usually goes away by itself.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Unavailable | Self::Timeout | Self::RateLimited)
    }
}

impl FromStr for ErrorKind {
    type Err = ();

    /// Reads the name in any of the forms `NOT_FOUND`, `not_found` and `not-found`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.replace('-', "_").to_ascii_uppercase();
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(())
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A call failed. Carries only what the caller may see: no host paths, no addresses, no engine internals.
#[derive(Debug, Clone, PartialEq)]
pub struct CallError(Box<Inner>);

#[derive(Debug, Clone, PartialEq)]
struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    retryable: bool,
    details: Value,
    /// Where in a script it was raised, innermost first, if that is known.
    stack: Option<String>,
}

impl CallError {
    /// An error of `kind`; whether it can be retried follows the kind.
    #[cold]
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            retryable: kind.is_retryable(),
            details: Value::Nil,
            stack: None,
        }))
    }

    /// The caller's mistake.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// The callee's mistake.
    pub fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// With facts for programs.
    #[must_use]
    pub fn with_details(mut self, details: Value) -> Self {
        self.0.details = details;
        self
    }

    /// With a word on whether to try again, where the source knows better than the kind.
    #[must_use]
    pub fn with_retryable(mut self, retryable: bool) -> Self {
        self.0.retryable = retryable;
        self
    }

    /// With the script's stack.
    #[must_use]
    pub fn with_stack(mut self, stack: impl Into<String>) -> Self {
        self.0.stack = Some(stack.into());
        self
    }

    /// With something said before the message.
    #[must_use]
    pub fn context(mut self, prefix: impl fmt::Display) -> Self {
        self.0.message = format!("{prefix}: {}", self.0.message).into();
        self
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What happened.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Whether trying again may help.
    pub fn retryable(&self) -> bool {
        self.0.retryable
    }

    /// Facts for programs; nil when there are none.
    pub fn details(&self) -> &Value {
        &self.0.details
    }

    /// Where in a script it was raised, if that is known.
    pub fn stack(&self) -> Option<&str> {
        self.0.stack.as_deref()
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for CallError {}

impl Foreign for CallError {
    fn type_name(&self) -> &'static str {
        "error"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn message(&self) -> Option<&str> {
        Some(Self::message(self))
    }
}

impl From<wippy_wit::Error> for CallError {
    /// A value that does not fit is the caller's mistake.
    fn from(error: wippy_wit::Error) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<wippy_registry::Error> for CallError {
    /// What the registry refuses is the caller's mistake, unless its history failed.
    fn from(error: wippy_registry::Error) -> Self {
        use wippy_registry::Error;
        let kind = match &error {
            Error::AlreadyExists(_) => ErrorKind::AlreadyExists,
            Error::NotFound(_) | Error::UnknownVersion(_) => ErrorKind::NotFound,
            Error::History { .. } => ErrorKind::Unavailable,
            Error::Reentrant => ErrorKind::Internal,
            Error::InvalidNamespace { .. }
            | Error::InvalidName { .. }
            | Error::MissingNamespace { .. }
            | Error::DuplicateOperation(_)
            | Error::Rejected(_)
            | Error::InvalidFilter { .. }
            // The error may grow; what is new is refused like the rest.
            | _ => ErrorKind::Invalid,
        };
        Self::new(kind, error.to_string())
    }
}
