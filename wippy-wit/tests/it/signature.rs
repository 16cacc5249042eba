//! Signatures, case by case: `fixtures/cases/wit/signature/*.wit` and what is made of each.

use std::fmt::Write as _;

use wippy_wit::{Document, Kind, Node, Plan};

#[test]
fn cases() {
    insta::glob!("../../../fixtures/cases/wit/signature", "*.wit", |path| {
        let text = std::fs::read_to_string(path).unwrap();
        insta::with_settings!({ omit_expression => true }, {
            insta::assert_snapshot!(format!("{text}----\n{}", described(&text)));
        });
    });
}

/// Everything that follows from a text.
fn described(text: &str) -> String {
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let place = error
                .line_column(text)
                .map_or(String::new(), |(line, column)| format!("{line}:{column}: "));
            return format!("error: {place}{error}");
        }
    };
    let mut out = String::new();
    for signature in document.functions {
        let plan = Plan::new(signature);
        let _ = writeln!(out, "wit:      {}", plan.signature);
        let _ = writeln!(out, "lua:      {}", plan.signature.to_lua());
        let _ = writeln!(out, "required: {} of {}", plan.required, plan.params.len());
        let _ = writeln!(
            out,
            "params:   {} flat, {} bytes, align {}",
            plan.params_flat, plan.params_size, plan.params_align
        );
        for param in &plan.params {
            let _ = writeln!(
                out,
                "  {:<3} {}: {}",
                param.offset,
                param.name,
                layout(&param.node)
            );
        }
        if let Some(result) = &plan.result {
            let _ = writeln!(out, "result:   {}", layout(result));
        }
        out.push('\n');
    }
    out
}

/// `record size 8 align 4 flat 2 {0 x, 4 y}`.
fn layout(node: &Node) -> String {
    let mut out = format!("size {} align {} flat {}", node.size, node.align, node.flat);
    if node.nilable {
        out.push_str(" nilable");
    }
    match &node.kind {
        Kind::Record(fields) => {
            let fields: Vec<_> = fields
                .iter()
                .map(|field| format!("{} {}: {}", field.offset, field.key.name(), layout(&field.node)))
                .collect();
            let _ = write!(out, " {{{}}}", fields.join(", "));
        }
        Kind::Option { offset, .. } | Kind::Result { offset, .. } | Kind::Variant { offset, .. } => {
            let _ = write!(out, " payload at {offset}");
        }
        _ => {}
    }
    out
}
