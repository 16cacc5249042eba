//! Limits: what one instance may take, and what it hears when it takes more.

use std::{fmt, time::Duration};

use wasmtime::ResourceLimiter;

use crate::{census::Resident, engine::EPOCH_TICK};

/// What one instance may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Wall time of one call; without it only the caller's deadline holds.
    pub execution: Option<Duration>,
    /// Bytes of all its linear memories together.
    pub memory_bytes: usize,
    /// Elements of all its tables together.
    pub table_elements: usize,
    /// Bytes that one crossing may make the host copy or allocate: a call's result, the arguments of a host call.
    pub host_bytes: usize,
    /// Handles (streams, files, pollables, resources of its own) that it may hold at once.
    pub resources: usize,
    /// Bytes of the head of one HTTP message.
    pub http_header_bytes: usize,
    /// Bytes of the body of one HTTP message that it sends or that it is answered with.
    pub http_body_bytes: u64,
    /// Bytes that it may write to the log in one call, and again in every further minute of it.
    pub output_bytes: usize,
    /// Units of work in one call. Counting them makes guests slower, so they are only counted when asked for.
    pub fuel: Option<u64>,
    /// How deep calls may be nested below this entry, if that is less than what holds for all.
    pub call_depth: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            execution: None,
            memory_bytes: 256 << 20,
            table_elements: 100_000,
            host_bytes: 256 << 20,
            resources: 10_000,
            http_header_bytes: 128 << 10,
            http_body_bytes: 1 << 30,
            output_bytes: 1 << 20,
            fuel: None,
            call_depth: None,
        }
    }
}

/// A guest went over one of its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exceeded {
    /// The deadline that the caller set.
    Deadline,
    /// `max_execution_ms`.
    Execution(Duration),
    /// `max_memory_bytes`.
    Memory(usize),
    /// `max_table_elements`.
    Table(usize),
    /// `max_host_bytes`.
    HostBytes(usize),
    /// `max_resources`.
    Resources(usize),
    /// `max_stdout_bytes`.
    Output(usize),
    /// `max_fuel`.
    Fuel(u64),
}

impl Exceeded {
    /// The limit's name as entries write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Execution(_) => "max_execution_ms",
            Self::Memory(_) => "max_memory_bytes",
            Self::Table(_) => "max_table_elements",
            Self::HostBytes(_) => "max_host_bytes",
            Self::Resources(_) => "max_resources",
            Self::Output(_) => "max_stdout_bytes",
            Self::Fuel(_) => "max_fuel",
        }
    }

    /// The limit's value, in the unit that its name says.
    pub(crate) fn value(self) -> u64 {
        let value = match self {
            Self::Deadline => return 0,
            Self::Execution(time) => return u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            Self::Fuel(fuel) => return fuel,
            Self::Memory(value)
            | Self::Table(value)
            | Self::HostBytes(value)
            | Self::Resources(value)
            | Self::Output(value) => value,
        };
        u64::try_from(value).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::Deadline {
            return f.write_str("the deadline of the call passed");
        }
        write!(f, "the limit `{}` of {} was exceeded", self.name(), self.value())
    }
}

impl std::error::Error for Exceeded {}

/// A result was larger than `max_host_bytes`; said where the limit's value is not at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the result is larger than one call may return")]
pub(crate) struct TooMuch;

/// A guest that failed was not done with that after so many ticks of its engine's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the guest failed, was not done with that within {} ms, and was stopped", EPOCH_TICK.as_millis() * u128::from(*.0))]
pub(crate) struct Lingered(pub(crate) u32);

/// Counts what an instance holds and stops it at its limits.
#[derive(Debug)]
pub(crate) struct Meter {
    memory: Account,
    table: Account,
    /// Only where somebody counts instances.
    resident: Option<Resident>,
}

/// One thing that an instance takes more and more of.
#[derive(Debug)]
struct Account {
    limit: usize,
    used: usize,
}

impl Account {
    fn new(limit: usize) -> Self {
        Self { limit, used: 0 }
    }

    /// Grants growth from `current` to `desired` within the limit. What is granted and then cannot be had still
    /// counts: the engine also reports failures that it never asked about, so nothing could be taken back safely.
    fn grow(&mut self, current: usize, desired: usize) -> bool {
        let more = desired.saturating_sub(current);
        let fits = self.used.saturating_add(more) <= self.limit;
        if fits {
            self.used += more;
        }
        fits
    }
}

impl Meter {
    pub(crate) fn new(limits: &Limits, resident: Option<Resident>) -> Self {
        Self {
            memory: Account::new(limits.memory_bytes),
            table: Account::new(limits.table_elements),
            resident,
        }
    }
}

impl Meter {
    /// Bytes of all memories together.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory.used
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        if self.memory.grow(current, desired) {
            if let Some(resident) = &mut self.resident {
                resident.grow(desired.saturating_sub(current));
            }
            return Ok(true);
        }
        Err(Exceeded::Memory(self.memory.limit).into())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        if self.table.grow(current, desired) {
            return Ok(true);
        }
        Err(Exceeded::Table(self.table.limit).into())
    }
}
