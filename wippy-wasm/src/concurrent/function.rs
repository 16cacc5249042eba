//! Functions whose methods are asynchronous or have streams.

use wippy_security::{Call, CallError};

use super::{call, is_settled, tail::Tail};
use crate::{WasmFunction, deadline::Deadline, instance, pool};

impl WasmFunction {
    /// Runs a call in the instance that its execution keeps, or a fresh one. If it goes on after it returned, the instance
    /// goes on with it, and counts as a running call until it is done.
    pub(crate) async fn run_concurrently(&self, call: Call<'_>, deadline: Deadline) -> Result<(), CallError> {
        let module = &self.module;
        let Call {
            context,
            arguments,
            result,
        } = call;
        let slot = self.slot(context, deadline).await?;
        pool::look_after(&self.pool, module);
        let at_hand = self.pool.kept(context).or_else(|| self.pool.at_hand(context));
        let mut instance = match at_hand {
            Some(instance) => instance,
            None => Box::new(self.instantiate(context, deadline).await?),
        };
        instance.renew_in(module, &self.pool);
        let (session, outcome) = self::call(
            &mut instance,
            module,
            self.invocation(context),
            context,
            deadline,
            arguments,
            result,
        )
        .await;
        if instance::is_good(&outcome) {
            if is_settled(&mut instance, &session).await {
                if let Some(instance) = self.pool.put_back(context, instance) {
                    self.pool.park(context, instance);
                }
                pool::look_after(&self.pool, module);
            } else {
                let slot = slot.map(|slot| slot.hold(&self.pool));
                Tail::new(module.clone(), session, instance, deadline, slot).start(context);
            }
        }
        outcome.map_err(CallError::from)
    }
}
