//! RSA signatures (PKCS #1 v1.5 with SHA-256) with keys in PEM.

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey},
};
use wippy_security::CallError;

/// Signs `message` with a private key.
///
/// # Errors
/// When `key` is none.
pub(super) fn sign(key: &[u8], message: &[u8]) -> Result<Vec<u8>, CallError> {
    let bad = || {
        CallError::invalid(
            "`key` must be an RSA private key of at least 2048 bits in PEM: `BEGIN PRIVATE KEY` or `BEGIN RSA PRIVATE KEY`",
        )
    };
    let (label, der) = pem(key).ok_or_else(bad)?;
    let pair = match label.as_str() {
        "PRIVATE KEY" => RsaKeyPair::from_pkcs8(&der),
        "RSA PRIVATE KEY" => RsaKeyPair::from_der(&der),
        _ => return Err(bad()),
    };
    let pair = pair.map_err(|_| bad())?;
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
        .map_err(|_| CallError::internal("the message cannot be signed"))?;
    Ok(signature)
}

/// Whether `signature` is one of `message` under a public key.
///
/// # Errors
/// When `key` is none.
pub(super) fn accepts(key: &[u8], message: &[u8], signature: &[u8]) -> Result<bool, CallError> {
    let bad = || {
        CallError::invalid(
            "`key` must be an RSA public key in PEM: `BEGIN PUBLIC KEY` or `BEGIN RSA PUBLIC KEY`",
        )
    };
    let (label, der) = pem(key).ok_or_else(bad)?;
    let der = match label.as_str() {
        "RSA PUBLIC KEY" => der.as_slice(),
        "PUBLIC KEY" => subject_key(&der).ok_or_else(bad)?,
        _ => return Err(bad()),
    };
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der);
    Ok(key.verify(message, signature).is_ok())
}

/// The label and the contents of the first block.
fn pem(text: &[u8]) -> Option<(String, Vec<u8>)> {
    let text = std::str::from_utf8(text).ok()?;
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let body: String = body.split_whitespace().collect();
    Some((label.to_owned(), STANDARD.decode(body).ok()?))
}

/// The algorithm that an RSA key is introduced with: the identifier 1.2.840.113549.1.1.1 and no parameters.
const RSA_ALGORITHM: &[u8] = &[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];

/// The key within a `SubjectPublicKeyInfo` (RFC 5280): a sequence of an algorithm and a string of bits.
fn subject_key(der: &[u8]) -> Option<&[u8]> {
    let (info, _) = element(der, 0x30)?;
    let (algorithm, rest) = element(info, 0x30)?;
    let (bits, _) = element(rest, 0x03)?;
    let (unused, key) = bits.split_first()?;
    (algorithm == RSA_ALGORITHM && *unused == 0).then_some(key)
}

/// The contents of the DER element that `der` begins with, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (len, rest) = rest.split_first()?;
    let (len, rest) = match usize::from(*len) {
        len @ 0..0x80 => (len, rest),
        long => {
            let (digits, rest) = rest.split_at_checked(long - 0x80)?;
            let digits = digits.get(..digits.len().min(5))?;
            let len = digits
                .iter()
                .fold(0_usize, |len, digit| (len << 8) | usize::from(*digit));
            (len, rest)
        }
    };
    (*found == tag).then(|| rest.split_at_checked(len))?
}
