//! [`Identity`]: whom an entry acts for because it says so, rather than because of who called it.

use std::sync::Arc;

use async_trait::async_trait;
use wippy_registry::schema::lifecycle::SecurityContext;

use crate::{
    Actor, Call, CallError, Context, Handler, Permit, Policies, PoolCounts, Process, ProcessFuture, Scope,
    Start,
};

/// An actor and a scope that an entry declares. Both may be missing; what is missing is inherited.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Identity {
    /// Who acts.
    pub actor: Option<Arc<Actor>>,
    /// Under which policies, besides those that are inherited.
    pub scope: Option<Arc<Scope>>,
}

impl Policies {
    /// What an entry's security block stands for: its actor, and the policies it names, alone and by groups.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) when one of the policies or groups does not exist.
    pub fn identity(&self, declared: &SecurityContext) -> Result<Identity, CallError> {
        let names_policies = !declared.groups.is_empty() || !declared.policies.is_empty();
        let scope = if names_policies {
            Some(Arc::new(self.gather(&declared.groups, &declared.policies)?))
        } else {
            None
        };
        let actor = declared.actor.as_ref().map(Actor::declared).transpose()?;
        Ok(Identity {
            actor: actor.map(Arc::new),
            scope,
        })
    }
}

impl Identity {
    /// Whether nothing is declared.
    pub fn is_empty(&self) -> bool {
        self.actor.is_none() && self.scope.is_none()
    }

    /// The context of one that acts under this identity on behalf of `context`: the actor replaces the inherited one,
    /// the policies join the inherited ones. A policy that denied before still does.
    #[must_use]
    pub fn over(&self, context: &Context) -> Context {
        if self.is_empty() {
            return context.clone();
        }
        let actor = self.actor.as_ref().or(context.actor()).cloned();
        let scope = match (&self.scope, context.scope()) {
            (Some(own), Some(inherited)) => Some(Arc::new(inherited.join(own))),
            (own, inherited) => own.as_ref().or(inherited).cloned(),
        };
        context.with_identity(actor, scope)
    }

    /// `handler`, called under this identity instead of its caller's. Whether it may be called at all is still a
    /// question about the caller.
    pub fn around(self, handler: Arc<dyn Handler>) -> Arc<dyn Handler> {
        if self.is_empty() {
            return handler;
        }
        Arc::new(ActsFor {
            identity: self,
            handler,
        })
    }
}

impl Identity {
    /// `process`, run under this identity instead of its spawner's. Whether it may be started at all is still a question
    /// about the spawner.
    pub fn around_process(self, process: Arc<dyn Process>) -> Arc<dyn Process> {
        if self.is_empty() {
            return process;
        }
        Arc::new(RunsFor {
            identity: self,
            process,
        })
    }
}

/// A process that acts for somebody else than its spawner.
struct RunsFor {
    identity: Identity,
    process: Arc<dyn Process>,
}

impl Process for RunsFor {
    fn start(self: Arc<Self>, permit: Permit, start: Start) -> ProcessFuture {
        let context = self.identity.over(&start.context);
        let start = Start { context, ..start };
        self.process.clone().start(permit, start)
    }
}

/// A handler that acts for somebody else than its caller.
struct ActsFor {
    identity: Identity,
    handler: Arc<dyn Handler>,
}

#[async_trait]
impl Handler for ActsFor {
    async fn invoke<'a>(self: Arc<Self>, permit: Permit, call: Call<'a>) -> Result<(), CallError> {
        let context = self.identity.over(call.context);
        let call = Call {
            context: &context,
            arguments: call.arguments,
            result: call.result,
        };
        self.handler.clone().invoke(permit, call).await
    }

    fn signature(&self) -> Option<String> {
        self.handler.signature()
    }

    fn pool(&self) -> Option<PoolCounts> {
        self.handler.pool()
    }
}
