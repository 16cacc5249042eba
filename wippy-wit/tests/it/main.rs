//! What this crate promises, checked through its public face.

mod accept;
mod document;
mod json;
mod layout;
mod round_trip;
mod signature;
mod wave;

use wippy_wit::{Error, Node, Signature, Type, Value, ValueReader, typed};

/// The type that `text` writes, of which the named parts are defined in `definitions`.
fn ty_with(definitions: &str, text: &str) -> Type {
    let signature = Signature::parse(&format!("{definitions}\nf: func(value: {text});")).unwrap();
    signature.params[0].1.clone()
}

/// The type that `text` writes.
fn ty(text: &str) -> Type {
    ty_with("", text)
}

/// The canonical form of `value`.
fn conform(ty: &Type, value: &Value) -> Result<Value, Error> {
    typed::value(&Node::new(ty), &mut ValueReader::value(value))
}

/// A value written as JSON, which is dense enough for tests.
fn dynamic(json: &str) -> Value {
    wippy_wit::json::to_value(&serde_json::from_str(json).unwrap()).unwrap()
}
