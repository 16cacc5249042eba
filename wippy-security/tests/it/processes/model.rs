//! Random operations on processes, compared step by step with a small model of what mailboxes, monitors, links and
//! names mean.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;
use wippy_security::{ErrorKind, Letter, MailboxLimits, Spawn};

use super::{Puppet, Theatre, describe, spawn};

/// Messages that a mailbox holds.
const BOUND: usize = 3;
/// Processes that a run starts at most.
const PROCESSES_MAX: usize = 8;

/// Processes are meant by their number, modulo how many there were.
#[derive(Debug, Clone)]
enum Step {
    Start,
    Spawn {
        parent: usize,
        monitor: bool,
        link: bool,
        name: Option<u8>,
    },
    Send {
        from: usize,
        to: usize,
    },
    SendToName {
        from: usize,
        name: u8,
    },
    Receive {
        process: usize,
        keep: bool,
    },
    Consume {
        process: usize,
    },
    PutBack {
        process: usize,
    },
    EndWell {
        process: usize,
    },
    Crash {
        process: usize,
    },
    Terminate {
        by: usize,
        process: usize,
    },
    HostDrops {
        process: usize,
    },
    Monitor {
        by: usize,
        process: usize,
    },
    Unmonitor {
        by: usize,
        process: usize,
    },
    Link {
        by: usize,
        process: usize,
    },
    Unlink {
        by: usize,
        process: usize,
    },
    Trap {
        process: usize,
        traps: bool,
    },
    Register {
        process: usize,
        name: u8,
    },
    Unregister {
        by: usize,
        name: u8,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let process = 0..PROCESSES_MAX;
    let name = 0..3_u8;
    let two = (process.clone(), process.clone());
    let step = prop_oneof![
        1 => Just(Step::Start),
        3 => (process.clone(), any::<bool>(), any::<bool>(), prop::option::of(name.clone()))
            .prop_map(|(parent, monitor, link, name)| Step::Spawn { parent, monitor, link, name }),
        4 => two.clone().prop_map(|(from, to)| Step::Send { from, to }),
        1 => (process.clone(), name.clone()).prop_map(|(from, name)| Step::SendToName { from, name }),
        4 => (process.clone(), any::<bool>()).prop_map(|(process, keep)| Step::Receive { process, keep }),
        1 => process.clone().prop_map(|process| Step::Consume { process }),
        1 => process.clone().prop_map(|process| Step::PutBack { process }),
        2 => process.clone().prop_map(|process| Step::EndWell { process }),
        2 => process.clone().prop_map(|process| Step::Crash { process }),
        1 => two.clone().prop_map(|(by, process)| Step::Terminate { by, process }),
        1 => process.clone().prop_map(|process| Step::HostDrops { process }),
        3 => two.clone().prop_map(|(by, process)| Step::Monitor { by, process }),
        2 => two.clone().prop_map(|(by, process)| Step::Unmonitor { by, process }),
        4 => two.clone().prop_map(|(by, process)| Step::Link { by, process }),
        2 => two.prop_map(|(by, process)| Step::Unlink { by, process }),
        1 => (process.clone(), any::<bool>()).prop_map(|(process, traps)| Step::Trap { process, traps }),
        2 => (process.clone(), name.clone()).prop_map(|(process, name)| Step::Register { process, name }),
        1 => (process, name).prop_map(|(by, name)| Step::Unregister { by, name }),
    ];
    prop::collection::vec(step, 1..120)
}

/// The reference: what the words mean, without any concern for threads.
#[derive(Default)]
struct Model {
    /// By number; the first is 1.
    processes: BTreeMap<usize, Modelled>,
    names: BTreeMap<u8, usize>,
    dropped: u64,
}

#[derive(Default)]
struct Modelled {
    ended: Option<&'static str>,
    /// How it will end when it is next polled.
    ending: Option<&'static str>,
    letters: VecDeque<String>,
    /// Messages taken out and not consumed.
    kept: Vec<String>,
    traps: bool,
    monitors: BTreeSet<usize>,
    links: BTreeSet<usize>,
}

const OK: &str = "done";
const CRASHED: &str = "INTERNAL";
const CANCELED: &str = "CANCELED";

impl Model {
    fn of(&mut self, number: usize) -> &mut Modelled {
        self.processes.get_mut(&number).unwrap()
    }

    fn is_alive(&self, number: usize) -> bool {
        self.processes[&number].ended.is_none()
    }

    fn start(&mut self) -> usize {
        let number = self.processes.len() + 1;
        self.processes.insert(number, Modelled::default());
        number
    }

    /// Whether the mailbox takes one more message.
    fn has_room(&self, number: usize) -> bool {
        let process = &self.processes[&number];
        let waiting = process.letters.iter().filter(|letter| is_message(letter)).count();
        process.ended.is_some() || waiting + process.kept.len() < BOUND
    }

    fn send(&mut self, from: usize, to: usize, topic: &str) -> Result<(), ErrorKind> {
        if !self.is_alive(to) {
            self.dropped += 1;
            return Ok(());
        }
        if !self.has_room(to) {
            return Err(ErrorKind::RateLimited);
        }
        self.of(to).letters.push_back(format!("{topic} from {from}"));
        Ok(())
    }

    fn monitor(&mut self, by: usize, target: usize) {
        match self.processes[&target].ended {
            Some(_) => self.of(by).letters.push_back(format!("EXIT {target} NOT_FOUND")),
            None => {
                self.of(target).monitors.insert(by);
            }
        }
    }

    fn link(&mut self, one: usize, other: usize) {
        self.of(one).links.insert(other);
        self.of(other).links.insert(one);
    }

    fn unlink(&mut self, one: usize, other: usize) {
        self.of(one).links.remove(&other);
        self.of(other).links.remove(&one);
    }

    /// Polls everything, oldest first, until nothing more ends.
    fn settle(&mut self) {
        loop {
            let mut has_changed = false;
            for number in 1..=self.processes.len() {
                if self.is_alive(number)
                    && let Some(how) = self.of(number).ending
                {
                    self.end(number, how);
                    has_changed = true;
                }
            }
            if !has_changed {
                return;
            }
        }
    }

    fn end(&mut self, number: usize, how: &'static str) {
        let process = self.of(number);
        process.ended = Some(how);
        let lost = process
            .letters
            .drain(..)
            .filter(|letter| is_message(letter))
            .count();
        let monitors = std::mem::take(&mut process.monitors);
        let links = std::mem::take(&mut process.links);
        self.dropped += lost as u64;
        self.names.retain(|_, holder| *holder != number);
        for watcher in monitors {
            self.of(watcher).letters.push_back(format!("EXIT {number} {how}"));
        }
        for other in self.processes.values_mut() {
            other.monitors.remove(&number);
        }
        for peer in links {
            let peer = self.of(peer);
            peer.links.remove(&number);
            if how == OK {
                continue;
            }
            if peer.traps {
                peer.letters.push_back(format!("LINK_DOWN {number} {how}"));
            } else {
                // The kind of the first failure goes along, whatever the process had in mind itself.
                peer.ending = Some(if matches!(peer.ending, Some(CANCELED)) {
                    CANCELED
                } else {
                    how
                });
            }
        }
    }
}

fn is_message(letter: &str) -> bool {
    letter.contains(" from ") && !letter.starts_with("CANCEL")
}

/// The real processes beside the model.
struct Run {
    theatre: Theatre,
    puppets: Vec<Puppet>,
    kept: Vec<Vec<Letter>>,
    model: Model,
    topics: usize,
}

fn name_of(name: u8) -> String {
    format!("name{name}")
}

impl Run {
    fn new() -> Self {
        Self {
            theatre: Theatre::with_limits(MailboxLimits {
                messages: BOUND,
                ..MailboxLimits::default()
            }),
            puppets: Vec::new(),
            kept: Vec::new(),
            model: Model::default(),
            topics: 0,
        }
    }

    /// The real process and its number in the model.
    fn pick(&self, which: usize) -> Option<(Puppet, usize)> {
        let index = which.checked_rem(self.puppets.len())?;
        Some((self.puppets[index].clone(), index + 1))
    }

    /// One that runs. The dead do nothing.
    fn pick_alive(&self, which: usize) -> Option<(Puppet, usize)> {
        self.pick(which)
            .filter(|(_, number)| self.model.is_alive(*number))
    }

    fn add(&mut self, puppet: Puppet) {
        self.puppets.push(puppet);
        self.kept.push(Vec::new());
    }

    fn step(&mut self, step: &Step) -> Option<()> {
        match *step {
            Step::Start => {
                if self.puppets.len() < PROCESSES_MAX {
                    let puppet = self.theatre.start();
                    self.model.start();
                    self.add(puppet);
                }
            }
            Step::Spawn {
                parent,
                monitor,
                link,
                name,
            } => {
                // A refused spawn uses a number up, so only what will start is tried.
                let free = name.is_none_or(|name| !self.model.names.contains_key(&name));
                let (parent, number) = self.pick_alive(parent)?;
                if self.puppets.len() < PROCESSES_MAX && free {
                    let wanted = Spawn {
                        monitor,
                        link,
                        name: name.map(|name| name_of(name).into()),
                        ..spawn()
                    };
                    let puppet = self.theatre.spawn(&parent, wanted).unwrap();
                    let child = self.model.start();
                    if monitor {
                        self.model.monitor(number, child);
                    }
                    if link {
                        self.model.link(number, child);
                    }
                    if let Some(name) = name {
                        self.model.names.insert(name, child);
                    }
                    self.add(puppet);
                }
            }
            Step::Send { from, to } => {
                let ((sender, from), (receiver, to)) = (self.pick_alive(from)?, self.pick(to)?);
                let topic = self.topic();
                let sent = sender.send(receiver.pid(), &topic).map_err(|error| error.kind());
                assert_eq!(sent, self.model.send(from, to, &topic));
            }
            Step::SendToName { from, name } => {
                let (sender, from) = self.pick_alive(from)?;
                let topic = self.topic();
                let processes = self.theatre.processes();
                let sent = processes.send(&sender.context, &name_of(name), topic.as_str().into(), Vec::new());
                let expected = match self.model.names.get(&name) {
                    Some(to) => self.model.send(from, *to, &topic),
                    None => Err(ErrorKind::NotFound),
                };
                assert_eq!(sent.map_err(|error| error.kind()), expected);
            }
            Step::Receive { process, keep } => {
                let (puppet, number) = self.pick_alive(process)?;
                let letter = puppet.mailbox.try_next();
                let expected = self.model.of(number).letters.pop_front();
                assert_eq!(letter.as_ref().map(describe), expected);
                if keep && let (Some(letter @ Letter::Message(..)), Some(expected)) = (letter, expected) {
                    self.model.of(number).kept.push(expected);
                    self.kept[number - 1].push(letter);
                }
            }
            Step::Consume { process } => {
                let (_, number) = self.pick_alive(process)?;
                self.kept[number - 1].clear();
                self.model.of(number).kept.clear();
            }
            Step::PutBack { process } => {
                let (puppet, number) = self.pick_alive(process)?;
                puppet.mailbox.put_back(self.kept[number - 1].drain(..));
                let process = self.model.of(number);
                for letter in std::mem::take(&mut process.kept).into_iter().rev() {
                    process.letters.push_front(letter);
                }
            }
            Step::EndWell { process } => {
                let (puppet, number) = self.pick_alive(process)?;
                puppet.end_well();
                self.model.of(number).ending = Some(OK);
            }
            Step::Crash { process } => {
                let (puppet, number) = self.pick_alive(process)?;
                puppet.crash();
                self.model.of(number).ending = Some(CRASHED);
            }
            Step::Terminate { by, process } => {
                let ((killer, _), (victim, number)) = (self.pick_alive(by)?, self.pick(process)?);
                let processes = self.theatre.processes();
                processes
                    .terminate(&killer.context, victim.pid().as_str())
                    .unwrap();
                if self.model.is_alive(number) {
                    self.model.of(number).ending = Some(CANCELED);
                }
            }
            Step::HostDrops { process } => {
                let (victim, number) = self.pick_alive(process)?;
                self.theatre.stage.drop_one(victim.pid());
                self.model.end(number, CANCELED);
            }
            Step::Monitor { by, process } => {
                let ((watcher, by), (target, number)) = (self.pick_alive(by)?, self.pick(process)?);
                let outcome = self
                    .theatre
                    .processes()
                    .monitor(&watcher.context, target.pid().as_str());
                assert_eq!(outcome.is_ok(), by != number);
                if outcome.is_ok() {
                    self.model.monitor(by, number);
                }
            }
            Step::Unmonitor { by, process } => {
                let ((watcher, by), (target, number)) = (self.pick_alive(by)?, self.pick(process)?);
                let processes = self.theatre.processes();
                processes
                    .unmonitor(&watcher.context, target.pid().as_str())
                    .unwrap();
                self.model.of(number).monitors.remove(&by);
            }
            Step::Link { by, process } => {
                let ((own, by), (peer, number)) = (self.pick_alive(by)?, self.pick(process)?);
                let outcome = self.theatre.processes().link(&own.context, peer.pid().as_str());
                let kind = outcome.map_err(|error| error.kind());
                if !self.model.is_alive(number) {
                    assert_eq!(kind, Err(ErrorKind::NotFound));
                } else if by == number {
                    assert_eq!(kind, Err(ErrorKind::Invalid));
                } else {
                    assert_eq!(kind, Ok(()));
                    self.model.link(by, number);
                }
            }
            Step::Unlink { by, process } => {
                let ((own, by), (peer, number)) = (self.pick_alive(by)?, self.pick(process)?);
                self.theatre
                    .processes()
                    .unlink(&own.context, peer.pid().as_str())
                    .unwrap();
                self.model.unlink(by, number);
            }
            Step::Trap { process, traps } => {
                let (puppet, number) = self.pick_alive(process)?;
                puppet.mailbox.record().set_traps_links(traps);
                self.model.of(number).traps = traps;
            }
            Step::Register { process, name } => {
                let (puppet, number) = self.pick_alive(process)?;
                let outcome = self
                    .theatre
                    .processes()
                    .register(&puppet.context, &name_of(name), None);
                let holder = *self.model.names.entry(name).or_insert(number);
                let expected = if holder == number {
                    Ok(())
                } else {
                    Err(ErrorKind::AlreadyExists)
                };
                assert_eq!(outcome.map_err(|error| error.kind()), expected);
            }
            Step::Unregister { by, name } => {
                let (puppet, _) = self.pick_alive(by)?;
                let was_there = self
                    .theatre
                    .processes()
                    .unregister(&puppet.context, &name_of(name))
                    .unwrap();
                assert_eq!(was_there, self.model.names.remove(&name).is_some());
            }
        }
        Some(())
    }

    fn topic(&mut self) -> String {
        self.topics += 1;
        format!("m{}", self.topics)
    }

    /// What both say about everything that can be seen from outside.
    fn compare(&mut self) {
        self.theatre.stage.settle();
        self.model.settle();
        let processes = self.theatre.processes();
        let alive = self
            .model
            .processes
            .values()
            .filter(|process| process.ended.is_none())
            .count();
        assert_eq!(processes.len(), alive);
        assert_eq!(
            *self.theatre.stage.count.lock().unwrap(),
            i64::try_from(alive).unwrap()
        );
        assert_eq!(processes.counts().dropped, self.model.dropped);
        for name in 0..3 {
            let holder = processes.lookup(&name_of(name)).ok();
            let expected = self
                .model
                .names
                .get(&name)
                .map(|number| self.puppets[number - 1].pid().clone());
            assert_eq!(holder, expected);
        }
    }

    /// Ends everything, reads every mailbox to its end, and looks for what is left.
    fn finish(mut self) {
        for (number, puppet) in (1..).zip(&self.puppets) {
            if self.model.is_alive(number) {
                let expected: Vec<String> = self.model.of(number).letters.drain(..).collect();
                assert_eq!(puppet.letters(), expected);
            }
        }
        for puppet in &self.puppets {
            puppet.end_well();
        }
        self.theatre.stage.settle();
        self.kept.clear();
        assert!(self.theatre.processes().is_empty());
        for puppet in &self.puppets {
            assert_eq!(puppet.mailbox.record().held(), (0, 0), "{}", puppet.pid());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn processes_do_what_the_model_does(steps in steps()) {
        let mut run = Run::new();
        for step in &steps {
            run.step(step);
            run.compare();
        }
        run.finish();
    }
}
