//! The Markdown splitter: a heading begins a chunk, and blocks stay whole where they fit.

use std::collections::HashMap;

use wippy_security::CallError;

use super::{Chunks, Size, length, recursive};

#[expect(
    clippy::struct_excessive_bools,
    reason = "they are what scripts choose, one by one"
)]
pub(super) struct Markdown {
    pub(super) size: Size,
    /// Whether code blocks stay whole even where they do not fit.
    pub(super) keeps_code: bool,
    /// Whether `[text][name]` becomes `[text](target)`, which a chunk can be understood by alone.
    pub(super) resolves_links: bool,
    /// Whether every chunk begins with all headings it is under.
    pub(super) repeats_headings: bool,
    /// Whether the rows of a table stay together even where they do not fit.
    pub(super) joins_rows: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Heading(usize),
    Code,
    Table,
    Text,
}

struct Block {
    kind: Kind,
    text: String,
}

impl Markdown {
    pub(super) fn split(&self, text: &str, chunks: &mut Chunks) -> Result<(), CallError> {
        let resolved;
        let text = if self.resolves_links {
            resolved = resolve_links(text);
            &resolved
        } else {
            text
        };
        let mut headings: Vec<(usize, String)> = Vec::new();
        let mut section = Vec::new();
        for block in blocks(text) {
            if let Kind::Heading(level) = block.kind {
                self.finish(&headings, std::mem::take(&mut section), chunks)?;
                headings.retain(|(outer, _)| *outer < level);
                headings.push((level, block.text));
            } else {
                section.push(block);
            }
        }
        self.finish(&headings, section, chunks)
    }

    /// Makes chunks of what is under one heading.
    fn finish(
        &self,
        headings: &[(usize, String)],
        section: Vec<Block>,
        chunks: &mut Chunks,
    ) -> Result<(), CallError> {
        let shown = if self.repeats_headings {
            headings
        } else {
            headings
                .get(headings.len().saturating_sub(1)..)
                .unwrap_or_default()
        };
        let shown: Vec<&str> = shown.iter().map(|(_, text)| text.as_str()).collect();
        let title = shown.join("\n");
        // Where the headings leave little room, the text goes without them.
        let title = if length(&title) * 2 <= self.size.chunk {
            title
        } else {
            if let Some((_, own)) = headings.last() {
                self.split_block(Kind::Text, own, self.size.chunk, chunks)?;
            }
            String::new()
        };
        let prefix = |body: &str| match (title.is_empty(), body.is_empty()) {
            (true, _) => body.to_owned(),
            (_, true) => title.clone(),
            _ => format!("{title}\n{body}"),
        };
        if section.is_empty() && !self.repeats_headings {
            return chunks.push(&title);
        }
        let room = self.size.chunk.saturating_sub(length(&prefix("."))).max(1);
        let mut body = String::new();
        for block in section {
            let is_whole = match block.kind {
                Kind::Code => self.keeps_code,
                Kind::Table => self.joins_rows,
                Kind::Heading(_) | Kind::Text => false,
            };
            let len = length(&block.text);
            if !body.is_empty() && length(&body) + 2 + len > room {
                chunks.push(&prefix(&std::mem::take(&mut body)))?;
            }
            if len <= room || is_whole {
                if !body.is_empty() {
                    body.push_str("\n\n");
                }
                body.push_str(&block.text);
                continue;
            }
            let mut parts = Chunks {
                chunks: Vec::new(),
                room: chunks.room,
            };
            self.split_block(block.kind, &block.text, room, &mut parts)?;
            for part in parts.chunks {
                chunks.push(&prefix(&part))?;
            }
        }
        if body.is_empty() {
            return Ok(());
        }
        chunks.push(&prefix(&body))
    }

    /// Cuts a block that does not fit: a text by its words, anything else by its lines.
    fn split_block(&self, kind: Kind, text: &str, room: usize, chunks: &mut Chunks) -> Result<(), CallError> {
        let (separators, overlap): (&[&str], usize) = match kind {
            Kind::Text | Kind::Heading(_) => (recursive::SEPARATORS, self.size.overlap.min(room - 1)),
            Kind::Code | Kind::Table => (&["\n", ""], 0),
        };
        let splitter = recursive::Recursive {
            size: Size { chunk: room, overlap },
            separators: separators.iter().map(|text| (*text).to_owned()).collect(),
            keeps_separator: false,
        };
        splitter.split(text, chunks)
    }
}

/// How many `#` a heading begins with.
fn heading(line: &str) -> Option<usize> {
    let level = line.bytes().take_while(|byte| *byte == b'#').count();
    let rest = line.get(level..)?;
    ((1..=6).contains(&level) && (rest.is_empty() || rest.starts_with([' ', '\t']))).then_some(level)
}

/// The fence that a code block opens with.
fn fence(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let letter = line.chars().next().filter(|letter| matches!(letter, '`' | '~'))?;
    let len = line.chars().take_while(|other| *other == letter).count();
    (len >= 3).then(|| line.get(..len))?
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.trim().is_empty() {
            continue;
        }
        let mut all = vec![line];
        let kind = if let Some(level) = heading(line) {
            Kind::Heading(level)
        } else if let Some(open) = fence(line) {
            for line in lines.by_ref() {
                all.push(line);
                if fence(line).is_some_and(|close| close.starts_with(open) && line.trim() == close) {
                    break;
                }
            }
            Kind::Code
        } else {
            let is_table = line.trim_start().starts_with('|');
            while let Some(next) = lines.next_if(|next| {
                !next.trim().is_empty()
                    && heading(next).is_none()
                    && fence(next).is_none()
                    && next.trim_start().starts_with('|') == is_table
            }) {
                all.push(next);
            }
            if is_table { Kind::Table } else { Kind::Text }
        };
        let text = all.join("\n");
        blocks.push(Block { kind, text });
    }
    blocks
}

/// Writes the targets of `[text][name]` in their place and drops their definitions.
fn resolve_links(text: &str) -> String {
    let definition = |line: &str| {
        let (name, target) = line.trim_start().strip_prefix('[')?.split_once("]:")?;
        let target = target.split_whitespace().next()?;
        (!name.is_empty()).then(|| (name.to_lowercase(), target.to_owned()))
    };
    let targets: HashMap<String, String> = text.lines().filter_map(definition).collect();
    let mut resolved = String::with_capacity(text.len());
    for line in text.lines().filter(|line| definition(line).is_none()) {
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("][") {
            let target = after
                .split_once(']')
                .and_then(|(name, after)| Some((targets.get(&name.to_lowercase())?, after)));
            resolved.push_str(before);
            if let Some((target, after)) = target {
                resolved.push_str("](");
                resolved.push_str(target);
                resolved.push(')');
                rest = after;
            } else {
                resolved.push_str("][");
                rest = after;
            }
        }
        resolved.push_str(rest);
        resolved.push('\n');
    }
    resolved
}
