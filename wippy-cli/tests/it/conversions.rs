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

/// A file of cases.
struct Case {
    target: Target,
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
        let (mut target, mut definitions) = (None, String::new());
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
        if let Target::Type { definitions: room, .. } = &mut target {
            *room = definitions;
        }
        assert!(!expressions.is_empty(), "{} has no expressions", path.display());
        Self {
            target,
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
        let mut transcript = self.target.insert(rig);
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
                assert_eq!(field("message"), Some(&*format!("test:echo: {refused}")), "{expression}");
            }
        }
        transcript
    }

    /// A script that runs the expression whose number it is given.
    fn script(&self, padding: usize) -> String {
        let locals = self.locals.join("\n");
        let cases: String = self
            .expressions
            .iter()
            .map(|expression| format!("    function() return {expression} end,\n"))
            .collect();
        let support = include_str!("conversions.lua");
        format!(
            "{support}\n{locals}\nlocal cases = {{\n{cases}}}\n\
             return {{ main = function(index) return outcome(cases[index], {padding}) end }}\n"
        )
    }
}

impl Target {
    /// Makes `test:echo` and `test:text`; answers the heading of the transcript.
    fn insert(&self, rig: &Rig) -> String {
        match self {
            Self::Type { definitions, ty } => {
                rig.guest("echo", &echo::component(definitions, ty), "echo", &[]);
                let signature = Signature::parse(&format!("{definitions}\necho: func(v: {ty});")).unwrap();
                rig.insert("text", Arc::new(Text(signature)));
                format!("{definitions}{ty}")
            }
            Self::Function(name) => {
                let text = std::fs::read_to_string(fixtures::root().join("guests/wat/types.wit")).unwrap();
                let mut functions = Document::parse(&text).unwrap().functions.into_iter();
                let signature = functions.find(|signature| *signature.name == **name).unwrap();
                let types = std::fs::read(fixtures::wasm("types")).unwrap();
                rig.guest("echo", &types, name, &[]);
                let heading = signature.to_string();
                rig.insert("text", Arc::new(Text(signature)));
                heading
            }
            Self::Script => {
                let echo = "return { main = function(...) return ... end }";
                rig.script("echo", echo);
                rig.script("text", "return { main = function() end }");
                echo.to_owned()
            }
        }
    }
}

/// Answers its arguments as WAVE: the same rules as for the guest, by way of text. The number of them is the guest's
/// own affair.
struct Text(Signature);

#[async_trait]
impl Handler for Text {
    async fn invoke<'a>(self: Arc<Self>, _permit: Permit, call: Call<'a>) -> Result<(), CallError> {
        const SHOWN: usize = 200;
        let required = Plan::new(self.0.clone()).required;
        if !(required..=self.0.params.len()).contains(&call.arguments.len()) {
            call.result.nil();
            return Ok(());
        }
        let mut parts = Vec::new();
        for (index, (name, ty)) in self.0.params.iter().enumerate() {
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
