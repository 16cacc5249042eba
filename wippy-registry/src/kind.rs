//! [`Kind`]: what an entry is, `function.wasm`, `http.endpoint` and so on.
//!
//! The type is open, because a snapshot may hold entries of kinds that only an extension knows; loading accepts
//! the kinds of [`Kind::KNOWN`] and tells the kinds that Wippy documents but this runtime leaves out from typos.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The kind of an entry.
#[derive(Clone)]
pub struct Kind(Text);

#[derive(Clone)]
enum Text {
    Known(&'static str),
    Other(Arc<str>),
}

macro_rules! kinds {
    ($($constant:ident = $text:literal,)*) => {
        impl Kind {
            $(
                #[doc = concat!("`", $text, "`")]
                pub const $constant: Self = Self(Text::Known($text));
            )*

            /// The text of every kind that loading accepts, in the order of the documentation.
            pub const KNOWN: &'static [&'static str] = &[$($text),*];
        }
    };
}

kinds! {
    FUNCTION_WAT = "function.wat",
    FUNCTION_WASM = "function.wasm",
    PROCESS_WASM = "process.wasm",
    FUNCTION_LUA = "function.lua",
    PROCESS_LUA = "process.lua",
    LIBRARY_LUA = "library.lua",
    REGISTRY_ENTRY = "registry.entry",
    FS_DIRECTORY = "fs.directory",
    ENV_STORAGE_MEMORY = "env.storage.memory",
    ENV_STORAGE_OS = "env.storage.os",
    ENV_STORAGE_STATIC = "env.storage.static",
    ENV_STORAGE_FILE = "env.storage.file",
    ENV_STORAGE_ROUTER = "env.storage.router",
    ENV_VARIABLE = "env.variable",
    PROCESS_HOST = "process.host",
    TERMINAL_HOST = "terminal.host",
    PROCESS_SERVICE = "process.service",
    HTTP_SERVICE = "http.service",
    HTTP_ROUTER = "http.router",
    HTTP_ENDPOINT = "http.endpoint",
    HTTP_STATIC = "http.static",
    SECURITY_POLICY = "security.policy",
    SECURITY_POLICY_EXPR = "security.policy.expr",
    SECURITY_TOKEN_STORE = "security.token_store",
    STORE_MEMORY = "store.memory",
}

/// Prefixes (ending in `.`) and whole kinds of the public documentation that are left out, with what they are.
const OUT_OF_SCOPE: &[(&str, &str)] = &[
    ("db.", "databases"),
    ("store.sql", "databases"),
    ("store.kv.", "clustering"),
    ("queue.", "queues"),
    ("cloudstorage.", "cloud storage"),
    ("config.aws", "cloud storage"),
    ("temporal.", "Temporal workflows"),
    ("workflow.", "Temporal workflows"),
    ("template.", "templates"),
    ("contract.", "contracts"),
    ("exec.", "command execution"),
    ("ns.", "hub modules"),
    ("module.lua", "hub modules"),
    ("fs.embed", "packs"),
    ("function.lua.bc", "precompiled Lua bytecode"),
    ("library.lua.bc", "precompiled Lua bytecode"),
    ("process.lua.bc", "precompiled Lua bytecode"),
    ("network", "network overlays"),
    ("network.", "network overlays"),
    ("cluster.", "clustering"),
];

impl Kind {
    /// A kind of any name; the names of [`Kind::KNOWN`] do not allocate.
    pub fn new(text: &str) -> Self {
        match Self::KNOWN.iter().find(|known| **known == text) {
            Some(known) => Self(Text::Known(known)),
            None => Self(Text::Other(text.into())),
        }
    }

    /// The kind as written.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Known(text) => text,
            Text::Other(text) => text,
        }
    }

    /// Whether loading accepts entries of this kind.
    pub fn is_known(&self) -> bool {
        matches!(self.0, Text::Known(_))
    }

    /// What the kind belongs to when the public documentation has it and this runtime does not:
    /// `Some("databases")` for `db.sql.sqlite`.
    pub fn out_of_scope(&self) -> Option<&'static str> {
        if self.is_known() {
            return None;
        }
        let text = self.as_str();
        let covers = |pattern: &str| {
            if pattern.ends_with('.') {
                text.strip_prefix(pattern).is_some_and(|rest| !rest.is_empty())
            } else {
                text == pattern
            }
        };
        OUT_OF_SCOPE
            .iter()
            .find(|(pattern, _)| covers(pattern))
            .map(|(_, feature)| *feature)
    }

    /// The first part: `function` of `function.wasm`.
    pub fn family(&self) -> &str {
        self.as_str().split('.').next().unwrap_or_default()
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Kind {}

impl PartialEq<str> for Kind {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Kind {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialOrd for Kind {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kind {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for Kind {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl From<&str> for Kind {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::new(&String::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documented_kinds_are_told_from_typos() {
        assert_eq!(Kind::new("db.sql.sqlite").out_of_scope(), Some("databases"));
        assert_eq!(Kind::new("network").out_of_scope(), Some("network overlays"));
        assert_eq!(Kind::new("function.lua").out_of_scope(), None);
        assert_eq!(Kind::new("functoin.lua").out_of_scope(), None);
        assert_eq!(Kind::new("queue.").out_of_scope(), None);
    }
}
