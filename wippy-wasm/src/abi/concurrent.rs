//! Calls of functions that are lifted asynchronously: their result comes by `task.return`, in up to sixteen core values.
//!
//! How many there are is a part of the type that the engine is called with, so there is one type for each number. A
//! function may also be lifted as others are, which its type does not say: then the only value is a pointer, which the
//! engine follows to [`Lift::linear_lift_from_memory`].

use std::{future::Future, pin::Pin, sync::Arc};

use wasmtime::{
    Store, ValRaw,
    component::{
        __internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext},
        ComponentNamedList, ComponentType, Lift, TypedFunc,
    },
};
use wippy_wit::{MAX_FLAT_PARAMS, Reader, Writer};

use super::{
    Arguments, Export, Lifted, Returned, Running,
    lift::{Lifter, Place, lift_returned},
    with_job,
};
use crate::{concurrent::Session, instance::Invocation, state::GuestState};

/// Calls `export` as [`call`](super::call) does; streams that cross are those of `session`.
pub(crate) fn call<'a>(
    store: &'a mut Store<GuestState>,
    export: &'a Export,
    invocation: Invocation<'a>,
    session: &'a Arc<Session>,
    arguments: &'a mut dyn Reader,
    result: &'a mut dyn Writer,
) -> Pin<Box<dyn Future<Output = wasmtime::Result<Returned>> + Send + 'a>> {
    macro_rules! by_count {
        ($($count:literal)*) => {
            match invocation.method.plan().result.as_ref().map_or(0, |node| node.flat) {
                $($count => Box::pin(session.enter(running::<Direct<$count>>(store, export, invocation, arguments, result))),)*
                _ => Box::pin(session.enter(running::<Indirect>(store, export, invocation, arguments, result))),
            }
        };
    }
    by_count!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)
}

fn running<'a, R>(
    store: &'a mut Store<GuestState>,
    export: &Export,
    invocation: Invocation<'a>,
    arguments: &'a mut dyn Reader,
    result: &'a mut dyn Writer,
) -> Running<impl Future<Output = wasmtime::Result<Lifted>> + Send + use<'a, R>>
where
    R: ComponentNamedList + Lift + Send + 'static,
{
    // SAFETY: the types are dynamic, as for `Export`; the plan says how many values there are.
    let function = unsafe { TypedFunc::<Arguments, R>::new_unchecked(export.function()) };
    let error_contexts = store.data().error_contexts.clone();
    Running::new(
        invocation,
        error_contexts,
        arguments,
        result,
        |params| async move { function.call_async(store, params).await.map(|_| Lifted) },
    )
}

/// A result in `N` core values.
struct Direct<const N: usize>;

/// A result in memory, because it takes more core values than may be returned.
struct Indirect;

/// Nothing is known of a result in memory but where it is: [`lift_indirect`] checks the rest.
const NOTHING: CanonicalAbiInfo = CanonicalAbiInfo::ZERO;

// SAFETY: see the first point of `super`. The plan counts `N` values, and so does the engine, from the same type.
unsafe impl<const N: usize> ComponentType for Direct<N> {
    type Lower = [ValRaw; N];
    const ABI: CanonicalAbiInfo = NOTHING;

    fn typecheck(_: &InterfaceType, _: &InstanceType<'_>) -> wasmtime::Result<()> {
        Ok(())
    }
}

// SAFETY: it stands for a list of results.
unsafe impl<const N: usize> ComponentNamedList for Direct<N> {}

// SAFETY: see the first point of `super`.
unsafe impl<const N: usize> Lift for Direct<N> {
    fn linear_lift_from_flat(
        cx: &mut LiftContext<'_>,
        ty: InterfaceType,
        src: &[ValRaw; N],
    ) -> wasmtime::Result<Self> {
        with_job(|lifting, writer, failed| {
            lift_returned(Lifter::new(cx, lifting, ty), Place::Flat(src), writer, failed)
        })?;
        Ok(Self)
    }

    fn linear_lift_from_memory(
        cx: &mut LiftContext<'_>,
        ty: InterfaceType,
        bytes: &[u8],
    ) -> wasmtime::Result<Self> {
        lift_indirect(cx, ty, bytes)?;
        Ok(Self)
    }
}

// SAFETY: as for `Direct`. It claims one value more than may be returned, so the engine always follows the pointer.
unsafe impl ComponentType for Indirect {
    type Lower = [ValRaw; MAX_FLAT_PARAMS + 1];
    const ABI: CanonicalAbiInfo = NOTHING;

    fn typecheck(_: &InterfaceType, _: &InstanceType<'_>) -> wasmtime::Result<()> {
        Ok(())
    }
}

// SAFETY: it stands for a list of results.
unsafe impl ComponentNamedList for Indirect {}

// SAFETY: see the first point of `super`.
unsafe impl Lift for Indirect {
    fn linear_lift_from_flat(
        _: &mut LiftContext<'_>,
        _: InterfaceType,
        _: &[ValRaw; MAX_FLAT_PARAMS + 1],
    ) -> wasmtime::Result<Self> {
        Err(wasmtime::format_err!(
            "the result has more values than may be returned"
        ))
    }

    fn linear_lift_from_memory(
        cx: &mut LiftContext<'_>,
        ty: InterfaceType,
        bytes: &[u8],
    ) -> wasmtime::Result<Self> {
        lift_indirect(cx, ty, bytes)?;
        Ok(Self)
    }
}

/// Lifts the result that begins where `place`, an empty part of memory, is.
fn lift_indirect(cx: &mut LiftContext<'_>, ty: InterfaceType, place: &[u8]) -> wasmtime::Result<()> {
    with_job(|lifting, writer, failed| {
        let lifter = Lifter::new(cx, lifting, ty);
        let offset = lifter.offset_of(place);
        if let Some(node) = &lifting.invocation.method.plan().result {
            lifter.check(offset, node)?;
        }
        lift_returned(lifter, Place::Memory(offset), writer, failed)
    })
}
