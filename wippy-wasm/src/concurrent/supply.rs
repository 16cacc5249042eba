//! Into the guest: what it reads from streams and futures that its caller gave it.
//!
//! Each takes values out of a channel when the guest wants some, and checks them by the mapping. A value that does not fit
//! fails the call as an argument does that does not fit.

use std::{
    io::Write as _,
    pin::Pin,
    sync::Arc,
    task::{Context as Waking, Poll},
};

use wasmtime::{
    StoreContextMut,
    component::{Destination, FutureProducer, StreamProducer, StreamResult, VecBuffer},
};
use wippy_security::{CallError, Outlet};
use wippy_wit::{Error, Node, Value, ValueReader, typed};

use crate::abi::flow::Item;

/// How many values one read hands over at most.
const VALUES_MAX: usize = 64;

/// How many bytes are handed over at once where the reader does not say how many it wants.
const BYTES_MAX: usize = 64 << 10;

/// What comes out of a channel, counted for messages.
struct Channel {
    outlet: Outlet,
    taken: usize,
}

/// What a channel has to say.
enum Next {
    Value(Value),
    End,
    Nothing,
}

impl Channel {
    fn new(outlet: Outlet) -> Self {
        Self { outlet, taken: 0 }
    }

    fn next(&mut self, waking: &mut Waking<'_>) -> wasmtime::Result<Next> {
        Ok(match self.outlet.poll_next(waking) {
            Poll::Ready(Some(Ok(value))) => {
                self.taken += 1;
                Next::Value(value)
            }
            Poll::Ready(Some(Err(error))) => return Err(error.into()),
            Poll::Ready(None) => Next::End,
            Poll::Pending => Next::Nothing,
        })
    }

    /// An error of the value that was taken last.
    #[cold]
    fn unfit(&self, error: &Error) -> wasmtime::Error {
        let place = format!("value {} of a channel", self.taken);
        let error = match error.path().next() {
            None => Error::new(format!("{place}: {}", error.problem())),
            Some(_) => Error::new(format!("{place}: {error}")),
        };
        error.into()
    }
}

/// The answer to a read when there is nothing to hand over.
fn nothing(finish: bool) -> Poll<wasmtime::Result<StreamResult>> {
    if finish {
        Poll::Ready(Ok(StreamResult::Cancelled))
    } else {
        Poll::Pending
    }
}

/// The answer to a read of no elements, which asks whether there are any.
fn readiness(
    channel: &mut Channel,
    waking: &mut Waking<'_>,
    finish: bool,
) -> Poll<wasmtime::Result<StreamResult>> {
    match channel.outlet.poll_ready(waking) {
        Poll::Ready(()) => Poll::Ready(Ok(StreamResult::Completed)),
        Poll::Pending => nothing(finish),
    }
}

/// A stream of values.
pub(crate) struct Items {
    channel: Channel,
    node: Arc<Node>,
}

impl Items {
    pub(crate) fn new(outlet: Outlet, node: Arc<Node>) -> Self {
        Self {
            channel: Channel::new(outlet),
            node,
        }
    }

    fn item(&self, value: &Value) -> wasmtime::Result<Item> {
        let value = typed::value(&self.node, &mut ValueReader::value(value));
        Ok(Item {
            value: value.map_err(|error| self.channel.unfit(&error))?,
            node: self.node.clone(),
        })
    }
}

impl<D> StreamProducer<D> for Items {
    type Item = Item;
    type Buffer = VecBuffer<Item>;

    fn poll_produce<'a>(
        self: Pin<&mut Self>,
        waking: &mut Waking<'_>,
        store: StoreContextMut<'a, D>,
        mut destination: Destination<'a, Item, VecBuffer<Item>>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let this = self.get_mut();
        let wanted = destination.remaining(store).unwrap_or(VALUES_MAX);
        if wanted == 0 {
            return readiness(&mut this.channel, waking, finish);
        }
        let mut items = Vec::new();
        while items.len() < wanted.min(VALUES_MAX) {
            match this.channel.next(waking)? {
                Next::Value(value) => items.push(this.item(&value)?),
                Next::End if items.is_empty() => return Poll::Ready(Ok(StreamResult::Dropped)),
                Next::Nothing if items.is_empty() => return nothing(finish),
                // The next read finds the end again.
                Next::End | Next::Nothing => break,
            }
        }
        destination.set_buffer(items.into());
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

/// A stream of bytes, from the chunks of a channel or from one string.
pub(crate) struct Bytes {
    channel: Option<Channel>,
    chunk: Box<[u8]>,
    /// How many bytes of the chunk are gone.
    used: usize,
}

impl Bytes {
    pub(crate) fn of(bytes: Box<[u8]>) -> Self {
        Self {
            channel: None,
            chunk: bytes,
            used: 0,
        }
    }

    pub(crate) fn from(outlet: Outlet) -> Self {
        Self {
            channel: Some(Channel::new(outlet)),
            ..Self::of(Box::default())
        }
    }

    fn rest(&self) -> &[u8] {
        self.chunk.get(self.used..).unwrap_or_default()
    }

    /// Sees to it that there is something in the chunk.
    fn fill(&mut self, waking: &mut Waking<'_>, finish: bool) -> Poll<wasmtime::Result<StreamResult>> {
        while self.rest().is_empty() {
            let Some(channel) = &mut self.channel else {
                return Poll::Ready(Ok(StreamResult::Dropped));
            };
            match channel.next(waking)? {
                Next::Value(value) => {
                    let chunk = typed::chunk(&mut ValueReader::value(&value));
                    self.chunk = chunk.map_err(|error| channel.unfit(&error))?;
                    self.used = 0;
                }
                Next::End => return Poll::Ready(Ok(StreamResult::Dropped)),
                Next::Nothing => return nothing(finish),
            }
        }
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

impl<D> StreamProducer<D> for Bytes {
    type Item = u8;
    type Buffer = VecBuffer<u8>;

    fn poll_produce<'a>(
        self: Pin<&mut Self>,
        waking: &mut Waking<'_>,
        mut store: StoreContextMut<'a, D>,
        destination: Destination<'a, u8, VecBuffer<u8>>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let this = self.get_mut();
        let filled = this.fill(waking, finish);
        if !matches!(filled, Poll::Ready(Ok(StreamResult::Completed)))
            || destination.remaining(&mut store) == Some(0)
        {
            return filled;
        }
        let capacity = this.rest().len().min(BYTES_MAX);
        let written = destination.as_direct(store, capacity).write(this.rest())?;
        this.used += written;
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

/// A stream without values: whatever is sent is counted.
pub(crate) struct Units(Channel);

impl Units {
    pub(crate) fn new(outlet: Outlet) -> Self {
        Self(Channel::new(outlet))
    }
}

impl<D> StreamProducer<D> for Units {
    type Item = ();
    type Buffer = VecBuffer<()>;

    fn poll_produce<'a>(
        self: Pin<&mut Self>,
        waking: &mut Waking<'_>,
        store: StoreContextMut<'a, D>,
        mut destination: Destination<'a, (), VecBuffer<()>>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let this = self.get_mut();
        if destination.remaining(store) == Some(0) {
            return readiness(&mut this.0, waking, finish);
        }
        Poll::Ready(Ok(match this.0.next(waking)? {
            Next::Value(_) => {
                destination.set_buffer(vec![()].into());
                StreamResult::Completed
            }
            Next::End => StreamResult::Dropped,
            Next::Nothing => return nothing(finish),
        }))
    }
}

/// The one value of a future.
pub(crate) struct One {
    items: Items,
}

impl One {
    pub(crate) fn new(outlet: Outlet, node: Arc<Node>) -> Self {
        Self {
            items: Items::new(outlet, node),
        }
    }
}

impl<D> FutureProducer<D> for One {
    type Item = Item;

    fn poll_produce(
        self: Pin<&mut Self>,
        waking: &mut Waking<'_>,
        _: StoreContextMut<'_, D>,
        finish: bool,
    ) -> Poll<wasmtime::Result<Option<Item>>> {
        let items = &mut self.get_mut().items;
        one(&mut items.channel, waking, finish)?
            .map(|value| value.map(|value| items.item(&value)).transpose())
    }
}

/// A future without a value: anything that is sent resolves it.
pub(crate) struct Signal(Channel);

impl Signal {
    pub(crate) fn new(outlet: Outlet) -> Self {
        Self(Channel::new(outlet))
    }
}

impl<D> FutureProducer<D> for Signal {
    type Item = ();

    fn poll_produce(
        self: Pin<&mut Self>,
        waking: &mut Waking<'_>,
        _: StoreContextMut<'_, D>,
        finish: bool,
    ) -> Poll<wasmtime::Result<Option<()>>> {
        one(&mut self.get_mut().0, waking, finish).map_ok(|value| value.map(drop))
    }
}

/// The value of a future; `None` when the guest does not want it any more.
fn one(
    channel: &mut Channel,
    waking: &mut Waking<'_>,
    finish: bool,
) -> Poll<wasmtime::Result<Option<Value>>> {
    match channel.next(waking) {
        Ok(Next::Value(value)) => Poll::Ready(Ok(Some(value))),
        Ok(Next::Nothing) if finish => Poll::Ready(Ok(None)),
        Ok(Next::Nothing) => Poll::Pending,
        // A future cannot end without its value.
        Ok(Next::End) => Poll::Ready(Err(unresolved().into())),
        Err(error) => Poll::Ready(Err(error)),
    }
}

#[cold]
fn unresolved() -> CallError {
    CallError::invalid("a channel that stands for a future was closed before it gave its value")
}
