//! `file://` in string fields: the text of a file takes the place of the reference.
//!
//! `file://path` starts at the index file's folder, `file:///path` at the project's root. Neither can leave the
//! project: `..` is checked before the file is looked for, links after.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::load::{INCLUDE_BYTES_MAX, Loader, ProjectPaths, read_text};
use crate::source::{SourceId, Span};
use crate::suggest;
use crate::yaml::{Include, Node, Value};

const SCHEME: &str = "file://";

/// Resolves the references of one index file.
pub(super) struct Includes<'p> {
    pub(super) project: &'p ProjectPaths,
    /// The index file's folder.
    pub(super) directory: PathBuf,
}

impl Includes<'_> {
    /// Replaces every reference in a value; those that cannot be read are reported and stay.
    pub(super) fn resolve(&self, node: &mut Node, loader: &mut Loader) {
        match node.value_mut() {
            Value::List(items) => items.iter_mut().for_each(|item| self.resolve(item, loader)),
            Value::Map(map) => map
                .iter_mut()
                .for_each(|(_, field)| self.resolve(&mut field.node, loader)),
            Value::String(text) if text.starts_with(SCHEME) => {
                let reference = Arc::clone(text);
                if let Some(included) = self.include(reference, node.span(), loader) {
                    *node = included;
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn include(&self, reference: Arc<str>, span: Span, loader: &mut Loader) -> Option<Node> {
        let file = match self.locate(&reference) {
            Ok(file) => file,
            Err(problem) => {
                loader.report(problem.primary(span, ""));
                return None;
            }
        };
        let id = match read_once(&file, self.project, loader) {
            Ok(id) => id,
            Err(reason) => {
                let message = format!("cannot read `{reference}`: {reason}");
                loader.report(Diagnostic::error("unreadable-file", message).primary(span, ""));
                return None;
            }
        };
        let source = loader.sources.get(id)?;
        let text = Arc::clone(source.text());
        let whole = Span::new(id, 0..text.len());
        let include = Include {
            reference,
            span,
            path: source.path().into(),
        };
        Some(Node::included(text, whole, include))
    }

    fn locate(&self, reference: &str) -> Result<PathBuf, Diagnostic> {
        let path = reference.strip_prefix(SCHEME).unwrap_or_default();
        let outside = || {
            Diagnostic::error("outside-project", format!("`{reference}` is outside the project"))
                .note("`file://path` starts at the index file, `file:///path` at the project's root")
        };
        let place = match path.strip_prefix('/') {
            Some(from_root) => self.project.inside(&self.project.root, from_root),
            None => self.project.inside(&self.directory, path),
        };
        let place = place.ok_or_else(outside)?;
        let Ok(real) = place.canonicalize() else {
            let message = format!(
                "`{reference}` names no file: there is no `{}`",
                self.project.display(&place)
            );
            return Err(
                Diagnostic::error("missing-file", message).did_you_mean(sibling(&place, path).as_deref())
            );
        };
        if real.starts_with(&self.project.root) {
            Ok(real)
        } else {
            Err(outside())
        }
    }
}

fn read_once(file: &Path, project: &ProjectPaths, loader: &mut Loader) -> Result<SourceId, String> {
    if let Some(id) = loader.included.get(file) {
        return Ok(*id);
    }
    let text = read_text(file, INCLUDE_BYTES_MAX)?;
    let id = loader.sources.add(project.display(file), text);
    loader.included.insert(file.to_owned(), id);
    Ok(id)
}

/// The reference as it would be with the nearest file name of the same folder.
fn sibling(place: &Path, path: &str) -> Option<String> {
    let wanted = place.file_name()?.to_string_lossy().into_owned();
    let mut names: Vec<String> = std::fs::read_dir(place.parent()?)
        .ok()?
        .filter_map(|child| Some(child.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort();
    let near = suggest::closest(&wanted, names.iter().map(String::as_str))?;
    let folder = path.strip_suffix(wanted.as_str())?;
    Some(format!("{SCHEME}{folder}{near}"))
}
