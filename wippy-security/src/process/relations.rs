//! Who watches whom: monitors, links, names and those who wait for an end.
//!
//! A relation of two processes stands in the records of both, and changes under both locks. So either it is there
//! before one of them ends, and is seen by that end; or it is made afterwards, and finds that the other has ended. In
//! neither case is an event lost or told twice.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, MutexGuard},
};

use tokio::sync::oneshot;
use wippy_registry::EntryId;

use super::{
    exit::gone,
    mailbox::{Event, Place, lock},
    record::Record,
};
use crate::{CallError, Exit};

/// What ties a process to others, by their serial numbers.
pub(super) struct Relations {
    /// What it runs.
    pub(super) entry: EntryId,
    /// How it ended. Nothing is added to the rest from then on.
    pub(super) ended: Option<Exit>,
    /// Who monitors it, each with the place of the event that it will get.
    monitors: BTreeMap<u64, Place>,
    /// Whom it monitors.
    monitored: BTreeMap<u64, Arc<Record>>,
    /// To whom it is linked, each with the place of the event that it may get.
    links: BTreeMap<u64, Place>,
    /// What it is called.
    names: Vec<Arc<str>>,
    /// Who waits for its end from outside of all processes.
    waiting: Vec<oneshot::Sender<Exit>>,
}

impl Relations {
    pub(super) fn new(entry: EntryId) -> Self {
        Self {
            entry,
            ended: None,
            monitors: BTreeMap::new(),
            monitored: BTreeMap::new(),
            links: BTreeMap::new(),
            names: Vec::new(),
            waiting: Vec::new(),
        }
    }

    pub(super) fn names_mut(&mut self) -> &mut Vec<Arc<str>> {
        &mut self.names
    }
}

/// Both relations, locked oldest first. The two are different processes.
fn lock_both<'a>(
    one: &'a Record,
    other: &'a Record,
) -> (MutexGuard<'a, Relations>, MutexGuard<'a, Relations>) {
    if one.pid().serial() < other.pid().serial() {
        let first = lock(&one.relations);
        (first, lock(&other.relations))
    } else {
        let first = lock(&other.relations);
        (lock(&one.relations), first)
    }
}

/// `watcher` will get the EXIT of `target`; at once, if it has ended. Once is enough.
///
/// # Errors
/// When it watches too much, or itself.
pub(super) fn monitor(watcher: &Arc<Record>, target: &Arc<Record>) -> Result<(), CallError> {
    refuse_self(watcher, target, "monitor")?;
    let place = watcher.take_event_place()?;
    let (mut own, mut others) = lock_both(watcher, target);
    if own.ended.is_some() {
        return Ok(());
    }
    if let Some(exit) = others.ended.clone() {
        let is_on_its_way = own.monitored.contains_key(&target.pid().serial());
        drop((own, others));
        if is_on_its_way {
            return Ok(());
        }
        let from = target.pid().clone();
        watcher.notify(Event::Exit { from, exit }, Some(place));
        return Ok(());
    }
    // The place of a monitor that was there already is given back.
    let former = others.monitors.insert(watcher.pid().serial(), place);
    own.monitored.insert(target.pid().serial(), Arc::clone(target));
    drop((own, others));
    drop(former);
    Ok(())
}

/// `watcher` will not get the EXIT of `target` any more, unless it was sent already.
pub(super) fn unmonitor(watcher: &Arc<Record>, target: &Arc<Record>) {
    if Arc::ptr_eq(watcher, target) {
        return;
    }
    let (mut own, mut others) = lock_both(watcher, target);
    let monitored = own.monitored.remove(&target.pid().serial());
    let place = others.monitors.remove(&watcher.pid().serial());
    drop((own, others));
    drop((monitored, place));
}

/// Links two processes: the failure of one reaches the other. A target that failed already has that effect now.
///
/// # Errors
/// When one of them watches too much, or they are one.
pub(super) fn link(own: &Arc<Record>, target: &Arc<Record>) -> Result<(), CallError> {
    refuse_self(own, target, "link to")?;
    let (own_place, target_place) = (own.take_event_place()?, target.take_event_place()?);
    let (mut ours, mut theirs) = lock_both(own, target);
    if let Some(exit) = ours.ended.clone() {
        // A process that failed while a call of its still linked it takes the target with it all the same.
        drop((ours, theirs));
        target.link_went_down(own, &exit, target_place);
        return Ok(());
    }
    if let Some(exit) = theirs.ended.clone() {
        let is_on_its_way = ours.links.contains_key(&target.pid().serial());
        drop((ours, theirs));
        if is_on_its_way {
            return Ok(());
        }
        own.link_went_down(target, &exit, own_place);
        return Ok(());
    }
    let former = (
        theirs.links.insert(own.pid().serial(), own_place),
        ours.links.insert(target.pid().serial(), target_place),
    );
    drop((ours, theirs));
    drop(former);
    Ok(())
}

/// Undoes a link.
pub(super) fn unlink(own: &Arc<Record>, target: &Arc<Record>) {
    if Arc::ptr_eq(own, target) {
        return;
    }
    let (mut ours, mut theirs) = lock_both(own, target);
    let places = (
        ours.links.remove(&target.pid().serial()),
        theirs.links.remove(&own.pid().serial()),
    );
    drop((ours, theirs));
    drop(places);
}

fn refuse_self(own: &Arc<Record>, target: &Arc<Record>, what: &str) -> Result<(), CallError> {
    if Arc::ptr_eq(own, target) {
        return Err(CallError::invalid(format!("a process cannot {what} itself")));
    }
    Ok(())
}

/// What an end has to tell, taken out of a record that is marked as ended.
pub(super) struct Farewell {
    exit: Exit,
    monitors: BTreeMap<u64, Place>,
    monitored: BTreeMap<u64, Arc<Record>>,
    links: BTreeMap<u64, Place>,
    pub(super) names: Vec<Arc<str>>,
    waiting: Vec<oneshot::Sender<Exit>>,
}

impl Record {
    /// Marks the process as ended and takes out whom that concerns. Only the first end counts.
    pub(super) fn end(&self, exit: Exit) -> Option<Farewell> {
        let mut relations = lock(&self.relations);
        if relations.ended.is_some() {
            return None;
        }
        relations.ended = Some(exit.clone());
        Some(Farewell {
            exit,
            monitors: mem::take(&mut relations.monitors),
            monitored: mem::take(&mut relations.monitored),
            links: mem::take(&mut relations.links),
            names: mem::take(&mut relations.names),
            waiting: mem::take(&mut relations.waiting),
        })
    }

    /// Tells everybody whom the end concerns.
    pub(super) fn bid_farewell(&self, farewell: Farewell) {
        let Farewell { exit, .. } = farewell;
        let serial = self.pid().serial();
        for target in farewell.monitored.into_values() {
            // Nobody is left who would get it.
            let place = lock(&target.relations).monitors.remove(&serial);
            drop(place);
        }
        for place in farewell.monitors.into_values() {
            let watcher = Arc::clone(place.record());
            let mut relations = lock(&watcher.relations);
            if relations.monitored.remove(&serial).is_some() {
                let event = Event::Exit {
                    from: self.pid().clone(),
                    exit: exit.clone(),
                };
                // Under the lock, so that nothing comes after an `unmonitor` has returned.
                watcher.notify(event, Some(place));
            }
            drop(relations);
        }
        for place in farewell.links.into_values() {
            let peer = Arc::clone(place.record());
            let mut relations = lock(&peer.relations);
            let held = relations.links.remove(&serial);
            if held.is_some() {
                peer.link_went_down(self, &exit, place);
            }
            drop(relations);
            drop(held);
        }
        for waiting in farewell.waiting {
            // Who does not wait any more does not need to know.
            let _ = waiting.send(exit.clone());
        }
    }

    /// What the end of the linked process `failed` means for this one.
    fn link_went_down(&self, failed: &Self, exit: &Exit, place: Place) {
        if !exit.is_abnormal() {
            return;
        }
        if self.traps_links() {
            let event = Event::LinkDown {
                from: failed.pid().clone(),
                exit: exit.clone(),
            };
            self.notify(event, Some(place));
        } else {
            self.kill(Exit::of_link(failed.pid(), exit));
        }
    }

    /// Answers how the process ended, when it has.
    pub(super) fn wait(&self) -> oneshot::Receiver<Exit> {
        let (sender, receiver) = oneshot::channel();
        let mut relations = lock(&self.relations);
        if let Some(exit) = &relations.ended {
            // The receiver is right here.
            let _ = sender.send(exit.clone());
        } else {
            // Those who gave up waiting are forgotten at the next occasion.
            relations.waiting.retain(|waiting| !waiting.is_closed());
            relations.waiting.push(sender);
        }
        receiver
    }

    /// Replaces what it runs.
    pub(super) fn set_entry(&self, entry: EntryId) {
        lock(&self.relations).entry = entry;
    }

    /// Gives it a name, which `take` does under the lock of its relations.
    ///
    /// # Errors
    /// What `take` says; [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) when it has ended.
    pub(super) fn name(
        &self,
        take: impl FnOnce(&mut Vec<Arc<str>>) -> Result<(), CallError>,
    ) -> Result<(), CallError> {
        let mut relations = lock(&self.relations);
        if relations.ended.is_some() {
            return Err(gone(self.pid().as_str()));
        }
        take(relations.names_mut())
    }
}
