//! [`Passed`]: a string, or a list of bytes, that a guest passes to a function of the host, looked at where it is; and
//! [`Given`]: one that it is given.

use std::{marker::PhantomData, mem::MaybeUninit, ops::Range, ptr::NonNull};

use wasmtime::{
    StoreContextMut, ValRaw,
    component::{
        __internal::{
            CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext, LowerContext,
            wasmtime_environ::component::StringEncoding,
        },
        ComponentType, Lift, Lower,
    },
};
use wippy_wit::accept::is_utf8;

use super::out_of_bounds;
use crate::{state::GuestState, text::Text};

/// An argument of a function that a guest imports: `str` for a `string`, `[u8]` for a `list<u8>`. It is checked when it is
/// lifted, and only copied if it is a string that is not in UTF-8.
///
/// It is for functions that are linked with `func_wrap` or `func_wrap_async`, which have the guest's store until they return:
/// the guest runs on after that. None of them keeps one, or runs the guest itself.
pub(crate) struct Passed<T: ?Sized> {
    bytes: Bytes,
    _type: PhantomData<fn() -> Box<T>>,
}

pub(super) enum Bytes {
    /// In the guest's memory.
    There(NonNull<[u8]>),
    /// Decoded from another encoding.
    Here(String),
}

impl Bytes {
    pub(super) fn none() -> Self {
        Self::There(NonNull::from(&[]))
    }

    /// The bytes.
    ///
    /// # Safety
    /// They are not read after this is dropped, nor once the guest does not wait any more.
    pub(super) unsafe fn forever(&self) -> &'static [u8] {
        match self {
            // SAFETY: see the fifth point of `super`. They were in bounds when the guest called, and it waits since then, so its
            // memory has neither moved nor been written to.
            Self::There(bytes) => unsafe { bytes.as_ref() },
            // SAFETY: by the caller.
            Self::Here(text) => unsafe { NonNull::from(text.as_bytes()).as_ref() },
        }
    }
}

// SAFETY: see the third point of `super`; the guest's memory goes along with its store, without which nothing is read; see `Passed::bytes`.
unsafe impl<T: ?Sized> Send for Passed<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized> Sync for Passed<T> {}

impl<T: ?Sized> Passed<T> {
    /// The bytes, for as long as the store is not used for anything else.
    pub(crate) fn bytes<'a>(&'a self, _store: &'a StoreContextMut<'_, GuestState>) -> &'a [u8] {
        // SAFETY: this is borrowed for as long as they are read, and the guest's store, too, so that it waits.
        unsafe { self.bytes.forever() }
    }

    pub(super) fn into_bytes(self) -> Bytes {
        self.bytes
    }

    fn there(cx: &mut LiftContext<'_>, range: Range<usize>) -> wasmtime::Result<NonNull<[u8]>> {
        let bytes = cx.memory().get(range).ok_or_else(out_of_bounds)?;
        cx.consume_fuel(bytes.len())?;
        Ok(NonNull::from(bytes))
    }
}

/// The two types that can be passed.
pub(crate) trait Passable {
    /// Whether a guest's type is this one.
    fn typecheck(ty: InterfaceType, types: &InstanceType<'_>) -> wasmtime::Result<()>;

    /// Checks what lies in a range of memory, or decodes it.
    fn lift(cx: &mut LiftContext<'_>, slots: [ValRaw; 2]) -> wasmtime::Result<Passed<Self>>;
}

fn range([pointer, length]: [ValRaw; 2]) -> Range<usize> {
    let (pointer, length) = (pointer.get_u32() as usize, length.get_u32() as usize);
    pointer..pointer.saturating_add(length)
}

impl Passable for str {
    fn typecheck(ty: InterfaceType, types: &InstanceType<'_>) -> wasmtime::Result<()> {
        <Self as ComponentType>::typecheck(&ty, types)
    }

    fn lift(cx: &mut LiftContext<'_>, slots: [ValRaw; 2]) -> wasmtime::Result<Passed<Self>> {
        let bytes = if cx.options().string_encoding == StringEncoding::Utf8 {
            let bytes = Passed::<Self>::there(cx, range(slots))?;
            // SAFETY: it was just made of a reference, and nothing has happened since.
            if !is_utf8(unsafe { bytes.as_ref() }) {
                return Err(wasmtime::format_err!(
                    "a string that the guest passes is not UTF-8"
                ));
            }
            Bytes::There(bytes)
        } else {
            Bytes::Here(String::linear_lift_from_flat(cx, InterfaceType::String, &slots)?)
        };
        Ok(Passed {
            bytes,
            _type: PhantomData,
        })
    }
}

impl Passable for [u8] {
    fn typecheck(ty: InterfaceType, types: &InstanceType<'_>) -> wasmtime::Result<()> {
        <Self as ComponentType>::typecheck(&ty, types)
    }

    fn lift(cx: &mut LiftContext<'_>, slots: [ValRaw; 2]) -> wasmtime::Result<Passed<Self>> {
        Ok(Passed {
            bytes: Bytes::There(Passed::<Self>::there(cx, range(slots))?),
            _type: PhantomData,
        })
    }
}

// SAFETY: see the first point of `super`. Strings and lists are a pointer and a length, both of 32 bits, and that is what `Lower` and `ABI` say.
unsafe impl<T: Passable + ?Sized> ComponentType for Passed<T> {
    type Lower = [ValRaw; 2];
    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::POINTER_PAIR;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> wasmtime::Result<()> {
        T::typecheck(*ty, types)
    }
}

// SAFETY: as above; what the guest says is checked.
unsafe impl<T: Passable + ?Sized> Lift for Passed<T> {
    fn linear_lift_from_flat(
        cx: &mut LiftContext<'_>,
        _: InterfaceType,
        src: &[ValRaw; 2],
    ) -> wasmtime::Result<Self> {
        T::lift(cx, *src)
    }

    fn linear_lift_from_memory(
        cx: &mut LiftContext<'_>,
        _: InterfaceType,
        bytes: &[u8],
    ) -> wasmtime::Result<Self> {
        let ([pointer, length], []) = bytes.as_chunks::<4>() else {
            return Err(out_of_bounds());
        };
        let slot = |bytes: &[u8; 4]| ValRaw::u32(u32::from_le_bytes(*bytes));
        T::lift(cx, [slot(pointer), slot(length)])
    }
}

/// A string, or a list of bytes, that a function of the host returns.
pub(crate) struct Given<T: ?Sized> {
    /// As `T` says.
    text: Text,
    _type: PhantomData<fn() -> Box<T>>,
}

impl<T: ?Sized> Given<T> {
    fn new(text: Text) -> Self {
        Self {
            text,
            _type: PhantomData,
        }
    }
}

/// The two types that can be given.
pub(crate) trait Givable: Lower {
    /// `text` as one; nothing if it is none.
    fn given(text: Text) -> Option<Given<Self>>;

    /// What it is.
    fn of(given: &Given<Self>) -> &Self;
}

impl Givable for str {
    fn given(text: Text) -> Option<Given<Self>> {
        is_utf8(text.bytes()).then(|| Given::new(text))
    }

    fn of(given: &Given<Self>) -> &Self {
        // SAFETY: only `given` makes one, after it has looked.
        unsafe { str::from_utf8_unchecked(given.text.bytes()) }
    }
}

impl Givable for [u8] {
    fn given(text: Text) -> Option<Given<Self>> {
        Some(Given::new(text))
    }

    fn of(given: &Given<Self>) -> &Self {
        given.text.bytes()
    }
}

// SAFETY: it is lowered as what it is, which says how.
unsafe impl<T: Givable + ?Sized> ComponentType for Given<T> {
    type Lower = T::Lower;
    const ABI: CanonicalAbiInfo = T::ABI;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> wasmtime::Result<()> {
        T::typecheck(ty, types)
    }
}

// SAFETY: as above.
unsafe impl<T: Givable + ?Sized> Lower for Given<T> {
    fn linear_lower_to_flat<U>(
        &self,
        cx: &mut LowerContext<'_, U>,
        ty: InterfaceType,
        dst: &mut MaybeUninit<Self::Lower>,
    ) -> wasmtime::Result<()> {
        T::of(self).linear_lower_to_flat(cx, ty, dst)
    }

    fn linear_lower_to_memory<U>(
        &self,
        cx: &mut LowerContext<'_, U>,
        ty: InterfaceType,
        offset: usize,
    ) -> wasmtime::Result<()> {
        T::of(self).linear_lower_to_memory(cx, ty, offset)
    }
}
