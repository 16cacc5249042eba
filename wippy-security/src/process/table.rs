//! [`Processes`]: which process entries and hosts there are, which processes run, and what they are called.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use wippy_registry::EntryId;

use super::{
    Event, Host, Process,
    exit::gone,
    mailbox::{MailboxLimits, lock},
    pid,
    record::Record,
};
use crate::{CallError, ErrorKind, Exit, Pid};

/// The process table. Nothing that is done often goes through a lock that all share.
///
/// What guests may do takes their [`Context`](crate::Context) and asks the guard. What takes no permission
/// ([`launch`](Self::launch) and the [`Launched`](crate::Launched) that it answers, [`cancel_host`](Self::cancel_host),
/// the changes of the table) is for edges, such as the command line and the supervisor: like
/// [`Context::root`](crate::Context::root) it takes the dispatcher in Rust's hands, which no guest has.
pub struct Processes {
    limits: MailboxLimits,
    programs: ArcSwap<HashMap<EntryId, Arc<dyn Process>>>,
    hosts: ArcSwap<HashMap<EntryId, Arc<dyn Host>>>,
    /// Serialises changes of the two.
    changing: Mutex<()>,
    /// What runs, by serial number.
    running: Sharded<u64, Counted>,
    /// What runs, by the names that it was given.
    names: Sharded<Arc<str>, RandomState>,
    started: AtomicU64,
    ended: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

/// How many processes there were, and what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessCounts {
    /// Started so far.
    pub started: u64,
    /// Ended so far.
    pub ended: u64,
    /// Of those, with an error.
    pub failed: u64,
    /// Messages that nobody will receive: sent to a process that had ended, or waiting when it did.
    pub dropped: u64,
}

impl Processes {
    pub(crate) fn new(limits: MailboxLimits) -> Self {
        Self {
            limits,
            programs: ArcSwap::default(),
            hosts: ArcSwap::default(),
            changing: Mutex::default(),
            running: Sharded::default(),
            names: Sharded::default(),
            started: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// Puts `process` behind `id`. What runs already goes on with what it was started with, and is told that it is
    /// outdated.
    pub fn insert(&self, id: EntryId, process: Arc<dyn Process>) {
        let entry = id.clone();
        let replaced = self.change(&self.programs, |programs| programs.insert(id, process));
        if replaced.is_some() {
            for record in self.all().iter().filter(|record| record.entry() == entry) {
                record.notify(Event::Outdated, None);
            }
        }
    }

    /// Takes the process entry `id` away. What runs already goes on.
    pub fn remove(&self, id: &EntryId) {
        if self.contains(id) {
            self.change(&self.programs, |programs| programs.remove(id));
        }
    }

    /// Whether there is a process entry `id`.
    pub fn contains(&self, id: &EntryId) -> bool {
        self.programs.load().contains_key(id)
    }

    /// Puts `host` behind `id`. What runs on a former one stays there.
    pub fn insert_host(&self, id: EntryId, host: Arc<dyn Host>) {
        self.change(&self.hosts, |hosts| hosts.insert(id, host));
    }

    /// Takes the host `id` away. What runs on it stays there.
    pub fn remove_host(&self, id: &EntryId) {
        self.change(&self.hosts, |hosts| hosts.remove(id));
    }

    fn change<T: Clone, R>(
        &self,
        table: &ArcSwap<HashMap<EntryId, T>>,
        change: impl FnOnce(&mut HashMap<EntryId, T>) -> R,
    ) -> R {
        let _changing = lock(&self.changing);
        let mut next = HashMap::clone(&table.load());
        let result = change(&mut next);
        table.store(Arc::new(next));
        result
    }

    pub(super) fn program(&self, id: &EntryId) -> Result<Arc<dyn Process>, CallError> {
        let program = self.programs.load().get(id).cloned();
        program
            .ok_or_else(|| CallError::new(ErrorKind::NotFound, format!("there is no process entry `{id}`")))
    }

    pub(super) fn host(&self, id: &EntryId) -> Result<Arc<dyn Host>, CallError> {
        let host = self.hosts.load().get(id).cloned();
        host.ok_or_else(|| CallError::new(ErrorKind::NotFound, format!("there is no process host `{id}`")))
    }

    /// A record for a process that is about to start.
    pub(super) fn enter(&self, entry: EntryId, host: &EntryId) -> Arc<Record> {
        let serial = self.started.fetch_add(1, Ordering::Relaxed) + 1;
        let record = Record::new(Pid::new(host.as_str(), serial), entry, self.limits);
        self.running.insert(serial, Arc::clone(&record));
        record
    }

    /// The process has ended: whom that concerns hears of it, the first time.
    pub(super) fn ended(&self, record: &Arc<Record>, exit: Exit) {
        let is_abnormal = exit.is_abnormal();
        let Some(mut farewell) = record.end(exit) else {
            return;
        };
        self.ended.fetch_add(1, Ordering::Relaxed);
        self.failed.fetch_add(u64::from(is_abnormal), Ordering::Relaxed);
        self.running.remove(&record.pid().serial());
        for name in farewell.names.drain(..) {
            self.names.remove_if(&name, |named| Arc::ptr_eq(named, record));
        }
        self.dropped.fetch_add(record.close(), Ordering::Relaxed);
        record.bid_farewell(farewell);
    }

    /// The process that runs under `pid`.
    pub fn get(&self, pid: &Pid) -> Option<Arc<Record>> {
        self.running
            .get(&pid.serial())
            .filter(|record| record.pid() == pid)
    }

    /// What runs.
    pub fn all(&self) -> Vec<Arc<Record>> {
        self.running.all()
    }

    /// How many run.
    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// Whether none runs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many there were.
    pub fn counts(&self) -> ProcessCounts {
        ProcessCounts {
            started: self.started.load(Ordering::Relaxed),
            ended: self.ended.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }

    /// Counts a message that nobody will receive.
    pub(super) fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Whom `destination` means: a PID or a name.
    pub(super) fn find<'a>(&self, destination: &'a str) -> Result<Found<'a>, CallError> {
        if let Some(serial) = pid::serial_of(destination) {
            let record = self.running.get(&serial);
            return Ok(Found {
                record: record.filter(|record| record.pid().as_str() == destination),
                name: None,
                destination,
            });
        }
        match self.names.get(destination) {
            Some(record) => Ok(Found {
                record: Some(record),
                name: Some(destination),
                destination,
            }),
            None => Err(unnamed(destination)),
        }
    }

    /// Who has the name.
    pub fn named(&self, name: &str) -> Option<Pid> {
        self.names.get(name).map(|record| record.pid().clone())
    }

    /// Gives a process a name until it ends. Giving it the same name again changes nothing.
    pub(super) fn give_name(&self, name: &Arc<str>, record: &Arc<Record>) -> Result<(), CallError> {
        check_name(name)?;
        record.name(|names| {
            if names.len() >= NAMES_MAX && !names.contains(name) {
                return Err(CallError::new(
                    ErrorKind::RateLimited,
                    format!("the process `{}` has {NAMES_MAX} names already", record.pid()),
                )
                .with_retryable(false));
            }
            match self.names.insert_new(Arc::clone(name), record) {
                Ok(()) => names.push(Arc::clone(name)),
                Err(holder) if Arc::ptr_eq(&holder, record) => {}
                Err(holder) => return Err(taken(name, holder.pid())),
            }
            Ok(())
        })
    }

    /// Takes a name away from `holder`. Answers whether it still had it.
    pub(super) fn take_name(&self, name: &str, holder: &Pid) -> bool {
        let Some(record) = self.names.get(name).filter(|record| record.pid() == holder) else {
            return false;
        };
        record
            .name(|names| {
                names.retain(|known| **known != *name);
                self.names.remove_if(name, |named| Arc::ptr_eq(named, &record));
                Ok(())
            })
            .is_ok()
    }
}

/// Whom a destination means.
pub(super) struct Found<'a> {
    /// The process, if it still runs.
    pub(super) record: Option<Arc<Record>>,
    /// The destination, if it is a name.
    pub(super) name: Option<&'a str>,
    /// What was asked for.
    pub(super) destination: &'a str,
}

impl Found<'_> {
    /// The process.
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn running(self) -> Result<Arc<Record>, CallError> {
        self.record.ok_or_else(|| gone(self.destination))
    }
}

/// A name is short, and neither a PID nor reserved.
fn check_name(name: &str) -> Result<(), CallError> {
    let problem = if name.is_empty() {
        "is empty"
    } else if name.len() > NAME_MAX {
        "is longer than 255 bytes"
    } else if name.starts_with(['{', '@']) {
        "begins with a character that PIDs and reserved names begin with"
    } else {
        return Ok(());
    };
    Err(CallError::invalid(format!("the name `{name:.40}` {problem}")))
}

const NAME_MAX: usize = 255;

/// How many names one process has at most.
const NAMES_MAX: usize = 1024;

#[cold]
fn unnamed(name: &str) -> CallError {
    CallError::new(
        ErrorKind::NotFound,
        format!("no process is registered as `{name}`"),
    )
}

#[cold]
fn taken(name: &str, holder: &Pid) -> CallError {
    let message = format!("the name `{name}` is registered already, for `{holder}`");
    CallError::new(ErrorKind::AlreadyExists, message)
}

/// A map in parts, each with its own lock.
struct Sharded<K, S> {
    shards: [RwLock<HashMap<K, Arc<Record>, S>>; SHARDS],
    hasher: S,
}

const SHARDS: usize = 64;

impl<K, S: Default> Default for Sharded<K, S> {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| RwLock::default()),
            hasher: S::default(),
        }
    }
}

impl<K: std::hash::Hash + Eq, S: BuildHasher> Sharded<K, S> {
    fn shard<Q>(&self, key: &Q) -> &RwLock<HashMap<K, Arc<Record>, S>>
    where
        K: std::borrow::Borrow<Q>,
        Q: std::hash::Hash + Eq + ?Sized,
    {
        // Bits that the maps make little use of. The remainder is below the number of shards, and fits.
        let shard = usize::try_from((self.hasher.hash_one(key) >> 32) % SHARDS as u64).unwrap_or(0);
        self.shards
            .get(shard)
            .expect("a remainder is smaller than its divisor")
    }

    fn get<Q>(&self, key: &Q) -> Option<Arc<Record>>
    where
        K: std::borrow::Borrow<Q>,
        Q: std::hash::Hash + Eq + ?Sized,
    {
        let shard = self.shard(key).read().unwrap_or_else(PoisonError::into_inner);
        shard.get(key).cloned()
    }

    fn insert(&self, key: K, record: Arc<Record>) {
        let mut shard = self.shard(&key).write().unwrap_or_else(PoisonError::into_inner);
        shard.insert(key, record);
    }

    /// Puts a record in where none is; else answers the one that is there.
    fn insert_new(&self, key: K, record: &Arc<Record>) -> Result<(), Arc<Record>> {
        let mut shard = self.shard(&key).write().unwrap_or_else(PoisonError::into_inner);
        match shard.entry(key) {
            Entry::Occupied(there) => Err(Arc::clone(there.get())),
            Entry::Vacant(free) => {
                free.insert(Arc::clone(record));
                Ok(())
            }
        }
    }

    fn remove<Q>(&self, key: &Q)
    where
        K: std::borrow::Borrow<Q>,
        Q: std::hash::Hash + Eq + ?Sized,
    {
        self.remove_if(key, |_| true);
    }

    fn remove_if<Q>(&self, key: &Q, agrees: impl FnOnce(&Arc<Record>) -> bool)
    where
        K: std::borrow::Borrow<Q>,
        Q: std::hash::Hash + Eq + ?Sized,
    {
        let mut shard = self.shard(key).write().unwrap_or_else(PoisonError::into_inner);
        if shard.get(key).is_some_and(agrees) {
            let removed = shard.remove(key);
            drop(shard);
            drop(removed);
        }
    }

    fn all(&self) -> Vec<Arc<Record>> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            all.extend(shard.values().cloned());
        }
        all
    }

    fn len(&self) -> usize {
        let shards = self.shards.iter();
        shards
            .map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).len())
            .sum()
    }
}

/// Hashes serial numbers. They are counted, so nobody can choose some that collide, and every message looks for one.
#[derive(Default)]
struct Counted;

#[derive(Default)]
struct CountedHasher(u64);

impl BuildHasher for Counted {
    type Hasher = CountedHasher;

    fn build_hasher(&self) -> CountedHasher {
        CountedHasher::default()
    }
}

impl Hasher for CountedHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // Neighbours end up far from each other, by 2^64 over the golden ratio; maps look at both ends of it.
        let product = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = product ^ (product >> 32);
    }
}

impl fmt::Debug for Processes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processes")
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}
