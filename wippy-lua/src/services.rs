//! [`Services`]: what the program around a script provides.

use std::{fmt, io, sync::Arc};

use crate::World;

/// The terminal that a process may talk to.
///
/// Reading blocks; it is done on a thread made for that. Writing should not block for long.
pub trait Terminal: Send + Sync {
    /// Writes to the standard output.
    ///
    /// # Errors
    /// As the output has them.
    fn write(&self, bytes: &[u8]) -> io::Result<()>;

    /// Writes to the standard error output.
    ///
    /// # Errors
    /// As the output has them.
    fn write_error(&self, bytes: &[u8]) -> io::Result<()>;

    /// Makes sure that what was written is seen.
    ///
    /// # Errors
    /// As the output has them.
    fn flush(&self) -> io::Result<()>;

    /// Reads at most `len` bytes of the standard input; nothing at its end.
    ///
    /// # Errors
    /// As the input has them.
    fn read(&self, len: usize) -> io::Result<Vec<u8>>;

    /// Reads a line of the standard input with its line end; `None` at the input's end.
    ///
    /// # Errors
    /// As the input has them.
    fn read_line(&self) -> io::Result<Option<Vec<u8>>>;

    /// Whether every key arrives as it is pressed, without being shown, rather than lines.
    ///
    /// # Errors
    /// When the input is no terminal, or there is no such thing on this system.
    fn set_raw(&self, _is_raw: bool) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// What the program around a script provides. The dispatcher is not among it: every call's context has its own.
#[derive(Clone, Default)]
pub struct Services {
    /// The terminal. Only processes on a host that has one get it.
    pub terminal: Option<Arc<dyn Terminal>>,
    /// What the script may reach outside of its state.
    pub world: World,
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services")
            .field("terminal", &self.terminal.is_some())
            .field("world", &self.world)
            .finish()
    }
}
