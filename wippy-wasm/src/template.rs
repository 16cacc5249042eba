//! [`Template`]: what instances are made from: a component with its imports linked.
//!
//! Linking takes longer than a call, and an application may have a hundred entries of one component. What it results in
//! holds functions of the host and nothing of an entry, so entries of one component that grant exactly the same share it;
//! entries that grant anything else have another one. What is an entry's own (limits, mounts, variables) is in the state of
//! each instance.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OnceCell;
use wasmtime::component::InstancePre;

use crate::{
    Error,
    component::Component,
    engine::{Purpose, first_line},
    hosts::Grants,
    reserve::Reserve,
    slots::Place,
    state::GuestState,
};

/// A component with its imports linked.
pub(crate) struct Template {
    grants: Grants,
    pre: InstancePre<GuestState>,
    reserve: Arc<Reserve>,
    /// The same where the engine has more room, once that is needed.
    more: OnceCell<Result<InstancePre<GuestState>, Error>>,
}

/// The templates of a component that are in use, one for each set of grants.
#[derive(Default)]
pub(crate) struct Templates(Mutex<Vec<Weak<Template>>>);

impl Templates {
    /// The template of `component`, whose templates these are, for entries that grant `grants`.
    ///
    /// # Errors
    /// [`Error::Link`] when the engine does not take it.
    pub(crate) fn of(
        &self,
        component: &Component,
        grants: Grants,
        reserve: impl FnOnce() -> Arc<Reserve>,
    ) -> Result<Arc<Template>, Error> {
        let mut templates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut in_use = templates.iter().filter_map(Weak::upgrade);
        if let Some(template) = in_use.find(|template| template.grants == grants) {
            return Ok(template);
        }
        templates.retain(|template| template.strong_count() > 0);
        let template = Arc::new(Template::new(component, grants, reserve())?);
        templates.push(Arc::downgrade(&template));
        Ok(template)
    }
}

impl Template {
    fn new(component: &Component, grants: Grants, reserve: Arc<Reserve>) -> Result<Self, Error> {
        let pre = grants
            .linker(component.compiled.engine(), &component.surface)
            .and_then(|linker| linker.instantiate_pre(&component.compiled))
            .map_err(|error| Error::Link {
                message: first_line(&error),
            })?;
        Ok(Self {
            grants,
            pre,
            reserve,
            more: OnceCell::new(),
        })
    }

    /// What instances of `component`, whose template it is, are made from that live in `place`.
    ///
    /// # Errors
    /// When the machine has no room there.
    pub(crate) async fn at(
        self: &Arc<Self>,
        component: &Arc<Component>,
        place: Place,
    ) -> Result<&InstancePre<GuestState>, Error> {
        // Guests whose work is counted live in no pool.
        if place == Place::First || component.purpose == Purpose::Counting {
            return Ok(&self.pre);
        }
        let more = self.more.get_or_init(async || {
            let (template, component) = (Arc::clone(self), Arc::clone(component));
            // A large pool is reserved when it is the first module that needs more.
            let making = tokio::task::spawn_blocking(move || {
                let link = |engine: &wasmtime::Engine| template.grants.linker(engine, &component.surface);
                template.reserve.instances_of(&component, link)
            });
            making.await.unwrap_or_else(|_| {
                Err(Error::Engine {
                    message: "it is stopping".to_owned(),
                })
            })
        });
        more.await.as_ref().map_err(Clone::clone)
    }
}
