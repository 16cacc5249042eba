//! Digests and authentication codes as functions of bytes, and their hexadecimal form.

use std::fmt::Write;

use hmac::{KeyInit, Mac};
use sha2::Digest;

/// The digest of `bytes`.
pub(crate) fn digest<D: Digest>(bytes: &[u8]) -> Vec<u8> {
    D::digest(bytes).to_vec()
}

/// The code of `bytes` under `key`.
pub(crate) fn mac<M: Mac + KeyInit>(key: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut mac = keyed::<M>(key);
    mac.update(bytes);
    mac.finalize().into_bytes().to_vec()
}

/// A code that has its key and nothing else yet.
pub(crate) fn keyed<M: Mac + KeyInit>(key: &[u8]) -> M {
    <M as KeyInit>::new_from_slice(key).expect("an HMAC takes a key of any length")
}

/// Two digits a byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a string does not fail");
            text
        })
}
