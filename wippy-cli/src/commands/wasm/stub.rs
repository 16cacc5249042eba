//! `wippy wasm stub`: annotations for the Lua language server, so that an editor completes and checks
//! `funcs.call("app:add", 1, 2)`.

use std::{collections::BTreeMap, fmt::Write as _, process::ExitCode};

use wippy_registry::EntryId;
use wippy_wit::{Signature, Type, names};

use crate::{
    Failure,
    args::Shared,
    commands::{configured, with_app},
    output,
    telemetry::Occasion,
};

pub(super) fn run(shared: &Shared, ids: &[EntryId]) -> Result<ExitCode, Failure> {
    let (directory, config) = configured(shared, Occasion::Command)?;
    with_app(&directory, &config, async |app| {
        if let Some(unknown) = ids.iter().find(|id| !app.has_function(id)) {
            return Err(app.unknown_function(unknown));
        }
        let wanted = app
            .wasm_functions()
            .filter(|(id, _)| ids.is_empty() || ids.contains(id));
        output::bytes(document(wanted).as_bytes());
        Ok(ExitCode::SUCCESS)
    })
}

/// One overload of `funcs.call` a function, after the classes that they use.
fn document<'a>(functions: impl Iterator<Item = (&'a EntryId, &'a Signature)>) -> String {
    let mut classes = BTreeMap::new();
    let mut overloads = String::new();
    for (id, signature) in functions {
        let params = signature
            .params
            .iter()
            .map(|(name, ty)| format!(", {}: {}", names::snake(name), form(ty, &mut classes)));
        let params: String = params.collect();
        let result = match &signature.result {
            None => String::new(),
            Some(Type::Result { ok, .. }) => {
                format!(
                    ": {}?, any",
                    ok.as_deref()
                        .map_or_else(|| "boolean".to_owned(), |ok| form(ok, &mut classes))
                )
            }
            Some(ty) => format!(": {}?, any", form(ty, &mut classes)),
        };
        let _ = writeln!(overloads, "---@overload fun(id: \"{id}\"{params}){result}");
    }
    let classes: String = classes.into_values().collect();
    format!(
        "---@meta funcs\n\n{classes}local funcs = {{}}\n\n{overloads}function funcs.call(id, ...) end\n\nreturn funcs\n"
    )
}

/// A type as the language server writes it; named types are added to `classes`.
fn form(ty: &Type, classes: &mut BTreeMap<String, String>) -> String {
    match ty {
        Type::List(element) if **element != Type::U8 => {
            format!("{}[]", parenthesised(&form(element, classes)))
        }
        Type::FixedList(element, _) => format!("{}[]", parenthesised(&form(element, classes))),
        Type::Option(some) => format!("{}?", parenthesised(&form(some, classes))),
        Type::Map(key, value) => {
            let value = if let Type::Option(some) = &**value {
                format!("{{some: {}}}|{{none: true}}", form(some, classes))
            } else {
                form(value, classes)
            };
            format!("table<{}, {value}>", form(key, classes))
        }
        Type::Tuple(types) => {
            let each: Vec<String> = types.iter().map(|ty| form(ty, classes)).collect();
            format!("[{}]", each.join(", "))
        }
        Type::Enum { cases, .. } => {
            let each: Vec<String> = cases.iter().map(|case| format!("\"{case}\"")).collect();
            parenthesised(&each.join("|"))
        }
        Type::Flags { flags, .. } => {
            let each: Vec<String> = flags
                .iter()
                .map(|flag| format!("{}?: boolean", names::snake(flag)))
                .collect();
            format!("{{{}}}", each.join(", "))
        }
        Type::Record { fields, .. } => {
            let name = ty.to_lua();
            if !classes.contains_key(&name) {
                // The name is taken first, so that a type which comes again is not written again.
                classes.insert(name.clone(), String::new());
                let lines = fields.iter().map(|field| {
                    let optional = if matches!(field.ty, Type::Option(_)) {
                        "?"
                    } else {
                        ""
                    };
                    let inner = if let Type::Option(some) = &field.ty {
                        some
                    } else {
                        &field.ty
                    };
                    let inner = form(inner, classes);
                    format!("---@field {}{optional} {inner}\n", names::snake(&field.name))
                });
                let text = format!("---@class {name}\n{}\n", lines.collect::<String>());
                classes.insert(name.clone(), text);
            }
            name
        }
        Type::Variant { cases, .. } => {
            let each = cases.iter().map(|case| match &case.payload {
                Some(payload) => format!("{{tag: \"{}\", value: {}}}", case.name, form(payload, classes)),
                None => format!("{{tag: \"{}\"}}", case.name),
            });
            parenthesised(&each.collect::<Vec<_>>().join("|"))
        }
        Type::Bool
        | Type::U8
        | Type::U16
        | Type::U32
        | Type::U64
        | Type::S8
        | Type::S16
        | Type::S32
        | Type::S64
        | Type::F32
        | Type::F64
        | Type::Char
        | Type::String
        | Type::List(_)
        | Type::Result { .. }
        | Type::ErrorContext
        | Type::Own(_)
        | Type::Borrow(_)
        | Type::Future(_)
        | Type::Stream(_) => ty.to_lua(),
    }
}

/// A union in parentheses, anything else as it is.
fn parenthesised(form: &str) -> String {
    if form.contains('|') && !form.starts_with('(') {
        format!("({form})")
    } else {
        form.to_owned()
    }
}
