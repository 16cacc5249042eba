//! [`Pattern`]: names of actions and resources with `*` for any run of characters.
//!
//! Nothing but `*` is special, because resource ids contain `/`, `[`, `{` and `?` that richer globs would interpret.
//! Matching takes time linear in the name and no memory.

/// A name, or many: `*`, `app:sum`, `app.api:*`, `*.read`, `https://*/v1/*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pattern {
    Any,
    Exact(Box<str>),
    Glob(Glob),
}

/// The text between the stars: before the first, after the last, and in order in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob {
    prefix: Box<str>,
    middle: Box<[Box<str>]>,
    suffix: Box<str>,
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Self {
        let Some((prefix, rest)) = text.split_once('*') else {
            return Self::Exact(text.into());
        };
        let (middle, suffix) = rest.rsplit_once('*').unwrap_or(("", rest));
        let middle: Box<[Box<str>]> = middle
            .split('*')
            .filter(|part| !part.is_empty())
            .map(Box::from)
            .collect();
        if prefix.is_empty() && middle.is_empty() && suffix.is_empty() {
            return Self::Any;
        }
        Self::Glob(Glob {
            prefix: prefix.into(),
            middle,
            suffix: suffix.into(),
        })
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(text) => **text == *name,
            Self::Glob(glob) => glob.matches(name),
        }
    }
}

impl Glob {
    fn matches(&self, name: &str) -> bool {
        self.inner(name).is_some_and(|inner| self.has_middle(inner))
    }

    /// What stands between prefix and suffix. Comparing with an empty text is left out: it has no address, and some
    /// processors take fifty times as long for a comparison that touches none.
    fn inner<'a>(&self, name: &'a str) -> Option<&'a str> {
        let rest = if self.prefix.is_empty() {
            name
        } else {
            name.strip_prefix(&*self.prefix)?
        };
        if self.suffix.is_empty() {
            Some(rest)
        } else {
            rest.strip_suffix(&*self.suffix)
        }
    }

    /// Taking each part where it first occurs leaves the most for those behind it, so there is no going back.
    fn has_middle(&self, inner: &str) -> bool {
        let mut rest = inner;
        for part in &self.middle {
            let Some((_, behind)) = rest.split_once(&**part) else {
                return false;
            };
            rest = behind;
        }
        true
    }
}
