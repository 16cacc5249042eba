//! [`Object`]: a thing with methods that lives on the other side, such as a resource of a WebAssembly instance.

use std::{any::Any, fmt, sync::Arc};

use async_trait::async_trait;
use wippy_registry::EntryId;
use wippy_wit::Foreign;

use crate::{Call, CallError, CallFuture, Permit};

/// A thing with methods. Like a [`Handler`](crate::Handler), it is only called with a permit.
#[async_trait]
pub trait Object: Any + Send + Sync + fmt::Debug {
    /// The entry whose function made it: calling its methods takes the same permission.
    fn entry(&self) -> &EntryId;

    /// What messages call it: `resource counter`.
    fn type_name(&self) -> &str;

    /// Whether it has a method of that name, in either case convention.
    fn has_method(&self, name: &str) -> bool;

    /// A number that only objects with the same methods have, if there is one: who knows what one has need not ask again.
    fn class(&self) -> Option<u64> {
        None
    }

    /// Calls a method. What is returned fails like [`Handler::invoke`](crate::Handler::invoke); also when the object is
    /// closed.
    fn invoke<'a>(&'a self, permit: Permit, method: &'a str, call: Call<'a>) -> CallFuture<'a>;

    /// Releases what it stands for. Calling it again does nothing.
    ///
    /// # Errors
    /// When the other side fails while it cleans up.
    async fn close(self: Arc<Self>) -> Result<(), CallError>;

    /// For downcasts to the concrete type.
    fn as_any(&self) -> &dyn Any;
}

/// An [`Object`] as a value that can be passed along.
#[derive(Debug, Clone)]
pub struct Handle(Arc<dyn Object>);

impl Handle {
    /// A handle of `object`.
    pub fn new(object: Arc<dyn Object>) -> Self {
        Self(object)
    }

    /// The object.
    pub fn object(&self) -> &Arc<dyn Object> {
        &self.0
    }

    /// The handle in `foreign`, if it is one.
    pub fn of(foreign: &dyn Foreign) -> Option<&Self> {
        foreign.as_any().downcast_ref()
    }
}

impl Foreign for Handle {
    fn type_name(&self) -> &str {
        self.0.type_name()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
