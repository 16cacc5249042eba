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
        content: &'a Content<'a>,
        /// The hash that the entry gives.
        hash: &'a str,
    },
}

/// A file's content and its hash, which takes longer to find than all the rest when compiled code is at hand: entries that
/// name one file share it.
#[derive(Debug, Clone)]
pub struct Content<'a> {
    bytes: Cow<'a, [u8]>,
    digest: [u8; 32],
    /// The same as entries write it.
    hash: String,
}

impl<'a> Content<'a> {
    /// Hashes `bytes`.
    pub fn new(bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        let bytes = bytes.into();
        let digest = Sha256::digest(&bytes).into();
        Self {
            bytes,
            digest,
            hash: hash_text(&digest),
        }
    }

    /// The hash as entries write it.
    pub fn hash(&self) -> String {
        self.hash.clone()
    }
}

impl<'a> Binary<'a> {
    /// Names what a component is made from, whatever its form: the same source and WIT make the same component.
    ///
    /// # Errors
    /// [`Error::HashMismatch`].
    pub(crate) fn source(self, wit: Option<&str>) -> Result<[u8; 32], Error> {
        let (form, content): (u8, [u8; 32]) = match self {
            Self::Wat(text) => (0, Sha256::digest(text).into()),
            Self::Wasm { content, .. } => {
                self.bytes()?;
                (1, content.digest)
            }
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
            Self::Wasm { content, hash } => {
                if content.hash.eq_ignore_ascii_case(hash) {
                    Ok(Cow::Borrowed(&*content.bytes))
                } else {
                    Err(Error::HashMismatch {
                        expected: hash.to_owned(),
                        actual: content.hash(),
                    })
                }
            }
        }
    }
}

/// The hash of a file as entries write it.
pub fn sha256(bytes: &[u8]) -> String {
    hash_text(&Sha256::digest(bytes).into())
}

fn hash_text(digest: &[u8; 32]) -> String {
    let mut text = "sha256:".to_owned();
    text.push_str(&hex(digest));
    text
}

/// Hexadecimal digits, in lower case.
pub(crate) fn hex(digest: &[u8; 32]) -> String {
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or_default();
    let digits = digest
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    digits.collect()
}

/// The binary of a component.
pub(crate) struct Bytes<'a> {
    pub(crate) bytes: Cow<'a, [u8]>,
    /// Its hash, where it is known already.
    digest: Option<[u8; 32]>,
}

impl Bytes<'_> {
    /// Its hash.
    pub(crate) fn digest(&self) -> [u8; 32] {
        self.digest.unwrap_or_else(|| Sha256::digest(&self.bytes).into())
    }
}

impl<'a> Binary<'a> {
    /// Makes a component of it, whatever it is.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes) and [`component`].
    pub(crate) fn component(self, wit: Option<&str>, method: &str) -> Result<Bytes<'a>, Error> {
        let bytes = component(self.bytes()?, wit, method)?;
        let digest = match (self, &bytes) {
            // Borrowed bytes are the file's own.
            (Self::Wasm { content, .. }, Cow::Borrowed(_)) => Some(content.digest),
            _ => None,
        };
        Ok(Bytes { bytes, digest })
    }
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
