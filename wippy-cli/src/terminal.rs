//! The terminal of this process, for Lua processes that run as commands.

use std::io::{self, BufRead as _, Read as _, Write as _};

use wippy_lua::Terminal;

/// Standard input and output.
pub(crate) struct StandardTerminal;

impl Terminal for StandardTerminal {
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        io::stdout().lock().write_all(bytes)
    }

    fn write_error(&self, bytes: &[u8]) -> io::Result<()> {
        io::stderr().lock().write_all(bytes)
    }

    fn flush(&self) -> io::Result<()> {
        io::stdout().lock().flush()
    }

    fn read(&self, len: usize) -> io::Result<Vec<u8>> {
        // The length is the script's word; memory is taken only for what comes.
        let mut bytes = vec![0; len.min(64 << 10)];
        let read = io::stdin().lock().read(&mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    fn read_line(&self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let read = io::stdin().lock().read_until(b'\n', &mut line)?;
        Ok((read > 0).then_some(line))
    }
}
