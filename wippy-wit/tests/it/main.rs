//! What this crate promises, checked through its public face.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the arm for all others is what a test is not about"
)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's way to fail, also in its functions"
)]

mod accept;
mod document;
mod json;
mod layout;
mod round_trip;
mod signature;
mod wave;

use proptest::prelude::ProptestConfig;
use wippy_wit::{Error, Node, Signature, Type, Value, ValueReader, typed};

/// A property is tried with so many random values; with a thousandth of them in the interpreter, which is that much slower.
fn cases(cases: u32) -> ProptestConfig {
    let mut config = ProptestConfig::with_cases(cases);
    if cfg!(miri) {
        config.cases = cases / 1000;
        // It would look for a file to note what failed in.
        config.failure_persistence = None;
    }
    config
}

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

#[test]
fn keys_may_be_tables() {
    let key = Value::record([("a", Value::record([("b", Value::Integer(1))]))]);
    let pairs = vec![(key, Value::Integer(2)), (Value::Integer(7), Value::Integer(3))];
    let value = Value::Table(Box::new(wippy_wit::Table {
        array: Vec::new(),
        pairs,
    }));
    assert_eq!(Value::read(&mut ValueReader::value(&value)), Ok(value));
}

#[test]
fn pairs_have_no_order() {
    let (a, b) = (("a", Value::Integer(1)), ("b", Value::Integer(2)));
    assert_eq!(
        Value::record([a.clone(), b.clone()]),
        Value::record([b, a.clone()])
    );
    assert_ne!(
        Value::record([a.clone(), a.clone()]),
        Value::record([a, ("b", Value::Integer(2))])
    );
}
