//! All connections of one port: each is told what happens to it, woken when it wants, and what
//! they have for their owner comes out one by one.
//!
//! What packets mean, and who may be connected at all, is the owner's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use super::connection::{Connection, Effect, Input, Options, Reply, RequestNo, Standing};
use crate::machine::{Machine, Outbox};
use crate::time::Instant;

/// One connection.
#[derive(Debug)]
struct Entry {
    connection: Connection,
    /// When it wants to be looked at.
    wake: Option<Instant>,
    /// It will be dropped: what it still says is heard by nobody.
    dropped: bool,
}

/// Connections by their names, which are never used again.
///
/// An owner tells whom it wants anything, then [`Self::wake`], then takes [`Self::next`] until
/// there is nothing, telling whatever follows from it.
#[derive(Debug)]
pub struct Connections<K> {
    entries: BTreeMap<K, Entry>,
    /// One entry for each connection that wants to be looked at.
    wakes: BTreeSet<(Instant, K)>,
    /// What connections are still to be told.
    inbox: VecDeque<(K, Input)>,
    /// What came of the last thing that one was told.
    effects: VecDeque<(K, Effect)>,
}

impl<K> Default for Connections<K> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            wakes: BTreeSet::new(),
            inbox: VecDeque::new(),
            effects: VecDeque::new(),
        }
    }
}

impl<K: Copy + Ord + fmt::Debug> Connections<K> {
    /// Connections now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A connection was accepted.
    ///
    /// # Panics
    /// When one of this name is there, or `options` leave no room for anything.
    pub fn open(&mut self, key: K, options: Options, now: Instant) {
        let entry = Entry {
            connection: Connection::new(options, now),
            wake: None,
            dropped: false,
        };
        let before = self.entries.insert(key, entry);
        assert!(before.is_none(), "{key:?} was used before");
        self.tell(key, Input::Tick);
    }

    /// Tells a connection something; one that is gone hears nothing.
    pub fn tell(&mut self, key: K, input: Input) {
        self.inbox.push_back((key, input));
    }

    /// Is done with a packet of a connection.
    pub fn done(
        &mut self,
        key: K,
        request: RequestNo,
        packet: Option<Vec<u8>>,
        standing: Standing,
    ) {
        let reply = packet.map_or(Reply::None, Reply::Packet);
        let done = Input::Done {
            request,
            reply,
            standing,
        };
        self.tell(key, done);
    }

    /// Closes a connection without another word, and hears nothing that it says meanwhile.
    pub fn drop(&mut self, key: K, reason: impl Into<String>) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.dropped = true;
        }
        let reason = reason.into();
        self.tell(key, Input::Drop { reason });
    }

    /// Looks at everybody who wants it by now.
    pub fn wake(&mut self, now: Instant) {
        while let Some((at, key)) = self.wakes.first().copied()
            && at <= now
        {
            self.set_wake(key, None);
            self.tell(key, Input::Tick);
        }
    }

    /// The next thing that a connection wants of its owner or of the driver; after
    /// [`Effect::Close`] it is forgotten. `None` when everything that was told is done.
    pub fn next(&mut self, now: Instant) -> Option<(K, Effect)> {
        loop {
            while let Some((key, effect)) = self.effects.pop_front() {
                let Some(entry) = self.entries.get(&key) else {
                    continue;
                };
                match effect {
                    Effect::Packet { .. } | Effect::PartWanted { .. } if entry.dropped => {}
                    Effect::Close { .. } => {
                        self.set_wake(key, None);
                        self.entries.remove(&key);
                        return Some((key, effect));
                    }
                    effect => return Some((key, effect)),
                }
            }
            let (key, input) = self.inbox.pop_front()?;
            let Some(entry) = self.entries.get_mut(&key) else {
                continue;
            };
            let mut out = Outbox::new();
            entry.connection.step(now, input, &mut out);
            let wake = entry.connection.deadline();
            self.set_wake(key, wake);
            self.effects.extend(out.drain().map(|effect| (key, effect)));
        }
    }

    /// When somebody wants to be looked at.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.wakes.first().map(|(at, _)| *at)
    }

    fn set_wake(&mut self, key: K, wake: Option<Instant>) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        if entry.wake == wake {
            return;
        }
        if let Some(before) = entry.wake {
            self.wakes.remove(&(before, key));
        }
        entry.wake = wake;
        if let Some(at) = wake {
            self.wakes.insert((at, key));
        }
    }

    /// Panics when something is left undone, or somebody is not woken when it wants.
    pub fn check(&self) {
        assert!(self.inbox.is_empty(), "nothing is left untold");
        assert!(self.effects.is_empty(), "nothing is left undone");
        let mut wakes = 0;
        for (key, entry) in &self.entries {
            entry.connection.check();
            assert!(!entry.dropped, "{key:?} is dropped at once");
            if let Some(at) = entry.wake {
                assert!(self.wakes.contains(&(at, *key)), "{key:?} is woken");
                wakes += 1;
            }
        }
        assert_eq!(self.wakes.len(), wakes, "nobody else is woken");
    }
}
