//! Words of a command line as the values that a function takes, and values as text.
//!
//! Where there is a signature it decides: `007` is text for a `string` and the number 7 for a `u8`. Where there is
//! none, a word is JSON if it can be, else text.

use std::sync::Arc;

use serde_json::Value as Json;
use wippy_wit::{Node, Signature, Type, Value, json, wave};

use crate::Failure;

/// The arguments of a function with this signature.
///
/// # Errors
/// Wrong usage, with the usage line of `invocation`, when words are missing, left over, or do not fit their types.
pub(crate) fn typed(
    signature: &Signature,
    words: &[String],
    invocation: &str,
) -> Result<Vec<Value>, Failure> {
    let wrong = |message: String| Failure::Usage {
        message,
        help: Vec::new(),
        usage: Some(format!("{invocation} {}", usage(signature)).trim_end().to_owned()),
    };
    let required = signature
        .params
        .iter()
        .rposition(|(_, ty)| !is_optional(ty))
        .map_or(0, |last| last + 1);
    if words.len() < required || words.len() > signature.params.len() {
        return Err(wrong(wrong_count(signature, required, words.len())));
    }
    let pairs = signature.params.iter().zip(words).enumerate();
    let parse = |(index, ((name, ty), word)): (usize, (&(Arc<str>, Type), &String))| {
        wave::parse_argument(ty, word)
            .map_err(|error| wrong(format!("argument {} ({name}): {error}", index + 1)))
    };
    pairs.map(parse).collect()
}

fn wrong_count(signature: &Signature, required: usize, given: usize) -> String {
    let most = signature.params.len();
    let expected = match (required, most) {
        (_, 0) => "no arguments".to_owned(),
        (1, 1) => "1 argument".to_owned(),
        (least, most) if least == most => format!("{most} arguments"),
        (least, most) => format!("{least} to {most} arguments"),
    };
    format!("`{}` expects {expected}, got {given}", signature.name)
}

/// The arguments of a function that says nothing about them.
pub(crate) fn untyped(words: &[String]) -> Vec<Value> {
    words
        .iter()
        .map(|word| from_json(word).unwrap_or_else(|| Value::from(word.as_str())))
        .collect()
}

fn from_json(word: &str) -> Option<Value> {
    let document = serde_json::from_str(word).ok()?;
    json::to_value(&document).ok()
}

/// The parameters as a usage line shows them: `<name: string> [times: u32]`.
pub(crate) fn usage(signature: &Signature) -> String {
    let each: Vec<String> = signature
        .params
        .iter()
        .map(|(name, ty)| parameter(name, ty))
        .collect();
    each.join(" ")
}

fn parameter(name: &str, ty: &Type) -> String {
    if let Type::Option(some) = ty {
        format!("[{name}: {}]", form(some))
    } else {
        format!("<{name}: {}>", form(ty))
    }
}

/// A type as somebody who types a value wants to see it: the cases of an enum rather than its name.
fn form(ty: &Type) -> String {
    if let Type::Enum { cases, .. } = ty {
        cases.join("|")
    } else {
        ty.to_string()
    }
}

fn is_optional(ty: &Type) -> bool {
    matches!(ty, Type::Option(_))
}

/// What a function gave, as JSON in the form of its type; by its looks where there is no signature.
pub(crate) fn to_json(signature: Option<&Signature>, value: &Value) -> Result<Json, wippy_wit::Error> {
    match signature.and_then(returned) {
        Some(ty) => json::from_typed(&Node::new(ty), value),
        None => json::from_value(value),
    }
}

/// The type of what a caller gets: an error of a `result` never comes as a value.
fn returned(signature: &Signature) -> Option<&Type> {
    if let Some(Type::Result { ok, .. }) = &signature.result {
        ok.as_deref()
    } else {
        signature.result.as_ref()
    }
}

/// What a process gave, for people: strings as they are, everything else as JSON; nothing for nil.
pub(crate) fn display(
    signature: Option<&Signature>,
    value: &Value,
) -> Result<Option<Vec<u8>>, wippy_wit::Error> {
    if let Value::String(bytes) = value {
        return Ok(Some(bytes.to_vec()));
    }
    if value.is_nil() {
        return Ok(None);
    }
    Ok(Some(format!("{:#}", to_json(signature, value)?).into_bytes()))
}
