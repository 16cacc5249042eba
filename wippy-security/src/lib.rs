//! Who may call whom: the reference monitor that every call between guests passes.
//!
//! Three properties make it one. It is *always invoked*: a [`Handler`] cannot be called without a [`Permit`], and
//! only the guard makes permits. It is *tamper-proof*: a [`Context`] is immutable and never handed to a guest. It is
//! *small*: this crate decides and hands over, it runs nothing and does no input or output.
//!
//! A call goes [`Dispatcher::call`] → guard → [`Handler::invoke`]. The arguments and the result are cursors
//! ([`wippy_wit::Reader`], [`wippy_wit::Writer`]), so values go straight from the caller's world to the callee's.

mod actor;
mod context;
mod dispatcher;
mod error;
mod guard;
mod handler;
mod object;
mod scope;

pub use actor::Actor;
pub use context::{Context, Execution, Lease, Values};
pub use dispatcher::{Calling, Dispatcher, DispatcherConfig, Function};
pub use error::{CallError, ErrorKind};
pub use guard::{Permit, authorize};
pub use handler::{Call, Handler};
pub use object::{Handle, Object};
pub use scope::{Decision, Scope};
