//! WIT documents: what a user wrote – a line, an interface, a world – as a whole that tools understand.
//!
//! Text in the short forms is wrapped into a package with one world that exports its functions. Positions in errors
//! are those of the user's text, whatever was put around it.

use std::{collections::HashMap, ops::Range};

use wit_parser::{
    Function, Resolve, ResolveErrorKind, SourceMap, Span, TypeDefKind, TypeId, WorldId, WorldItem,
};

use crate::{Signature, SignatureError};

/// A resolved WIT text: the world that a module implements, and the functions that this world exports.
#[derive(Debug, Clone)]
pub struct Document {
    /// All packages of the text.
    pub resolve: Resolve,
    /// The world that the text describes, or the one that was made for it.
    pub world: WorldId,
    /// The signatures of the functions that the world exports, also those in exported interfaces, in order.
    pub functions: Vec<Signature>,
}

/// Where the functions of a lone interface are exported, when the text has no world that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exports {
    /// By their own names: `add`. An interface with resources cannot be, and is exported as a whole all the same.
    Plain,
    /// Below the interface's name: `demo:math/ops#add`.
    Qualified,
}

/// Reads a WIT text; see [`Document::parse`].
///
/// # Errors
/// When the text is no WIT.
pub fn parse(text: &str) -> Result<Document, SignatureError> {
    Document::parse(text)
}

impl Document {
    /// Reads a WIT text in any of these forms; a missing last `;` is forgiven:
    ///
    /// - functions, and the types they use: `answer: func() -> s32;`
    /// - the same as the body of a world: `export answer: func() -> s32;`
    /// - `interface math { … }`, exported [`Plain`](Exports::Plain)
    /// - several interfaces, exported [`Qualified`](Exports::Qualified)
    /// - `world guest { … }`
    /// - `package demo:math; …` with a world, or with interfaces, which are then exported `Qualified`
    ///
    /// ```
    /// let document = wippy_wit::Document::parse("record point { x: s32 } shift: func(at: point) -> point")?;
    /// assert_eq!(document.functions[0].to_string(), "shift: func(at: point) -> point;");
    /// # Ok::<(), wippy_wit::SignatureError>(())
    /// ```
    ///
    /// # Errors
    /// When the text is no WIT, has several worlds, or types that are too large to be worked with.
    pub fn parse(text: &str) -> Result<Self, SignatureError> {
        let items = items(text)?;
        let exports = if items.iter().any(|item| item.is("package")) {
            Exports::Qualified
        } else {
            Exports::Plain
        };
        resolve(text, &items, exports)
    }

    /// As [`parse`](Self::parse), where the caller knows how a module names its exports.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_with(text: &str, exports: Exports) -> Result<Self, SignatureError> {
        resolve(text, &items(text)?, exports)
    }
}

/// Longer texts are refused: offsets are 32 bits wide, and nobody writes a megabyte of signatures.
const TEXT_MAX: usize = 1 << 20;
/// Types nested deeper are refused, as the component model's own tools do.
const TYPE_DEPTH_MAX: usize = 100;
/// Types that would be larger than this, once all names in them are replaced by what they stand for, are refused.
const TYPE_PARTS_MAX: usize = 1 << 16;

fn resolve(text: &str, items: &[Item<'_>], exports: Exports) -> Result<Document, SignatureError> {
    if text.len() > TEXT_MAX {
        return Err(SignatureError::new(
            format!("the text is longer than {TEXT_MAX} bytes"),
            None,
        ));
    }
    let source = Source::new(text, items, exports)?;
    let mut map = SourceMap::new();
    map.push_str("signature.wit", source.text.clone());
    let group = map
        .parse()
        .map_err(|(_, error)| source.error(one_line(&error.to_string()), error.kind().span()))?;
    let mut resolve = Resolve::default();
    let package = resolve
        .push_group(group)
        .map_err(|error| source.error(resolve_message(error.kind()), error.kind().span()))?;
    let worlds = resolve
        .packages
        .get(package)
        .map(|package| package.worlds.values().copied().collect::<Vec<_>>());
    let world = match worlds.as_deref() {
        Some([world]) => *world,
        Some([]) | None => {
            return Err(SignatureError::new(
                "the text has no world and no interface",
                None,
            ));
        }
        Some(_) => {
            let second = items
                .iter()
                .filter(|item| item.is("world"))
                .nth(1)
                .map(|item| item.start);
            return Err(SignatureError::new(
                "the text has several worlds; keep one",
                second,
            ));
        }
    };
    check_types(&resolve).map_err(|(message, span)| source.error(message, span))?;
    let functions = exported(&resolve, world)
        .map(|function| Signature::from_function(&resolve, function))
        .collect();
    Ok(Document {
        resolve,
        world,
        functions,
    })
}

/// The functions that `world` exports, also those in interfaces.
fn exported(resolve: &Resolve, world: WorldId) -> impl Iterator<Item = &Function> {
    let exports = resolve
        .worlds
        .get(world)
        .into_iter()
        .flat_map(|world| world.exports.values());
    exports.flat_map(|item| {
        let (function, interface) = match item {
            WorldItem::Function(function) => (Some(function), None),
            WorldItem::Interface { id, .. } => (None, resolve.interfaces.get(*id)),
            WorldItem::Type { .. } => (None, None),
        };
        function.into_iter().chain(
            interface
                .into_iter()
                .flat_map(|interface| interface.functions.values()),
        )
    })
}

fn one_line(message: &str) -> String {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    // The lexer writes some characters with `Debug`.
    line.replace("EscapeUnicode(EscapeIterInner('", "")
        .replace("'))", "")
}

fn resolve_message(kind: &ResolveErrorKind) -> String {
    match kind {
        ResolveErrorKind::PackageNotFound { requested, .. } => {
            format!("package `{requested}` is not part of this text")
        }
        other => one_line(&other.to_string()),
    }
}

/// Names make types that are exponentially larger than their text; those are refused before anything unfolds them. So
/// are types without members, which no component can have.
fn check_types(resolve: &Resolve) -> Result<(), (String, Span)> {
    // Types come after those that they are made of.
    let mut sizes: HashMap<TypeId, (usize, usize)> = HashMap::new();
    for (id, definition) in &resolve.types {
        let (mut parts, mut depth) = (1_usize, 0_usize);
        each_part(&definition.kind, |part| {
            let (inner, below) = match part {
                Some(wit_parser::Type::Id(id)) => sizes.get(id).copied().unwrap_or((1, 0)),
                _ => (1, 0),
            };
            parts = parts.saturating_add(inner);
            depth = depth.max(below);
        });
        let problem = match &definition.kind {
            _ if parts > TYPE_PARTS_MAX => "too large",
            _ if depth >= TYPE_DEPTH_MAX => "nested too deeply",
            TypeDefKind::Record(record) if record.fields.is_empty() => "empty",
            TypeDefKind::Variant(variant) if variant.cases.is_empty() => "empty",
            TypeDefKind::Enum(cases) if cases.cases.is_empty() => "empty",
            TypeDefKind::Flags(flags) if flags.flags.is_empty() => "empty",
            TypeDefKind::Tuple(tuple) if tuple.types.is_empty() => "empty",
            _ => {
                sizes.insert(id, (parts, depth + 1));
                continue;
            }
        };
        let what = definition
            .name
            .as_ref()
            .map_or_else(|| definition.kind.as_str().to_owned(), |name| format!("`{name}`"));
        return Err((format!("the type {what} is {problem}"), definition.span));
    }
    Ok(())
}

/// Calls `visit` with the types that one is directly made of; with `None` for a part that is only a name.
fn each_part<'a>(kind: &'a TypeDefKind, mut visit: impl FnMut(Option<&'a wit_parser::Type>)) {
    match kind {
        TypeDefKind::Record(record) => record.fields.iter().for_each(|field| visit(Some(&field.ty))),
        TypeDefKind::Variant(variant) => variant.cases.iter().for_each(|case| visit(case.ty.as_ref())),
        TypeDefKind::Enum(cases) => cases.cases.iter().for_each(|_| visit(None)),
        TypeDefKind::Flags(flags) => flags.flags.iter().for_each(|_| visit(None)),
        TypeDefKind::Tuple(tuple) => tuple.types.iter().for_each(|ty| visit(Some(ty))),
        TypeDefKind::Option(ty)
        | TypeDefKind::List(ty)
        | TypeDefKind::FixedLengthList(ty, _)
        | TypeDefKind::Type(ty) => visit(Some(ty)),
        TypeDefKind::Map(key, value) => [key, value].into_iter().for_each(|ty| visit(Some(ty))),
        TypeDefKind::Result(result) => [&result.ok, &result.err]
            .into_iter()
            .for_each(|ty| visit(ty.as_ref())),
        TypeDefKind::Future(ty) | TypeDefKind::Stream(ty) => visit(ty.as_ref()),
        TypeDefKind::Handle(_) | TypeDefKind::Resource | TypeDefKind::Unknown => {}
    }
}

/// The text that wit-parser sees, and where its parts came from.
#[derive(Default)]
struct Source {
    text: String,
    copies: Vec<Copied>,
    user_len: usize,
}

/// A stretch of the user's text within the whole.
struct Copied {
    at: usize,
    from: usize,
    len: usize,
}

impl Source {
    fn new(text: &str, items: &[Item<'_>], exports: Exports) -> Result<Self, SignatureError> {
        let mut source = Self {
            user_len: text.len(),
            ..Self::default()
        };
        if !items.iter().any(Item::is_top_level) {
            source.body(text, 0..text.len(), items)?;
            return Ok(source);
        }
        let interfaces: Vec<_> = items.iter().filter(|item| item.is("interface")).collect();
        let has_world = items.iter().any(|item| item.is("world"));
        if let ([interface], Exports::Plain) = (&*interfaces, exports)
            && let Some(body) = &interface.body
            && interface.closed
            && !has_world
            && items.iter().all(Item::is_top_level)
        {
            let inner = items_within(text, body.clone())?;
            if !inner.iter().any(|item| item.is("resource")) {
                source.body(text, body.clone(), &inner)?;
                return Ok(source);
            }
        }
        if !items.iter().any(|item| item.is("package")) {
            source.add("package wippy:inline;\n");
        }
        source.copy(text, 0..text.len());
        if !has_world && !interfaces.is_empty() {
            let names: Vec<_> = interfaces.iter().map(|interface| interface.name(text)).collect();
            let mut world = "module".to_owned();
            while names.contains(&world.as_str()) {
                world.push_str("-world");
            }
            source.add(&format!("\nworld {world} {{\n"));
            for name in names {
                source.add(&format!("export {name};\n"));
            }
            source.add("}\n");
        }
        Ok(source)
    }

    /// Functions and types, which become the body of a world; or of an interface where there are resources, since
    /// those of a world are always imported.
    fn body(&mut self, text: &str, range: Range<usize>, items: &[Item<'_>]) -> Result<(), SignatureError> {
        if let Some(item) = items
            .iter()
            .find(|item| item.is_function() && !item.named && item.word.starts_with(is_word))
        {
            let message = format!("expected `:` and a type after the name `{}`", item.word);
            return Err(SignatureError::new(message, Some(item.start + item.word.len())));
        }
        let resources = items.iter().any(|item| item.is("resource"));
        self.add("package wippy:inline;\n");
        self.add(if resources {
            "interface inline {\n"
        } else {
            "world inline {\n"
        });
        let mut at = range.start;
        if !resources {
            for item in items.iter().filter(|item| item.is_function()) {
                self.copy(text, at..item.start);
                self.add("export ");
                at = item.start;
            }
        }
        self.copy(text, at..range.end);
        if items.last().is_some_and(|item| !item.closed) {
            self.add("\n;");
        }
        self.add("\n}\n");
        if resources {
            self.add("world module {\nexport inline;\n}\n");
        }
        Ok(())
    }

    fn add(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn copy(&mut self, text: &str, range: Range<usize>) {
        let part = text.get(range.clone()).unwrap_or_default();
        self.copies.push(Copied {
            at: self.text.len(),
            from: range.start,
            len: part.len(),
        });
        self.text.push_str(part);
    }

    /// An error about the whole text as one about the user's.
    fn error(&self, message: String, span: Span) -> SignatureError {
        let Some(at) = usize::try_from(span.start()).ok().filter(|_| span.is_known()) else {
            return SignatureError::new(message, None);
        };
        let offset = self.user_offset(at);
        let behind = self.copies.last().is_some_and(|last| at >= last.at + last.len);
        let Some((expected, _)) = message.split_once(", found ").filter(|_| behind) else {
            return SignatureError::new(message, Some(offset));
        };
        SignatureError::new(format!("{expected}, found the end of the text"), Some(offset))
    }

    /// The place in the user's text; what lies in the parts around it is at the nearest end.
    fn user_offset(&self, at: usize) -> usize {
        let copied = self.copies.iter().rev().find(|copied| copied.at <= at);
        copied.map_or(0, |copied| {
            (copied.from + (at - copied.at).min(copied.len)).min(self.user_len)
        })
    }
}

/// A declaration, as far as it matters what to wrap it into.
struct Item<'a> {
    /// Where it begins, behind its comments and attributes.
    start: usize,
    /// Its first word.
    word: &'a str,
    /// Whether the word is a name, because a `:` follows.
    named: bool,
    /// What is between its first braces.
    body: Option<Range<usize>>,
    /// Whether it ends with `;` or `}`.
    closed: bool,
}

impl Item<'_> {
    fn is(&self, keyword: &str) -> bool {
        !self.named && self.word == keyword
    }

    fn is_top_level(&self) -> bool {
        ["package", "world", "interface"]
            .iter()
            .any(|keyword| self.is(keyword))
    }

    /// Whether it declares a function, or was meant to: `answer func()`.
    fn is_function(&self) -> bool {
        const OTHERS: [&str; 10] = [
            "type", "record", "variant", "enum", "flags", "resource", "use", "import", "export", "include",
        ];
        self.named || !(self.is_top_level() || OTHERS.contains(&self.word))
    }

    /// The name behind the first word.
    fn name<'t>(&self, text: &'t str) -> &'t str {
        let end = self
            .body
            .as_ref()
            .map_or(text.len(), |body| body.start.saturating_sub(1));
        let name = text.get(self.start + self.word.len()..end).unwrap_or_default();
        // A comment between the two is odd enough to be left to the parser.
        name.trim()
    }
}

fn items(text: &str) -> Result<Vec<Item<'_>>, SignatureError> {
    items_within(text, 0..text.len())
}

/// Splits a text into its outermost declarations, without judging them.
fn items_within(text: &str, range: Range<usize>) -> Result<Vec<Item<'_>>, SignatureError> {
    let mut items: Vec<Item<'_>> = Vec::new();
    let mut tokens = Tokens {
        text,
        at: range.start,
        end: range.end,
    }
    .peekable();
    let (mut depth, mut open) = (0_usize, false);
    while let Some((start, token)) = tokens.next() {
        match token {
            "@" if !open => skip_attribute(&mut tokens),
            "{" => {
                depth += 1;
                if let Some(item) = items.last_mut().filter(|item| depth == 1 && item.body.is_none()) {
                    item.body = Some(start + 1..start + 1);
                }
            }
            "}" => {
                let outer = depth.checked_sub(1);
                depth = outer.ok_or_else(|| SignatureError::new("unmatched `}`", Some(start)))?;
                if let Some(item) = items.last_mut().filter(|_| depth == 0) {
                    if let Some(body) = item.body.as_mut().filter(|body| body.start == body.end) {
                        body.end = start;
                    }
                    // The braces of `use a.{b};` are not its end.
                    item.closed = item.word != "use" || item.named;
                    open = !item.closed;
                }
            }
            ";" if depth == 0 => {
                if let Some(item) = items.last_mut() {
                    item.closed = true;
                }
                open = false;
            }
            _ if depth == 0 && !open => {
                let named = tokens.peek().is_some_and(|(_, next)| *next == ":");
                items.push(Item {
                    start,
                    word: token,
                    named,
                    body: None,
                    closed: false,
                });
                open = true;
            }
            _ => {}
        }
    }
    Ok(items)
}

/// Skips the name and the parentheses of `@since(version = 1.0.0)`.
fn skip_attribute<'a>(tokens: &mut std::iter::Peekable<impl Iterator<Item = (usize, &'a str)>>) {
    tokens.next();
    if tokens.peek().is_some_and(|(_, token)| *token == "(") {
        for (_, token) in tokens.by_ref() {
            if token == ")" {
                break;
            }
        }
    }
}

/// Words and signs, without blanks and comments. What is no WIT comes through as signs, for the parser to complain of.
struct Tokens<'a> {
    text: &'a str,
    at: usize,
    end: usize,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = (usize, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.text.get(self.at..self.end)?;
            let blank = rest.len() - rest.trim_start().len();
            let rest = rest.get(blank..)?;
            let start = self.at + blank;
            let first = rest.chars().next()?;
            let (len, skip) = match first {
                '/' if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), true),
                '/' if rest.starts_with("/*") => (block_comment(rest), true),
                '"' => (string_literal(rest), false),
                c if is_word(c) => (rest.find(|c| !is_word(c)).unwrap_or(rest.len()), false),
                c => (c.len_utf8(), false),
            };
            self.at = start + len;
            if !skip {
                return Some((start, rest.get(..len)?));
            }
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '%')
}

/// The length of a comment that may hold further ones.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(rest) = text.get(at..) {
        let Some(next) = rest.find(['/', '*']) else { break };
        let mark = rest.get(next..next + 2).unwrap_or_default();
        at += next + if matches!(mark, "/*" | "*/") { 2 } else { 1 };
        match mark {
            "/*" => depth += 1,
            "*/" if depth <= 1 => return at,
            "*/" => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

fn string_literal(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}
