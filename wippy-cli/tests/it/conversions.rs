//! The mapping between Lua and WIT, seen from a script: what it writes, what a real guest is given, what comes back.
//!
//! A case is a file of Lua expressions and the type that each is sent as; `readme.lua` explains the form. A type's
//! guest is made on the spot and takes values through memory; the functions of the guest `types` take them flat.

use std::{fmt::Write as _, path::Path, sync::Arc};

use async_trait::async_trait;
use wippy_security::{Call, CallError, Handler, Permit};
use wippy_wit::{Document, Plan, Signature, Value, wave};

use crate::roundtrip::echo::{self, Rig};

#[test]
fn every_form_is_taken_or_refused() {
    let rig = Rig::new();
    insta::glob!("../../../fixtures/cases/wit/values", "*.lua", |path| {
        insta::assert_snapshot!(Case::read(path).transcript(&rig));
    });
}

#[test]
fn flags_are_at_most_32() {
    let flags: Vec<String> = (0..33).map(|index| format!("b{index}")).collect();
    let wit = format!("flags many {{ {} }} echo: func(v: many);", flags.join(", "));
    let problem = Rig::refused("(module (func (export \"echo\") (param i32 i32)))", &wit);
    insta::assert_snapshot!(problem);
}

/// What a script is given and what a guest gets back, when the guest calls the script through `wippy:runtime/funcs`.
/// Each line is the guest's function, the script's body, and what it is called with.
fn relayed(calls: &[(&str, &str, &[u8])]) -> String {
    let rig = Rig::new();
    let guest = std::fs::read(fixtures::wasm("calls-funcs")).unwrap();
    let imports = ["funcs".to_owned()];
    rig.guest("string", &guest, "relay", &imports);
    rig.guest("bytes", &guest, "relay-bytes", &imports);
    rig.guest("json", &calls_json(), "relay", &imports);
    let mut transcript = String::new();
    for (method, body, input) in calls {
        rig.script("target", &format!("return {{ main = function(...) {body} end }}"));
        let outcome = match rig.call(method, &[Value::from("test:target"), Value::string(input)]) {
            Ok(Value::String(bytes)) => bytes.escape_ascii().to_string(),
            Ok(other) => panic!("a relay gives a string, not {other:?}"),
            Err(error) => format!("{} {}", error.kind(), error.message()),
        };
        let input = input.escape_ascii();
        let _ = writeln!(transcript, "{body}\n    {method} {input} -> {outcome}");
    }
    transcript
}

/// The guest `calls-funcs` with `call-json` in the place of `call-string`, which looks the same from inside.
pub(crate) fn calls_json() -> Vec<u8> {
    let source = |name: &str| {
        let text = std::fs::read_to_string(fixtures::root().join("guests/wat").join(name)).unwrap();
        text.replace("call-string", "call-json")
    };
    let document = Document::parse(&source("calls-funcs.wit")).unwrap();
    echo::encode(&document, &source("calls-funcs.wat"))
}

#[test]
fn a_guest_calls_a_script_with_a_string() {
    let transcript = relayed(&[
        ("string", "return (...):reverse()", b"abc"),
        (
            "string",
            "return ('%s %d'):format(select('#', ...), #...)",
            "é\0€".as_bytes(),
        ),
        ("string", "return ''", b""),
        ("string", "return 'a\\xFF'", b""),
        ("string", "return 5", b""),
        ("string", "return {}", b""),
        ("string", "return nil", b""),
        (
            "string",
            "return nil, errors.new(errors.NOT_FOUND, 'no such thing')",
            b"",
        ),
        ("string", "error('it is broken')", b""),
    ]);
    insta::assert_snapshot!(transcript);
}

#[test]
fn a_guest_calls_a_script_with_bytes() {
    let transcript = relayed(&[
        ("bytes", "return (...):reverse()", b"\0\xFFa"),
        ("bytes", "return {97, 98}", b""),
        ("bytes", "return ''", b""),
        ("bytes", "return nil", b""),
    ]);
    insta::assert_snapshot!(transcript);
}

#[test]
fn a_guest_calls_a_script_with_json() {
    let show = "local kinds = {} for i = 1, select('#', ...) do local v = select(i, ...) \
                kinds[i] = math.type(v) or type(v) end return kinds";
    let transcript = relayed(&[
        ("json", show, br#"[1, 1.0, 1.5, "a", true, null, [], {}]"#),
        (
            "json",
            show,
            b"[9223372036854775807, 9223372036854775808, -9223372036854775808, 18446744073709551616]",
        ),
        ("json", show, b"[1e400]"),
        (
            "json",
            "return ...",
            br#"[{"b": [1, null, 3], "a": {"tag-count": 1}}]"#,
        ),
        ("json", "return ...", b"[18446744073709551615]"),
        ("json", "return ...", b"[1.0]"),
        ("json", "return", b"[]"),
        ("json", "return ...", br#"["\u00e9\u0000"]"#),
        ("json", "return 'a\\xFF'", b"[]"),
        ("json", "return 0/0", b"[]"),
        ("json", "return {[1] = 1, x = 2}", b"[]"),
        ("json", "return print", b"[]"),
        (
            "json",
            "return nil, errors.new(errors.NOT_FOUND, 'no such thing')",
            b"[]",
        ),
        ("json", "return ...", br#"{"a": 1}"#),
        ("json", "return ...", b"[1"),
    ]);
    insta::assert_snapshot!(transcript);
}

/// A file of cases.
struct Case {
    target: Target,
    /// Whether values are short enough to be shown as WAVE.
    has_text: bool,
    /// What the expressions share.
    locals: Vec<String>,
    expressions: Vec<String>,
}

/// What the values are sent to.
enum Target {
    /// An echo of a type, with the definitions that it needs.
    Type { definitions: String, ty: String },
    /// A function of the guest `types`.
    Function(String),
    /// A script, to which values go as they are.
    Script,
}

impl Case {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let (mut target, mut definitions, mut has_text) = (None, String::new(), true);
        let (mut locals, mut expressions) = (Vec::new(), Vec::new());
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(ty) = line.strip_prefix("--- type ") {
                target = Some(Target::Type {
                    definitions: String::new(),
                    ty: ty.to_owned(),
                });
            } else if let Some(name) = line.strip_prefix("--- function ") {
                target = Some(Target::Function(name.to_owned()));
            } else if line == "--- script" {
                target = Some(Target::Script);
            } else if line == "--- without text" {
                has_text = false;
            } else if let Some(definition) = line.strip_prefix("--- wit ") {
                definitions.push_str(definition);
                definitions.push('\n');
            } else if line.starts_with("local ") {
                locals.push(line.to_owned());
            } else if !line.starts_with("--") {
                expressions.push(line.to_owned());
            }
        }
        let mut target = target.unwrap_or_else(|| panic!("{} has no target", path.display()));
        if let Target::Type {
            definitions: room, ..
        } = &mut target
        {
            *room = definitions;
        }
        assert!(!expressions.is_empty(), "{} has no expressions", path.display());
        Self {
            target,
            has_text,
            locals,
            expressions,
        }
    }

    /// Every expression with what became of it, below the signature.
    fn transcript(&self, rig: &Rig) -> String {
        let padding = match self.target {
            Target::Type { .. } => echo::PADDING,
            Target::Function(_) | Target::Script => 0,
        };
        let (mut transcript, signature) = self.target.insert(rig);
        let signature = signature.filter(|_| self.has_text);
        rig.insert("text", Arc::new(Text(signature)));
        rig.script("cases", &self.script(padding));
        for (index, expression) in self.expressions.iter().enumerate() {
            let index = Value::Integer(i64::try_from(index + 1).unwrap());
            let outcome = rig.call("cases", &[index]).unwrap();
            let _ = write!(transcript, "\n\n{expression}");
            let field = |name: &str| outcome.get(name).and_then(Value::as_str);
            for (label, name) in [("wave", "text"), ("lua", "back"), ("details", "details")] {
                if let Some(text) = field(name) {
                    let _ = write!(transcript, "\n    {label:<5} {text}");
                }
            }
            if let (Some(kind), Some(message)) = (field("kind"), field("message")) {
                let _ = write!(transcript, "\n    {kind} {message}");
            }
            if let Some(text_back) = field("text_back") {
                assert_eq!(field("text"), Some(text_back), "{expression}: the value changed");
            }
            // Both walk the same plan, one into text and one into memory.
            if let Some(refused) = field("refused") {
                assert_eq!(
                    field("message"),
                    Some(&*format!("test:echo: {refused}")),
                    "{expression}"
                );
            }
        }
        transcript
    }

    /// A script that runs the expression whose number it is given.
    fn script(&self, padding: usize) -> String {
        let locals = self.locals.join("\n");
        let cases = self.expressions.join(" end,\n    function() return ");
        let support = include_str!("conversions.lua");
        format!(
            "{support}\n{locals}\nlocal cases = {{\n    function() return {cases} end,\n}}\n\
             return {{ main = function(index) return outcome(cases[index], {padding}) end }}\n"
        )
    }
}

impl Target {
    /// Makes `test:echo`; answers the heading of the transcript, and the signature if there is one.
    fn insert(&self, rig: &Rig) -> (String, Option<Signature>) {
        match self {
            Self::Type { definitions, ty } => {
                rig.guest("echo", &echo::component(definitions, ty), "echo", &[]);
                let signature = Signature::parse(&format!("{definitions}\necho: func(v: {ty});"));
                (format!("{definitions}{ty}"), Some(signature.unwrap()))
            }
            Self::Function(name) => {
                let text = std::fs::read_to_string(fixtures::root().join("guests/wat/types.wit")).unwrap();
                let mut functions = Document::parse(&text).unwrap().functions.into_iter();
                let signature = functions.find(|signature| *signature.name == **name).unwrap();
                let types = std::fs::read(fixtures::wasm("types")).unwrap();
                rig.guest("echo", &types, name, &[]);
                (signature.to_string(), Some(signature))
            }
            Self::Script => {
                let echo = "return { main = function(...) return ... end }";
                rig.script("echo", echo);
                (echo.to_owned(), None)
            }
        }
    }
}

/// Answers its arguments as WAVE: the same rules as for the guest, by way of text. The number of them is the guest's
/// own affair.
struct Text(Option<Signature>);

#[async_trait]
impl Handler for Text {
    async fn invoke<'a>(self: Arc<Self>, _permit: Permit, call: Call<'a>) -> Result<(), CallError> {
        const SHOWN: usize = 200;
        let counts = |signature: &&Signature| {
            let required = Plan::new(Signature::clone(signature)).required;
            (required..=signature.params.len()).contains(&call.arguments.len())
        };
        let Some(signature) = self.0.as_ref().filter(counts) else {
            call.result.nil();
            return Ok(());
        };
        let mut parts = Vec::new();
        for (index, (name, ty)) in signature.params.iter().enumerate() {
            call.arguments.enter_index(index)?;
            let text = wave::print(ty, call.arguments).map_err(|error| error.at_argument(index, name))?;
            call.arguments.leave();
            match text.char_indices().nth(SHOWN) {
                Some((end, _)) => parts.push(format!("{}… ({} bytes)", &text[..end], text.len())),
                None => parts.push(text),
            }
        }
        Value::from(parts.join(", ")).write(call.result)?;
        Ok(())
    }
}
