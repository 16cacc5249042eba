//! Artifacts: from what an entry names to the bytes of a component.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use crate::{Error, core_module};

/// Where an entry's module comes from.
#[derive(Debug, Clone, Copy)]
pub enum Binary<'a> {
    /// The text of a module, core or component.
    Wat(&'a str),
    /// A binary, with the hash it must have: `sha256:` and 64 hexadecimal digits.
    Wasm {
        /// The file's content.
        bytes: &'a [u8],
        /// The hash that the entry gives.
        hash: &'a str,
    },
}

impl<'a> Binary<'a> {
    /// Names what a component is made from, whatever its form: the same source and WIT make the same component.
    ///
    /// # Errors
    /// [`Error::HashMismatch`].
    pub(crate) fn source(self, wit: Option<&str>) -> Result<[u8; 32], Error> {
        let (form, content) = match self {
            Self::Wat(text) => (0, text.as_bytes()),
            Self::Wasm { .. } => (1, &*self.bytes()?),
        };
        let wit = wit.map_or([0; 32], |wit| Sha256::digest(wit).into());
        let source = Sha256::new_with_prefix([form])
            .chain_update(wit)
            .chain_update(content);
        Ok(source.finalize().into())
    }

    /// The binary itself, after its hash was checked.
    ///
    /// # Errors
    /// [`Error::Wat`], [`Error::HashMismatch`].
    pub fn bytes(self) -> Result<Cow<'a, [u8]>, Error> {
        match self {
            Self::Wat(text) => wat::parse_str(text)
                .map(Cow::Owned)
                .map_err(|error| wat_error(text, &error)),
            Self::Wasm { bytes, hash } => {
                let actual = sha256(bytes);
                if actual.eq_ignore_ascii_case(hash) {
                    Ok(Cow::Borrowed(bytes))
                } else {
                    Err(Error::HashMismatch {
                        expected: hash.to_owned(),
                        actual,
                    })
                }
            }
        }
    }
}

/// The hash of a file as entries write it.
pub fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Makes a component of whatever `bytes` are.
///
/// # Errors
/// When a core module has no signature or does not fit it, or when the bytes are neither.
pub(crate) fn component<'a>(
    bytes: Cow<'a, [u8]>,
    wit: Option<&str>,
    method: &str,
) -> Result<Cow<'a, [u8]>, Error> {
    if wasmparser::Parser::is_component(&bytes) {
        return Ok(bytes);
    }
    if !wasmparser::Parser::is_core_wasm(&bytes) {
        return Err(Error::Invalid {
            message: "it is neither a core module nor a component".into(),
        });
    }
    let wit = wit.ok_or_else(|| Error::WitMissing {
        method: method.to_owned(),
    })?;
    core_module::componentize(&bytes, wit).map(Cow::Owned)
}

/// The parser renders its errors for people; this takes the message and the place back out of that.
fn wat_error(source: &str, error: &wat::Error) -> Error {
    let rendered = error.to_string();
    let message = rendered.lines().next().unwrap_or_default().to_owned();
    let place = rendered
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("--> "));
    let offset = place.and_then(|place| {
        let mut parts = place.rsplit(':');
        let column: usize = parts.next()?.trim().parse().ok()?;
        let line: usize = parts.next()?.trim().parse().ok()?;
        let start: usize = source
            .split_inclusive('\n')
            .take(line.checked_sub(1)?)
            .map(str::len)
            .sum();
        Some((start + column.checked_sub(1)?).min(source.len()))
    });
    Error::Wat { message, offset }
}
