//! Limits: what one instance may take, and what it hears when it takes more.

use std::{fmt, time::Duration};

use wasmtime::ResourceLimiter;

/// What one instance may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Wall time of one call; without it only the caller's deadline holds.
    pub execution: Option<Duration>,
    /// Bytes of all its linear memories together.
    pub memory_bytes: usize,
    /// Elements of any of its tables.
    pub table_elements: usize,
    /// Bytes that one call may make the host copy or allocate.
    pub host_bytes: usize,
    /// Host resources (streams, files, pollables) that it may hold at once.
    pub resources: usize,
    /// Bytes of the head of one HTTP message.
    pub http_header_bytes: usize,
    /// Bytes of the body of one HTTP message that it sends or that it is answered with.
    pub http_body_bytes: u64,
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
}

impl Exceeded {
    /// The limit's name as entries write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Execution(_) => "max_execution_ms",
            Self::Memory(_) => "max_memory_bytes",
            Self::Table(_) => "max_table_elements",
        }
    }

    /// The limit's value, in the unit that its name says.
    pub(crate) fn value(self) -> u64 {
        let value = match self {
            Self::Deadline => return 0,
            Self::Execution(time) => return u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            Self::Memory(value) | Self::Table(value) => value,
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

/// Counts what an instance holds and stops it at its limits.
#[derive(Debug)]
pub(crate) struct Meter {
    memory_limit: usize,
    table_limit: usize,
    memory_used: usize,
}

impl Meter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            memory_limit: limits.memory_bytes,
            table_limit: limits.table_elements,
            memory_used: 0,
        }
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
        let used = self.memory_used.saturating_sub(current).saturating_add(desired);
        if used > self.memory_limit {
            return Err(Exceeded::Memory(self.memory_limit).into());
        }
        self.memory_used = used;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        if desired > self.table_limit {
            return Err(Exceeded::Table(self.table_limit).into());
        }
        Ok(true)
    }
}
