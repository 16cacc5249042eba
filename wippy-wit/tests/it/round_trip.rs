//! Properties over random types and values: nothing is lost, every error points at its place, nothing panics.

use std::{any::Any, sync::Arc};

use proptest::{collection::vec, prelude::*};
use wippy_wit::{
    Error, Foreign, Node, Table, Type, Value, ValueReader, ValueWriter, arbitrary, json, names, typed, wave,
};

use crate::conform;

proptest! {
    #![proptest_config(crate::cases(10_000))]

    #[test]
    fn canonical_values_stay_as_they_are((ty, value) in arbitrary::ty_and_value()) {
        prop_assert_eq!(conform(&ty, &value), Ok(value.clone()));
        let mut writer = ValueWriter::default();
        typed::conform(&Node::new(&ty), &mut ValueReader::value(&value), &mut writer).unwrap();
        prop_assert_eq!(writer.finish(), value);
    }

    #[test]
    fn every_accepted_form_means_the_same((ty, value) in arbitrary::ty_and_value()) {
        prop_assert_eq!(conform(&ty, &other_form(&ty, &value)), Ok(value));
    }

    #[test]
    fn errors_point_at_the_place((ty, mut value) in arbitrary::ty_and_value(), pick in any::<prop::sample::Index>()) {
        let mut places = Vec::new();
        each_place(&ty, &mut value, "", &mut |_, path| places.push(path.to_owned()));
        let chosen = pick.index(places.len());
        let mut at = 0;
        each_place(&ty, &mut value, "", &mut |place, _| {
            if at == chosen {
                *place = Value::Foreign(Arc::new(Wrong));
            }
            at += 1;
        });
        let error = conform(&ty, &value).unwrap_err();
        prop_assert_eq!(path(&error), places[chosen].as_str(), "{}", error);
        prop_assert!(error.problem().ends_with(", got wrong thing"), "{}", error);
    }

    #[test]
    fn any_value_is_either_refused_or_understood(ty in arbitrary::ty(), value in any_value()) {
        if let Ok(canonical) = conform(&ty, &value) {
            prop_assert_eq!(conform(&ty, &canonical), Ok(canonical.clone()));
            json::from_typed(&Node::new(&ty), &canonical).unwrap();
            wave::print(&ty, &mut ValueReader::value(&canonical)).unwrap();
        }
    }

    #[test]
    fn any_bytes_choose_a_type_and_canonical_values(bytes in vec(any::<u8>(), 0..300)) {
        let mut choices = arbitrary::Choices::new(&bytes);
        let ty = choices.ty();
        for _ in 0..2 {
            let value = choices.value(&ty);
            prop_assert!(value.weight() < 1 << 20, "{ty}: {} bytes", value.weight());
            prop_assert_eq!(conform(&ty, &value), Ok(value));
        }
    }
}

#[test]
fn no_bytes_choose_the_simplest() {
    let mut choices = arbitrary::Choices::new(&[]);
    assert_eq!(choices.ty(), Type::U8);
    for (ty, simplest) in [
        ("string", "\"\""),
        ("list<string>", "[]"),
        ("map<string, u8>", "[]"),
        ("option<u8>", "none"),
        ("result<u8, string>", "ok(0)"),
        ("tuple<u8, bool, list<u8, 2>>", "(0, false, [0, 0])"),
    ] {
        let ty = crate::ty(ty);
        let value = choices.value(&ty);
        assert_eq!(
            wave::print(&ty, &mut ValueReader::value(&value)).as_deref(),
            Ok(simplest)
        );
    }
}

proptest! {
    #![proptest_config(crate::cases(3_000))]

    #[test]
    fn wave_reads_what_it_prints((ty, value) in arbitrary::ty_and_value()) {
        let text = wave::print(&ty, &mut ValueReader::value(&value)).unwrap();
        prop_assert_eq!(wave::parse(&ty, &text), Ok(value), "{}", text);
    }

    #[test]
    fn json_reads_what_it_prints((ty, value) in arbitrary::ty_and_value()) {
        let document = json::from_typed(&Node::new(&ty), &value).unwrap();
        let text = document.to_string();
        // The floats that JSON lacks are printed for people only.
        if text.contains("\"NaN\"") || text.contains("Infinity\"") {
            return Ok(());
        }
        let read = json::to_value(&serde_json::from_str(&text).unwrap()).unwrap();
        prop_assert_eq!(conform(&ty, &read), Ok(value), "{}", text);
    }

    #[test]
    fn arguments_read_what_is_printed((ty, value) in arbitrary::ty_and_value()) {
        let text = match &ty {
            Type::String | Type::Char => value.as_str().unwrap().to_owned(),
            _ => wave::print(&ty, &mut ValueReader::value(&value)).unwrap(),
        };
        prop_assert_eq!(wave::parse_argument(&ty, &text), Ok(value), "{}", text);
    }

    #[test]
    fn text_never_panics(ty in arbitrary::ty(), text in vec(
        prop_oneof![prop::sample::select(b"{}[]()\"'\\:,%-.0189eEnu+ab \n".as_slice()).prop_map(char::from), any::<char>()],
        0..24,
    )) {
        let text = String::from_iter(text);
        let _ = wave::parse(&ty, &text);
        let _ = wave::parse_argument(&ty, &text);
        let _ = wippy_wit::Document::parse(&text);
    }
}

proptest! {
    #![proptest_config(crate::cases(10_000))]

    #[test]
    fn documents_never_panic(words in vec(prop::sample::select(WORDS), 0..24), blank in any::<bool>()) {
        let text = words.join(if blank { " " } else { "" });
        if let Err(error) = wippy_wit::Document::parse(&text) {
            prop_assert!(!error.message.contains('\n'), "{}", error.message);
            prop_assert!(error.offset.is_none_or(|offset| text.is_char_boundary(offset)), "{:?}", error.offset);
        }
    }
}

/// What WIT texts are made of, and what breaks them.
const WORDS: &[&str] = &[
    "interface",
    "world",
    "package",
    "a:b;",
    "x",
    "y",
    "é",
    "{",
    "}",
    "{",
    "}",
    ";",
    ";",
    ":",
    ",",
    "func()",
    "func",
    "(",
    ")",
    "->",
    "record",
    "variant",
    "flags",
    "enum",
    "resource",
    "type",
    "t",
    "=",
    "u8",
    "list<",
    "option<",
    ">",
    "export",
    "import",
    "use",
    "include",
    ".",
    "@since",
    "(version = 1.0.0)",
    "// c\n",
    "/*",
    "*/",
    "\"",
    "%list",
    "async",
    "constructor",
    "static",
    "f: func(x: u8) -> t",
    "record t { x: u8 }",
    "\u{202e}",
    "\n",
];

/// Fits no type.
#[derive(Debug)]
struct Wrong;

impl Foreign for Wrong {
    fn type_name(&self) -> &'static str {
        "wrong thing"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The path that an error's text begins with.
fn path(error: &Error) -> String {
    let text = error.to_string();
    text.strip_suffix(error.problem())
        .unwrap()
        .trim_end_matches(": ")
        .to_owned()
}

/// Visits a value and the values it is made of, outermost last.
fn each_place(ty: &Type, value: &mut Value, path: &str, visit: &mut impl FnMut(&mut Value, &str)) {
    let named = |name: &str| {
        let step = Error::new("").at_field(name).to_string();
        format!("{path}{}", step.trim_end_matches(": "))
    };
    match ty {
        Type::List(inner) | Type::FixedList(inner, _) => {
            for (index, element) in array(value).iter_mut().enumerate() {
                each_place(inner, element, &format!("{path}[{}]", index + 1), visit);
            }
        }
        Type::Tuple(types) => {
            for (index, (ty, element)) in types.iter().zip(array(value)).enumerate() {
                each_place(ty, element, &format!("{path}[{}]", index + 1), visit);
            }
        }
        Type::Record { fields, .. } => {
            for field in fields.iter() {
                if let Some(part) = part(value, &field.name) {
                    each_place(&field.ty, part, &named(&names::snake(&field.name)), visit);
                }
            }
        }
        Type::Map(_, element) => {
            for (key, value) in pairs(value) {
                let path = format!("{path}{}", step(key));
                let Type::Option(some) = &**element else {
                    each_place(element, value, &path, visit);
                    continue;
                };
                if let Some(part) = part(value, "some") {
                    each_place(some, part, &format!("{path}.some"), visit);
                }
                visit(value, &path);
            }
        }
        Type::Option(some) if some.is_nilable() => {
            if let Some(part) = part(value, "some") {
                each_place(some, part, &named("some"), visit);
            }
        }
        Type::Option(some) if !value.is_nil() => return each_place(some, value, path, visit),
        Type::Result { ok, err } => {
            for (name, side) in [("ok", ok), ("err", err)] {
                if let (Some(side), Some(part)) = (side, part(value, name)) {
                    each_place(side, part, &named(name), visit);
                }
            }
        }
        Type::Variant { cases, .. } => {
            let tag = value.get("tag").and_then(Value::as_str).unwrap().to_owned();
            let payload = cases
                .iter()
                .find(|case| *case.name == *tag)
                .and_then(|case| case.payload.as_ref());
            if let (Some(payload), Some(part)) = (payload, part(value, "value")) {
                each_place(payload, part, &named(&tag), visit);
            }
        }
        _ => {}
    }
    visit(value, path);
}

/// How a path names the value under `key` of a map.
fn step(key: &Value) -> String {
    let error = match key {
        Value::Integer(index @ 1..) => Error::new("").at_index(usize::try_from(index - 1).unwrap()),
        Value::Integer(key) => Error::new("").at_field(&key.to_string()),
        Value::Unsigned(key) => Error::new("").at_field(&key.to_string()),
        Value::Boolean(key) => Error::new("").at_field(&key.to_string()),
        key => Error::new("").at_field(key.as_str().unwrap()),
    };
    error.to_string().strip_suffix(": ").unwrap().to_owned()
}

fn pairs(value: &mut Value) -> &mut [(Value, Value)] {
    if let Value::Table(table) = value {
        &mut table.pairs
    } else {
        &mut []
    }
}

fn array(value: &mut Value) -> &mut [Value] {
    if let Value::Table(table) = value {
        &mut table.array
    } else {
        &mut []
    }
}

fn part<'a>(value: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    let Value::Table(table) = value else { return None };
    table
        .pairs
        .iter_mut()
        .find(|(key, _)| key.as_str() == Some(name))
        .map(|(_, value)| value)
}

/// The same value in the other forms that the mapping accepts.
fn other_form(ty: &Type, value: &Value) -> Value {
    let inner = |name: &str, ty: &Type| other_form(ty, value.get(name).unwrap_or(&Value::Nil));
    match (ty, value) {
        // Those that a float holds exactly.
        (_, Value::Integer(number)) if number.unsigned_abs() < 1 << 53 =>
        {
            #[expect(clippy::cast_precision_loss, reason = "checked")]
            Value::Float(*number as f64)
        }
        (Type::List(element), Value::String(bytes)) if **element == Type::U8 => {
            Value::array(bytes.iter().map(|byte| Value::Integer((*byte).into())))
        }
        (Type::Enum { .. }, Value::String(_)) => Value::from(&*names::snake(value.as_str().unwrap())),
        (Type::List(element) | Type::FixedList(element, _), Value::Table(table)) => {
            let array = table
                .array
                .iter()
                .map(|value| other_form(element, value))
                .collect::<Vec<_>>();
            // Without `n` the length ends at the last value; only fixed lengths say where it should have ended.
            let sure = matches!(ty, Type::FixedList(..)) || !matches!(array.last(), Some(Value::Nil));
            let pairs = if sure { Vec::new() } else { table.pairs.clone() };
            Value::Table(Box::new(Table {
                array: trimmed(array),
                pairs,
            }))
        }
        (Type::Tuple(types), Value::Table(table)) => {
            let array = types
                .iter()
                .zip(&table.array)
                .map(|(ty, value)| other_form(ty, value))
                .collect();
            Value::array(trimmed(array))
        }
        (Type::Map(key, element), Value::Table(table)) => {
            let pairs = table.pairs.iter().map(|(name, part)| {
                let part = match &**element {
                    Type::Option(_) if part.get("none").is_some() => Value::Nil,
                    Type::Option(some) => {
                        let payload = part.get("some").unwrap_or(&Value::Nil);
                        Value::record([("some", other_form(some, payload))])
                    }
                    element => other_form(element, part),
                };
                (other_key(key, name), part)
            });
            Value::Table(Box::new(Table {
                array: Vec::new(),
                pairs: pairs.collect(),
            }))
        }
        (Type::Record { fields, .. }, _) => {
            let parts = fields.iter().map(|field| {
                (
                    names::snake(&field.name).into_owned(),
                    inner(&field.name, &field.ty),
                )
            });
            let further = ("neither-here".to_owned(), Value::Boolean(true));
            Value::record(parts.chain([further]))
        }
        (Type::Option(some), Value::Table(_)) if some.is_nilable() => {
            Value::record([("some", inner("some", some))])
        }
        (Type::Option(some), _) if !value.is_nil() => other_form(some, value),
        (Type::Result { ok, err }, _) => {
            let name = if value.get("err").is_some() || value.get("tag").is_some() {
                "err"
            } else {
                "ok"
            };
            let side = if name == "err" { err } else { ok };
            let payload = side.as_ref().map_or(Value::Nil, |side| inner(name, side));
            Value::record([("tag", Value::from(name)), ("value", payload)])
        }
        (Type::Variant { cases, .. }, _) => {
            let case = cases
                .iter()
                .find(|case| value.get("tag").and_then(Value::as_str) == Some(&*case.name))
                .unwrap();
            let name = names::snake(&case.name).into_owned();
            match &case.payload {
                None => Value::from(name),
                // `{tag = "x"}` is the long form, whatever the cases are called.
                Some(payload) if name != "tag" => Value::record([(name, inner("value", payload))]),
                Some(payload) => {
                    Value::record([("tag", Value::from(name)), ("value", inner("value", payload))])
                }
            }
        }
        (Type::Flags { flags, .. }, _) => {
            let set = flags.iter().filter(|flag| value.get(flag).is_some());
            Value::array(set.map(|flag| Value::from(&*names::snake(flag))))
        }
        _ => value.clone(),
    }
}

/// A key as a float, or as a name that spells it.
fn other_key(ty: &Type, key: &Value) -> Value {
    match key {
        Value::Integer(number) if number % 2 == 0 => other_form(ty, key),
        Value::Integer(number) => Value::from(number.to_string()),
        Value::Unsigned(number) => Value::from(number.to_string()),
        Value::Boolean(value) => Value::from(value.to_string()),
        name => name.clone(),
    }
}

/// Without the nils at the end.
fn trimmed(mut array: Vec<Value>) -> Vec<Value> {
    while matches!(array.last(), Some(Value::Nil)) {
        array.pop();
    }
    array
}

/// Values without a type, of words that mean something.
fn any_value() -> BoxedStrategy<Value> {
    let word = prop::sample::select(
        [
            "name",
            "tag-count",
            "tag_count",
            "n",
            "tag",
            "value",
            "some",
            "none",
            "ok",
            "err",
            "x",
            "list",
        ]
        .as_slice(),
    );
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::from),
        (-2_i64..300).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
        vec(any::<u8>(), 0..5).prop_map(Value::string),
    ];
    let key = prop_oneof![
        8 => word.prop_map(Value::from),
        1 => (-1_i64..6).prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        (vec(inner.clone(), 0..4), vec((key.clone(), inner), 0..4))
            .prop_map(|(array, pairs)| Value::Table(Box::new(Table { array, pairs })))
    })
    .boxed()
}
