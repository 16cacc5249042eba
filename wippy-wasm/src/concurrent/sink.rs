//! Out of the guest: what it writes into streams and futures that it gave to its caller.
//!
//! Each takes values from the guest as long as there is room for them, so a caller that does not read stops the guest. A
//! caller that went away is what the guest hears at its next write.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context as Waking, Poll},
};

use wasmtime::{
    AsContextMut, StoreContextMut,
    component::{FutureConsumer, Source, StreamConsumer, StreamResult},
};
use wippy_security::Inlet;
use wippy_wit::{Node, Value};

use super::Session;
use crate::{
    abi::flow::{self, Item, Lifted},
    state::GuestState,
};

/// How many bytes one value of a stream of bytes holds at most.
const BYTES_MAX: usize = 64 << 10;

/// Lets the values of everything that was lifted since the last time flow to the caller.
///
/// # Errors
/// When the guest has closed what it gave away.
pub(crate) fn connect(
    session: &Arc<Session>,
    mut store: impl AsContextMut<Data = GuestState>,
) -> wasmtime::Result<()> {
    for lifted in session.take_lifted() {
        let sink = |inlet| Sink {
            inlet,
            session: session.clone(),
        };
        let store = store.as_context_mut();
        match lifted {
            Lifted::Bytes(reader, inlet) => reader.pipe(store, Bytes(sink(inlet)))?,
            Lifted::Items(reader, node, inlet) => reader.pipe(
                store,
                Items {
                    sink: sink(inlet),
                    node,
                },
            )?,
            Lifted::Units(reader, inlet) => reader.pipe(store, Units(sink(inlet)))?,
            Lifted::Future(reader, node, inlet) => reader.pipe(
                store,
                Items {
                    sink: sink(inlet),
                    node,
                },
            )?,
            Lifted::Signal(reader, inlet) => reader.pipe(store, Units(sink(inlet)))?,
        }
    }
    Ok(())
}

/// Where values go.
struct Sink {
    inlet: Inlet,
    session: Arc<Session>,
}

impl Sink {
    /// Waits for room; an answer means that nothing can be taken.
    fn refuses(&self, waking: &mut Waking<'_>, finish: bool) -> Option<Poll<StreamResult>> {
        match self.inlet.poll_room(waking) {
            Poll::Ready(true) => None,
            Poll::Ready(false) => Some(Poll::Ready(StreamResult::Dropped)),
            Poll::Pending if finish => Some(Poll::Ready(StreamResult::Cancelled)),
            Poll::Pending => Some(Poll::Pending),
        }
    }

    fn put(&self, value: Value) -> wasmtime::Result<()> {
        self.inlet.put(value);
        self.session.check()
    }
}

/// A stream of bytes: each value is a string of some of them.
struct Bytes(Sink);

impl StreamConsumer<GuestState> for Bytes {
    type Item = u8;

    fn poll_consume(
        self: Pin<&mut Self>,
        waking: &mut Waking<'_>,
        mut store: StoreContextMut<'_, GuestState>,
        source: Source<'_, u8>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let sink = &self.get_mut().0;
        if let Some(refusal) = sink.refuses(waking, finish) {
            return refusal.map(Ok);
        }
        let mut source = source.as_direct(store.as_context_mut());
        let bytes = source.remaining();
        let bytes = bytes.get(..BYTES_MAX).unwrap_or(bytes);
        let count = bytes.len();
        if count > 0 {
            sink.put(Value::string(bytes))?;
            source.mark_read(count);
        }
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

/// A stream or a future of values.
struct Items {
    sink: Sink,
    node: Arc<Node>,
}

impl Items {
    /// Takes one value, of which `before` came in the same write.
    fn take(
        &self,
        mut store: StoreContextMut<'_, GuestState>,
        source: &mut Source<'_, Item>,
        before: usize,
    ) -> wasmtime::Result<()> {
        let value = flow::read(store.as_context_mut(), source, &self.node, before)?;
        if let Some(value) = value {
            self.sink.put(value)?;
        }
        // Streams may hold streams.
        connect(&self.sink.session, store)
    }
}

impl StreamConsumer<GuestState> for Items {
    type Item = Item;

    fn poll_consume(
        self: Pin<&mut Self>,
        waking: &mut Waking<'_>,
        mut store: StoreContextMut<'_, GuestState>,
        mut source: Source<'_, Item>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let this = self.get_mut();
        if let Some(refusal) = this.sink.refuses(waking, finish) {
            return refusal.map(Ok);
        }
        let mut before = 0;
        while source.remaining(store.as_context_mut()) > 0 {
            if before > 0 && this.sink.refuses(waking, finish).is_some() {
                break;
            }
            this.take(store.as_context_mut(), &mut source, before)?;
            before += 1;
        }
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

impl FutureConsumer<GuestState> for Items {
    type Item = Item;

    fn poll_consume(
        self: Pin<&mut Self>,
        waking: &mut Waking<'_>,
        store: StoreContextMut<'_, GuestState>,
        mut source: Source<'_, Item>,
        finish: bool,
    ) -> Poll<wasmtime::Result<()>> {
        let this = self.get_mut();
        match this.sink.refuses(waking, finish) {
            Some(Poll::Pending) => return Poll::Pending,
            // The value is left where it is: the guest hears that nobody wants it.
            Some(Poll::Ready(_)) if finish => return Poll::Ready(Ok(())),
            Some(Poll::Ready(_)) | None => {}
        }
        this.take(store, &mut source, 0)?;
        this.sink.inlet.end(Ok(()));
        Poll::Ready(Ok(()))
    }
}

/// A stream or a future without values: `true` for each.
struct Units(Sink);

impl Units {
    fn take(
        &self,
        store: StoreContextMut<'_, GuestState>,
        source: &mut Source<'_, ()>,
    ) -> wasmtime::Result<()> {
        let mut unit: Option<()> = None;
        source.read(store, &mut unit)?;
        unit.map_or(Ok(()), |()| self.0.put(Value::Boolean(true)))
    }
}

impl StreamConsumer<GuestState> for Units {
    type Item = ();

    fn poll_consume(
        self: Pin<&mut Self>,
        waking: &mut Waking<'_>,
        mut store: StoreContextMut<'_, GuestState>,
        mut source: Source<'_, ()>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let this = self.get_mut();
        if let Some(refusal) = this.0.refuses(waking, finish) {
            return refusal.map(Ok);
        }
        if source.remaining(store.as_context_mut()) > 0 {
            this.take(store, &mut source)?;
        }
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

impl FutureConsumer<GuestState> for Units {
    type Item = ();

    fn poll_consume(
        self: Pin<&mut Self>,
        waking: &mut Waking<'_>,
        store: StoreContextMut<'_, GuestState>,
        mut source: Source<'_, ()>,
        finish: bool,
    ) -> Poll<wasmtime::Result<()>> {
        let this = self.get_mut();
        match this.0.refuses(waking, finish) {
            Some(Poll::Pending) => return Poll::Pending,
            Some(Poll::Ready(_)) if finish => return Poll::Ready(Ok(())),
            Some(Poll::Ready(_)) | None => {}
        }
        this.take(store, &mut source)?;
        this.0.inlet.end(Ok(()));
        Poll::Ready(Ok(()))
    }
}
