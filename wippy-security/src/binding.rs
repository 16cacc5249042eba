//! [`Binding`]: a function as one execution holds it, so that its calls share what only that execution may have.

use std::sync::{Arc, atomic::Ordering};

use wippy_wit::{Reader, Writer};

use crate::{
    Call, CallError, CallFuture, Calling, Context, Handler, Permit,
    calling::Callee,
    dispatcher::{Function, admit},
};

/// A callee as one execution holds it. It may keep what a call needs, such as a warm instance, for the next one.
///
/// Everything kept is dropped with the bound callee, which whoever holds it does when the execution ends.
pub trait Bound: Send {
    /// Runs one call, like [`Handler::invoke`].
    fn call<'a>(&'a mut self, permit: Permit, call: Call<'a>) -> CallFuture<'a>;
}

/// A function with what one execution keeps for calling it. It is as strict as [`Dispatcher::call`] and cheaper when
/// a function is called again and again: nothing is looked up, shared or locked on the way.
///
/// [`Dispatcher::call`]: crate::Dispatcher::call
pub struct Binding {
    function: Arc<Function>,
    /// Which handler of the function is bound.
    generation: u64,
    callee: Option<BoundCallee>,
}

enum BoundCallee {
    Bound(Box<dyn Bound>),
    Handler(Arc<dyn Handler>),
}

impl Binding {
    /// A binding that holds nothing yet.
    pub fn new(function: Arc<Function>) -> Self {
        Self {
            function,
            generation: 0,
            callee: None,
        }
    }

    /// The function.
    pub fn function(&self) -> &Arc<Function> {
        &self.function
    }

    /// Gives up everything that is kept. An execution that ends does this.
    pub fn release(&mut self) {
        self.callee = None;
    }

    /// Calls the function for `context`, which is that of the execution.
    ///
    /// # Errors
    /// As [`Dispatcher::call`](crate::Dispatcher::call).
    pub fn call<'a>(
        &'a mut self,
        context: &'a Context,
        arguments: &'a mut dyn Reader,
        result: &'a mut dyn Writer,
    ) -> Result<Calling<'a>, CallError> {
        let permit = admit(context, self.function.id())?;
        // The generation is read before the handler: at worst, a handler is bound twice.
        let generation = self.function.generation.load(Ordering::Acquire);
        if self.callee.is_none() || self.generation != generation {
            let handler = self.function.handler()?;
            self.callee = Some(match handler.clone().bind() {
                Some(bound) => BoundCallee::Bound(bound),
                None => BoundCallee::Handler(handler),
            });
            self.generation = generation;
        }
        let call = Call {
            context,
            arguments,
            result,
        };
        let future = match &mut self.callee {
            Some(BoundCallee::Bound(bound)) => bound.call(permit, call),
            Some(BoundCallee::Handler(handler)) => CallFuture::Boxed(handler.clone().invoke(permit, call)),
            None => return Err(CallError::internal("a function was not bound")),
        };
        Ok(Calling::new(
            future,
            context.deadline(),
            Callee::Function(&self.function),
        ))
    }
}

impl std::fmt::Debug for Binding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Binding")
            .field("function", &self.function)
            .finish_non_exhaustive()
    }
}
