//! Watching the files of a project: one signal for all that changes together.

use std::{path::Path, time::Duration};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};

/// Files of these sorts make an application.
const EXTENSIONS: &[&str] = &["yaml", "yml", "lock", "lua", "wasm", "wat", "wit"];

/// An editor writes several files, and each in several steps; what comes within this belongs together.
const QUIET: Duration = Duration::from_millis(100);

/// Longer than this a change is not waited for, however much goes on.
const PATIENCE: Duration = Duration::from_secs(2);

/// What watches. Dropping it ends the watch.
pub(crate) type Watcher = RecommendedWatcher;

/// Signals of changes.
pub(crate) struct Changes {
    changed: mpsc::Receiver<()>,
}

/// Begins to watch a project's folder and everything below it.
///
/// # Errors
/// As the system has them.
pub(crate) fn begin(directory: &Path) -> notify::Result<(Changes, Watcher)> {
    // One signal that waits is enough, whatever it is about.
    let (sender, changed) = mpsc::channel(1);
    let root = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    let below = root.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        if event.is_ok_and(|event| matters(&event, &below)) {
            let _ = sender.try_send(());
        }
    })?;
    watcher.watch(&root, RecursiveMode::Recursive)?;
    Ok((Changes { changed }, watcher))
}

impl Changes {
    /// Waits for a change, and until it is over; false once nothing is watched any more.
    pub(crate) async fn next(&mut self) -> bool {
        if self.changed.recv().await.is_none() {
            return false;
        }
        let latest = Instant::now() + PATIENCE;
        while let Ok(Ok(Some(()))) = timeout_at(latest, timeout(QUIET, self.changed.recv())).await {}
        true
    }
}

/// Whether an event may change the application. Looking at a file does not, nor does what is hidden.
fn matters(event: &Event, root: &Path) -> bool {
    let is_change = matches!(
        event.kind,
        EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_)
    );
    is_change && event.paths.iter().any(|path| is_source(path, root))
}

fn is_source(path: &Path, root: &Path) -> bool {
    let inside = path.strip_prefix(root).unwrap_or(path);
    let is_hidden = |part: &str| part.starts_with('.') && part != ".wippy" && part != ".wippy.yaml";
    let has_hidden = inside
        .components()
        .filter_map(|part| part.as_os_str().to_str())
        .any(is_hidden);
    let extension = path.extension().and_then(|extension| extension.to_str());
    !has_hidden && extension.is_some_and(|extension| EXTENSIONS.contains(&extension))
}
