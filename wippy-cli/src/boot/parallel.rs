//! Work on many entries at once, with a progress bar where somebody is looking.

use std::{
    io::{self, IsTerminal as _},
    num::NonZero,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

/// Parsers and compilers recurse; the usual 2 MiB of a thread are too few for the deepest modules.
const STACK_BYTES: usize = 16 << 20;

/// What takes less than this is not worth a progress bar.
const PATIENCE: Duration = Duration::from_millis(300);

/// Applies `work` to every item on all cores; the results are in the order of the items.
pub(super) fn map<T: Sync, R: Send>(
    what: &'static str,
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let results: Vec<Mutex<Option<R>>> = items.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    let worker = || {
        while let Some((item, result)) = take(&next, items, &results) {
            *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(work(item));
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    let threads = cores().min(items.len());
    thread::scope(|scope| {
        let watched = io::stderr().is_terminal();
        let workers: Vec<_> = (0..threads)
            .filter_map(|_| {
                thread::Builder::new()
                    .name("wippy-prepare".into())
                    .stack_size(STACK_BYTES)
                    .spawn_scoped(scope, worker)
                    .ok()
            })
            .collect();
        if workers.is_empty() {
            worker();
        } else if watched {
            watch(what, &done, items.len(), || {
                workers.iter().all(thread::ScopedJoinHandle::is_finished)
            });
        }
    });
    results
        .into_iter()
        .filter_map(|result| result.into_inner().unwrap_or_else(PoisonError::into_inner))
        .collect()
}

/// How many threads run at once. Asking the system takes as long as preparing a module from the cache.
fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| thread::available_parallelism().map_or(1, NonZero::get))
}

fn take<'i, T, R>(next: &AtomicUsize, items: &'i [T], results: &'i [R]) -> Option<(&'i T, &'i R)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    items.get(index).zip(results.get(index))
}

/// Shows how many of `total` are done, until all are.
fn watch(what: &'static str, done: &AtomicUsize, total: usize, finished: impl Fn() -> bool) {
    let begin = std::time::Instant::now();
    let mut bar: Option<ProgressBar> = None;
    while !finished() {
        thread::sleep(Duration::from_millis(5));
        if bar.is_none() && begin.elapsed() > PATIENCE {
            bar = Some(new_bar(what, total));
        }
        if let Some(bar) = &bar {
            bar.set_position(done.load(Ordering::Relaxed).try_into().unwrap_or(u64::MAX));
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
}

fn new_bar(what: &'static str, total: usize) -> ProgressBar {
    let bar = ProgressBar::new(total.try_into().unwrap_or(u64::MAX)).with_message(what);
    match ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
