//! [`Pid`]: the name of one process, for as long as the program runs.

use std::{fmt, hash, str::FromStr, sync::Arc};

use crate::CallError;

/// The name of one process: its host and a number that no other process ever has, `{app:processes|0x0002a}`.
#[derive(Clone)]
pub struct Pid {
    text: Arc<str>,
    serial: u64,
}

impl Pid {
    pub(crate) fn new(host: &str, serial: u64) -> Self {
        Self {
            text: format!("{{{host}|{serial:#07x}}}").into(),
            serial,
        }
    }

    /// The text, as scripts see it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host's id.
    pub fn host(&self) -> &str {
        self.text
            .strip_prefix('{')
            .and_then(|text| text.split_once('|'))
            .map_or("", |(host, _)| host)
    }

    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }
}

/// The number in a text that has the form of a PID. Names of processes never have it.
pub(crate) fn serial_of(text: &str) -> Option<u64> {
    let (host, serial) = text.strip_prefix('{')?.strip_suffix('}')?.split_once('|')?;
    let digits = serial.strip_prefix("0x")?;
    // `from_str_radix` takes a sign, which no PID has.
    if host.is_empty() || digits.starts_with('+') {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

impl FromStr for Pid {
    type Err = CallError;

    /// Reads the form; whether there is such a process is another question.
    fn from_str(text: &str) -> Result<Self, CallError> {
        let serial = serial_of(text).ok_or_else(|| {
            CallError::invalid(format!("`{text}` is no PID: `{{namespace:host|0x00001}}` is one"))
        })?;
        Ok(Self {
            text: text.into(),
            serial,
        })
    }
}

impl PartialEq for Pid {
    fn eq(&self, other: &Self) -> bool {
        self.serial == other.serial && self.text == other.text
    }
}

impl Eq for Pid {}

impl hash::Hash for Pid {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.serial.hash(state);
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
