//! Looking after a pool while it has something in stock: makes unused instances ahead, drops idle ones.

use std::{
    future::Future,
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use super::{Pool, Pooled};
use crate::CallError;

/// How often a pool is looked after, unless somebody takes something first.
const BEAT: Duration = Duration::from_millis(250);

/// How often it is looked whether there are instances that nobody wants.
const EXPIRY_BEAT: Duration = Duration::from_secs(5);

/// Makes the instances of a pool.
pub trait Maker<T>: Send + Sync + 'static {
    /// Whether one can be made before there is a call for it.
    fn can_make_ahead(&self) -> bool;

    /// Makes one that nobody has used.
    fn make_ahead(&self) -> impl Future<Output = Result<T, CallError>> + Send;
}

impl<T: Pooled> Pool<T> {
    /// Makes the unused instances that are missing.
    ///
    /// # Errors
    /// What kept one from being made. Calls make their own then.
    pub async fn fill(&self, maker: &impl Maker<T>) -> Result<(), CallError> {
        while self.is_short(maker) {
            let instance = maker.make_ahead().await?;
            self.stock.put_unused(Box::new(instance));
        }
        Ok(())
    }

    /// Whether an unused instance is missing and can be made.
    pub fn is_short(&self, maker: &impl Maker<T>) -> bool {
        self.stock.missing() > 0 && maker.can_make_ahead()
    }

    /// What looks after the pool until it has nothing in stock, for whoever has a runtime to spawn it in; nothing if the
    /// pool is looked after already, or need not be. It ends by itself, soon after the pool is gone.
    pub fn tend<M: Maker<T>>(
        self: &Arc<Self>,
        maker: &Arc<M>,
    ) -> Option<impl Future<Output = ()> + Send + 'static> {
        let is_needed = self.has_stock() && self.begin_tending();
        is_needed.then_some(tend(Arc::downgrade(self), Arc::downgrade(maker)))
    }

    /// What drops the wiped instances that nobody wants, as [`tend`](Self::tend).
    pub fn expire(self: &Arc<Self>) -> Option<impl Future<Output = ()> + Send + use<T>> {
        let pool = Arc::downgrade(self);
        self.begin_tending().then_some(async move {
            // Looking first would find nothing while the one that came back is used again.
            loop {
                tokio::time::sleep(EXPIRY_BEAT).await;
                let is_needed = pool.upgrade().is_some_and(|pool| pool.thin_out());
                if !is_needed {
                    return;
                }
            }
        })
    }

    /// Whether somebody should look after the pool, and nobody does. Cheaper than to [look for](Self::tend) work, and to ask
    /// for a runtime to spawn it in: that counts one more holder of it, on a line that all threads share.
    #[inline]
    pub fn needs_tending(&self) -> bool {
        self.has_stock() && !self.is_tended()
    }

    /// Whether somebody looks after the pool already: then there is nothing to spawn.
    #[inline]
    pub fn is_tended(&self) -> bool {
        self.tended.load(Ordering::Relaxed)
    }

    /// Whether nobody looks after the pool yet; from now on somebody does.
    fn begin_tending(&self) -> bool {
        !self.is_tended() && !self.tended.swap(true, Ordering::SeqCst)
    }

    /// Drops what is not needed; false when there is nothing left to look after.
    fn thin_out(&self) -> bool {
        let thin_out = || self.stock.tend(self.places.taken());
        if thin_out() {
            return true;
        }
        self.tended.store(false, Ordering::SeqCst);
        // Something may have come in since; whoever brought it may have seen that somebody looked after it.
        thin_out() && !self.tended.swap(true, Ordering::SeqCst)
    }
}

async fn tend<T: Pooled, M: Maker<T>>(pool: Weak<Pool<T>>, maker: Weak<M>) {
    while let (Some(pool), Some(maker)) = (pool.upgrade(), maker.upgrade()) {
        if let Err(error) = pool.fill(&*maker).await {
            tracing::debug!(target: "wippy", "no instance is made ahead: {error}");
        }
        if !pool.thin_out() {
            return;
        }
        // Whoever takes one need not wait for the beat until there is another.
        let _ = tokio::time::timeout(BEAT, pool.stock.taken.notified()).await;
    }
}
