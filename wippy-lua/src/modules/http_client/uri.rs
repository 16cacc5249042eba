//! Texts as a part of a URL.

use wippy_security::CallError;

/// A text as it stands in a query or a form.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            b' ' => encoded.push('+'),
            _ => {
                encoded.push('%');
                encoded.extend(hex(byte));
            }
        }
    }
    encoded
}

fn hex(byte: u8) -> [char; 2] {
    [byte >> 4, byte & 15].map(|digit| {
        char::from_digit(digit.into(), 16)
            .unwrap_or('0')
            .to_ascii_uppercase()
    })
}

/// Pairs as a query or a form has them.
pub(super) fn pairs(pairs: &[(String, String)]) -> String {
    let one = |(name, value): &(String, String)| format!("{}={}", encode(name), encode(value));
    let each: Vec<String> = pairs.iter().map(one).collect();
    each.join("&")
}

/// What an encoded text stands for.
///
/// # Errors
/// When a `%` is not followed by two digits.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, CallError> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let value = digit().zip(digit()).map(|(high, low)| high * 16 + low);
                let value = value.and_then(|value| u8::try_from(value).ok());
                value.ok_or_else(|| {
                    CallError::invalid(format!("`{text}`: `%` stands before two hexadecimal digits"))
                })?
            }
            other => other,
        });
    }
    Ok(decoded)
}
