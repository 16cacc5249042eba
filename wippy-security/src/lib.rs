//! Who may call whom: the reference monitor that every call between guests passes.
//!
//! Three properties make it one. It is *always invoked*: a [`Handler`] cannot be called without a [`Permit`], and
//! only the guard makes permits. It is *tamper-proof*: a [`Context`] is immutable and never handed to a guest. It is
//! *small*: this crate decides and hands over, it runs nothing and does no input or output.
//!
//! What it decides by is a [`Scope`] of [`Policy`]s: compiled once when the application starts, each of them only
//! asked afterwards, and every decision is a record of the audit trail.
//!
//! Processes are reached the same way, through [`Processes`]: what runs on its own, gets messages, and is watched.
//!
//! A call goes [`Dispatcher::call`] → guard → [`Handler::invoke`]. The arguments and the result are cursors
//! ([`wippy_wit::Reader`], [`wippy_wit::Writer`]), so values go straight from the caller's world to the callee's.

mod actor;
mod audit;
mod binding;
mod calling;
mod context;
mod dispatcher;
mod error;
mod guard;
mod handler;
mod identity;
mod metrics;
mod network;
mod object;
mod policies;
mod policy;
mod pool;
mod process;
mod scope;
mod shards;
pub mod stack;
mod store;
mod stream;
mod token;
mod trace;

pub use actor::Actor;
pub use binding::{Binding, Bound};
pub use calling::{Begun, CallFuture, Calling, Resident, ResidentCall};
pub use context::{Attachment, Context, Execution, Lease, Values};
pub use dispatcher::{Dispatcher, DispatcherConfig, Function, Held};
pub use error::{CallError, ErrorKind};
pub use guard::{Permit, allows, authorize, authorize_with};
pub use handler::{Call, Handler};
pub use identity::Identity;
pub use metrics::{CallMetrics, DurationCounts, Durations, PoolCounts, Watch};
pub use network::{Resolver, authorize_address, is_private_address};
pub use object::{Handle, Object};
pub use policies::Policies;
pub use policy::{Effect, Match, Policy, PolicyError, PolicyProblem};
pub use pool::{Maker, OwnSlot, Pool, PoolConfig, Pooled, Ready, Reuse, Slot};
pub use process::{
    Ended, Event, Exit, Host, Launched, Letter, Mailbox, MailboxLimits, Message, Pid, Place, Process,
    ProcessCounts, ProcessFuture, Processes, Record, Running, Spawn, Start, Terminal,
};
pub use scope::{Decision, Explanation, Scope, Verdict};
pub use store::{Condition, MemoryStore, Page, Stored, ValueStore};
pub use stream::{Fate, Gauge, Inlet, Outlet, Stream, StreamWatch, stream};
pub use token::{Grant, TokenStore, TokenStores};
pub use trace::{Span, SpanKind, SpanRecord, TracePlace, Tracer, traced};
