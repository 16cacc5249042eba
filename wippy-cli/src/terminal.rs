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

    #[cfg(unix)]
    fn set_raw(&self, is_raw: bool) -> io::Result<()> {
        raw_mode::set(is_raw)
    }
}

#[cfg(unix)]
mod raw_mode {
    use std::{
        io,
        sync::{Mutex, PoisonError},
    };

    use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

    /// How the terminal was before.
    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

    pub(super) fn set(is_raw: bool) -> io::Result<()> {
        let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
        let input = io::stdin();
        if !is_raw {
            return match before.take() {
                Some(termios) => Ok(tcsetattr(&input, OptionalActions::Flush, &termios)?),
                None => Ok(()),
            };
        }
        let termios = tcgetattr(&input)?;
        let mut raw = termios.clone();
        raw.make_raw();
        tcsetattr(&input, OptionalActions::Flush, &raw)?;
        before.get_or_insert(termios);
        Ok(())
    }
}
