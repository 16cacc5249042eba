//! [`Phases`]: when a traced call had its arguments in the guest, and when it had its result there.

use std::{cell::Cell, time::Instant};

use wippy_security::{Context, ErrorKind, Span};

/// The parts of one call. Only calls that are traced have them.
pub(super) struct Phases {
    begun: Instant,
    lowered: Cell<Option<Instant>>,
    ran: Cell<Option<Instant>>,
}

impl Phases {
    /// A call begins.
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            lowered: Cell::default(),
            ran: Cell::default(),
        }
    }

    /// Its arguments are in the guest.
    pub(super) fn lowered(&self) {
        self.lowered.set(Some(Instant::now()));
    }

    /// The guest has come to its end.
    pub(super) fn ran(&self) {
        self.ran.set(Some(Instant::now()));
    }

    /// The call has ended: tells of its parts. The last that was begun is the one that failed, if one did.
    pub(super) fn tell(&self, context: &Context, has_failed: bool) {
        let ended = Instant::now();
        let (lowered, ran) = (self.lowered.get(), self.ran.get());
        let parts = [
            ("lower", Some(self.begun), lowered),
            ("run", lowered, ran),
            ("lift", ran, None),
        ];
        for (name, begun, end) in parts {
            let Some(begun) = begun else { return };
            let failure = (has_failed && end.is_none()).then_some(ErrorKind::Internal);
            Span::tell(context, name, begun, end.unwrap_or(ended), failure);
        }
    }
}
