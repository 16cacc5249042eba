//! Streams and futures that cross, and the values in them.
//!
//! The engine reads and writes the elements of a stream by a type that it knows beforehand. Ours are of any type, so
//! [`Item`] claims to take no room: the engine then only says where the elements begin, and plans say the rest.

use std::{cell::RefCell, mem::MaybeUninit, sync::Arc};

use wasmtime::{
    AsContextMut as _, ValRaw,
    component::{
        __internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext, LowerContext},
        ComponentType, FutureReader, Lift, Lower, Source, StreamReader,
    },
};
use wippy_security::{Inlet, Stream};
use wippy_wit::{Error, Foreign, Kind, Node, Value, ValueReader, ValueWriter, accept::Flow};

use super::{
    lift::{Lifter, Lifting, lift_item},
    lower::{self, Lowerer},
};
use crate::{
    concurrent::{Session, supply},
    instance::Invocation,
};

/// A value in a stream or a future.
pub(crate) struct Item {
    pub(crate) value: Value,
    pub(crate) node: Arc<Node>,
}

/// The readable end of what a guest gave, and where its values go.
pub(crate) enum Lifted {
    Bytes(StreamReader<u8>, Inlet),
    Items(StreamReader<Item>, Arc<Node>, Inlet),
    Units(StreamReader<()>, Inlet),
    Future(FutureReader<Item>, Arc<Node>, Inlet),
    Signal(FutureReader<()>, Inlet),
}

/// Takes over the stream or the future that the guest has under `index`; the answer is its end for the caller.
pub(super) fn lift(
    cx: &mut LiftContext<'_>,
    ty: InterfaceType,
    kind: &Kind,
    index: u32,
) -> wasmtime::Result<Arc<dyn Foreign>> {
    let session = Session::current()?;
    let slot = ValRaw::u32(index);
    let (inlet, outlet) = session.open();
    let lifted = match kind {
        Kind::Stream(Some(node)) if matches!(node.kind, Kind::U8) => {
            Lifted::Bytes(StreamReader::linear_lift_from_flat(cx, ty, &slot)?, inlet)
        }
        Kind::Stream(Some(node)) => {
            let reader = StreamReader::linear_lift_from_flat(cx, ty, &slot)?;
            Lifted::Items(reader, node.clone(), inlet)
        }
        Kind::Future(Some(node)) => {
            let reader = FutureReader::linear_lift_from_flat(cx, ty, &slot)?;
            Lifted::Future(reader, node.clone(), inlet)
        }
        Kind::Stream(None) => Lifted::Units(StreamReader::linear_lift_from_flat(cx, ty, &slot)?, inlet),
        _ => Lifted::Signal(FutureReader::linear_lift_from_flat(cx, ty, &slot)?, inlet),
    };
    session.lifted(lifted);
    Ok(Arc::new(Stream::new(outlet)))
}

/// Gives the guest a stream or a future of what `given` gives; the answer is its index.
pub(super) fn lower<T>(
    cx: &mut LowerContext<'_, T>,
    ty: InterfaceType,
    kind: &Kind,
    given: Flow,
) -> wasmtime::Result<u32> {
    let channel = match given {
        Flow::Bytes(bytes) => {
            let stream = StreamReader::new(cx.store.as_context_mut(), supply::Bytes::of(bytes))?;
            return handle(&stream, cx, ty);
        }
        Flow::Channel(channel) => channel,
    };
    let count = if matches!(kind, Kind::Future(_)) {
        1
    } else {
        usize::MAX
    };
    let outlet = Stream::of(&*channel)
        .ok_or_else(|| Error::new("the channel does not end in this process"))?
        .take(count)
        .map_err(|error| Error::new(error.message()))?;
    let store = cx.store.as_context_mut();
    match kind {
        Kind::Stream(Some(node)) if matches!(node.kind, Kind::U8) => {
            let stream = StreamReader::new(store, supply::Bytes::from(outlet))?;
            handle(&stream, cx, ty)
        }
        Kind::Stream(Some(node)) => {
            let stream = StreamReader::new(store, supply::Items::new(outlet, node.clone()))?;
            handle(&stream, cx, ty)
        }
        Kind::Future(Some(node)) => {
            let future = FutureReader::new(store, supply::One::new(outlet, node.clone()))?;
            handle(&future, cx, ty)
        }
        Kind::Stream(None) => {
            let stream = StreamReader::new(store, supply::Units::new(outlet))?;
            handle(&stream, cx, ty)
        }
        _ => {
            let future = FutureReader::new(store, supply::Signal::new(outlet))?;
            handle(&future, cx, ty)
        }
    }
}

/// The guest's index for a readable end, which is the guest's from now on.
fn handle<T, R: Lower + ComponentType<Lower = ValRaw>>(
    reader: &R,
    cx: &mut LowerContext<'_, T>,
    ty: InterfaceType,
) -> wasmtime::Result<u32> {
    let mut index = MaybeUninit::uninit();
    reader.linear_lower_to_flat(cx, ty, &mut index)?;
    // SAFETY: lowering wrote it, or failed.
    Ok(unsafe { index.assume_init() }.get_u32())
}

thread_local! {
    /// The type of the elements that are being read from a guest, and how many of them were read before.
    static READING: RefCell<Option<(Arc<Node>, usize)>> = const { RefCell::new(None) };
}

/// Reads the next element of what the guest writes; `before` elements of the same write were read already.
pub(crate) fn read(
    store: impl wasmtime::AsContextMut,
    source: &mut Source<'_, Item>,
    node: &Arc<Node>,
    before: usize,
) -> wasmtime::Result<Option<Value>> {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            READING.take();
        }
    }
    READING.replace(Some((node.clone(), before)));
    let _reset = Reset;
    let mut item: Option<Item> = None;
    source.read(store, &mut item)?;
    Ok(item.map(|item| item.value))
}

// SAFETY: see the first point of `super`. No room is claimed, so the engine touches no memory for it; it checks the
// guest's buffers by the component's own types.
unsafe impl ComponentType for Item {
    type Lower = [ValRaw; 0];
    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::ZERO;

    fn typecheck(_: &InterfaceType, _: &InstanceType<'_>) -> wasmtime::Result<()> {
        Ok(())
    }
}

// SAFETY: see the first point of `super`; everything is stored by checked slices.
unsafe impl Lower for Item {
    fn linear_lower_to_flat<T>(
        &self,
        _: &mut LowerContext<'_, T>,
        _: InterfaceType,
        _: &mut MaybeUninit<[ValRaw; 0]>,
    ) -> wasmtime::Result<()> {
        Err(wasmtime::format_err!("elements of streams are in memory"))
    }

    fn linear_lower_to_memory<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        offset: usize,
    ) -> wasmtime::Result<()> {
        let session = Session::current()?;
        let invocation = Invocation {
            method: session.method(),
            keeper: None,
            receiver: None,
            trace: None,
        };
        let mut lowerer = Lowerer::new(cx, &invocation, ty);
        lower::store(
            &mut lowerer,
            &self.node,
            &mut ValueReader::value(&self.value),
            offset,
        )
    }

    fn linear_store_list_to_memory<T>(
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        offset: usize,
        items: &[Self],
    ) -> wasmtime::Result<()> {
        for (index, item) in items.iter().enumerate() {
            let before = index.saturating_mul(item.node.size as usize);
            item.linear_lower_to_memory(cx, ty, offset.saturating_add(before))?;
        }
        Ok(())
    }
}

// SAFETY: see the first point of `super`; everything is loaded by checked slices.
unsafe impl Lift for Item {
    fn linear_lift_from_flat(
        _: &mut LiftContext<'_>,
        _: InterfaceType,
        _: &[ValRaw; 0],
    ) -> wasmtime::Result<Self> {
        Err(wasmtime::format_err!("elements of streams are in memory"))
    }

    fn linear_lift_from_memory(
        cx: &mut LiftContext<'_>,
        ty: InterfaceType,
        place: &[u8],
    ) -> wasmtime::Result<Self> {
        let session = Session::current()?;
        let (node, before) = READING
            .with_borrow(Clone::clone)
            .ok_or_else(|| wasmtime::format_err!("an element is lifted outside a read"))?;
        let invocation = Invocation {
            method: session.method(),
            keeper: None,
            receiver: None,
            trace: None,
        };
        let lifting = Lifting {
            invocation: &invocation,
            error_contexts: session.error_contexts(),
        };
        let lifter = Lifter::new(cx, lifting, ty);
        let offset = lifter
            .offset_of(place)
            .saturating_add(before.saturating_mul(node.size as usize));
        let mut writer = ValueWriter::default();
        lift_item(lifter, &node, offset, &mut writer)?;
        Ok(Self {
            value: writer.finish(),
            node,
        })
    }
}
