//! `wasi`: arguments, working directory, environment and mounts of a guest.

use crate::diagnostic::Diagnostic;
use crate::id::EntryId;
use crate::schema::decoder::Decoder;
use crate::schema::fields::{Fields, fields};
use crate::schema::read::{boolean, list, non_empty, plain, reference, text};
use crate::schema::reference::Target;
use crate::source::Span;
use crate::yaml::Node;

/// What a guest finds when it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wasi {
    /// Command-line arguments.
    pub args: Vec<String>,
    /// Working directory, absolute.
    pub cwd: Option<String>,
    /// Environment variables.
    pub env: Vec<EnvBinding>,
    /// File systems.
    pub mounts: Vec<Mount>,
}

/// One environment variable of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvBinding {
    /// The `env.variable` entry that has the value at call time.
    pub id: EntryId,
    /// The name that the guest sees.
    pub name: String,
    /// Whether a call without a value fails.
    pub required: bool,
}

/// One file system of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The `fs.*` entry.
    pub fs: EntryId,
    /// Where the guest sees it, absolute.
    pub guest: String,
    /// Whether writing is refused.
    pub read_only: bool,
}

#[expect(clippy::unnecessary_wraps, reason = "the form that `fields` reads")]
pub(crate) fn wasi(wasi: &mut Fields<'_>, decoder: &mut Decoder<'_>) -> Option<Wasi> {
    let args = wasi.optional(decoder, "args", list(plain)).unwrap_or_default();
    let cwd = wasi.optional(decoder, "cwd", absolute);
    let env = wasi
        .optional(decoder, "env", list(placed(env_binding)))
        .unwrap_or_default();
    let mounts = wasi
        .optional(decoder, "mounts", list(placed(mount)))
        .unwrap_or_default();
    report_repeated_names(&env, decoder);
    report_overlaps(&mounts, decoder);
    Some(Wasi {
        args,
        cwd,
        env: without_places(env),
        mounts: without_places(mounts),
    })
}

/// Reads fields and keeps the place of the whole.
fn placed<T>(
    read: impl Fn(&mut Fields<'_>, &mut Decoder<'_>) -> Option<T>,
) -> impl Fn(&Node, &mut Decoder<'_>) -> Option<(T, Span)> {
    move |node, decoder| fields(&read)(node, decoder).map(|value| (value, node.span()))
}

fn without_places<T>(values: Vec<(T, Span)>) -> Vec<T> {
    values.into_iter().map(|(value, _)| value).collect()
}

fn env_binding(fields: &mut Fields<'_>, decoder: &mut Decoder<'_>) -> Option<EnvBinding> {
    let id = fields.required(decoder, "id", reference(Target::EnvVariable));
    let name = fields.required(decoder, "name", non_empty);
    let required = fields.optional(decoder, "required", boolean).unwrap_or(false);
    Some(EnvBinding {
        id: id?,
        name: name?,
        required,
    })
}

fn mount(fields: &mut Fields<'_>, decoder: &mut Decoder<'_>) -> Option<Mount> {
    let fs = fields.required(decoder, "fs", reference(Target::FileSystem));
    let guest = fields.required(decoder, "guest", absolute);
    let read_only = fields.optional(decoder, "read_only", boolean).unwrap_or(false);
    Some(Mount {
        fs: fs?,
        guest: guest?,
        read_only,
    })
}

/// An absolute path without `.` and `..`.
fn absolute(node: &Node, decoder: &mut Decoder<'_>) -> Option<String> {
    let path = text(node, decoder)?;
    let plain = path.split('/').all(|part| part != "." && part != "..");
    if path.starts_with('/') && plain {
        Some(path)
    } else {
        decoder.invalid(node, "an absolute path without `.` and `..`")
    }
}

fn report_repeated_names(env: &[(EnvBinding, Span)], decoder: &mut Decoder<'_>) {
    for (index, (binding, span)) in env.iter().enumerate() {
        if let Some((_, first)) = env
            .iter()
            .take(index)
            .find(|(earlier, _)| earlier.name == binding.name)
        {
            let message = format!("`{}.env`: name `{}` is given twice", decoder.path(), binding.name);
            decoder.report(
                Diagnostic::error("duplicate-env-name", message)
                    .primary(*span, "")
                    .secondary(*first, "first given here"),
            );
        }
    }
}

fn report_overlaps(mounts: &[(Mount, Span)], decoder: &mut Decoder<'_>) {
    for (index, (mount, span)) in mounts.iter().enumerate() {
        let overlaps =
            |other: &Mount| inside(&mount.guest, &other.guest) || inside(&other.guest, &mount.guest);
        if let Some((other, first)) = mounts.iter().take(index).find(|(earlier, _)| overlaps(earlier)) {
            let message = format!(
                "`{}.mounts`: `{}` and `{}` overlap, so a path would have two meanings",
                decoder.path(),
                other.guest,
                mount.guest
            );
            decoder.report(
                Diagnostic::error("overlapping-mounts", message)
                    .primary(*span, "")
                    .secondary(*first, "the other mount"),
            );
        }
    }
}

fn inside(path: &str, directory: &str) -> bool {
    let parts = |path: &str| {
        path.split('/')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    parts(path).starts_with(&parts(directory))
}
