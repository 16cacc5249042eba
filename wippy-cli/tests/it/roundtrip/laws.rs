//! What holds for every type and every value of it.
//!
//! A guest that echoes gives back what it was given, in whichever form: as an owned value, from Lua, from Lua after a
//! wait. In the guest's memory it looks exactly as the engine's own dynamic calls would have put it there. A value with
//! one wrong part is refused with the place of that part, and costs nothing but the call.

#![expect(
    clippy::wildcard_enum_match_arm,
    clippy::indexing_slicing,
    reason = "a test's way to fail, and the arm for all others"
)]

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use wasmtime::{
    Store,
    component::{Component, Instance, Linker, Val},
};
use wippy_security::{Call, CallError, ErrorKind, Handler, Permit};
use wippy_wit::{
    Error, Node, Table, Type, TypeCase, TypeField, Value, ValueReader,
    arbitrary::{self, Choices},
    names, typed,
};

use super::echo::{self, Rig};

/// A type that a component can have, some values of it, and which part of the first of them is made wrong.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) ty: Type,
    pub(crate) values: Vec<Value>,
    /// Counted from the innermost of the first, and further from there.
    pub(crate) pick: usize,
}

/// What `bytes` stand for. All of them stand for something, though those behind the first 4,096 for nothing more.
pub(crate) fn subject_of(bytes: &[u8]) -> Subject {
    let mut choices = Choices::new(bytes.get(..4096).unwrap_or(bytes));
    let ty = with_flags_that_fit(&choices.ty());
    let pick = choices.below(256);
    let many = 1 + choices.below(3);
    let values = (0..many).map(|_| choices.value(&ty)).collect();
    Subject { ty, values, pick }
}

/// Makes the guest for the type and holds it to the laws with each of the values.
pub(crate) fn check(rig: &Rig, subject: &Subject) {
    let Subject { ty, values, pick } = subject;
    let text = arbitrary::document(ty);
    let (definitions, _) = text.rsplit_once("echo: func(").unwrap();
    let component = echo::component(definitions, &ty.to_string());
    for method in ["echo", "image", "flats"] {
        rig.guest(method, &component, method, &[]);
    }
    let theirs = Theirs::new(&component);
    for value in values {
        comes_back(rig, ty, value);
        looks_as_the_engine_has_it(rig, &theirs, ty, value);
    }
    if let Some(value) = values.first() {
        is_refused_at_its_place(rig, ty, value, *pick);
        comes_back(rig, ty, value);
    }
}

/// The same type without the flags beyond the thirty-second, which the component model does not allow.
pub(crate) fn with_flags_that_fit(ty: &Type) -> Type {
    let inner = |ty: &Type| Arc::new(with_flags_that_fit(ty));
    match ty {
        Type::Flags { name, flags } => Type::Flags {
            name: name.clone(),
            flags: flags.iter().take(32).cloned().collect(),
        },
        Type::List(element) => Type::List(inner(element)),
        Type::FixedList(element, length) => Type::FixedList(inner(element), *length),
        Type::Map(key, value) => Type::Map(key.clone(), inner(value)),
        Type::Option(some) => Type::Option(inner(some)),
        Type::Tuple(types) => Type::Tuple(types.iter().map(with_flags_that_fit).collect()),
        Type::Result { ok, err } => Type::Result {
            ok: ok.as_deref().map(inner),
            err: err.as_deref().map(inner),
        },
        Type::Record { name, fields } => Type::Record {
            name: name.clone(),
            fields: fields
                .iter()
                .map(|field| TypeField {
                    name: field.name.clone(),
                    ty: with_flags_that_fit(&field.ty),
                })
                .collect(),
        },
        Type::Variant { name, cases } => Type::Variant {
            name: name.clone(),
            cases: cases
                .iter()
                .map(|case| TypeCase {
                    name: case.name.clone(),
                    payload: case.payload.as_ref().map(with_flags_that_fit),
                })
                .collect(),
        },
        other => other.clone(),
    }
}

/// The application that the laws speak of: `test:relay` is a script that calls the guest, and `test:patient` one that
/// has to wait for it.
pub(crate) fn rig() -> Rig {
    let rig = Rig::new();
    for (name, target) in [("relay", "echo"), ("patient", "late")] {
        let script = format!(
            "local funcs = require('funcs')\n\
             return {{ main = function(...) return funcs.call('test:{target}', ...) end }}"
        );
        rig.script(name, &script);
    }
    rig.insert("late", Arc::new(Late));
    rig
}

/// Calls the guest in its second poll, when the script that asked for it has been suspended.
struct Late;

#[async_trait]
impl Handler for Late {
    async fn invoke<'a>(self: Arc<Self>, _permit: Permit, call: Call<'a>) -> Result<(), CallError> {
        tokio::task::yield_now().await;
        let dispatcher = call.context.dispatcher();
        let function = dispatcher.resolve(&echo::id("echo"))?;
        let calling = dispatcher.call(call.context, &function, call.arguments, call.result)?;
        calling.await
    }
}

/// The value and the numbers behind it.
fn arguments(value: &Value) -> Vec<Value> {
    let padding = 0..i64::try_from(echo::PADDING).unwrap();
    [value.clone()]
        .into_iter()
        .chain(padding.map(Value::Integer))
        .collect()
}

fn comes_back(rig: &Rig, ty: &Type, value: &Value) {
    let canonical = typed::value(&Node::new(ty), &mut ValueReader::value(value)).unwrap();
    let mut sent = Table {
        array: arguments(&canonical),
        pairs: Vec::new(),
    };
    if ty.is_nilable() {
        let n = i64::try_from(sent.array.len()).unwrap();
        sent.pairs.push((Value::from("n"), Value::Integer(n)));
    }
    let sent = Value::Table(Box::new(sent));
    let loose = other_form(ty, value);
    for value in [value, &loose] {
        let owned = rig.call("echo", &arguments(value));
        assert_eq!(owned.as_ref(), Ok(&sent), "an owned value changed on its way");
        for name in ["relay", "patient"] {
            let lua = rig.call(name, &arguments(value));
            assert_eq!(
                lua.map(|value| as_lua_has_it(&value)),
                Ok(as_lua_has_it(&sent)),
                "{name}: a Lua value changed on its way"
            );
        }
    }
}

/// The same value in other forms that the mapping accepts: `snake_case`, floats for integers, arrays for bytes, the
/// short form of variants, arrays of flags, names that spell keys.
fn other_form(ty: &Type, value: &Value) -> Value {
    static NIL: Value = Value::Nil;
    let part = |name: &str, ty: &Type| other_form(ty, value.get(name).unwrap_or(&NIL));
    match (ty, value) {
        #[expect(clippy::cast_precision_loss, reason = "it is small enough")]
        (_, Value::Integer(number)) if number.unsigned_abs() < 1 << 53 => Value::Float(*number as f64),
        (Type::List(element), Value::String(bytes)) if **element == Type::U8 => {
            Value::array(bytes.iter().map(|byte| Value::Integer((*byte).into())))
        }
        (Type::Map(key, element), Value::Table(table)) => {
            let pairs = table.pairs.iter().map(|(name, value)| {
                let value = match &**element {
                    Type::Option(_) if value.get("none").is_some() => value.clone(),
                    Type::Option(some) => {
                        let some = other_form(some, value.get("some").unwrap_or(&NIL));
                        Value::record(Some(("some", some)).filter(|(_, some)| !some.is_nil()))
                    }
                    element => other_form(element, value),
                };
                (other_key(key, name), value)
            });
            Value::Table(Box::new(Table {
                array: Vec::new(),
                pairs: pairs.collect(),
            }))
        }
        (Type::List(element) | Type::FixedList(element, _), Value::Table(table)) => {
            Value::Table(Box::new(Table {
                array: table
                    .array
                    .iter()
                    .map(|value| other_form(element, value))
                    .collect(),
                pairs: table.pairs.clone(),
            }))
        }
        (Type::Tuple(types), Value::Table(table)) => {
            let parts = types.iter().zip(&table.array);
            let mut array: Vec<Value> = parts.map(|(ty, value)| other_form(ty, value)).collect();
            // Where elements can be nil, those at the end may be missing.
            while array.last().is_some_and(Value::is_nil) {
                array.pop();
            }
            Value::array(array)
        }
        (Type::Record { fields, .. }, _) => {
            let parts = fields
                .iter()
                .map(|field| (names::snake(&field.name), part(&field.name, &field.ty)));
            let parts = parts.filter(|(_, value)| !value.is_nil());
            Value::record(parts.map(|(name, value)| (name.into_owned(), value)))
        }
        (Type::Option(some), Value::Table(_)) if some.is_nilable() => {
            let some = part("some", some);
            Value::record(Some(("some", some)).filter(|(_, some)| !some.is_nil()))
        }
        (Type::Option(some), _) if !value.is_nil() => other_form(some, value),
        (Type::Variant { cases, .. }, _) => {
            let tag = text(value.get("tag").unwrap());
            let case = cases.iter().find(|case| *case.name == *tag).unwrap();
            match &case.payload {
                None => Value::from(&*names::snake(&tag)),
                // `{tag = "x"}` is the long form, whatever the cases are called; and a nil leaves no trace.
                Some(ty) if tag != "tag" && value.get("value").is_some() => {
                    Value::record([(names::snake(&tag).into_owned(), part("value", ty))])
                }
                Some(_) => value.clone(),
            }
        }
        (Type::Enum { .. }, _) => Value::from(&*names::snake(&text(value))),
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

/// A table is its pairs, and a nil is no pair: which elements stand in an array is for Lua to say.
fn as_lua_has_it(value: &Value) -> Value {
    let Value::Table(table) = value else {
        return value.clone();
    };
    let elements = (1..).map(Value::Integer).zip(&table.array);
    let named = table.pairs.iter().map(|(key, value)| (key.clone(), value));
    let pairs = elements.chain(named).filter(|(_, value)| !value.is_nil());
    Value::Table(Box::new(Table {
        array: Vec::new(),
        pairs: pairs.map(|(key, value)| (key, as_lua_has_it(value))).collect(),
    }))
}

/// The engine's own dynamic calls of a component.
struct Theirs {
    component: Component,
    linker: Linker<()>,
}

impl Theirs {
    fn new(component: &[u8]) -> Self {
        static ENGINE: LazyLock<wasmtime::Engine> = LazyLock::new(|| {
            let mut config = wasmtime::Config::new();
            config
                .wasm_component_model_map(true)
                .wasm_component_model_fixed_length_lists(true);
            wasmtime::Engine::new(&config).unwrap()
        });
        Self {
            component: Component::new(&ENGINE, component).unwrap(),
            linker: Linker::new(&ENGINE),
        }
    }

    /// The result of `name` in a fresh instance.
    fn call(&self, name: &str, arguments: &[Val]) -> Val {
        let mut store = Store::new(self.component.engine(), ());
        let instance: Instance = self.linker.instantiate(&mut store, &self.component).unwrap();
        let function = instance.get_func(&mut store, name).unwrap();
        let mut results = [Val::Bool(false)];
        function.call(&mut store, arguments, &mut results).unwrap();
        let [result] = results;
        result
    }
}

fn looks_as_the_engine_has_it(rig: &Rig, theirs: &Theirs, ty: &Type, value: &Value) {
    let val = to_val(ty, value);
    let padded: Vec<Val> = [val.clone()]
        .into_iter()
        .chain((0..echo::PADDING).map(|index| Val::U64(index as u64)))
        .collect();
    for (method, arguments, vals) in [
        ("image", arguments(value), padded.as_slice()),
        ("flats", vec![value.clone()], &padded[..1]),
    ] {
        let ours = rig.call(method, &arguments);
        let Val::List(bytes) = theirs.call(method, vals) else {
            panic!("`{method}` gives a list")
        };
        let bytes = bytes.iter().map(|byte| match byte {
            Val::U8(byte) => *byte,
            other => panic!("`{method}` gives bytes, not {other:?}"),
        });
        let bytes: Vec<u8> = bytes.collect();
        assert!(
            bytes.len() >= echo::PADDING * 8,
            "{method}: something was put there"
        );
        assert_eq!(
            ours,
            Ok(Value::string(bytes)),
            "{method}: the guest's memory differs"
        );
    }
    let Val::Tuple(back) = theirs.call("echo", &padded) else {
        panic!("`echo` gives a tuple")
    };
    assert_eq!(back.first(), Some(&val), "the engine itself changed the value");
    let ours = rig.call("echo", &arguments(value)).unwrap();
    let Value::Table(ours) = ours else {
        panic!("`echo` gives a tuple")
    };
    assert_eq!(to_val(ty, &ours.array[0]), val, "the engine lifts something else");
}

/// A value in canonical form as the engine's dynamic calls have it.
fn to_val(ty: &Type, value: &Value) -> Val {
    static NIL: Value = Value::Nil;
    let part = |name: &str| value.get(name).unwrap_or(&NIL);
    let boxed = |ty: &Type, value: &Value| Some(Box::new(to_val(ty, value)));
    match ty {
        Type::Bool => Val::Bool(matches!(value, Value::Boolean(true))),
        Type::U8 => Val::U8(integer(value)),
        Type::U16 => Val::U16(integer(value)),
        Type::U32 => Val::U32(integer(value)),
        Type::U64 => Val::U64(integer(value)),
        Type::S8 => Val::S8(integer(value)),
        Type::S16 => Val::S16(integer(value)),
        Type::S32 => Val::S32(integer(value)),
        Type::S64 => Val::S64(integer(value)),
        #[expect(clippy::cast_possible_truncation, reason = "it was one")]
        Type::F32 => Val::Float32(float(value) as f32),
        Type::F64 => Val::Float64(float(value)),
        Type::Char => Val::Char(text(value).chars().next().unwrap()),
        Type::String => Val::String(text(value)),
        Type::List(element) => Val::List(match value {
            Value::String(bytes) => bytes.iter().copied().map(Val::U8).collect(),
            _ => elements(value)
                .iter()
                .map(|value| to_val(element, value))
                .collect(),
        }),
        Type::FixedList(element, _) => {
            let elements = elements(value).iter();
            Val::FixedLengthList(elements.map(|value| to_val(element, value)).collect())
        }
        Type::Map(key, element) => {
            let Value::Table(table) = value else {
                panic!("{value:?} is no table")
            };
            let value = |value: &Value| match &**element {
                Type::Option(_) if value.get("none").is_some() => Val::Option(None),
                Type::Option(some) => Val::Option(boxed(some, value.get("some").unwrap_or(&NIL))),
                element => to_val(element, value),
            };
            let entries = table.pairs.iter();
            Val::Map(
                entries
                    .map(|(name, part)| (to_val(key, name), value(part)))
                    .collect(),
            )
        }
        Type::Tuple(types) => {
            let parts = types.iter().zip(elements(value));
            Val::Tuple(parts.map(|(ty, value)| to_val(ty, value)).collect())
        }
        Type::Record { fields, .. } => {
            let fields = fields.iter();
            Val::Record(
                fields
                    .map(|field| (field.name.to_string(), to_val(&field.ty, part(&field.name))))
                    .collect(),
            )
        }
        Type::Option(_) if value.is_nil() => Val::Option(None),
        Type::Option(some) if some.is_nilable() => Val::Option(boxed(some, part("some"))),
        Type::Option(some) => Val::Option(boxed(some, value)),
        Type::Result { ok, err } => {
            let is_err = value.get("err").is_some() || value.get("tag").is_some();
            Val::Result(if is_err {
                Err(err.as_ref().and_then(|err| boxed(err, part("err"))))
            } else {
                Ok(ok.as_ref().and_then(|ok| boxed(ok, part("ok"))))
            })
        }
        Type::Variant { cases, .. } => {
            let tag = text(part("tag"));
            let case = cases.iter().find(|case| *case.name == *tag).unwrap();
            let payload = case.payload.as_ref().and_then(|ty| boxed(ty, part("value")));
            Val::Variant(tag, payload)
        }
        Type::Enum { .. } => Val::Enum(text(value)),
        Type::Flags { flags, .. } => {
            let set = flags.iter().filter(|flag| value.get(flag).is_some());
            Val::Flags(set.map(ToString::to_string).collect())
        }
        other => panic!("random types have no {other}"),
    }
}

fn integer<T: TryFrom<i128>>(value: &Value) -> T {
    let wide = match value {
        Value::Integer(value) => i128::from(*value),
        Value::Unsigned(value) => i128::from(*value),
        other => panic!("{other:?} is no integer"),
    };
    T::try_from(wide).unwrap_or_else(|_| panic!("{wide} is out of range"))
}

fn float(value: &Value) -> f64 {
    match value {
        Value::Float(value) => *value,
        other => panic!("{other:?} is no float"),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn elements(value: &Value) -> &[Value] {
    match value {
        Value::Table(table) => &table.array,
        other => panic!("{other:?} is no table"),
    }
}

fn is_refused_at_its_place(rig: &Rig, ty: &Type, value: &Value, pick: usize) {
    let mut value = value.clone();
    let mut places = Vec::new();
    each_place(ty, &mut value, "", &mut |_, _, path| places.push(path.to_owned()));
    let chosen = pick % places.len();
    for make in [foreign as fn(&Type) -> Value, wrong] {
        let mut value = value.clone();
        let mut at = 0;
        each_place(ty, &mut value, "", &mut |ty, place, _| {
            if at == chosen {
                *place = make(ty);
            }
            at += 1;
        });
        let error = typed::value(&Node::new(ty), &mut ValueReader::value(&value)).unwrap_err();
        let expected = format!("test:echo: {}", error.clone().at_argument(0, "v"));
        let place = format!("test:echo: argument 1 (v){}: expected ", places[chosen]);
        assert!(
            expected.starts_with(&place),
            "{expected} does not begin with {place}"
        );
        for name in ["echo", "relay", "patient"] {
            let error = rig.call(name, &arguments(&value)).unwrap_err();
            assert_eq!(
                (error.kind(), error.message()),
                (ErrorKind::Invalid, &*expected),
                "{name}"
            );
        }
    }
}

/// Fits no type.
fn foreign(_: &Type) -> Value {
    Value::Foreign(Arc::new(CallError::internal("something opaque")))
}

/// A plain value that does not fit `ty`.
fn wrong(ty: &Type) -> Value {
    match ty {
        Type::Bool => Value::from("true"),
        Type::Option(some) if !some.is_nilable() => wrong(some),
        _ => Value::Boolean(true),
    }
}

/// Visits a value and the values it is made of, outermost last, with the path that an error at it begins with.
fn each_place(ty: &Type, value: &mut Value, path: &str, visit: &mut impl FnMut(&Type, &mut Value, &str)) {
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
                visit(element, value, &path);
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
            let tag = text(value.get("tag").unwrap());
            let case = cases.iter().find(|case| *case.name == *tag).unwrap();
            if let (Some(payload), Some(part)) = (&case.payload, part(value, "value")) {
                each_place(payload, part, &named(&tag), visit);
            }
        }
        _ => {}
    }
    visit(ty, value, path);
}

/// How a path names the value under `key` of a map.
fn step(key: &Value) -> String {
    let error = match key {
        Value::Integer(index @ 1..) => Error::new("").at_index(usize::try_from(index - 1).unwrap()),
        Value::Integer(key) => Error::new("").at_field(&key.to_string()),
        Value::Unsigned(key) => Error::new("").at_field(&key.to_string()),
        Value::Boolean(key) => Error::new("").at_field(&key.to_string()),
        key => Error::new("").at_field(&beginning(text(key))),
    };
    error.to_string().strip_suffix(": ").unwrap().to_owned()
}

/// As much of a key as errors show.
fn beginning(mut key: String) -> String {
    if key.len() > 48 {
        key.truncate(key.floor_char_boundary(45));
        key.push('…');
    }
    key
}

fn pairs(value: &mut Value) -> &mut [(Value, Value)] {
    match value {
        Value::Table(table) => &mut table.pairs,
        _ => &mut [],
    }
}

fn array(value: &mut Value) -> &mut [Value] {
    match value {
        Value::Table(table) => &mut table.array,
        _ => &mut [],
    }
}

fn part<'a>(value: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    let Value::Table(table) = value else { return None };
    let mut pairs = table.pairs.iter_mut();
    pairs
        .find(|(key, _)| key.as_str() == Some(name))
        .map(|(_, value)| value)
}
