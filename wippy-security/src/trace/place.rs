//! [`TracePlace`]: a span's place in its trace, and how W3C Trace Context writes it down (`traceparent`).

use std::{
    fmt,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    num::{NonZero, NonZeroU64, NonZeroU128},
    str::FromStr,
};

/// Which span of which trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TracePlace {
    trace: NonZeroU128,
    span: NonZeroU64,
    is_sampled: bool,
}

impl TracePlace {
    /// The header that carries it.
    pub const HEADER: &str = "traceparent";

    /// The first span of a new trace.
    pub fn root(is_sampled: bool) -> Self {
        Self {
            trace: NonZero::new(u128::from(random()) << 64 | u128::from(random()))
                .unwrap_or(NonZeroU128::MIN),
            span: NonZero::new(random()).unwrap_or(NonZeroU64::MIN),
            is_sampled,
        }
    }

    /// A new span of the same trace.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            span: NonZero::new(random()).unwrap_or(NonZeroU64::MIN),
            ..*self
        }
    }

    /// The trace.
    pub fn trace(&self) -> u128 {
        self.trace.get()
    }

    /// The span.
    pub fn span(&self) -> u64 {
        self.span.get()
    }

    /// Whether the trace is recorded.
    pub fn is_sampled(&self) -> bool {
        self.is_sampled
    }
}

/// A number that nobody else has. The standard library keys its hashers randomly, each differently, and without asking the
/// system every time.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01`
impl fmt::Display for TracePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = u8::from(self.is_sampled);
        write!(f, "00-{:032x}-{:016x}-{flags:02x}", self.trace, self.span)
    }
}

impl FromStr for TracePlace {
    type Err = ();

    /// Reads a `traceparent` of this version or a later one, of which only what this one has is looked at.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.trim().split('-');
        let mut hex = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits)?;
            let is_hex = part
                .bytes()
                .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
            is_hex.then(|| u128::from_str_radix(part, 16).ok()).flatten()
        };
        let (version, trace, span, flags) = (hex(2), hex(32), hex(16), hex(2));
        let (Some(version), Some(trace), Some(span), Some(flags)) = (version, trace, span, flags) else {
            return Err(());
        };
        let is_longer = parts.next().is_some();
        if version == 0xff || (version == 0 && is_longer) {
            return Err(());
        }
        let span = u64::try_from(span).map_err(|_| ())?;
        Ok(Self {
            trace: NonZero::new(trace).ok_or(())?,
            span: NonZero::new(span).ok_or(())?,
            is_sampled: flags & 1 == 1,
        })
    }
}
