//! [`Post`]: a process's mailbox, sorted by what the script listens to.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context as Waking, Poll, Waker},
};

use mlua::{IntoLuaMulti, Lua, MultiValue};
use wippy_security::{Letter, Mailbox};
use wippy_wit::Value;

use super::event;
use crate::raw::{Delivery, Ready, Source};

/// What a channel of a process gives.
#[derive(Debug, Clone)]
pub(super) enum Topic {
    /// Messages that nothing else listens to.
    Inbox,
    /// What the system tells.
    Events,
    /// Messages of one topic.
    Listened(Arc<str>),
}

/// In which form messages arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As message objects.
    Messages,
    /// As what they carry, one value after the other.
    Payloads,
}

/// A process's mailbox, sorted by what the script listens to.
///
/// Letters keep their places in the mailbox until a script takes them, so that the mailbox's bound holds for what waits
/// here, too.
pub(crate) struct Post {
    mailbox: Mailbox,
    sorted: Mutex<Sorted>,
}

#[derive(Default)]
struct Sorted {
    inbox: Pile,
    events: Pile,
    listened: HashMap<Arc<str>, Pile>,
    /// How many letters have come.
    count: u64,
}

impl Sorted {
    fn pile(&mut self, topic: &Topic) -> Option<&mut Pile> {
        match topic {
            Topic::Inbox => Some(&mut self.inbox),
            Topic::Events => Some(&mut self.events),
            Topic::Listened(topic) => self.listened.get_mut(topic),
        }
    }

    /// Where a letter belongs.
    fn pile_of(&mut self, letter: &Letter) -> &mut Pile {
        match letter {
            Letter::Event(..) => &mut self.events,
            Letter::Message(message, _) => match self.listened.get_mut(&message.topic) {
                Some(pile) => pile,
                None => &mut self.inbox,
            },
        }
    }
}

/// What waits for one channel.
#[derive(Default)]
struct Pile {
    /// With their numbers in the order of arrival.
    letters: VecDeque<(u64, Letter)>,
    /// Whether the channel waits for one.
    is_awaited: bool,
    /// What is due then, and what wakes it.
    pump: Option<Ready>,
    waker: Option<Waker>,
}

impl Pile {
    /// Whether the channel waits, which it does no longer.
    fn take_awaited(&mut self) -> bool {
        mem::take(&mut self.is_awaited)
    }
}

impl Post {
    pub(crate) fn new(mailbox: Mailbox) -> Arc<Self> {
        Arc::new(Self {
            mailbox,
            sorted: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Sorted> {
        self.sorted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sorts what has arrived, and has itself woken for what arrives later. The channels that waited for it are `due`.
    pub(crate) fn sort(&self, waking: &mut Waking<'_>, due: &mut VecDeque<Ready>) {
        let mut sorted = self.lock();
        self.mailbox.drain(waking, |letter| {
            sorted.count += 1;
            let number = sorted.count;
            let pile = sorted.pile_of(&letter);
            pile.letters.push_back((number, letter));
            if pile.take_awaited() {
                due.extend(pile.pump);
            }
        });
    }

    /// From now on messages of `topic` wait apart from the others; those that wait in the inbox move. False when
    /// somebody listens to it already.
    pub(super) fn listen(&self, topic: &Arc<str>) -> bool {
        let mut sorted = self.lock();
        if sorted.listened.contains_key(topic) {
            return false;
        }
        let (ours, others) = mem::take(&mut sorted.inbox.letters).into_iter().partition(
            |(_, letter)| matches!(letter, Letter::Message(message, _) if message.topic == *topic),
        );
        sorted.inbox.letters = others;
        let pile = Pile {
            letters: ours,
            ..Pile::default()
        };
        sorted.listened.insert(topic.clone(), pile);
        true
    }

    /// Undoes that: what waits goes to the inbox.
    pub(super) fn unlisten(&self, topic: &Arc<str>) {
        let mut sorted = self.lock();
        let Some(pile) = sorted.listened.remove(topic) else {
            return;
        };
        let inbox = &mut sorted.inbox;
        inbox.letters.extend(pile.letters);
        inbox
            .letters
            .make_contiguous()
            .sort_unstable_by_key(|(number, _)| *number);
        let is_awaited = inbox.take_awaited();
        let waker = inbox.waker.clone().filter(|_| is_awaited);
        drop(sorted);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Puts everything that no script has taken back into the mailbox.
    pub(crate) fn put_back(&self) {
        let Sorted {
            inbox,
            events,
            listened,
            ..
        } = mem::take(&mut *self.lock());
        let piles = [inbox, events].into_iter().chain(listened.into_values());
        let mut letters: Vec<_> = piles.flat_map(|pile| pile.letters).collect();
        letters.sort_unstable_by_key(|(number, _)| *number);
        self.mailbox
            .put_back(letters.into_iter().map(|(_, letter)| letter));
    }

    fn poll_next(&self, topic: &Topic, pump: Option<Ready>, waking: &Waking<'_>) -> Poll<Option<Letter>> {
        let mut sorted = self.lock();
        let Some(pile) = sorted.pile(topic) else {
            return Poll::Ready(None);
        };
        if let Some((_, letter)) = pile.letters.pop_front() {
            return Poll::Ready(Some(letter));
        }
        pile.is_awaited = true;
        pile.pump = pump;
        let waker = waking.waker();
        let is_known = pile.waker.as_ref().is_some_and(|known| known.will_wake(waker));
        let former = if is_known {
            None
        } else {
            pile.waker.replace(waker.clone())
        };
        drop(sorted);
        drop(former);
        Poll::Pending
    }
}

/// What a channel of a process asks.
pub(super) struct Delivered {
    post: Arc<Post>,
    topic: Topic,
    form: Form,
    pump: Option<Ready>,
    /// What is left of a message that carries several values.
    rest: VecDeque<Value>,
}

impl Delivered {
    pub(super) fn new(post: Arc<Post>, topic: Topic, form: Form) -> Self {
        Self {
            post,
            topic,
            form,
            pump: None,
            rest: VecDeque::new(),
        }
    }
}

impl Source for Delivered {
    fn connected(&mut self, pump: Ready) {
        self.pump = Some(pump);
    }

    fn poll_next(&mut self, waking: &mut Waking<'_>) -> Poll<Option<Delivery>> {
        if let Some(value) = self.rest.pop_front() {
            return Poll::Ready(Some(Delivery::Value(value)));
        }
        let Poll::Ready(letter) = self.post.poll_next(&self.topic, self.pump, waking) else {
            return Poll::Pending;
        };
        Poll::Ready(letter.map(|letter| match letter {
            Letter::Event(event, _place) => build(move |lua| event::table(lua, &event)?.into_lua_multi(lua)),
            Letter::Message(message, _place) if self.form == Form::Messages => Delivery::Message(message),
            Letter::Message(message, _place) => {
                self.rest = message.payloads.into_iter().map(settled).collect();
                Delivery::Value(self.rest.pop_front().unwrap_or_default())
            }
        }))
    }
}

/// What a payload stands for; anything else is what it is.
fn settled(value: Value) -> Value {
    let stands_for = if let Value::Foreign(foreign) = &value {
        foreign.value().cloned()
    } else {
        None
    };
    stands_for.unwrap_or(value)
}

fn build(completion: impl FnOnce(&Lua) -> mlua::Result<MultiValue> + Send + 'static) -> Delivery {
    Delivery::Build(Box::new(completion))
}
