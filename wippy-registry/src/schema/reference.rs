//! [`Reference`]: a place where an entry names another one, and [`Target`]: what may be named there.

use std::fmt;

use crate::id::EntryId;
use crate::kind::Kind;
use crate::source::Span;

/// A place where an entry names another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The field, `lifecycle.requires.0`.
    pub field: String,
    /// The entry named, in full.
    pub id: EntryId,
    /// Where it is named.
    pub span: Span,
    /// What may be named there.
    pub target: Target,
}

/// What a field may refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// Any entry.
    Any,
    /// `fs.*`
    FileSystem,
    /// `env.storage.*`
    EnvStorage,
    /// `env.variable`
    EnvVariable,
    /// `function.*`
    Function,
    /// `process.lua`, `process.wasm`
    Process,
    /// `process.host`, `terminal.host`
    Host,
    /// `library.lua`
    Library,
    /// `http.service`
    Server,
    /// `http.router`
    Router,
    /// `store.*`
    Store,
    /// `security.policy`, `security.policy.expr`
    Policy,
    /// Not an entry: a group that policies name in `groups`.
    PolicyGroup,
}

impl Reference {
    /// Whether what is named has to start first; a policy group is no entry, though an entry may have its id.
    pub fn orders(&self) -> bool {
        self.target != Target::PolicyGroup
    }
}

impl Target {
    /// Whether an entry of the kind may be named.
    pub fn accepts(self, kind: &Kind) -> bool {
        let text = kind.as_str();
        match self {
            Self::Any => true,
            Self::FileSystem => kind.family() == "fs",
            Self::EnvStorage => text.starts_with("env.storage."),
            Self::EnvVariable => *kind == Kind::ENV_VARIABLE,
            Self::Function => kind.family() == "function",
            Self::Process => *kind == Kind::PROCESS_LUA || *kind == Kind::PROCESS_WASM,
            Self::Host => *kind == Kind::PROCESS_HOST || *kind == Kind::TERMINAL_HOST,
            Self::Library => *kind == Kind::LIBRARY_LUA,
            Self::Server => *kind == Kind::HTTP_SERVICE,
            Self::Router => *kind == Kind::HTTP_ROUTER,
            Self::Store => kind.family() == "store",
            Self::Policy => *kind == Kind::SECURITY_POLICY || *kind == Kind::SECURITY_POLICY_EXPR,
            Self::PolicyGroup => false,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Any => "an entry",
            Self::FileSystem => "an `fs.*` entry",
            Self::EnvStorage => "an `env.storage.*` entry",
            Self::EnvVariable => "an `env.variable` entry",
            Self::Function => "a `function.*` entry",
            Self::Process => "a `process.lua` or `process.wasm` entry",
            Self::Host => "a `process.host` or `terminal.host` entry",
            Self::Library => "a `library.lua` entry",
            Self::Server => "an `http.service` entry",
            Self::Router => "an `http.router` entry",
            Self::Store => "a `store.*` entry",
            Self::Policy => "a `security.policy` or `security.policy.expr` entry",
            Self::PolicyGroup => "a policy group",
        })
    }
}
