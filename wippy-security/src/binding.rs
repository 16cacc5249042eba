//! [`Binding`]: a function as one execution holds it, so that its calls share what only that execution may have.

use std::{
    sync::{Arc, atomic::Ordering},
    task::Waker,
};

use crate::{
    Begun, Call, CallError, CallFuture, Handler, Permit,
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

    /// Calls the function for a context that is that of the execution, and asks the call once how it went, unless it ended at
    /// once or `waker` gives nobody to be woken. What [`Dispatcher::call`](crate::Dispatcher::call) refuses has ended, too.
    #[inline]
    pub fn begin<'a, 'w>(
        &'a mut self,
        call: Call<'a>,
        waker: impl FnOnce() -> Option<&'w Waker>,
    ) -> Begun<'a> {
        let deadline = call.context.deadline();
        let (function, future) = self.future(call);
        Begun::new(future, waker, deadline, Callee::Function(function))
    }

    #[inline]
    fn future<'a>(&'a mut self, call: Call<'a>) -> (&'a Function, Result<CallFuture<'a>, CallError>) {
        let Self {
            function,
            generation: known,
            callee,
        } = self;
        let permit = match admit(call.context, function.id()) {
            Ok(permit) => permit,
            Err(error) => return (function, Err(error)),
        };
        // The generation is read before the handler: at worst, a handler is bound twice.
        let generation = function.generation.load(Ordering::Acquire);
        if callee.is_none() || *known != generation {
            match function.handler() {
                Ok(handler) => *callee = Some(BoundCallee::of(handler)),
                Err(error) => return (function, Err(error)),
            }
            *known = generation;
        }
        let future = match callee {
            Some(BoundCallee::Bound(bound)) => Ok(bound.call(permit, call)),
            Some(BoundCallee::Handler(handler)) => {
                Ok(CallFuture::Boxed(handler.clone().invoke(permit, call)))
            }
            None => Err(CallError::internal("a function was not bound")),
        };
        (function, future)
    }
}

impl BoundCallee {
    fn of(handler: Arc<dyn Handler>) -> Self {
        match handler.clone().bind() {
            Some(bound) => Self::Bound(bound),
            None => Self::Handler(handler),
        }
    }
}

impl std::fmt::Debug for Binding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Binding")
            .field("function", &self.function)
            .finish_non_exhaustive()
    }
}
