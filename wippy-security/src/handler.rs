//! [`Handler`]: something that can be called by name.

use std::sync::Arc;

use async_trait::async_trait;
use wippy_wit::{Reader, Writer};

use crate::{Bound, CallError, Context, Permit, PoolCounts};

/// One call: who calls, with what, and where the result goes.
pub struct Call<'a> {
    /// The caller's context. What the callee does itself, it does under [`Context::callee`] of it.
    pub context: &'a Context,
    /// The arguments; the cursor stands on their list.
    pub arguments: &'a mut dyn Reader,
    /// Where the result is written: exactly one value, unless the call fails.
    pub result: &'a mut dyn Writer,
}

impl Call<'_> {
    /// The same for less long, for whoever lends something to the call.
    pub fn reborrow(&mut self) -> Call<'_> {
        Call {
            context: self.context,
            arguments: &mut *self.arguments,
            result: &mut *self.result,
        }
    }
}

/// Something that can be called by name: a Lua function, a WebAssembly export, a test double.
#[async_trait]
pub trait Handler: Send + Sync {
    /// Runs one call. The permit proves that the guard allowed it.
    ///
    /// The future may be dropped at any time, which cancels the call: nothing may be left behind.
    ///
    /// # Errors
    /// Whatever went wrong, in the form that the caller may see.
    async fn invoke<'a>(self: Arc<Self>, permit: Permit, call: Call<'a>) -> Result<(), CallError>;

    /// The callee as one execution holds it, if holding on to something makes its calls cheaper.
    fn bind(self: Arc<Self>) -> Option<Box<dyn Bound>> {
        None
    }

    /// The signature, if the callee has a fixed one, in Lua form.
    fn signature(&self) -> Option<String> {
        None
    }

    /// What its pool holds now, if it has one.
    fn pool(&self) -> Option<PoolCounts> {
        None
    }
}
